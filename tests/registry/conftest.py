"""A real sqlite store, a real MLflow server, and models that runs exported."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from registry_support import Server, export_model

from gb_ray.registry.tracking import Tracking


@pytest.fixture
def home(tmp_path: Path, store_file: Path) -> Path:
    shutil.copy(store_file, tmp_path / "mlflow.db")
    return tmp_path


@pytest.fixture
def tracking(home: Path) -> Tracking:
    return Tracking.open(home, None)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, store_file: Path) -> Iterator[Server]:
    """One for all tests, as it is slow to start; a test starts it, or stops it, as it needs."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(store_file, folder / "server.db")
    server = Server(folder)
    yield server
    server.stop()


@pytest.fixture
def new_export(home: Path, tracking: Tracking) -> Callable[[int], tuple[Path, str]]:
    """Makes a run and the directory it exported; the seed decides the weights."""

    def make(seed: int) -> tuple[Path, str]:
        run_id = tracking.start_run("weather", f"run-{seed}", {"seed": seed}, {})
        return export_model(home / f"export-{seed}", run_id, seed), run_id

    return make
