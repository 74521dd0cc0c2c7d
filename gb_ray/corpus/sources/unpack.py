"""Decompressing streams, so that what was compressed and then cut is never taken for whole."""

from __future__ import annotations

import bz2
import gzip
import io
import zlib
from pathlib import PurePosixPath
from typing import Any, BinaryIO

import pyarrow as pa

SUFFIXES = (".gz", ".bz2", ".zst")
CHUNK = 1 << 16


class Torn(Exception):
    """What follows in a compressed file cannot be had; the message is the reason for quarantine."""


def inner_name(name: str) -> str:
    """The name of what is inside: `a.csv.gz` holds `a.csv`."""
    path = PurePosixPath(name)
    return str(path.with_suffix("")) if path.suffix.lower() in SUFFIXES else name


def unpacked(file: BinaryIO, name: str) -> BinaryIO:
    """The decompressed content of `file`, by the ending of its name; `file` itself when it has no such ending.

    Reading gives everything up to the damage, then raises Torn.
    """
    suffix = PurePosixPath(name).suffix.lower()
    if suffix not in SUFFIXES:
        return file
    return io.BufferedReader(_Unpacked(file, suffix), CHUNK)


class _Unpacked(io.RawIOBase):
    def __init__(self, file: BinaryIO, suffix: str):
        self._file = file
        if suffix == ".zst":
            self._read: Any = pa.CompressedInputStream(pa.PythonFile(file, "r"), "zstd").read
        else:
            # read1 gives what there is before the damage, read would lose it.
            self._read = (gzip.GzipFile(fileobj=file) if suffix == ".gz" else bz2.BZ2File(file)).read1

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._read(len(buffer))
        except EOFError:
            raise Torn("the file ends early") from None
        except (OSError, zlib.error) as error:
            if getattr(error, "errno", None):
                raise  # of the disk, not of the data
            early = "Truncated" in str(error)
            raise Torn("the file ends early" if early else "the file is damaged from here on") from None
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()
