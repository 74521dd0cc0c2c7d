"""What a gate compares is what the two models are worth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gb_ray.measure.evidence import evidence
from gb_ray.section import UserError
from gb_ray.tasks.section import SequenceClassificationSection

TOPIC = SequenceClassificationSection(type="sequence-classification")
LABELS = ["energy", "health", "water"]
Export = Callable[..., Path]


def test_a_champion_of_another_tokenizer_is_no_measure(export: Export) -> None:
    champion, candidate = export("champion", TOPIC, LABELS), export("candidate", TOPIC, LABELS, 1)
    content = (candidate / "tokenizer.json").read_text()
    (candidate / "tokenizer.json").write_text(content.replace('"lowercase": true', '"lowercase": false'))
    with pytest.raises(UserError, match=r"champion: its tokenizer is not that of .*candidate.*a name of its own"):
        evidence(champion, candidate, {}, "test", 1)
