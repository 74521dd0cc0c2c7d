"""How much energy a run took: measured where its driver could read it, else an estimate."""

from __future__ import annotations

from gb_ray.train.account.goodput import Seconds
from gb_ray.train.account.power import WATTS_A_CORE

_IDLE = ("away", "paused", "restart")
"""Seconds in which nobody computes."""
Energy = dict[str, float | bool]


def energy(spent: Seconds, workers: int, joules: list[float | None]) -> Energy:
    """`wh` of the run, what of it restarts `wasted`, and whether that was `measured`.

    `joules` are those of each life's machine, counted by its processors; if a life has none, core-seconds at
    WATTS_A_CORE stand for all: a worker keeps one core busy whenever somebody computes. What a restart wastes are the
    steps done again.
    """
    busy = sum(seconds for category, seconds in spent.items() if category not in _IDLE)
    counted = [one for one in joules if one is not None]
    measured = bool(joules) and len(counted) == len(joules)
    wh = (sum(counted) if measured else busy * workers * WATTS_A_CORE) / 3600
    wasted = wh * spent["lost"] / busy if busy else 0.0
    core_seconds = round(busy * workers, 1)
    return {"measured": measured, "core_seconds": core_seconds, "wh": round(wh, 4), "wasted": round(wasted, 4)}


def told(found: Energy | None) -> str:
    """In words; None is of a run on GPUs."""
    if found is None:
        return "What energy the GPUs took was not measured."
    wasted = f"; {found['wasted']:.2f} Wh of it went into steps that restarts did again."
    if found["measured"]:
        return f"Energy of the driver's machine while it ran, by its processors' counters: {found['wh']:.2f} Wh{wasted}"
    how = f"{found['core_seconds']:,.0f} core-seconds at an assumed {WATTS_A_CORE:.0f} W each"
    return f"Energy, an estimate: {found['wh']:.2f} Wh, which is {how}{wasted}"
