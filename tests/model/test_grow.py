"""A head for more labels: known ones answer as before under whatever number, new ones start from the seed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gb_ray.model import load, package
from gb_ray.model.grow import grow
from gb_ray.model.section import AdapterSection, ModelSection

OLD, NEW = ["energy", "health", "water"], ["air", "water", "energy", "health", "soil"]


def grown(folder: Path, to: Path, seed: int = 0) -> Any:
    tasks = package.tasks_of(folder, package.verify(folder))
    ((name, task),) = tasks.items()
    grow(folder, to, tasks, {name: OLD}, {name: NEW}, seed)
    return load.new(ModelSection(path=str(to)), task, NEW, seed).eval()


@torch.inference_mode()
def logits(model: Any) -> torch.Tensor:
    return model(input_ids=torch.tensor([[2, 7, 9, 3]]), attention_mask=torch.ones(1, 4)).logits[0]


def test_a_label_is_answered_as_before_wherever_its_row_is_now(exported: dict[str, Path], tmp_path: Path) -> None:
    before = logits(load.exported(exported["topics"], "AutoModelForSequenceClassification"))
    model = grown(exported["topics"], tmp_path / "start")
    found = dict(zip(NEW, logits(model).tolist(), strict=True))
    torch.testing.assert_close(torch.tensor([found[name] for name in OLD]), before)
    assert model.config.id2label == dict(enumerate(NEW))


def test_new_rows_follow_from_the_seed(exported: dict[str, Path], tmp_path: Path) -> None:
    one, same, other = (grown(exported["topics"], tmp_path / f"{i}", seed) for i, seed in enumerate((0, 0, 1)))
    rows = [model.classifier.weight.detach()[[0, 4]] for model in (one, same, other)]
    assert rows[0].equal(rows[1]) and not rows[0].equal(rows[2])
    assert 0 < float(rows[0].std()) < 0.1 and not one.classifier.bias[[0, 4]].any()


def test_weights_in_several_files_grow_alike(
    exported: dict[str, Path], export: Callable[[str, Path], Any], backbone: Path, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    manifest = package.read(exported["topics"])
    model = load.exported(exported["topics"], "AutoModelForSequenceClassification")
    package.export(model, AutoTokenizer.from_pretrained(backbone), manifest, tmp_path / "shards", shard=30_000)
    whole, parts = grown(exported["topics"], tmp_path / "a"), grown(tmp_path / "shards", tmp_path / "b")
    assert all(one.equal(other) for one, other in zip(whole.parameters(), parts.parameters(), strict=True))


def test_an_adapter_is_trained_with_the_head_that_is_there(exported: dict[str, Path]) -> None:
    folder = exported["topics"]
    (task,) = package.tasks_of(folder, package.verify(folder)).values()
    model = load.new(ModelSection(path=str(folder), adapter=AdapterSection()), task, OLD, 0)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {"classifier.weight", "classifier.bias"} < trained and any("lora_" in name for name in trained)


def test_nothing_is_left_of_a_copy_that_failed(exported: dict[str, Path], tmp_path: Path) -> None:
    (task,) = package.tasks_of(exported["topics"], package.verify(exported["topics"])).values()
    with pytest.raises(OSError):
        grow(tmp_path / "nowhere", tmp_path / "start", task, OLD, NEW, 0)
    assert not (tmp_path / "start").exists()
