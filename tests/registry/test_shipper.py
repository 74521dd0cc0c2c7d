import json
import math
import time

import pytest

from gb_ray.registry.shipper import Shipper
from gb_ray.registry.tracking import Tracking


def line(step: int, **metrics: float) -> str:
    return json.dumps({"step": step, "time": 1.7e9 + step, "metrics": metrics}) + "\n"


def history(tracking: Tracking, run_id: str, name: str) -> list[tuple[int, float]]:
    return [(metric.step, metric.value) for metric in tracking.client.get_metric_history(run_id, name)]


@pytest.fixture
def run_id(tracking):
    return tracking.start_run("e", "n", {}, {})


@pytest.fixture
def journal(home):
    return home / "metrics.jsonl"


def append(journal, *texts: str) -> None:
    with journal.open("a") as file:
        file.write("".join(texts))


def test_many_lines_arrive_once_each(tracking, run_id, journal):
    append(journal, *(line(n, loss=1 / n, lr=n, **{f"m{k}": k for k in range(5)}) for n in range(1, 501)))
    assert Shipper(journal, tracking, run_id).close(30)
    assert history(tracking, run_id, "loss") == [(n, 1 / n) for n in range(1, 501)]
    assert history(tracking, run_id, "m4") == [(n, 4) for n in range(1, 501)]


def test_a_resumed_training_repeats_steps_and_nothing_is_doubled(tracking, run_id, journal):
    append(journal, line(1, loss=3), line(2, loss=2), line(2, eval=9))
    assert Shipper(journal, tracking, run_id).close(10)
    shipper = Shipper(journal, tracking, run_id)
    append(journal, line(2, loss=2), line(2, eval=9), line(3, loss=1), line(3, loss=1))
    assert shipper.close(10)
    assert history(tracking, run_id, "loss") == [(1, 3), (2, 2), (3, 1)]
    assert history(tracking, run_id, "eval") == [(2, 9)]


def test_dying_before_noting_a_delivery_doubles_nothing(tracking, run_id, journal):
    append(journal, line(1, loss=3, bad=math.nan, far=math.inf))
    assert Shipper(journal, tracking, run_id).close(10)
    journal.with_suffix(".shipped").unlink()
    assert Shipper(journal, tracking, run_id).close(10)
    assert history(tracking, run_id, "loss") == [(1, 3)]
    [(_, bad)], [(_, far)] = history(tracking, run_id, "bad"), history(tracking, run_id, "far")
    assert math.isnan(bad) and far > 1e308


def test_a_torn_last_line_waits_for_its_end(tracking, run_id, journal):
    whole = line(2, loss=2)
    append(journal, line(1, loss=1), whole[:20])
    assert Shipper(journal, tracking, run_id).close(10)
    assert history(tracking, run_id, "loss") == [(1, 1)]
    append(journal, whole[20:])
    assert Shipper(journal, tracking, run_id).close(10)
    assert history(tracking, run_id, "loss") == [(1, 1), (2, 2)]


def test_an_unreadable_line_is_counted_and_passed_over(tracking, run_id, journal, caplog):
    append(journal, '{"step": 1, "ti' + line(1, loss=1), line(2, loss=2))
    shipper = Shipper(journal, tracking, run_id)
    assert shipper.close(10)
    assert shipper.unreadable == 1
    assert "passed over" in caplog.text
    assert history(tracking, run_id, "loss") == [(2, 2)]


def test_what_cannot_be_delivered_is_said(tracking, journal):
    append(journal, line(1, loss=1))
    shipper = Shipper(journal, tracking, "no-such-run")
    assert not shipper.close(0.5)
    assert "no-such-run" in shipper.problem
    assert not journal.with_suffix(".shipped").exists()


def test_a_server_that_goes_and_comes_back_gets_everything_once(home, server, journal, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    server.stop()  # another test may have left it running
    run_id = Tracking(f"sqlite:///{server.folder}/server.db", None).start_run("e", "n", {}, {})
    tracking = Tracking(server.uri, None)
    append(journal, *(line(n, loss=n) for n in range(1, 50)))
    shipper = Shipper(journal, tracking, run_id)
    _until(lambda: shipper.problem is not None)
    server.start()
    _until(lambda: shipper.problem is None)
    server.stop()
    append(journal, *(line(n, loss=n) for n in range(40, 100)))
    assert not shipper.close(1)
    server.start()
    assert Shipper(journal, tracking, run_id).close(30)
    assert history(tracking, run_id, "loss") == [(n, n) for n in range(1, 100)]


def _until(condition) -> None:
    for _ in range(300):
        if condition():
            return
        time.sleep(0.1)
    raise TimeoutError
