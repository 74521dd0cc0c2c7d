"""Two versions of a small model, told apart by their answers."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_endpoint import export


@pytest.fixture(scope="session")
def rain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(tmp_path_factory.mktemp("models") / "1", "rain")


@pytest.fixture(scope="session")
def sun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(tmp_path_factory.mktemp("models") / "2", "sun")
