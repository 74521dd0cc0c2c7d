"""Starts and stops an endpoint on the Ray cluster that the caller is connected to."""

from __future__ import annotations

import itertools
import logging
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import httpx
from ray import serve
from ray.serve.api import RunTarget

from gb_ray.section import UserError
from gb_ray.serve.app import QUIET, Arguments, build
from gb_ray.serve.port import require_free
from gb_ray.serve.section import ServeSection

APPLICATION = "gb_ray"
_POLL_S = 0.2


@dataclass(frozen=True)
class Endpoint:
    """A running endpoint, and the way to stop it. Leaving it as a context manager stops it."""

    url: str

    def stop(self) -> None:
        """Remove the application, and Serve itself unless another application uses it by now."""
        if not set(serve.status().applications) - {APPLICATION}:
            serve.shutdown()
        else:
            serve.delete(APPLICATION)

    def __enter__(self) -> Endpoint:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


def start(arguments: Arguments, timeout_s: float = 120) -> Endpoint:
    """Serve `arguments.model` over HTTP; returns once it answers. Call ray.init first.

    Raises UserError when the model is not there, the port is taken or Serve runs on this cluster already, and when the
    endpoint does not answer within `timeout_s` seconds: with the replica's reason, and with nothing left running.
    """
    section = arguments.serve
    arguments.source().resolve()
    _require_no_serve()
    require_free(section.host, section.port)
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    endpoint = Endpoint(_url(section))
    try:
        serve.start(http_options=_http_options(section), logging_config=QUIET)
        target = RunTarget(build(arguments.model_dump(mode="json")), APPLICATION, logging_config=QUIET)
        # Serve's own wait has no end when the cluster is too small.
        serve.run_many([target], wait_for_ingress_deployment_creation=False, wait_for_applications_running=False)
        _wait(endpoint.url, timeout_s)
    except BaseException:
        endpoint.stop()
        raise
    return endpoint


def config(arguments: Arguments) -> dict[str, Any]:
    """The content of the Serve config file that `serve deploy` takes, for the same endpoint."""
    application = {
        "name": APPLICATION,
        "route_prefix": "/",
        "import_path": f"{build.__module__}:{build.__name__}",
        "args": arguments.model_dump(mode="json"),
    }
    return {
        "proxy_location": "EveryNode",
        "http_options": _http_options(arguments.serve),
        "logging_config": {"log_level": QUIET.log_level, "enable_access_log": QUIET.enable_access_log},
        "applications": [application],
    }


def _require_no_serve() -> None:
    status = serve.status()
    if status.proxies or status.applications:
        raise UserError(
            f"Ray Serve runs on this cluster already (applications: {', '.join(status.applications) or 'none'}); "
            "add this endpoint to its config file and `serve deploy` it, or end it with `serve shutdown`"
        )


def _http_options(section: ServeSection) -> dict[str, Any]:
    return {"host": section.host, "port": section.port}


def _url(section: ServeSection) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(section.host, section.host)
    return f"http://[{host}]:{section.port}" if ":" in host else f"http://{host}:{section.port}"


def _wait(url: str, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while (fault := _fault(url)) is not None:
        application = serve.status().applications.get(APPLICATION)
        if application is not None and application.status == "DEPLOY_FAILED":
            raise UserError(f"the endpoint could not start: {_reason(application)}")
        if time.monotonic() > deadline:
            raise UserError(
                f"the endpoint did not answer within {timeout_s:g} s (last: {fault}): {_reason(application)}; "
                "a replica needs one free CPU (`ray status`)"
            )
        time.sleep(_POLL_S)


def _fault(url: str) -> str | None:
    """Why the endpoint is not healthy; None when it is."""
    try:
        reply = httpx.get(f"{url}/healthz", timeout=5, trust_env=False)
    except httpx.TransportError as error:
        return f"no connection: {error}"
    return None if reply.status_code == 200 else f"status {reply.status_code}"


def _reason(application: Any) -> str:
    """What Serve knows of the application's trouble, the replica's own error included."""
    if application is None:
        return "Serve has not begun to deploy it"
    messages = [application.message, *(deployment.message for deployment in application.deployments.values())]
    return "\n".join(_essence(message) for message in messages if message) or f"its state is {application.status.value}"


def _essence(message: str) -> str:
    """The end of a message after the lines of a traceback in it, if it has one: the error itself."""
    lines = message.rstrip().splitlines()
    error = list(itertools.takewhile(lambda line: not line.startswith(" "), reversed(lines)))
    return "\n".join(reversed(error)) or message
