"""What the endpoint says when it refuses: problem details (RFC 9457), for every error, ours and the framework's."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

MEDIA_TYPE = "application/problem+json"

logger = logging.getLogger(__name__)


class Fault(BaseModel):
    """One wrong place in a request's body."""

    pointer: str = Field(description="JSON pointer into the request's body.")
    detail: str


class ProblemBody(BaseModel):
    """The body of every response that is not a success (RFC 9457)."""

    type: str = Field("about:blank", description="Always about:blank: the status says what kind of problem it is.")
    title: str = Field(description="The name of the status.")
    status: int
    detail: str = Field(description="What is wrong, what was expected, what to do.")
    instance: str = Field(description="The path that was asked for.")
    errors: list[Fault] = Field([], description="The wrong places in the body, the first ten.")


class Problem(Exception):
    """A refusal: `status` and `detail` are for the client to read; `pointer` is the wrong place in its body."""

    def __init__(self, status: int, detail: str, pointer: str | None = None, headers: dict[str, str] | None = None):
        super().__init__(detail)
        self.status, self.detail, self.pointer, self.headers = status, detail, pointer, headers


def install(app: FastAPI) -> None:
    """Make `app` answer every error with a problem document."""

    @app.exception_handler(Problem)
    async def _ours(request: Request, error: Problem) -> JSONResponse:
        faults = [Fault(pointer=error.pointer, detail=error.detail)] if error.pointer is not None else []
        return _response(request, error.status, error.detail, faults, error.headers)

    @app.exception_handler(HTTPException)
    async def _framework(request: Request, error: HTTPException) -> JSONResponse:
        return _response(request, error.status_code, _explain(error, request), [], dict(error.headers or {}))

    @app.exception_handler(Exception)
    async def _unforeseen(request: Request, error: Exception) -> JSONResponse:
        return _response(request, 500, "The server failed on this request; its log says why.", [], None)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a FastAPI route that may answer with a problem of one of `statuses`."""
    # An explicit reference: FastAPI's `model` would document it as application/json.
    content = {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{ProblemBody.__name__}"}}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


def _explain(error: HTTPException, request: Request) -> str:
    if error.status_code == 404:
        return "No such path; /openapi.json lists those there are."
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        return f"{request.method} is not allowed here; use {allowed}."
    return str(error.detail)


def _response(
    request: Request, status: int, detail: str, faults: list[Fault], headers: dict[str, str] | None
) -> JSONResponse:
    body = ProblemBody(
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        instance=quote(request.scope["path"], errors="replace"),
        errors=faults,
    )
    return JSONResponse(body.model_dump(), status, headers, MEDIA_TYPE)
