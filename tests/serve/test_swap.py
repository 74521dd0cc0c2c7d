"""The alias moves under load: no request fails, and every answer is of the version that it names."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from small_endpoint import AliasFile, running

from gb_ray.serve.section import ServeSection

PREDICT = "/v1/models/weather/predict"
LABEL = {"1": "rain", "2": "sun"}


@pytest.fixture
def alias(rain: Path, tmp_path: Path) -> Path:
    return point(tmp_path / "champion", rain)


@pytest.fixture
def url(alias: Path) -> Iterator[str]:
    with running(AliasFile(alias), ServeSection(poll_s=0.02, batch_tokens=256)) as url:
        yield url


def point(alias: Path, model: Path | str) -> Path:
    beside = alias.with_suffix(".new")
    beside.write_text(str(model))
    return beside.rename(alias)


def wait_for(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline, "it did not happen within 20 s"
        time.sleep(0.02)


def test_a_move_under_load_fails_no_request(url: str, alias: Path, rain: Path, sun: Path) -> None:
    done = threading.Event()

    def client(number: int) -> list[tuple[int, str | None]]:
        seen = []
        with httpx.Client(base_url=url, timeout=20) as http:
            while not done.is_set():
                response = http.post(PREDICT, json={"texts": ["a b c " * (number + 1), "d"]})
                reply = response.json()
                labels = {answer["label"] for answer in reply.get("answers", [])}
                right = response.status_code == 200 and labels == {LABEL[reply["model"]["version"]]}
                seen.append((response.status_code, reply["model"]["version"] if right else None))
        return seen

    with ThreadPoolExecutor(6) as pool:
        clients = [pool.submit(client, number) for number in range(6)]
        for model in (sun, rain, sun, rain, sun):
            point(alias, model)
            wait_for(lambda wanted=model: served(url)["version"] == wanted.name)
        done.set()
        seen = [entry for future in clients for entry in future.result()]
    assert {status for status, _ in seen} == {200}
    assert {version for _, version in seen} == {"1", "2"}
    assert len(seen) > 50


def test_a_version_that_cannot_be_served_is_reported_and_not_served(url: str, alias: Path, sun: Path) -> None:
    point(alias, alias.parent / "absent")
    wait_for(lambda: served(url)["problem"] is not None)
    assert "absent" in served(url)["problem"]
    assert served(url)["version"] == "1"
    assert httpx.post(url + PREDICT, json={"texts": ["a"]}).json()["model"]["version"] == "1"

    point(alias, sun)
    wait_for(lambda: served(url)["version"] == "2")
    assert served(url)["problem"] is None


def test_an_altered_version_is_not_served(url: str, alias: Path, sun: Path, tmp_path: Path) -> None:
    altered = tmp_path / "3"
    altered.mkdir()
    for file in sun.iterdir():
        (altered / file.name).write_bytes(file.read_bytes())
    weights = altered / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    point(alias, altered)
    wait_for(lambda: served(url)["problem"] is not None)
    assert served(url)["version"] == "1"


def test_an_alias_that_cannot_be_seen_is_reported_until_it_can(url: str, alias: Path, rain: Path) -> None:
    alias.unlink()
    wait_for(lambda: served(url)["problem"] is not None)
    assert httpx.get(url + "/healthz").status_code == 200
    point(alias, rain)
    wait_for(lambda: served(url)["problem"] is None)


def test_more_requests_than_may_wait_are_told_to_come_back(rain: Path, tmp_path: Path) -> None:
    section = ServeSection(max_queued=2, batch_tokens=64)
    body = {"texts": ["a " * 60] * 200}
    with running(AliasFile(point(tmp_path / "champion", rain)), section) as url, ThreadPoolExecutor(12) as pool:
        replies = list(pool.map(lambda _: httpx.post(url + PREDICT, json=body, timeout=60), range(12)))
        refused = [reply for reply in replies if reply.status_code == 429]
        assert {reply.status_code for reply in replies} == {200, 429}
        assert all(reply.headers["retry-after"] == "1" for reply in refused)
        assert all(reply.headers["content-type"] == "application/problem+json" for reply in refused)
        assert httpx.post(url + PREDICT, json={"texts": ["a"]}).status_code == 200


def served(url: str) -> dict[str, Any]:
    (model,) = httpx.get(url + "/v1/models").json()["models"]
    return dict(model)
