"""Corpora that several tests read; they leave them as they were."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from synthetic import make_corpus

from gb_ray.corpus.corpus import Corpus


@pytest.fixture(scope="session")
def plain(ray_up: str, backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Built of the plain rows from one file."""
    from builds import PLAIN, jsonl, plan_of

    from gb_ray.corpus.build import build
    from gb_ray.progress import Progress

    folder = tmp_path_factory.mktemp("plain")
    uri = str(jsonl(folder / "all.jsonl", PLAIN))
    return build(plan_of(backbone, [{"uri": uri}]), folder / "home", Progress())


@pytest.fixture(scope="session")
def climate(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Two strata and two splits in two lanes, made without a build."""
    path = tmp_path_factory.mktemp("home") / "corpora" / "climate-0123"
    return make_corpus(path, {"train": [(1.0, 110), (2.0, 31)], "test": [(1.0, 25)]}, lanes=2, shard_rows=20)


@pytest.fixture
def climate_copy(climate: Corpus, tmp_path: Path) -> Path:
    """Where a test may change it."""
    return Path(shutil.copytree(climate.path, tmp_path / "copy"))
