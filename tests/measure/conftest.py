"""Exported models, as runs leave them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gb_ray.model import load, package
from gb_ray.model.section import ModelSection
from gb_ray.tasks.section import TaskSection
from gb_ray.tasks.task import make
from gb_ray.tasks.tokenizer import tokenizer

Export = Callable[..., Path]


@pytest.fixture
def export(backbone: Path, tmp_path: Path) -> Export:
    """Exports a model of one task, called `it`, with a new head, and returns its directory."""

    def run(name: str, section: TaskSection, labels: list[str], seed: int = 0, **known: Any) -> Path:
        model = load.new(ModelSection(path=str(backbone)), make(section, str(backbone), 32), labels, seed)
        described = {"type": section.type, "section": section.model_dump(mode="json"), "labels": labels}
        manifest = {"name": "small", "run_id": name, "max_tokens": 32, "corpus_digest": "c" * 64}
        manifest |= {"tasks": {"it": described}, **known}
        package.export(model, tokenizer(str(backbone)), manifest, tmp_path / name)
        return tmp_path / name

    return run
