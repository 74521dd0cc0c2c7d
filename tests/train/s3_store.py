"""The small S3 of tests/corpus/s3.py, which also takes what a mirror writes and removes."""

from __future__ import annotations

import hashlib
import io
import re
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

sys.path.append(str(Path(__file__).parent.parent / "corpus"))

import s3
from s3 import S3, Handler


def serve(folder: Path) -> AbstractContextManager[S3]:
    """The server, up while the context lasts. `faults.errors` counts for what is written as well."""
    return s3.serve(folder, Writable)


class Writable(Handler):
    """PutObject, DeleteObject, DeleteObjects, and uploads in parts."""

    def do_PUT(self) -> None:
        body = self._body()
        path, query = self._place()
        if self._fails():
            return
        if "partNumber" in query:
            path = self._parts(query["uploadId"][0]) / f"{int(query['partNumber'][0]):05d}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not urlsplit(self.path).path.endswith("/"):
            path.write_bytes(body)
        self._send(200, b"", {"ETag": f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'})

    def do_POST(self) -> None:
        body = self._body()
        path, query = self._place()
        if self._fails():
            return
        if "uploads" in query:
            upload = f"u{len(self.server.requests)}"
            self._parts(upload).mkdir(parents=True)
            self._answer_post(
                f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
            )
        elif "uploadId" in query:
            parts = sorted(self._parts(query["uploadId"][0]).iterdir())
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"".join(part.read_bytes() for part in parts))
            self._answer_post("<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>")
        else:
            for key in re.findall("<Key>(.*?)</Key>", body.decode()):
                if (path / unquote(key)).is_file():  # of a "folder" nothing is kept
                    (path / unquote(key)).unlink()
            self._answer_post("<DeleteResult></DeleteResult>")

    def do_DELETE(self) -> None:
        path, _ = self._place()
        if not self._fails():
            if path.is_file():
                path.unlink()
            self._send(204, b"", {})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = _chunks(self.rfile)
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        # The client's own chunks, with a checksum behind them, inside those of HTTP or in a body of known length.
        return _chunks(io.BytesIO(body)) if "aws-chunked" in self.headers.get("Content-Encoding", "") else body

    def _fails(self) -> bool:
        if self.server.faults.always_error or self.server.faults.take("errors"):
            self._error(500, "InternalError")
            return True
        return False

    def _place(self) -> tuple[Path, dict[str, list[str]]]:
        address = urlsplit(self.path)
        return self.server.folder / unquote(address.path).strip("/"), parse_qs(address.query, keep_blank_values=True)

    def _parts(self, upload: str) -> Path:
        return self.server.folder / ".uploads" / upload

    def _answer_post(self, content: str) -> None:
        body = f'<?xml version="1.0" encoding="UTF-8"?>{content}'.encode()
        self._head(200, len(body), {"Content-Type": "text/xml"})
        self.wfile.write(body)

    def _error(self, status: int, code: str) -> None:
        if self.command in ("GET", "HEAD"):
            return super()._error(status, code)
        body = f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
        self._head(status, len(body), {"Content-Type": "text/xml"})
        self.wfile.write(body)
        return None


def _chunks(stream: Any) -> bytes:
    """The content of a chunked stream: sizes in hexadecimal, then trailers up to an empty line or the end."""
    body = b""
    while size := int(stream.readline().split(b";")[0], 16):
        body += stream.read(size)
        stream.readline()
    while stream.readline().strip():
        pass
    return body
