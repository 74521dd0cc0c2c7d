"""Where runs and versions are recorded: an MLflow tracking server, or a database file in the home."""

from __future__ import annotations

import re
import shlex
import time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gb_ray.files import alone
from gb_ray.registry.reach import impatient, set_up_mlflow, touch_database
from gb_ray.section import UserError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

PARAMS_A_CALL = 100  # MLflow's own limit


class Tracking:
    """An MLflow store.

    `uri` is an `http(s)://` server or a `sqlite:///` (or other database) address. `artifacts` is the folder for
    files; None leaves that to the server. Nothing here uses MLflow's global state (active run, global address).
    """

    def __init__(self, uri: str, artifacts: Path | None) -> None:
        self.uri = uri
        self.artifacts = artifacts

    @classmethod
    def open(cls, home: Path, uri: str | None) -> Tracking:
        """The store at `uri`; None: `{home}/mlflow.db`, with files in `{home}/artifacts`.

        Raises UserError within about 5 seconds when the store does not answer.
        """
        home = home.resolve()
        if uri is not None:
            tracking = cls(uri, None if _is_server(uri) else home / "artifacts")
            tracking._check()
            return tracking
        tracking = cls(f"sqlite:///{home}/mlflow.db", home / "artifacts")
        with alone(home / "mlflow.lock"):  # MLflow makes its tables at the first look, and of two at once one fails
            tracking._check()
        return tracking

    @cached_property
    def client(self) -> MlflowClient:
        """MLflow's client of this store."""
        set_up_mlflow()
        from mlflow import MlflowClient

        return MlflowClient(self.uri, registry_uri=self.uri)

    def start_run(self, experiment: str, name: str, params: dict[str, Any], tags: dict[str, str]) -> str:
        """Record a new run as RUNNING and return its id. The experiment is made when it is not there."""
        from mlflow.entities import Param

        run_id = self.client.create_run(self._experiment(experiment), tags=tags, run_name=name).info.run_id
        listed = [Param(key, str(value)) for key, value in params.items()]
        for start in range(0, len(listed), PARAMS_A_CALL):
            self.client.log_batch(run_id, params=listed[start : start + PARAMS_A_CALL])
        return run_id

    def resume_run(self, run_id: str) -> None:
        """Set a run RUNNING again. Raises UserError when the store does not know it."""
        self.run(run_id)
        self.client.update_run(run_id, status="RUNNING")

    def finish(self, run_id: str, status: Literal["FINISHED", "FAILED", "KILLED"]) -> None:
        """Record how a run ended, and that it ended now."""
        self.client.set_terminated(run_id, status)

    def metrics(self, run_id: str, values: dict[str, float], step: int) -> None:
        """Record metrics (at most 1000) of one step of a run, stamped now."""
        from mlflow.entities import Metric

        now = round(time.time() * 1000)
        self.client.log_batch(run_id, [Metric(name, value, now, step) for name, value in values.items()])

    def artifact(self, run_id: str, path: Path) -> None:
        """Attach a file, or a folder under its own name, to a run."""
        if path.is_dir():
            self.client.log_artifacts(run_id, str(path), path.name)
        else:
            self.client.log_artifact(run_id, str(path))

    def page(self, run_id: str) -> str:
        """Where a person sees the run: its address, or the command that shows it and then its address."""
        path = f"/#/experiments/{self.run(run_id).info.experiment_id}/runs/{run_id}"
        if _is_server(self.uri):
            return self.uri.rstrip("/") + path
        command = f"mlflow server --backend-store-uri {shlex.quote(self.shown)} --host 127.0.0.1 --port 5000"
        return f"{command}\nhttp://127.0.0.1:5000{path}"

    @property
    def shown(self) -> str:
        """The address without its password."""
        return re.sub(r"//[^/@]*@", "//***@", self.uri)

    def run(self, run_id: str) -> Run:
        """What the store holds about a run. Raises UserError when it does not know it."""
        from mlflow.exceptions import MlflowException

        try:
            return self.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise UserError(f"run {run_id}: not known to {self.shown}; is this the right tracking server?") from None

    def _experiment(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        found = self.client.get_experiment_by_name(name)
        if found is None:
            try:
                return self.client.create_experiment(name, str(self.artifacts) if self.artifacts else None)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                # Another process made it since we looked.
                found = self.client.get_experiment_by_name(name)
        if found.lifecycle_stage != "active":
            raise UserError(
                f"experiment {name!r} of {self.shown} is deleted; "
                f"run: mlflow experiments restore --experiment-id {found.experiment_id}"
            )
        return found.experiment_id

    def _check(self) -> None:
        set_up_mlflow()
        from mlflow.exceptions import MlflowException

        try:
            if not _is_server(self.uri):
                touch_database(self.uri)
            with impatient():
                self.client.search_experiments(max_results=1)
        except (MlflowException, OSError, ValueError) as error:
            what = "start the server, or correct the address" if _is_server(self.uri) else "correct the address"
            reason = " ".join(str(error).split())[:400].replace(self.uri, self.shown)
            raise UserError(f"tracking store {self.shown}: no usable answer; {what}. It said: {reason}") from None


def _is_server(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))
