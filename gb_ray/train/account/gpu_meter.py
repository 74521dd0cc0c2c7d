"""What energy the GPUs of a run took, where their driver counts it: NVML, of Volta and newer.

https://docs.nvidia.com/deploy/nvml-api/group__nvmlDeviceQueries.html
"""

from __future__ import annotations

from pathlib import Path

from gb_ray.train.account.journal import replace
from gb_ray.train.run import read_json

FOLDER = "gpus"


class GpuMeter:
    """Counts what one GPU takes from its making on, whatever else runs there: gpus/ATTEMPT-RANK.json."""

    def __init__(self, run: Path, attempt: int, rank: int, uuid: str):
        """`uuid` is the GPU's, as in GPU-8a2c..."""
        self._path, self._uuid = run / FOLDER / f"{attempt:04d}-{rank:04d}.json", uuid
        self._path.parent.mkdir(exist_ok=True)
        self._first = _millijoules(uuid)
        self.write()

    def write(self) -> None:
        """What it took until now; null where it is not counted."""
        now = _millijoules(self._uuid)
        counted = None if now is None or self._first is None else (now - self._first) / 1000
        replace(self._path, {"gpu": self._uuid, "joules": counted})


def joules(run: Path) -> float | None:
    """Of all GPUs in all attempts of a run; None when one of them was not counted, or there was none.

    Workers that share a GPU read one counter at the same time: it counts once.
    """
    found: dict[tuple[str, str], float] = {}
    for path in sorted((run / FOLDER).glob("*.json")):
        one = read_json(path)
        if one["joules"] is None:
            return None
        key = path.stem.partition("-")[0], one["gpu"]
        found[key] = max(one["joules"], found.get(key, 0.0))
    return sum(found.values()) if found else None


def _millijoules(uuid: str) -> int | None:
    """Since the driver was loaded. None of a part of a GPU (MIG), and in a container without the library."""
    import pynvml  # here, for those who only read what was counted

    try:
        pynvml.nvmlInit()  # a second time costs a count
        return int(pynvml.nvmlDeviceGetTotalEnergyConsumption(pynvml.nvmlDeviceGetHandleByUUID(uuid)))
    except pynvml.NVMLError:
        return None
