"""A model's folder for other sets of labels: its heads have their rows, in their order."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from gb_ray.model.load import HEADS
from gb_ray.tasks.task import Task

SPREAD = 0.02
"""Standard deviation of a new row where the architecture does not name one."""


def grow(
    folder: Path,
    to: Path,
    tasks: Mapping[str, Task],
    old: Mapping[str, list[str]],
    new: Mapping[str, list[str]],
    seed: int,
) -> None:
    """Copy an exported model to the folder `to`, whole or not at all, its heads' rows being those of `new` labels.

    All three go by the names of its tasks. A label of `old` keeps its row. Another gets one of its own as a new head
    would: weights drawn (normal, the spread the architecture's), bias zero, decided by the seed. One file of weights is
    in memory at a time.
    """
    beside = to.with_name(f"{to.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    shutil.copytree(folder, beside)
    config = json.loads((beside / "config.json").read_text(encoding="utf-8"))
    spread = float(config.get("initializer_range", SPREAD))
    generator = torch.Generator().manual_seed(seed)
    several = len(tasks) > 1
    owners = {
        f"{HEADS}{task}.{name}" if several else name: task
        for task in tasks
        for name in _head(folder, tasks[task], len(old[task]))
    }
    for file in sorted(beside.glob("*.safetensors")):
        tensors = load_file(file)
        for name in sorted(owners.keys() & tensors.keys()):
            task = owners[name]
            tensors[name] = _rows(tensors[name], old[task], new[task], spread, generator)
        save_file(tensors, file, metadata={"format": "pt"})
    if not several:  # the configuration of several is their backbone's
        ((name, task_of_it),) = tasks.items()
        head = task_of_it.head(new[name])
        config |= {key: value for key, value in head.items() if key in ("id2label", "label2id")}
    (beside / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    # Nothing takes it for the exported model that it was made of.
    (beside / "gb_model.json").unlink()
    shutil.rmtree(to, ignore_errors=True)
    beside.rename(to)


def _rows(old: torch.Tensor, had: list[str], wanted: list[str], spread: float, generator: Any) -> torch.Tensor:
    shape = (len(wanted), *old.shape[1:])
    fresh = torch.randn(shape, generator=generator) * spread if old.ndim > 1 else torch.zeros(shape)
    place = {name: i for i, name in enumerate(had)}
    for row, name in zip(fresh, wanted, strict=True):
        if name in place:
            row.copy_(old[place[name]])
    return fresh


def _head(folder: Path, task: Task, labels: int) -> set[str]:
    """The parameters with a row a label: those that one label more makes longer."""
    import transformers

    shapes = []
    for count in (labels, labels + 1):
        config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False, num_labels=count)
        kind: Any = getattr(transformers, task.architecture)
        with torch.device("meta"):
            model = kind.from_config(config, trust_remote_code=False)
        shapes.append({name: parameter.shape for name, parameter in model.named_parameters()})
    return {name for name, shape in shapes[0].items() if shape != shapes[1][name]}
