"""A language model answers with what it goes on with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from gb_ray.model import load, package
from gb_ray.model.predictor import Predictor
from gb_ray.model.section import ModelSection
from gb_ray.tasks.section import CausalLmSection
from gb_ray.tasks.task import make
from gb_ray.tasks.tokenizer import tokenizer

TEXTS = ["solar wind grid", "a", "", "the clinic has a nurse and a vaccine for the fever of the midwife"]
NEW = 7


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, generative: Path) -> Path:
    folder = tmp_path_factory.mktemp("writing") / "model"
    section = CausalLmSection(type="causal-lm", text="text", new_tokens=NEW)
    task = make(section, str(generative), 16)
    model: Any = load.new(ModelSection(path=str(generative), max_tokens=16), task, [], 0)
    manifest = {
        "name": "writer",
        "tasks": {"it": {"type": "causal-lm", "labels": [], "section": section.model_dump(mode="json")}},
        "max_tokens": 16,
    }
    package.export(model, tokenizer(str(generative)), manifest, folder)
    return folder


def test_each_new_token_is_the_likeliest_whatever_the_batch(exported: Path) -> None:
    predictor = Predictor(exported)
    together = predictor.predict(predictor.encode(TEXTS))
    loaded: Any = tokenizer(str(exported))
    assert len({answer["text"] for answer in together}) > 1
    for text, answer in zip(TEXTS, together, strict=True):
        assert predictor.predict(predictor.encode([text])) == [answer]
        ids = predictor.encode([text])[0].input_ids
        new: list[int] = []
        while len(new) < NEW and (not new or new[-1] != loaded.eos_token_id):
            with torch.no_grad():
                logits = predictor.members[0].model(input_ids=torch.tensor([ids + new])).logits
            new.append(int(logits[0, -1].argmax()))
        assert answer["text"] == loaded.decode(new, skip_special_tokens=True)


def test_a_long_text_is_read_from_its_end(exported: Path) -> None:
    predictor = Predictor(exported)
    ids = predictor.encode(["solar " * 50 + "nurse"])[0].input_ids
    assert len(ids) == 16
    assert ids[-1] == predictor.encode(["nurse"])[0].input_ids[-1]
