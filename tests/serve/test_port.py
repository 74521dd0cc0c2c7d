"""A port that cannot be listened on is refused before anything starts."""

from __future__ import annotations

import os
import socket

import pytest

from gb_ray.section import UserError
from gb_ray.serve.port import require_free


def test_a_taken_port_names_who_has_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"port {port} .* \(process {os.getpid()}\); set serve.port="):
            require_free("127.0.0.1", port)
        with pytest.raises(UserError, match="is taken"):
            require_free("0.0.0.0", port)
    require_free("127.0.0.1", port)


def test_an_address_of_another_machine() -> None:
    with pytest.raises(UserError, match=r"serve.host"):
        require_free("192.0.2.1", 8000)


def test_a_host_that_is_none() -> None:
    with pytest.raises(UserError, match=r"serve.host=no such host"):
        require_free("no such host", 8000)
