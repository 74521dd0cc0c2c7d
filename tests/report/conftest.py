"""A run that has ended, made without Ray: its folder holds what a real one does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gb_ray.measure import results
from gb_ray.measure.scores import Scores
from gb_ray.model import load, package
from gb_ray.model.section import ModelSection
from gb_ray.tasks.section import SequenceClassificationSection
from gb_ray.tasks.task import make
from gb_ray.tasks.tokenizer import tokenizer
from gb_ray.train.pace import Pace, Spent
from gb_ray.train.run import Run, create, write_json

LABELS = ["energy", "health", "water"]

SAMPLES = {"validation": 120, "test": 90}


def scored(task: Any, samples: int, skill: float, seed: int) -> Scores:
    """What a model of some skill made of texts in two languages."""
    truth = np.random.default_rng(0).integers(0, 3, samples)
    logits = np.random.default_rng(seed).normal(size=(samples, 3)).astype(np.float32)
    logits[np.arange(samples), truth] += skill
    about = {"id": [f"{i:032x}" for i in range(samples)], "source": ["texts.csv"] * samples}
    table = pa.table({**about, "language": ["en", "sw"] * (samples // 2), "tokens": np.arange(samples) % 30 + 3})
    pace = Pace.of([Spent(samples, 900, 0.5, "a", None)])
    statistics = task.statistics(list(logits), list(truth), LABELS)
    return Scores(task, LABELS, table, statistics, list(truth), list(logits), pace)


@pytest.fixture
def run(tmp_path: Path, backbone: Path) -> Run:
    """Two attempts, of which the first died; measured on validation and test."""
    section = SequenceClassificationSection(type="sequence-classification")
    task = make(section, str(backbone), 32)
    made = create(tmp_path, "topics", "0" * 64)
    described = {"type": section.type, "labels": LABELS, "section": section.model_dump(mode="json")}
    known = {"name": "topics <i>", "run_id": "r1", "tasks": {"topic": described}, "max_tokens": 32}
    known |= {"corpus_digest": "c" * 64, "recipe_digest": "d" * 64, "code": {"version": "0", "sha256": "e" * 64}}
    known |= {"recipe": {"name": "topics", "train": {"epochs": 2, "early_stop": {"metric": "macro_f1"}}}}
    model = load.new(ModelSection(path=str(backbone)), task, LABELS, 0)
    package.export(model, tokenizer(str(backbone)), known, made.model)

    before = {split: {"topic": scored(task, samples, 0.0, 1)} for split, samples in SAMPLES.items()}
    after = {split: {"topic": scored(task, samples, 2.0, 2)} for split, samples in SAMPLES.items()}
    after, calibration = results.calibrated(made.model, after)
    measured = {"before": results.keep(before, "before", made.path), "calibration": calibration}
    measured |= {"metrics": results.keep(after, "after", made.path)}
    measured |= results.findings(made.path, after)
    results.tell(made.model, measured)

    for number, (began, first, last, ended) in enumerate([(1000.0, 0, 5, False), (1100.0, 4, 9, True)], start=1):
        spent = {"start": 5.0, "data": 1.0, "compute": 30.0}
        path = made.path / "attempts" / f"{number:04d}.json"
        path.parent.mkdir(exist_ok=True)
        write_json(path, {"began": began, "first": first, "last": last, "seconds": spent, "ended": ended})
    phases = [["train", 1000.0, 1140.0]]
    (made.path / "lives").mkdir()
    life = {"pid": 1, "host": "h", "began": 990.0, "seen": 1141.0, "phases": phases, "ended": "finished"}
    write_json(made.path / "lives" / "0001.json", life)
    steps = [*range(6), *range(4, 10)]
    lines = [{"step": s, "time": s, "metrics": {"loss": 3 - s / 5, "lr": 0.1, "tokens_per_s": 9.0}} for s in steps]
    for line in lines:
        share = 0.4 if line["step"] < 5 else 0.2
        spent = {"data_s": 0.5, "compute_s": 0.5 if line["step"] < 5 else 2.5}
        line["metrics"] |= {"mfu": share, "mfu_attention": share + 0.05, "peak_flops": 95.4e9, **spent}
    for line, value in ((lines[3], 0.4), (lines[8], 0.6), (lines[-1], 0.5)):
        line["metrics"] |= {"early_stop_macro_f1": value}
    made.journal.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 10, "ti')
    funnel = {"read": 321, "filtered": 7, "quarantined": 1, "dropped": 0, "duplicates": 2, "near_duplicates": 0}
    corpus = {"path": str(tmp_path / "gone"), "digest": "c" * 64, **funnel, "leaks": 0, "samples": 311}
    corpus |= {"splits": {"train": 101, **SAMPLES}}
    totals = {"run_id": "r1", "steps": 10, "samples_seen": 262, "tokens_seen": 4567, "workers": 2, "zero": 2}
    totals |= {"precision": "fp32", "model": {"uri": "models:/topics/4"}, "corpus": corpus}
    made.update(status="finished", account={**totals, **measured})
    return made
