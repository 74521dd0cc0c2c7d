"""A small S3: a local folder served over HTTP, with the faults of a real network to be switched on.

It knows what reading needs: ListObjectsV2 with pages, HEAD, and GET with Range. Buckets are the folder's sub-folders.
"""

from __future__ import annotations

import email.utils
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape


@dataclass
class Faults:
    """What goes wrong, in GETs of objects unless said otherwise. Counts go down by one each time."""

    errors: int = 0  # answers 500
    always_error: bool = False  # answers 500 to everything, listings too
    refuse: bool = False  # answers 403 to everything
    cuts: int = 0  # sends half of the body, then resets the connection
    shorts: int = 0  # sends half of the body, then ends the connection in good order
    stingy: int = 0  # sends half of what was asked for as if it were all
    slow: float = 0.0  # seconds before an answer
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, name: str) -> bool:
        """Whether this fault strikes now."""
        with self.lock:
            left = getattr(self, name)
            setattr(self, name, max(0, left - 1))
            return bool(left)


class S3(ThreadingHTTPServer):
    """A server of `folder` on a free port of loopback."""

    daemon_threads = True
    page = 1000

    def __init__(self, folder: Path):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.faults = Faults()
        self.requests: list[str] = []

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no error; anything else is shown."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def uri(self, path: str) -> str:
        """The address of `path` (BUCKET/KEY) here, as a recipe gives it."""
        return f"s3://{path}?endpoint_override=127.0.0.1:{self.server_port}&scheme=http&region=us-east-1"


@contextmanager
def serve(folder: Path, answers: type[BaseHTTPRequestHandler] | None = None) -> Iterator[S3]:
    """The server, up while the context lasts; `answers` may know more than reading needs."""
    server = S3(folder)
    server.RequestHandlerClass = answers or Handler
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: S3

    def log_message(self, format: str, *args: object) -> None:
        self.server.requests.append(f"{self.command} {self.path} {self.headers.get('Range', '')}".strip())

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        faults = self.server.faults
        if faults.always_error:
            return self._error(500, "InternalError")
        if faults.refuse:
            return self._error(403, "AccessDenied")
        address = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(address.query).items()}
        bucket, _, key = unquote(address.path).lstrip("/").partition("/")
        if not (self.server.folder / bucket).is_dir():
            return self._error(404, "NoSuchBucket")
        if key:
            return self._object(self.server.folder / bucket / key)
        if self.command == "GET":
            return self._list(bucket, query)
        return self._send(200, b"", {})

    def _object(self, path: Path) -> None:
        if not path.is_file():
            return self._error(404, "NoSuchKey")
        body = path.read_bytes()
        headers = {
            "ETag": f'"{len(body)}-{path.stat().st_mtime_ns}"',
            "Last-Modified": email.utils.formatdate(path.stat().st_mtime, usegmt=True),
            "Content-Type": "application/octet-stream",
        }
        if self.command == "HEAD":
            return self._send(200, body, headers)
        faults = self.server.faults
        time.sleep(faults.slow)
        if faults.take("errors"):
            return self._error(500, "InternalError")
        status, span = 200, self.headers.get("Range")
        if span:
            first, _, last = span.removeprefix("bytes=").partition("-")
            start, stop = int(first), min(int(last) + 1 if last else len(body), len(body))
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(body)}"
            status, body = 206, body[start:stop]
        if faults.take("stingy"):
            return self._send(status, body[: len(body) // 2], headers)
        if faults.take("cuts"):
            return self._cut(status, body, headers, reset=True)
        if faults.take("shorts"):
            return self._cut(status, body, headers, reset=False)
        return self._send(status, body, headers)

    def _list(self, bucket: str, query: dict[str, str]) -> None:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        root = self.server.folder / bucket
        keys = (path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
        found: dict[str, str] = {}
        for key in keys:
            if key.startswith(prefix):
                head, cut, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
                found[prefix + head + cut if cut else key] = "folder" if cut else "file"
        names = sorted(name for name in found if name > query.get("continuation-token", ""))
        page = names[: min(self.server.page, int(query.get("max-keys", 1000)))]
        items = "".join(_item(root, name, found[name]) for name in page)
        more = len(page) < len(names)
        token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
        self._xml(
            200,
            f"<ListBucketResult><Name>{bucket}</Name><Prefix>{escape(prefix)}</Prefix><KeyCount>{len(page)}</KeyCount>"
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{items}</ListBucketResult>",
        )

    def _error(self, status: int, code: str) -> None:
        self._xml(status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>")

    def _xml(self, status: int, content: str) -> None:
        self._send(status, f'<?xml version="1.0" encoding="UTF-8"?>{content}'.encode(), {"Content-Type": "text/xml"})

    def _head(self, status: int, size: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(size)}).items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self._head(status, len(body), headers)
        if self.command == "GET":
            self.wfile.write(body)

    def _cut(self, status: int, body: bytes, headers: dict[str, str], reset: bool) -> None:
        self._head(status, len(body), headers)
        self.wfile.write(body[: len(body) // 2])
        if reset:  # closing with no time to linger sends RST
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True


def _item(root: Path, name: str, kind: str) -> str:
    if kind == "folder":
        return f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>"
    status = (root / name).stat()
    modified = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(status.st_mtime))
    return (
        f"<Contents><Key>{escape(name)}</Key><LastModified>{modified}</LastModified><ETag>&quot;{status.st_mtime_ns}"
        f"&quot;</ETag><Size>{status.st_size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
    )
