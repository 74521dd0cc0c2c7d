"""Energy from the kernel's counters."""

from __future__ import annotations

from pathlib import Path

import pytest

from gb_ray.train.account.power import Meter


def zone(folder: Path, name: str, microjoules: int, most: int = 10**9) -> Path:
    made = folder / name
    made.mkdir(exist_ok=True)
    (made / "energy_uj").write_text(f"{microjoules}\n")
    (made / "max_energy_range_uj").write_text(f"{most}\n")
    return made


def test_processors_are_added_up_and_their_parts_not_again(tmp_path: Path) -> None:
    for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"):
        zone(tmp_path, name, 5_000_000)
    meter = Meter(tmp_path)
    for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"):
        zone(tmp_path, name, 8_000_000)
    assert meter.joules() == pytest.approx(6)
    assert meter.joules() == pytest.approx(6)


def test_a_counter_that_starts_again_goes_on(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", 900_000_000)
    meter = Meter(tmp_path)
    zone(tmp_path, "intel-rapl:0", 100_000_000)
    assert meter.joules() == pytest.approx(200)


def test_a_machine_that_does_not_tell_has_none(tmp_path: Path) -> None:
    (tmp_path / "intel-rapl:0").mkdir()
    assert Meter(tmp_path).joules() is None
    assert Meter(tmp_path / "nothing").joules() is None
