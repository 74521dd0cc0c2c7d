"""What was forgotten: both models on the same samples under one numbering of labels, and luck is told from loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from gb_ray.measure import results
from gb_ray.measure.forgetting import BEFORE, flat, forgetting
from gb_ray.measure.scores import Found, Scores
from gb_ray.measure.table import after_lines
from gb_ray.tasks.alignment import Alignment
from gb_ray.tasks.section import SequenceClassificationSection
from gb_ray.tasks.sequence_classification import SequenceClassification

TOPICS = SequenceClassification(SequenceClassificationSection(type="sequence-classification"), "unused", 32)
OLD, NEW = ["health", "water"], ["energy", "health", "water"]
SAMPLES = 200


def found(skill: float, has: list[str], seed: int) -> Found:
    """What a model with these labels made of texts about the two old topics."""
    truth = np.random.default_rng(0).integers(0, 2, SAMPLES)
    logits = np.random.default_rng(seed).normal(size=(SAMPLES, len(has))).astype(np.float32)
    logits[np.arange(SAMPLES), [has.index(OLD[i]) for i in truth]] += skill
    asked, told = Alignment(OLD, NEW), Alignment(has, NEW)
    wide, targets = [told.logits(row) for row in logits], [asked.label(int(i)) for i in truth]
    ids = [f"{i:032x}" for i in range(SAMPLES)]
    about = pa.table({"id": ids, "source": ["a"] * SAMPLES, "language": ["en"] * SAMPLES, "tokens": [3] * SAMPLES})
    return {"test": {"topic": Scores(TOPICS, NEW, about, TOPICS.statistics(wide, targets, NEW), targets, wide)}}


def test_a_model_that_took_up_a_new_label_is_measured_beside_the_old_one(tmp_path: Path) -> None:
    was = found(3.0, OLD, 1)
    results.keep(was, BEFORE, tmp_path)
    lost = forgetting(tmp_path, found(0.5, NEW, 2))
    assert {name: one["before"] for name, one in lost.items()} == was["test"]["topic"].metrics
    assert lost["accuracy"]["difference"] < -0.1 and lost["accuracy"]["worse"] and lost["loss"]["worse"]
    low, high = lost["accuracy"]["interval"]
    assert low < lost["accuracy"]["difference"] < high < 0


def test_what_is_as_good_as_before_is_not_called_worse(tmp_path: Path) -> None:
    results.keep(found(3.0, NEW, 1), BEFORE, tmp_path)
    kept = forgetting(tmp_path, found(3.0, NEW, 2))
    assert kept and not any(one["worse"] for one in kept.values())


def account(**known: Any) -> dict[str, Any]:
    return {"compared": {}, **known}


def test_a_person_and_a_tracking_server_are_told(tmp_path: Path) -> None:
    results.keep(found(3.0, NEW, 1), BEFORE, tmp_path)
    lost = forgetting(tmp_path, found(0.5, NEW, 2))
    lines = after_lines(account(**{"from": {"uri": "models:/m/1"}, "forgetting": lost}))
    assert lines[0] == "forgetting, on the test split of models:/m/1" and "accuracy" in "".join(lines)
    assert lines[-1].startswith("  worse than before: accuracy")
    assert flat({"forgetting": lost})["old_test_accuracy_difference"] == lost["accuracy"]["difference"]
    assert after_lines(account()) == [] and flat({}) == {}
    away = after_lines(account(**{"from": {"uri": "models:/m/1"}, "forgetting": None}))
    assert "was not measured" in away[0]
