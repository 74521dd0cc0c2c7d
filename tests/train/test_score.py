"""Evaluation keeps of a packed model what it keeps of a padded one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gb_ray.corpus.reading.reader import Sample
from gb_ray.model import load, packing, several
from gb_ray.model.section import ModelSection
from gb_ray.tasks.section import SequenceClassificationSection, TaskSection, TokenClassificationSection
from gb_ray.tasks.task import make
from gb_ray.train.batch import Layout
from gb_ray.train.evaluate import groups, score

SECTIONS: list[TaskSection] = [
    SequenceClassificationSection(type="sequence-classification"),
    TokenClassificationSection(type="token-classification"),
]


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.type)
def test_every_sample_has_the_logits_of_padded_rows(section: TaskSection, backbone: Path) -> None:
    task = make(section, str(backbone), 32)
    random = np.random.default_rng(0)
    samples = []
    for i in range(400):
        length = int(random.integers(3, 33))
        label = random.integers(0, 3, length).astype(np.int32) if "token" in section.type else 1
        samples.append(Sample(f"{i:04d}", random.integers(4, 60, length).astype(np.int32), label))
    found = []
    for packed in (False, True):
        model = load.new(ModelSection(path=str(backbone)), task, ["a", "b", "c"], 0).eval()
        if packed:
            packing.pack(model)
        laid = Layout.of(model, (task,))
        found.append({name: kept for name, kept, _ in score(model, laid, groups(laid, samples))[0]})
    padded, made = found
    assert made.keys() == padded.keys() == {sample.id for sample in samples}
    for name in padded:
        np.testing.assert_allclose(made[name], padded[name], atol=1e-5)


def test_a_pass_without_a_sentence_to_tag_is_measured_for_the_other_task(backbone: Path) -> None:
    """Early stopping of several tasks: a worker's share may have none at all."""
    tasks = tuple(make(section, str(backbone), 32) for section in SECTIONS)
    model = several.hollow(ModelSection(path=str(backbone)), tasks, [["a", "b"], ["O", "B-LOC"]], 0).filled().eval()
    packing.pack(model)
    texts = [Sample(f"{i}", np.arange(4, 9 + i, dtype=np.int32), 1) for i in range(3)]
    topics, tags = score(model, Layout.of(model, tasks), [texts])
    assert [name for name, _, _ in topics] == ["0", "1", "2"]
    assert tags == []
