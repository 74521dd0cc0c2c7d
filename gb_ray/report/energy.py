"""How much energy a run took: measured where its driver could read it, else an estimate; of GPUs always one."""

from __future__ import annotations

from gb_ray.train.account.goodput import Seconds
from gb_ray.train.account.power import WATTS_A_CORE

_IDLE = ("away", "paused", "restart")
"""Seconds in which nobody computes."""
Energy = dict[str, float | bool]


def energy(spent: Seconds, workers: int, joules: list[float | None], gpu_watts: float | None = None) -> Energy:
    """`wh` of the run, what of it restarts `wasted`, and whether that was `measured`.

    `joules` are those of each life's machine, counted by its processors; if a life has none, core-seconds at
    WATTS_A_CORE stand for all: a worker keeps one core busy whenever somebody computes. Of a GPU nothing is counted:
    where a worker has one that takes `gpu_watts` at the most, all is an estimate, at that and its core's. What a
    restart wastes are the steps done again.
    """
    busy = sum(seconds for category, seconds in spent.items() if category not in _IDLE)
    counted = [one for one in joules if one is not None]
    measured = bool(joules) and len(counted) == len(joules) and not gpu_watts
    watts = WATTS_A_CORE + (gpu_watts or 0.0)
    wh = (sum(counted) if measured else busy * workers * watts) / 3600
    wasted = wh * spent["lost"] / busy if busy else 0.0
    found: Energy = {"measured": measured, "core_seconds": round(busy * workers, 1)}
    found |= {"gpu_watts": gpu_watts or 0.0, "wh": round(wh, 4), "wasted": round(wasted, 4)}
    return found


def told(found: Energy | None) -> str:
    """In words; None is of a run on GPUs whose power is not known."""
    if found is None:
        return "What energy the GPUs took is not known: it is not counted, and what they take is not in the catalogue."
    wasted = f"; {found['wasted']:.2f} Wh of it went into steps that restarts did again."
    if found["measured"]:
        return f"Energy of the driver's machine while it ran, by its processors' counters: {found['wh']:.2f} Wh{wasted}"
    how = f"{found['core_seconds']:,.0f} core-seconds at an assumed {WATTS_A_CORE:.0f} W each"
    if found["gpu_watts"]:
        how += f", and as many GPU-seconds at the {found['gpu_watts']:.0f} W that one may take at the most"
    return f"Energy, an estimate: {found['wh']:.2f} Wh, which is {how}{wasted}"
