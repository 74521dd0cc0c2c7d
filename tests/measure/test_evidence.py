"""What a gate compares is what the two models are worth."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gb_ray.measure.evidence import evidence
from gb_ray.registry.gate import judge
from gb_ray.registry.section import Policy
from gb_ray.section import UserError
from gb_ray.tasks.section import RegressionSection, SequenceClassificationSection

sys.path.append(str(Path(__file__).parent.parent / "corpus"))

import synthetic

TOPIC = SequenceClassificationSection(type="sequence-classification")
NUMBERS = RegressionSection(type="regression", targets=["load", "price"])
LABELS = synthetic.LABELS
Export = Callable[..., Path]


def test_a_champion_of_another_tokenizer_is_no_measure(export: Export) -> None:
    champion, candidate = export("champion", TOPIC, LABELS), export("candidate", TOPIC, LABELS, 1)
    content = (candidate / "tokenizer.json").read_text()
    (candidate / "tokenizer.json").write_text(content.replace('"lowercase": true', '"lowercase": false'))
    with pytest.raises(UserError, match=r"champion: its tokenizer is not that of .*candidate.*a name of its own"):
        evidence(champion, candidate, {}, "test", 1)


def test_a_champion_of_more_tasks_is_no_measure(export: Export) -> None:
    """Whoever asks the endpoint for the others would get no answer any more."""
    section = TOPIC.model_dump(mode="json")
    tasks = {name: {"type": TOPIC.type, "section": section, "labels": LABELS} for name in ("it", "more")}
    champion, candidate = export("champion", TOPIC, LABELS, tasks=tasks), export("candidate", TOPIC, LABELS)
    with pytest.raises(UserError, match=r"champion: its tasks are it, more, those of the new model it: who .* its own"):
        evidence(champion, candidate, {}, "test", 1)
    with pytest.raises(UserError, match=r"candidate: its tasks are it, and a corpus is of more; .* of its own"):
        evidence(candidate, champion, {}, "test", 1)


def test_a_split_without_samples_is_no_evidence_and_nothing_passes(export: Export, tmp_path: Path) -> None:
    corpus = synthetic.make_corpus(tmp_path / "corpus", {"train": [(1.0, 20)]})
    model = export("candidate", TOPIC, LABELS)
    found = evidence(model, model, {"it": corpus}, "test", 1)
    gate = judge(Policy(floors={"accuracy": 0.5}), found, None)
    assert (found, gate.passed) == ({}, False)
    assert gate.checks[0].why == "the candidate has no metric accuracy; it has: none"


@pytest.mark.usefixtures("ray_up")
def test_losses_of_numbers_are_held_against_each_other_on_one_scale(
    export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The champion is the same network, but what it says stands for numbers that are far from those of the corpus."""
    monkeypatch.setattr(synthetic, "VOCABULARY", 90)
    monkeypatch.setattr(synthetic, "LABELS", [])
    corpus = synthetic.make_corpus(tmp_path / "corpus", {"test": [(1.0, 20)]}, label="values")
    scales = {"candidate": {"mean": [0.0, 0.0], "sd": [1.0, 1.0]}, "champion": {"mean": [1e3, 1e3], "sd": [1e3, 1e3]}}
    candidate, champion = (export(name, NUMBERS, [], state={"it": scale}) for name, scale in scales.items())
    its = evidence(champion, candidate, {"it": corpus}, "test", 1)
    assert its["rmse_load"] == pytest.approx(1e3, rel=0.1)
    assert its["loss"] == pytest.approx((its["rmse_load"] ** 2 + its["rmse_price"] ** 2) / 2, rel=1e-4)
