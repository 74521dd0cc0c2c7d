"""About how much energy a run took: an estimate, as long as nothing measures it."""

from __future__ import annotations

from typing import Any

from gb_ray.train.account.goodput import Seconds

WATTS_A_CORE = 10.0
"""Assumed for one busy core and its share of memory and power supply."""
_IDLE = ("away", "paused", "restart")
"""Seconds in which nobody computes."""


def estimate(spent: Seconds, account: dict[str, Any]) -> dict[str, float]:
    """`wh` of the run and what of it restarts `wasted`, from core-seconds at WATTS_A_CORE each.

    A worker keeps one core busy whenever somebody computes; what a restart wastes are the steps done again.
    """
    busy = sum(seconds for category, seconds in spent.items() if category not in _IDLE) * account["workers"]
    lost = spent["lost"] * account["workers"]
    return {
        "core_seconds": round(busy, 1),
        "wh": round(busy * WATTS_A_CORE / 3600, 3),
        "wasted": round(lost * WATTS_A_CORE / 3600, 3),
    }
