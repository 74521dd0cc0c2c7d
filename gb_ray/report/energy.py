"""How much energy a run took: by the counters of processors and GPUs where they could be read, else an estimate."""

from __future__ import annotations

from gb_ray.train.account.goodput import Seconds
from gb_ray.train.account.power import WATTS_A_CORE

_IDLE = ("away", "paused", "restart")
"""Seconds in which nobody computes."""
Energy = dict[str, float | bool]


def energy(
    spent: Seconds,
    workers: int,
    joules: list[float | None],
    gpu_watts: float | None = None,
    gpu_joules: float | None = None,
) -> Energy:
    """`wh` of the run, what of it restarts `wasted`, and whether that was `measured`.

    `joules` are those of each life's machine, counted by its processors; if a life has none, core-seconds at
    WATTS_A_CORE stand for all: a worker keeps one core busy whenever somebody computes. `gpu_joules` were counted by
    the GPUs of all workers; if they were not, each worker has one that takes `gpu_watts` at the most, and none of both
    says that there is no GPU. What a restart wastes are the steps done again.
    """
    busy = sum(seconds for category, seconds in spent.items() if category not in _IDLE)
    counted = [one for one in joules if one is not None]
    cores_counted = bool(joules) and len(counted) == len(joules)
    cores = (sum(counted) if cores_counted else busy * workers * WATTS_A_CORE) / 3600
    gpus = (gpu_joules if gpu_joules is not None else busy * workers * (gpu_watts or 0.0)) / 3600
    wasted = (cores + gpus) * spent["lost"] / busy if busy else 0.0
    gpus_counted = gpu_joules is not None
    return {
        "measured": cores_counted and (gpus_counted or not gpu_watts),
        "cores_counted": cores_counted,
        "gpus_counted": gpus_counted,
        "core_seconds": round(busy * workers, 1),
        "gpu_watts": 0.0 if gpus_counted else gpu_watts or 0.0,
        "core_wh": round(cores, 4),
        "gpu_wh": round(gpus, 4),
        "wh": round(cores + gpus, 4),
        "wasted": round(wasted, 4),
    }


def told(found: Energy | None) -> str:
    """In words; None is of a run on GPUs whose power is not known."""
    if found is None:
        return "What energy the GPUs took is not known: it is not counted, and what they take is not in the catalogue."
    cores = f"{found['core_seconds']:,.0f} core-seconds at an assumed {WATTS_A_CORE:.0f} W each"
    if found["cores_counted"]:
        cores = "the processors' counters of the driver's machine while it ran"
    parts = [f"{found['core_wh']:.2f} Wh by {cores}"]
    if found["gpus_counted"]:
        parts.append(f"{found['gpu_wh']:.2f} Wh by the GPUs' own counters")
    elif found["gpu_watts"]:
        parts.append(
            f"{found['gpu_wh']:.2f} Wh by as many GPU-seconds at the {found['gpu_watts']:.0f} W that one may take"
        )
    estimate = "" if found["measured"] else ", an estimate"
    wasted = f"{found['wasted']:.2f} Wh of it went into steps that restarts did again."
    total = f"{found['wh']:.2f} Wh, " if len(parts) > 1 else ""
    return f"Energy{estimate}: {total}{' and '.join(parts)}; {wasted}"
