"""When a row was: one number, whatever form the file has its times in."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gb_ray.corpus.encoder import Reject


def moment(value: Any, column: str) -> float:
    """A date, a time or its ISO text as seconds since 1970; a number, or text of one, as it is. Raises Reject.

    A time that says no zone counts as UTC: the answer must not depend on the machine that reads it.
    """
    if value is None or value == "":
        raise Reject(f"{column} is missing")
    try:
        found = _moment(value)
    except (ValueError, TypeError):
        raise Reject(f"{column} is not a time") from None
    if not math.isfinite(found):  # it would stand neither before nor after any other
        raise Reject(f"{column} is not a time")
    return found


def _moment(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if not hasattr(value, "isoformat"):
        return float(value) if _numeric(value) else _seconds(value)
    return _seconds(value.isoformat())


def _numeric(value: Any) -> bool:
    return str(value).replace(".", "", 1).lstrip("-").isdigit()


def _seconds(text: Any) -> float:
    return float(np.datetime64(text, "us").astype(np.int64)) / 1e6
