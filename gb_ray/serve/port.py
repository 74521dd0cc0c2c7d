"""Whether a port can be listened on and, if not, who has it."""

from __future__ import annotations

import errno
import socket

import psutil

from gb_ray.section import UserError


def require_free(host: str, port: int) -> None:
    """Raises UserError, naming the process that listens there, when `host`:`port` cannot be listened on."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise UserError(f"serve.host={host}: not an address of this machine: {error.strerror}") from None
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # What a server does too: a connection closed a moment ago does not hold the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            probe.listen(1)
        except OSError as error:
            raise UserError(_explain(error, host, port)) from None


def _explain(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is taken by {_listener(port)}; set serve.port=... to a free one, or stop it"
    if error.errno == errno.EACCES:
        return f"port {port} on {host} may not be listened on by this user; set serve.port=... to one above 1023"
    return f"{host}:{port} cannot be listened on: {error.strerror}; set serve.host=... and serve.port=..."


def _listener(port: int) -> str:
    """Name and process id of what listens on `port`."""
    for connection in psutil.net_connections(kind="tcp"):
        listens = connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
        if listens and connection.pid:
            return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    return "a process of another user"
