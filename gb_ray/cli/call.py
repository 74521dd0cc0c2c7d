"""One call of `gb`, and what a verb answers."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from gb_ray import machine
from gb_ray.progress import Progress
from gb_ray.recipe import load

DONE, FAILED, BAD_INPUT, REFUSED, STOPPED = 0, 1, 2, 3, 130
Outcome = tuple[int, dict[str, Any] | None, list[str]]
"""Of a verb: exit status, the account for --json (None when it was printed already), the lines for a person."""


@dataclass
class Call:
    """One call of `gb`: its arguments, where it works, and what it must close."""

    args: argparse.Namespace
    progress: Progress
    stack: ExitStack
    out: TextIO

    @property
    def home(self) -> Path:
        """The directory of corpora, runs, ledger and the embedded tracking store."""
        home: Path = self.args.home.expanduser().absolute()
        home.mkdir(parents=True, exist_ok=True)
        return home

    @property
    def inputs(self) -> Any:
        """The recipe with its overrides, and all that it names, checked."""
        from gb_ray.inputs import check

        return check(load(self.args.recipe, self.args.overrides), self.args.recipe)

    def say(self, account: dict[str, Any], lines: list[str]) -> None:
        """Print the result: the account with --json, else the lines."""
        print(
            json.dumps(account, ensure_ascii=False) if self.args.json else "\n".join(lines), file=self.out, flush=True
        )

    @property
    def tracking_uri(self) -> str | None:
        """The tracking server's address; None for the embedded store."""
        return self.args.tracking or os.environ.get("MLFLOW_TRACKING_URI")

    def tracking(self) -> Any:
        """The tracking server, or the embedded store."""
        from gb_ray.registry.tracking import Tracking

        return Tracking.open(self.home, self.tracking_uri)

    def ray(self) -> None:
        """A Ray until the call ends."""
        with self.progress.stage("ray"):
            self.stack.enter_context(machine.ray_up(self.args.ray))


Verb = Callable[[Call], Outcome]
