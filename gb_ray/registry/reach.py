"""Whether a tracking store can be reached, found out in seconds and not in MLflow's minutes."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PATIENCE_S = 5
_RETRIES, _TIMEOUT = "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"


def set_up_mlflow() -> None:
    """Import MLflow, which costs seconds: no telemetry, no chatter, and calls to a dead server that end."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # MLflow's own bounds keep a call to a dead server waiting for minutes.
    os.environ.setdefault(_RETRIES, "2")
    os.environ.setdefault(_TIMEOUT, "30")
    import mlflow  # noqa: F401

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)


@contextmanager
def impatient() -> Iterator[None]:
    """Give up at once: MLflow reads these at every request."""
    before = {name: os.environ[name] for name in (_RETRIES, _TIMEOUT)}
    os.environ.update({_RETRIES: "0", _TIMEOUT: str(PATIENCE_S)})
    try:
        yield
    finally:
        os.environ.update(before)


def touch_database(uri: str) -> None:
    """Open the database once. Raises ValueError when it says no, TimeoutError when it says nothing for 5 s."""
    # MLflow itself would retry for minutes.
    _within(PATIENCE_S, lambda: _read_tables(uri))


def _read_tables(uri: str) -> None:
    import sqlalchemy

    try:
        engine = sqlalchemy.create_engine(uri)
        with engine.connect() as connection:
            sqlalchemy.inspect(connection).get_table_names()
        engine.dispose()
    except (sqlalchemy.exc.SQLAlchemyError, ImportError) as error:
        raise ValueError(str(error).partition("\n")[0]) from None


def _within(seconds: float, action: Callable[[], None]) -> None:
    """Run `action`, raising what it raises; raises TimeoutError when it takes longer than `seconds`."""
    raised: list[Exception] = []

    def work() -> None:
        try:
            action()
        except Exception as error:  # noqa: BLE001 - raised again below, in the caller's thread
            raised.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError(f"no answer in {seconds} s")
    if raised:
        raise raised[0]
