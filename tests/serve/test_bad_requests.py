"""A table of what clients get wrong, over a real port: never a 500, always a problem document, never the end."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from small_endpoint import AliasFile, running

from gb_ray.serve.section import ServeSection

PREDICT = "/v1/models/weather/predict"
LIMITS = ServeSection(max_texts=4, max_chars=100, max_body=10_000, poll_s=60)


@pytest.fixture(scope="module")
def client(rain: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    alias = tmp_path_factory.mktemp("alias") / "champion"
    alias.write_text(str(rain))
    with running(AliasFile(alias), LIMITS) as url, httpx.Client(base_url=url, timeout=10) as client:
        yield client


def texts(*values: Any) -> bytes:
    return json.dumps({"texts": values}).encode()


def chunks(size: int) -> Iterator[bytes]:
    for _ in range(size // 1000):
        yield b"x" * 1000


BODIES: dict[str, tuple[int, Any, str]] = {
    "nothing": (400, b"", "not JSON"),
    "not JSON": (400, b"hello", "not JSON"),
    "a form": (400, b"texts=hello", "not JSON"),
    "cut JSON": (400, b'{"texts": ["a"', "not JSON"),
    "two documents": (400, b'{"texts": ["a"]}{}', "not JSON"),
    "not UTF-8": (400, b'{"texts": ["\xff\xfe"]}', "not UTF-8"),
    "UTF-16": (400, '{"texts": ["a"]}'.encode("utf-16"), "not UTF-8"),
    "nested": (400, b"[" * 9_000, "nested too deeply"),
    "nested in texts": (400, b'{"texts": ' + b"[" * 9_000, "nested too deeply"),
    "a huge integer": (400, b'{"texts": [' + b"9" * 9_000 + b"]}", "too many digits"),
    "null": (422, b"null", "got null"),
    "a list": (422, b'["a"]', "got a list"),
    "a number": (422, b"1e999", "got a number"),
    "no key": (422, b"{}", "missing"),
    "an unknown key": (422, b'{"texts": ["a"], "text": "a"}', "Unknown key 'text'"),
    "a half surrogate as key": (422, rb'{"\ud800": 1}', "Unknown key"),
    "texts is a string": (422, b'{"texts": "a"}', "got a string"),
    "texts is null": (422, b'{"texts": null}', "got null"),
    "a number as text": (422, texts("a", 7), "got a number"),
    "NaN as text": (422, b'{"texts": [NaN]}', "got a number"),
    "a list as text": (422, texts(["a"]), "got a list"),
    "no texts": (422, texts(), "1 to 4 texts, got 0"),
    "an empty text": (422, texts("a", ""), "empty"),
    "a blank text": (422, texts(" \n\t "), "empty"),
    "too many texts": (422, texts(*"abcde"), "1 to 4 texts, got 5"),
    "too long a text": (422, texts("a" * 101), "at most 100 characters, got 101"),
    "NUL": (422, texts("a\0b"), "NUL"),
    "half a surrogate pair": (422, rb'{"texts": ["a\ud800"]}', "surrogate"),
    "too large": (413, b"x" * 10_001, "10000 bytes"),
    "too large, length unknown": (413, chunks(2_000_000), "10000 bytes"),
}


@pytest.mark.parametrize("case", BODIES)
def test_a_bad_body_is_refused_and_the_next_good_one_answered(client: httpx.Client, case: str) -> None:
    status, body, said = BODIES[case]
    check_problem(client.post(PREDICT, content=body), status, said, PREDICT)
    assert client.post(PREDICT, content=texts("a b c")).json()["answers"][0]["label"] == "rain"


@pytest.mark.parametrize(
    ("method", "path", "status", "said"),
    [
        ("POST", "/v1/models/other/predict", 404, "there is 'weather'"),
        ("POST", "/v1/models/%ED%A0%80/predict", 404, "there is 'weather'"),
        ("POST", "/v1/models/%00%0d%0a/predict", 404, "there is 'weather'"),
        ("GET", "/", 404, "openapi.json"),
        ("GET", "/docs", 404, "openapi.json"),
        ("GET", "/v1/models/", 404, "openapi.json"),
        ("GET", "/v1/models/../../etc/passwd", 404, "openapi.json"),
        ("GET", PREDICT, 405, "use POST"),
        ("DELETE", "/v1/models", 405, "use GET"),
        ("PATCH", PREDICT, 405, "use POST"),
    ],
)
def test_a_wrong_path_or_method(client: httpx.Client, method: str, path: str, status: int, said: str) -> None:
    response = client.request(method, path)
    check_problem(response, status, said, None)
    assert ("allow" in response.headers) == (status == 405)


def check_problem(response: httpx.Response, status: int, said: str, instance: str | None) -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == status and problem["type"] == "about:blank" and problem["title"]
    assert said in problem["detail"]
    assert instance is None or problem["instance"] == instance
    assert all(fault["pointer"].startswith(("/texts", "")) for fault in problem["errors"])


def test_the_wrong_text_is_pointed_at(client: httpx.Client) -> None:
    problem = client.post(PREDICT, content=texts("a", "b", "")).json()
    assert problem["errors"] == [{"pointer": "/texts/2", "detail": "The text is empty."}]


def test_an_announced_large_body_is_refused_before_it_is_sent(client: httpx.Client) -> None:
    where = urlsplit(str(client.base_url))
    with socket.create_connection((where.hostname, where.port), timeout=5) as connection:
        connection.sendall(f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n".encode())
        assert connection.recv(64).startswith(b"HTTP/1.1 413")


def test_a_client_that_leaves_in_the_middle_hurts_nobody(client: httpx.Client) -> None:
    where = urlsplit(str(client.base_url))
    for _ in range(5):
        with socket.create_connection((where.hostname, where.port), timeout=5) as connection:
            connection.sendall(f'POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{{"te'.encode())
    assert client.post(PREDICT, content=texts("a")).status_code == 200


def test_a_good_request_says_which_version_answered(client: httpx.Client) -> None:
    many = ["a", "B c", "日本語", "e\u0301 \U0001f327"]
    reply = client.post(PREDICT, json={"texts": many}).json()
    assert reply["model"] == {**client.get("/healthz").json()["model"], "name": "weather", "version": "1"}
    assert len(reply["answers"]) == len(many)
    assert sum(reply["answers"][0]["probabilities"].values()) == pytest.approx(1)
    (model,) = client.get("/v1/models").json()["models"]
    assert model["weights_sha256"] == reply["model"]["weights_sha256"] and model["problem"] is None
    assert model["tasks"]["sky"]["labels"] == ["rain", "sun"]


def test_the_openapi_document_has_the_limits_and_the_problems(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    post = document["paths"]["/v1/models/{name}/predict"]["post"]
    schema = post["requestBody"]["content"]["application/json"]["schema"]
    assert schema["properties"]["texts"]["maxItems"] == 4
    assert {"200", "400", "404", "413", "422", "429", "500"} == set(post["responses"])
    for reference in references(document):
        assert reference.removeprefix("#/components/schemas/") in document["components"]["schemas"]
    assert post["responses"]["422"]["content"] == {
        "application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemBody"}}
    }


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from references(child)
