"""The work with gb_ray, on a Ray that is up already, as on a cluster."""

from __future__ import annotations

import time
from pathlib import Path

from peers.work import DEBATES, MAX_TOKENS, MIN_CHARS, SENTENCES, SIMILARITY, Outcome, model
from transformers import AutoTokenizer  # noqa: F401 - no contender's imports are counted

from gb_ray.corpus.build import build
from gb_ray.corpus.plan import prepare
from gb_ray.corpus.section import CorpusSection
from gb_ray.machine import ray_up
from gb_ray.progress import Progress
from gb_ray.tasks.section import SequenceClassificationSection
from gb_ray.tasks.task import make

SECTION = {
    "sources": [
        {"uri": str(DEBATES), "columns": {"label": "iso3"}},
        {"uri": f"{SENTENCES}/*.parquet", "columns": {"label": "category"}},
    ],
    "duplicates": {"near": "remove", "similarity": SIMILARITY},
    "min_chars": MIN_CHARS,
}


def run(folder: Path) -> Outcome:
    """All of the work, and labels, splits, a global shuffle and digests of every file besides."""
    section = CorpusSection.model_validate(SECTION)
    task = make(SequenceClassificationSection(type="sequence-classification"), str(model()), MAX_TOKENS, MIN_CHARS)
    progress = Progress()
    before = time.perf_counter()
    with ray_up("local"):
        started = time.perf_counter()
        with progress.stage("plan"):
            plan = prepare("speed", "topic", section, task, model())
        manifest = build(plan, folder / "home", progress).manifest
        seconds = time.perf_counter() - started
    funnel = manifest.funnel
    return Outcome(
        seconds=seconds,
        rows=funnel.read,
        short=funnel.quarantined,
        exact=funnel.duplicates,
        near=funnel.near_duplicates + funnel.leaks,
        kept=funnel.samples,
        tokens=sum(split.tokens for split in manifest.splits.values()),
        stages={"(Ray starts)": round(started - before, 2), **progress.seconds},
    )
