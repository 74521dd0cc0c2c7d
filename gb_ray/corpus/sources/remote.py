"""Buckets and HDFS through pyarrow: what is there, and reads that are whole or fail.

Credentials are found where the store's own tools find them (`~/.aws`, the environment, the machine's role,
application default credentials, a Kerberos ticket): an address with a secret in it would end up in a run's record.
"""

from __future__ import annotations

import io
import os
import random
import re
import time
from collections.abc import Callable
from datetime import timedelta
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import pyarrow as pa
from pyarrow import fs

from gb_ray.section import UserError

SCHEMES = ("s3", "gs", "hdfs")
OPTIONS = {
    "s3": ("region", "scheme", "endpoint_override", "anonymous", "tls_ca_file_path", "force_virtual_addressing"),
    "gs": ("scheme", "endpoint_override", "anonymous"),
}
PAUSES = (1.0, 2.0, 4.0, 8.0)
"""Seconds between tries. Each is shortened by up to half at random: many tasks that failed together try apart."""
TIMEOUT = 30.0
"""Seconds without one byte after which a request has failed."""

MARK = 16
"""Bytes written behind a read before it, to see whether it came to its end; by chance alike once in 2**128."""

# What stays wrong however often it is tried. Other errors are of the network or of a busy server.
_FINAL = re.compile(
    r"AWS Error (ACCESS_DENIED|NO_SUCH_\w+|RESOURCE_NOT_FOUND|INVALID_\w+|SIGNATURE_\w+|\w*TOKEN\w*|UNRECOGNIZED\w+)"
    r"|HTTP status (400|401|403|404|405|410)\b|PERMISSION_DENIED|UNAUTHENTICATED|NOT_FOUND|(Unable|failed) to load lib"
)
T = TypeVar("T")


class Unreachable(Exception):
    """A file or folder could not be read to its end, and it is not for the user's recipe to change that."""


def split(uri: str) -> tuple[str, str]:
    """(store, path): what `connect` takes, and the path in it. Raises UserError."""
    scheme, _, rest = uri.partition("://")
    place, _, query = rest.partition("?")
    host = place.partition("/")[0]
    if not host and scheme != "hdfs":
        raise UserError(f"{scheme}://{place}: expected {scheme}://BUCKET/path")
    if "@" in host and (scheme != "hdfs" or ":" in host.partition("@")[0]):
        place = place.rpartition("@")[2]
        raise UserError(f"{scheme}://{place}: the address has credentials in it; leave them to the store's own tools")
    path = place.removeprefix(host) if scheme == "hdfs" else place
    return f"{scheme}://{host}" + (f"?{query}" if query else ""), path


@lru_cache
def connect(store: str) -> Any:
    """The `pyarrow.fs.FileSystem` of a store. Raises UserError or Unreachable."""
    scheme, _, rest = store.partition("://")
    host, _, query = rest.partition("?")
    uri = f"{scheme}://{host}"
    if scheme == "hdfs":
        return persist(uri, lambda: fs.FileSystem.from_uri(f"{uri}/" + (f"?{query}" if query else ""))[0])
    options: dict[str, Any] = dict(parse_qsl(query))
    for key, value in options.items():
        if key not in OPTIONS[scheme]:
            raise UserError(f"{uri}: unknown option {key!r}; known: {', '.join(OPTIONS[scheme])}")
        if key in ("anonymous", "force_virtual_addressing"):
            options[key] = value.lower() == "true"
    if scheme == "gs":
        # Its own tries go on for 15 minutes, each time we try.
        return fs.GcsFileSystem(**options, retry_time_limit=timedelta(seconds=1))
    if "region" not in options and "endpoint_override" not in options:
        options["region"] = persist(uri, lambda: fs.resolve_s3_region(host))
    # pyarrow's own tries are 30 in 6 s, all alike, and cannot be told from ours: one each.
    once = fs.AwsStandardS3RetryStrategy(max_attempts=1)
    return fs.S3FileSystem(**options, retry_strategy=once, connect_timeout=TIMEOUT / 3, request_timeout=TIMEOUT)


def persist(uri: str, action: Callable[[], T]) -> T:
    """What `action` returns, tried 5 times over about 12 s.

    Raises UserError for what no further try will change, and Unreachable with the last cause.
    """
    for pause in (*PAUSES, None):
        try:
            return action()
        except (OSError, pa.ArrowException) as error:
            cause = str(error).partition("\n")[0][:400]
            if isinstance(error, FileNotFoundError):
                raise Unreachable(f"{uri}: not there any more") from None
            if _FINAL.search(cause):
                raise UserError(f"{uri}: the store cannot be read: {cause}") from None
            if pause is None:
                raise Unreachable(f"{uri}: gave up after {len(PAUSES) + 1} tries: {cause}") from None
        time.sleep(pause * random.uniform(0.5, 1))
    raise AssertionError


class Remote(io.RawIOBase):
    """A remote file of `size` bytes, for reading at any place. Every read gives what was asked for, or raises."""

    def __init__(self, uri: str, store: str, path: str, size: int):
        self._uri, self._store, self._path, self._size = uri, store, path, size
        self._position = 0
        self._handle: Any = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        return self._position

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), max(0, self._size - self._position))
        if wanted:
            view = memoryview(buffer)[:wanted]
            persist(self._uri, lambda: self._fill(view))
        self._position += wanted
        return wanted

    def readall(self) -> bytes:
        return self.read(max(0, self._size - self._position)) or b""

    def close(self) -> None:
        self._drop()
        super().close()

    def _fill(self, view: memoryview) -> None:
        if self._handle is None:
            self._handle = connect(self._store).open_input_file(self._path)
        try:
            if (size := self._handle.size()) != self._size:
                raise Unreachable(f"{self._uri}: it has {size} bytes, {self._size} when it was listed; build again")
            # A body shorter than asked for, with a length to match, leaves the rest of the buffer as it was, and
            # pyarrow's S3 counts it as read.
            mark = os.urandom(MARK)[: len(view)]
            view[-len(mark) :] = mark
            self._handle.seek(self._position)
            count = self._handle.readinto(view)
            if count != len(view) or view[-len(mark) :] == mark:
                raise OSError(f"fewer bytes came than the {len(view)} asked for")
        except BaseException:
            self._drop()  # the next try gets a new connection
            raise

    def _drop(self) -> None:
        if self._handle is not None:
            self._handle.close()
            self._handle = None
