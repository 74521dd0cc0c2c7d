"""Carries a run's metrics from its journal on disk to MLflow, so that training never waits for a server.

Training appends lines {"step": int, "time": epoch seconds, "metrics": {name: value}} to the journal.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from gb_ray.files import write_over
from gb_ray.registry.tracking import Tracking

if TYPE_CHECKING:
    from mlflow.entities import Metric

METRICS_A_CALL = 1000  # MLflow's own limit
BYTES_A_BATCH = 1 << 20
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 10.0
_log = logging.getLogger(__name__)


class Shipped(BaseModel):
    """How far the journal is delivered: in bytes, and the highest step of each metric."""

    offset: int = 0
    steps: dict[str, int] = {}


class Shipper:
    """A daemon thread that delivers what is in `journal`, and what is appended, to the run `run_id`.

    It starts at once. A server that is away is tried again, for ever. How far it is stands in
    `journal.with_suffix(".shipped")`, so another Shipper goes on from there. A step that a resumed training
    writes again is delivered once: for each metric, steps must rise.
    """

    def __init__(self, journal: Path, tracking: Tracking, run_id: str) -> None:
        self.journal = journal
        self.tracking = tracking
        self.run_id = run_id
        self.unreadable = 0
        """Complete lines that were not such JSON; they are logged and passed over."""
        self.problem: str | None = None
        """Why the last delivery failed; None after one that worked."""
        self._state_path = journal.with_suffix(".shipped")
        self._shipped = _read_state(self._state_path)
        self._closing = threading.Event()
        self._complete = False
        self._deadline = float("inf")
        self._thread = threading.Thread(target=self._work, name=f"shipper-{run_id}", daemon=True)
        self._thread.start()

    def close(self, timeout_s: float) -> bool:
        """Deliver what is left, for at most `timeout_s`. True when everything arrived; else see `problem`.

        A last line without its newline was never finished and does not count.
        """
        self._deadline = time.monotonic() + timeout_s
        self._closing.set()
        self._thread.join(timeout_s)
        return self._complete

    def _work(self) -> None:
        pause = SHORTEST_PAUSE_S
        while True:
            closing = self._closing.is_set()
            try:
                while self._ship_batch():
                    pass
                self.problem, pause = None, SHORTEST_PAUSE_S
                if closing:
                    self._complete = True
                    return
            except Exception as error:  # noqa: BLE001 - whatever it is, training goes on and we try again
                self._note(error)
                pause = min(2 * pause, LONGEST_PAUSE_S)
            if time.monotonic() >= self._deadline:
                return
            if closing:
                time.sleep(max(0.0, min(SHORTEST_PAUSE_S, self._deadline - time.monotonic())))
            else:
                self._closing.wait(pause)

    def _note(self, error: Exception) -> None:
        if self.problem is None:
            _log.warning("metrics of run %s wait on disk in %s: %s", self.run_id, self.journal, error)
        self.problem = str(error)

    def _ship_batch(self) -> bool:
        """Deliver the next lines; False when there are none."""
        lines, offset = self._next_lines()
        if not lines:
            return False
        steps = dict(self._shipped.steps)
        metrics = [metric for line in lines for metric in self._metrics(line, steps)]
        for start in range(0, len(metrics), METRICS_A_CALL):
            self.tracking.client.log_batch(self.run_id, metrics=metrics[start : start + METRICS_A_CALL])
        # Dying before the next line delivers this batch twice; MLflow keeps one of two equal metrics.
        self._shipped = Shipped(offset=offset, steps=steps)
        write_over(self._state_path, self._shipped.model_dump_json().encode())
        return True

    def _next_lines(self) -> tuple[list[bytes], int]:
        """The next complete lines and the offset after them."""
        if not self.journal.exists():
            return [], self._shipped.offset
        start = self._shipped.offset
        with self.journal.open("rb") as file:
            if file.seek(0, 2) < start:
                # Another file took the journal's place: the steps tell what of it is new.
                start = 0
            file.seek(start)
            content = file.read(BYTES_A_BATCH)
            if content and b"\n" not in content:
                content += file.readline()
        complete = content[: content.rfind(b"\n") + 1]
        return complete.splitlines(), start + len(complete)

    def _metrics(self, line: bytes, steps: dict[str, int]) -> list[Metric]:
        """The metrics of a line that are new, noting their steps in `steps`."""
        from mlflow.entities import Metric

        try:
            record: dict[str, Any] = json.loads(line)
            step, stamp = int(record["step"]), round(record["time"] * 1000)
            values = {str(name): float(value) for name, value in record["metrics"].items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            self.unreadable += 1
            _log.warning("%s: a line is not a metrics record and is passed over: %.80r", self.journal, line)
            return []
        new = {name: value for name, value in values.items() if step > steps.get(name, -1)}
        steps.update(dict.fromkeys(new, step))
        return [Metric(name, value, stamp, step) for name, value in new.items()]


def _read_state(path: Path) -> Shipped:
    # Without it everything is delivered again, which MLflow takes as the same metrics.
    return Shipped.model_validate_json(path.read_bytes()) if path.exists() else Shipped()
