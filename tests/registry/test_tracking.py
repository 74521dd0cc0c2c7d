import os
import subprocess
import sys
import time

import pytest
from helpers import free_port

from gb_ray.registry.tracking import Tracking
from gb_ray.section import UserError


def test_a_run_from_start_to_end(home, tracking, monkeypatch):
    monkeypatch.chdir(home)
    run_id = tracking.start_run("e", "n", {f"p{n}": n for n in range(150)}, {"k": "v"})
    tracking.metrics(run_id, {"loss": 0.5}, step=3)
    (home / "note.txt").write_text("x")
    tracking.artifact(run_id, home / "note.txt")
    tracking.finish(run_id, "FAILED")
    tracking.resume_run(run_id)
    run = tracking.run(run_id)
    assert (run.info.status, len(run.data.params), run.data.tags["k"]) == ("RUNNING", 150, "v")
    assert run.data.metrics == {"loss": 0.5}
    assert (home / "artifacts" / run_id / "artifacts" / "note.txt").read_text() == "x"
    assert not (home / "mlruns").exists()


def test_several_may_open_a_new_home_at_once(home):
    new = home / "new"
    code = "import pathlib, sys, gb_ray.registry.tracking as t; t.Tracking.open(pathlib.Path(sys.argv[1]), None)"
    started = [subprocess.Popen([sys.executable, "-c", code, new], stderr=subprocess.PIPE) for _ in range(2)]
    assert [(process.communicate()[1], process.returncode) for process in started] == [(b"", 0)] * 2


def test_its_page_is_a_command_and_an_address(home, tracking):
    run_id = tracking.start_run("e", "n", {}, {})
    command, address = tracking.page(run_id).splitlines()
    assert command == f"mlflow server --backend-store-uri sqlite:///{home}/mlflow.db --host 127.0.0.1 --port 5000"
    assert address.startswith("http://127.0.0.1:5000/#/experiments/") and address.endswith(run_id)


def test_an_unknown_run_and_a_deleted_experiment_are_named(tracking):
    with pytest.raises(UserError, match="run nope: not known"):
        tracking.resume_run("nope")
    tracking.start_run("gone", "n", {}, {})
    tracking.client.delete_experiment(tracking.client.get_experiment_by_name("gone").experiment_id)
    with pytest.raises(UserError, match="mlflow experiments restore"):
        tracking.start_run("gone", "n", {}, {})


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1:{port}",
        "sqlite:////no/such/folder/x.db",
        "sqlite:///{home}/text.db",
        "nonsense://x",
        "postgresql+nodriver://me:secret@127.0.0.1:{port}/x",
    ],
)
def test_a_store_that_does_not_answer_is_refused_at_once(home, uri):
    (home / "text.db").write_text("not a database" * 100)
    before = dict(os.environ)
    start = time.monotonic()
    with pytest.raises(UserError, match="tracking store") as raised:
        Tracking.open(home, uri.format(port=free_port(), home=home))
    assert time.monotonic() - start < 8
    assert "secret" not in str(raised.value)
    assert {name: os.environ.get(name) for name in before} == before
