"""What energy this machine's processors took, where the kernel lets one read it.

https://www.kernel.org/doc/html/latest/power/powercap/powercap.html
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

ZONES = Path("/sys/class/powercap")
WATTS_A_CORE = 10.0
"""Assumed for one busy core and its share of memory and power supply, where nothing can be read."""


class Meter:
    """Counts from its making. A counter of the kernel starts again at 0 within minutes: ask more often than that."""

    def __init__(self, zones: Path = ZONES):
        self._last: dict[Path, int] = {}
        self._range: dict[Path, int] = {}
        self._total = 0
        # A processor, not the parts of it that are counted once more in intel-rapl:0:0.
        for zone in zones.glob("intel-rapl:*"):
            if zone.name.count(":") == 1:
                with suppress(OSError):  # most kernels let root alone read it
                    self._last[zone] = _read(zone / "energy_uj")
                    self._range[zone] = _read(zone / "max_energy_range_uj")

    def joules(self) -> float | None:
        """Of all processors of the machine, whatever else ran on it; None where it cannot be read."""
        for zone, last in self._last.items():
            now = _read(zone / "energy_uj")
            self._total += now - last if now >= last else now - last + self._range[zone]
            self._last[zone] = now
        return self._total / 1e6 if self._last else None


def _read(file: Path) -> int:
    return int(file.read_text())
