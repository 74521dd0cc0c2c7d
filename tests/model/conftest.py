"""Exported models of several tasks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gb_ray.model import load, package
from gb_ray.model.section import ModelSection
from gb_ray.tasks.section import (
    EmbeddingSection,
    SequenceClassificationSection,
    TaskSection,
    TokenClassificationSection,
)
from gb_ray.tasks.task import make
from gb_ray.tasks.tokenizer import tokenizer

SECTIONS: dict[str, tuple[TaskSection, list[str]]] = {
    "topics": (SequenceClassificationSection(type="sequence-classification"), ["energy", "health", "water"]),
    "entities": (TokenClassificationSection(type="token-classification"), ["O", "B-LOC", "I-LOC"]),
    "vectors": (EmbeddingSection(type="embedding"), []),
}


@pytest.fixture(scope="session")
def export(backbone: Path) -> Callable[[str, Path], Any]:
    """Export a model of a task, with a head that is far from zero, to a path; returns the model."""

    def run(name: str, path: Path) -> Any:
        section, labels = SECTIONS[name]
        model = load.new(ModelSection(path=str(backbone)), make(section, str(backbone), 32), labels, 0)
        with torch.no_grad():
            if name != "vectors":
                model.classifier.weight.mul_(50)
            if name == "entities":
                model.classifier.bias[0] = -100  # every word is in an entity
        described = {"type": section.type, "section": section.model_dump(mode="json"), "labels": labels}
        package.export(model, tokenizer(str(backbone)), {"tasks": {name: described}, "max_tokens": 32}, path)
        return model.eval()

    return run


@pytest.fixture(scope="session")
def exported(export: Callable[[str, Path], Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The exported directory of each task."""
    paths = {name: tmp_path_factory.mktemp("exported") / name for name in SECTIONS}
    for name, path in paths.items():
        export(name, path)
    return paths
