"""Writing the report of a run."""

from __future__ import annotations

from pathlib import Path

from gb_ray.files import write_over
from gb_ray.report.facts import facts
from gb_ray.report.page import page
from gb_ray.train.run import Run

FILE = "report.html"


def write(run: Run, path: Path | None = None) -> Path:
    """Write the page about a run to `path`, or into its folder. Raises UserError when nothing was measured yet."""
    path = path or run.path / FILE
    write_over(path, page(facts(run)).encode())
    return path
