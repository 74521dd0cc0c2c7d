"""The gradient of a step is that of one big batch, whatever the split into workers and micro-batches.

Named after what hurt others: a mean of means, which weights a short micro-batch as much as a long one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import WORDS, write_recipe
from safetensors.torch import load_file

from gb_ray.corpus.build import build
from gb_ray.corpus.reading.reader import Reader
from gb_ray.finetune import Inputs, check
from gb_ray.model import load
from gb_ray.progress import Progress
from gb_ray.recipe import load as load_recipe
from gb_ray.tasks.tokenizer import tokenizer
from gb_ray.train import run as runs
from gb_ray.train.batch import MicroBatch
from gb_ray.train.engine import _groups
from gb_ray.train.schedule import rate_factor, steps
from gb_ray.train.trainer import fit

TOLERANCE = 2e-5
"""Of weights after the run's steps: fp32 sums in another order, through Adam."""


@pytest.fixture(scope="module")
def prepared(
    tmp_path_factory: pytest.TempPathFactory, backbone: Path, ray_up: str
) -> tuple[Path, Inputs, dict[str, torch.Tensor]]:
    """Sentences of 1 to 12 words with entities, a backbone without dropout, and the weights one big batch gives."""
    folder = tmp_path_factory.mktemp("gradient")
    config = json.loads((backbone / "config.json").read_text())
    still = folder / "backbone"
    still.mkdir()
    for file in backbone.iterdir():
        (still / file.name).write_bytes(file.read_bytes())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (still / "config.json").write_text(json.dumps(config))
    rows = []
    for i in range(60):
        words = [WORDS["energy"][(i + k * k) % 6] for k in range(1 + i % 12)]
        tags = ["B-x" if (i + k) % 3 == 0 else "O" for k in range(len(words))]
        rows.append({"tokens": [*words, str(i)], "tags": [*tags, "O"]})
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    content = {
        "name": "gradient",
        "corpus": {"sources": [{"uri": str(folder / "rows.jsonl"), "split": "train"}], "lanes": 6, "shard_rows": 4},
        "tasks": {"tag": {"type": "token-classification"}},
        "model": {"path": str(still), "max_tokens": 32},
        "train": {"epochs": 1, "batch": 16, "lr": 1e-3, "head_lr": 1e-2, "precision": "fp32"},
    }
    recipe = write_recipe(content, folder)
    inputs = check(load_recipe(recipe), recipe)
    corpus = build(inputs.corpus, folder / "home", Progress())
    return folder, inputs, _one_big_batch(inputs, corpus)


@pytest.mark.parametrize(("workers", "micro_tokens", "zero"), [(1, 40, 2), (2, 60, 1), (3, 90, 2)])
def test_weights_are_those_of_one_big_batch(
    prepared: tuple[Path, Inputs, dict[str, torch.Tensor]], workers: int, micro_tokens: int, zero: int
) -> None:
    folder, inputs, expected = prepared
    train = inputs.recipe.train.model_copy(update={"workers": workers, "micro_tokens": micro_tokens, "zero": zero})
    recipe = inputs.recipe.model_copy(update={"train": train})
    corpus = build(inputs.corpus, folder / "home", Progress())
    run = runs.create(folder / "home", "gradient", f"{workers}-{micro_tokens}-{zero}")
    result = fit(recipe, corpus, run, {"tasks": {}}, Progress())
    assert result["samples_seen"] == 60
    found = load_file(run.model / "model.safetensors")
    assert found.keys() == expected.keys()
    worst = max(float((found[name] - expected[name]).abs().max()) for name in expected)
    assert worst < TOLERANCE


def _one_big_batch(inputs: Inputs, corpus: Any) -> dict[str, torch.Tensor]:
    """The run in plain PyTorch: one process, one padded batch a step, the mean over all its words."""
    recipe, task = inputs.recipe, inputs.task
    model = load.new(recipe.model, task, corpus.manifest.labels, recipe.seed).train()
    groups = _groups(model, recipe.train)
    peaks = [group["lr"] for group in groups]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.999), eps=1e-8)
    reader = Reader(corpus, "train", recipe.seed)
    plan = list(steps(reader.samples_per_epoch, recipe.train.batch, recipe.train.epochs))
    for step in plan:
        samples = reader.step(step.epoch, step.start, step.stop)
        batch = MicroBatch.of([samples], task, tokenizer(task.backbone).pad_token_id).groups[0]
        logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
        asked = batch.targets != -100
        torch.nn.functional.cross_entropy(logits[asked], batch.targets[asked]).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.train.clip)
        for group, peak in zip(groups, peaks, strict=True):
            group["lr"] = peak * rate_factor(step.number, len(plan), recipe.train.schedule)
        for group, wanted in zip(optimizer.param_groups, groups, strict=True):
            group["lr"] = wanted["lr"]
        optimizer.step()
        optimizer.zero_grad()
    return {name: tensor.detach() for name, tensor in model.state_dict().items()}
