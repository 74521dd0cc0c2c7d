"""The mean of what several models answer, of a text as a whole and of its words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.special import softmax
from test_several_heads import flat

from gb_ray.model import package
from gb_ray.model.digest import WEIGHTS
from gb_ray.model.ensemble import bind, check
from gb_ray.model.predictor import Predictor
from gb_ray.section import UserError

TEXTS = ["wind and flood", "the clinic's nurse isn't in 2.5 rooms", "x"]


def turned(path: Path, out: Path) -> Path:
    """A copy of a model whose head says something else."""
    weights = load_file(path / WEIGHTS)
    weights["classifier.weight"] = weights["classifier.weight"].roll(1, 0) * 0.3
    known = {key: value for key, value in package.read(path).items() if key not in ("files", "weights_sha256")}
    package.alike(path, known, out, weights.items())
    return out


@pytest.mark.parametrize("name", ["topics", "entities"])
def test_probabilities_are_averaged_before_an_answer_is_chosen(
    name: str, exported: dict[str, Path], tmp_path: Path
) -> None:
    members = [exported[name], turned(exported[name], tmp_path / "turned")]
    check(members)
    bind(members, [{}, {}], {"name": name, "run_id": "r"}, tmp_path / "both")
    predictor = Predictor(tmp_path / "both")
    encoded = predictor.encode(TEXTS)
    answers = predictor.predict(encoded)
    with torch.inference_mode():
        each = [softmax(one.logits(encoded)[0].double().numpy(), axis=-1) for one in predictor.members]
    assert np.abs(each[0] - each[1]).max() > 0.1
    task: Any = predictor.tasks[name]
    for number, (item, answer) in enumerate(zip(encoded, answers, strict=True)):
        mean = np.log(np.mean([one[number] for one in each], axis=0))
        wanted = task.answer(item.text, item.places[0], mean, predictor.labels[name])
        assert flat(answer) == pytest.approx(flat(wanted), abs=1e-6)


def test_a_model_of_another_tokenizer_is_refused(exported: dict[str, Path], tmp_path: Path) -> None:
    other = turned(exported["topics"], tmp_path / "turned")
    file = other / "tokenizer.json"
    file.write_text(file.read_text().replace('"wind"', '"wild"'))
    with pytest.raises(UserError, match="its tokenizer or longest input is not that of"):
        check([exported["topics"], other])
