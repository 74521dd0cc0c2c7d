"""Where a run is planned for: this machine, or accelerators that are elsewhere."""

from __future__ import annotations

import re
from typing import NamedTuple

import psutil
import torch

from gb_ray import machine
from gb_ray.section import UserError
from gb_ray.train.planning.flops import peak
from gb_ray.train.planning.machines import CATALOGUE

USED = {"cpu": 0.5, "gpu": 0.35}
"""Share of the peak that training reaches: on CPU as measured here, on GPUs what well-kept recipes report."""
USABLE = 0.95
"""Share of a GPU's memory that its driver and ECC leave."""


class Place(NamedTuple):
    """What each worker has."""

    name: str
    workers: int
    memory: int | None
    """Bytes; None when it is not known here."""
    gpu: bool
    bf16: bool
    peaks: dict[str, float]
    """FLOP/s by precision; none when it is not known here."""

    def precision(self, wanted: str) -> str:
        """What `auto` becomes here."""
        return wanted if wanted != "auto" else "bf16" if self.bf16 else "fp32"

    def rate(self, precision: str) -> float | None:
        """FLOP/s of one worker that training will reach."""
        found = self.peaks.get(precision)
        return found and found * USED["gpu" if self.gpu else "cpu"]


def here(workers: int, gpus: bool, precision: str) -> Place:
    """This machine, whose CPU's speed is measured (a fifth of a second); its memory is shared by the workers.

    GPUs that only the cluster has are not known from here.
    """
    device = torch.device("cuda" if gpus else "cpu")
    if gpus and not torch.cuda.is_available():
        return Place("GPUs that are not in this machine", workers, None, True, True, {})
    bf16 = machine.has_bf16()
    wanted = Place("", workers, None, gpus, bf16, {}).precision(precision)
    if gpus:
        memory = int(torch.cuda.get_device_properties(0).total_memory)
        name = torch.cuda.get_device_name(0)
    else:
        memory, name = psutil.virtual_memory().total // workers, "this machine's CPUs"
    speed = _of_one_thread(device, wanted)
    return Place(name, workers, memory, gpus, bf16, {wanted: speed} if speed else {})


def elsewhere(wanted: str) -> Place:
    """Of "8xH100-80GB": eight workers with one each. Raises UserError for what the catalogue does not have."""
    found = re.fullmatch(r"(?:(\d+)x)?(.+)", wanted)
    count, name = (int(found[1] or 1), found[2]) if found else (0, "")
    known = next((key for key in CATALOGUE if key.lower() == name.lower()), None)
    if known is None or count < 1:
        raise UserError(f"--for {wanted}: expected NUMBERxNAME, such as 8xH100-80GB; known are {', '.join(CATALOGUE)}")
    entry = CATALOGUE[known]
    peaks = {precision: entry.peak(precision) for precision in ("bf16", "fp16", "fp32")}
    return Place(f"{count}x{known}", count, int(entry.memory * USABLE), True, entry.bf16, peaks)


def _of_one_thread(device: torch.device, precision: str) -> float | None:
    """What a worker reaches at most: on CPU it has one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return peak(device, precision)
    finally:
        torch.set_num_threads(threads)
