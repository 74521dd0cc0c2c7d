"""What an ensemble is measured by is what it answers, on the endpoint and everywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from gb_ray.corpus.build import build
from gb_ray.corpus.catalogue import rows
from gb_ray.corpus.plan import prepare
from gb_ray.corpus.section import CorpusSection
from gb_ray.measure.ensemble import of_models
from gb_ray.model import load, package
from gb_ray.model.ensemble import bind, check
from gb_ray.model.predictor import Predictor
from gb_ray.model.section import ModelSection
from gb_ray.progress import Progress
from gb_ray.tasks.section import SequenceClassificationSection
from gb_ray.tasks.sequence_classification import probabilities
from gb_ray.tasks.task import Task, make
from gb_ray.tasks.tokenizer import tokenizer

SECTION = SequenceClassificationSection(type="sequence-classification")
HEAT = [1.0, 0.3]


def export(path: Path, task: Task, backbone: Path, labels: list[str], digest: str, seed: int) -> Path:
    """A model with a head that is far from zero, and a temperature."""
    model = load.new(ModelSection(path=str(backbone)), task, labels, seed)
    model.classifier.weight.data.mul_(20)
    described = {"type": SECTION.type, "section": SECTION.model_dump(mode="json"), "labels": labels}
    known = {"name": "topics", "run_id": str(seed), "max_tokens": 32, "corpus_digest": digest}
    package.export(model, tokenizer(str(backbone)), known | {"tasks": {"topic": described}}, path)
    package.calibrate(path, "topic", HEAT[seed])
    return path


@pytest.mark.usefixtures("ray_up")
def test_it_answers_what_was_measured(rows_file: Path, backbone: Path, tmp_path: Path) -> None:
    task = make(SECTION, str(backbone), 32)
    section = CorpusSection(sources=[{"uri": str(rows_file)}], lanes=2)
    corpus = build(prepare("topics", "topic", section, task, backbone), tmp_path, Progress())
    known = corpus.manifest.labels, corpus.manifest.digest
    members = [export(tmp_path / str(seed), task, backbone, *known, seed) for seed in range(2)]
    check(members)
    bind(members, [{}, {}], {"name": "topics", "run_id": "both"}, tmp_path / "both")

    found = of_models([tmp_path / "both"], {"topic": corpus}, ("test",), 1)["test"]["topic"]
    assert found.logits is not None
    shards = corpus.manifest.splits["test"].shards
    table = pa.concat_tables([rows.read(corpus, shard, ["id", "text"]) for shard in shards]).sort_by("id")
    predictor = Predictor(tmp_path / "both")
    answers = predictor.predict(predictor.encode(table["text"].to_pylist()))
    served = np.array([list(answer["probabilities"].values()) for answer in answers])
    np.testing.assert_allclose(served, probabilities(np.stack(found.logits)), atol=1e-5)
    loss = -np.log(served[np.arange(len(served)), found.targets]).mean()
    assert loss == pytest.approx(found.metrics["loss"], abs=1e-5)
    # It is neither member, so the one that answers is the ensemble.
    for member in members:
        alone = Predictor(member)
        told = [list(one["probabilities"].values()) for one in alone.predict(alone.encode(table["text"].to_pylist()))]
        assert np.abs(np.array(told) - served).max() > 0.01
    # One model by itself is measured by what it answers too, or no gate could hold the two against each other.
    own = of_models(members[-1:], {"topic": corpus}, ("test",), 1)["test"]["topic"]
    np.testing.assert_allclose(np.array(told), probabilities(np.stack(own.logits or [])), atol=1e-5)
