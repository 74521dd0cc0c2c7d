"""The endpoint on a Ray cluster: start, answer, refuse, follow a promotion under load, stop."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import ray
from ray.serve.schema import ServeDeploySchema
from small_endpoint import export

from gb_ray.model import package
from gb_ray.registry import versions
from gb_ray.registry.promote import promote
from gb_ray.registry.section import Policy
from gb_ray.registry.tracking import Tracking
from gb_ray.section import UserError
from gb_ray.serve.app import Arguments, build
from gb_ray.serve.endpoint import config, start
from gb_ray.serve.port import require_free
from gb_ray.serve.section import ServeSection

PREDICT = "/v1/models/weather/predict"


@pytest.fixture(scope="module", autouse=True)
def cluster(ray_up: str) -> str:
    return ray_up


@pytest.fixture
def section() -> ServeSection:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return ServeSection(port=free.getsockname()[1], poll_s=0.2, max_body=50_000)


def promoted(home: Path, answer: str) -> None:
    """A new version that answers `answer` to everything, made champion."""
    tracking = Tracking.open(home, None)
    run_id = tracking.start_run("test", answer, {}, {})
    version = versions.register(tracking, export(home / answer, answer, run_id), run_id)
    assert promote(tracking, home, version, Policy(floors={"accuracy": 0.1}), lambda path: {"accuracy": 1.0}).moved


def test_an_endpoint_from_start_to_stop(tmp_path: Path, section: ServeSection) -> None:
    promoted(tmp_path, "rain")
    arguments = Arguments(model="models:/weather@champion", home=tmp_path, serve=section)
    with start(arguments) as endpoint, httpx.Client(base_url=endpoint.url, timeout=20) as client:
        assert endpoint.url == f"http://127.0.0.1:{section.port}"
        assert answers(client, ["a", "b c"]) == ("1", ["rain", "rain"])
        refusals(client)
        a_promotion_under_load(client, tmp_path)
        with pytest.raises(UserError, match="Ray Serve runs on this cluster already"):
            start(arguments)
    require_free(section.host, section.port)


def answers(client: httpx.Client, texts: list[str]) -> tuple[str, list[str]]:
    response = client.post(PREDICT, json={"texts": texts})
    assert response.status_code == 200, response.text
    reply = response.json()
    return reply["model"]["version"], [answer["label"] for answer in reply["answers"]]


def refusals(client: httpx.Client) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(200):
            yield b"x" * 1000

    cases: list[tuple[int, Any]] = [(400, b"hello"), (422, b"{}"), (413, b"x" * 50_001), (413, chunks())]
    for status, body in cases:
        response = client.post(PREDICT, content=body)
        assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    for method, path, status in [
        ("GET", PREDICT, 405),
        ("GET", "/nowhere", 404),
        ("POST", "/v1/models/x/predict", 404),
    ]:
        response = client.request(method, path)
        assert (response.status_code, response.json()["status"]) == (status, status)
    assert client.get("/openapi.json").json()["paths"].keys() == {
        PREDICT.replace("weather", "{name}"),
        "/v1/models",
        "/healthz",
    }


def a_promotion_under_load(client: httpx.Client, home: Path) -> None:
    done = threading.Event()

    def load() -> set[tuple[str, str]]:
        seen = set()
        while not done.is_set():
            version, (label,) = answers(client, ["a"])
            seen.add((version, label))
        return seen

    with ThreadPoolExecutor(3) as pool:
        loads = [pool.submit(load) for _ in range(3)]
        promoted(home, "sun")
        deadline = time.monotonic() + 30
        while answers(client, ["a"])[0] != "2" and time.monotonic() < deadline:
            time.sleep(0.1)
        done.set()
        seen = set().union(*(future.result() for future in loads))
    assert seen == {("1", "rain"), ("2", "sun")}
    assert answers(client, ["a"]) == ("2", ["sun"])


@pytest.mark.chaos
def test_a_replica_that_cannot_load_says_why(tmp_path: Path, section: ServeSection) -> None:
    model = export(tmp_path / "model", "rain")
    # Its files are what its manifest says, and still no model can be made of them.
    (model / package.WEIGHTS).write_bytes(b"not weights")
    digest = hashlib.sha256(b"not weights").hexdigest()
    package.amend(model, weights_sha256=digest, files={**package.read(model)["files"], package.WEIGHTS: digest})
    with pytest.raises(UserError, match=r"(?s)could not start.*cannot be opened as") as raised:
        start(Arguments(model=str(model), home=tmp_path, serve=section))
    assert "Traceback" not in str(raised.value)
    require_free(section.host, section.port)


@pytest.mark.chaos
def test_a_cluster_that_is_too_small_is_an_error_and_not_a_hang(tmp_path: Path, section: ServeSection) -> None:
    model = export(tmp_path / "model", "rain")
    many = section.model_copy(update={"min_replicas": 9, "max_replicas": 9})
    # Replicas that fit would already answer; none fits while another holds the processors.
    holder = ray.remote(num_cpus=3)(lambda: time.sleep(60))
    held = holder.remote()
    try:
        with pytest.raises(UserError, match=r"(?s)did not answer within 4 s.*one free CPU"):
            start(Arguments(model=str(model), home=tmp_path, serve=many), timeout_s=4)
    finally:
        ray.cancel(held, force=True)
    require_free(section.host, section.port)


def test_a_taken_port_is_refused_before_anything_starts(tmp_path: Path, rain: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        section = ServeSection(port=taken.getsockname()[1])
        with pytest.raises(UserError, match=r"is taken by .* set serve.port="):
            start(Arguments(model=str(rain), home=tmp_path, serve=section))


def test_the_config_file_builds_the_same_application(tmp_path: Path, section: ServeSection) -> None:
    content = config(Arguments(model="models:/weather@champion", home=tmp_path, serve=section))
    (application,) = content["applications"]
    assert content["http_options"] == {"host": "127.0.0.1", "port": section.port}
    assert application["import_path"] == "gb_ray.serve.app:build"
    ServeDeploySchema.model_validate(content)
    assert build(application["args"])


def test_wrong_arguments_name_the_key(tmp_path: Path) -> None:
    good = {"model": "models:/weather@champion", "home": str(tmp_path)}
    with pytest.raises(UserError, match=r"serve.prot: unknown key; did you mean 'port'"):
        build({**good, "serve": {"prot": 1}})
    with pytest.raises(UserError, match=r"home: .*absolute"):
        build({**good, "home": "here"})
    with pytest.raises(UserError, match=r"model: .*models:/NAME@ALIAS"):
        build({**good, "model": "weather"})
    with pytest.raises(UserError, match=r"serve: .*max_replicas \(1\) is less than min_replicas \(2\)"):
        build({**good, "serve": {"min_replicas": 2}})
