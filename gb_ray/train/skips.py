"""The steps that are left out of a run because of their loss: no row goes missing without being told of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gb_ray.train.run import read_json, write_json

FILE = "skipped.json"


def of(run: Path) -> list[dict[str, Any]]:
    """Each with `step`, `why`, and `samples` with their ids and texts, in the order in which they were found."""
    file = run / FILE
    return list(read_json(file)["steps"]) if file.is_file() else []


def numbers(run: Path) -> frozenset[int]:
    """Of these steps."""
    return frozenset(about["step"] for about in of(run))


def add(run: Path, about: dict[str, Any]) -> None:
    """Leave another step out from the next attempt on; rank 0 calls it."""
    write_json(run / FILE, {"steps": [*of(run), about]})


def account(run: Path) -> dict[str, Any]:
    """For the result of a run: which steps, how many samples, and the file that names them."""
    left_out = of(run)
    samples = sum(len(about["samples"]) for about in left_out)
    return {"steps": [about["step"] for about in left_out], "samples": samples, "file": str(run / FILE)}
