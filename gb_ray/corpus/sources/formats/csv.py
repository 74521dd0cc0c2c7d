"""Comma- and tab-separated values, with a header.

CSV is RFC 4180, strictly: a quote that is never closed would make the rest of the file one long value. In TSV, as
IANA registers text/tab-separated-values, a quote is a character like any other: a line is a row, whatever is in it.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from typing import Any

from gb_ray.corpus.encoder import Reject
from gb_ray.corpus.sources.formats.piece import Piece, Rows, found_columns, whole
from gb_ray.corpus.sources.storage import File
from gb_ray.corpus.sources.unpack import Torn
from gb_ray.section import UserError


class Delimited:
    """One of the two; a row is a dict of text. Bytes that are not UTF-8 come as lone surrogates in their value."""

    def __init__(self, name: str, **dialect: Any):
        self._name = name
        self._dialect = dialect

    def pieces(self, file: File) -> list[Piece]:
        """A quoted value may hold line ends: there is no telling where a row begins but from the start."""
        return whole(file)

    def columns(self, file: File) -> list[str]:
        """The header. Raises UserError when it is none or no row follows."""
        return found_columns(file, self._name, self.rows(Piece(file)), sample=1)

    def rows(self, piece: Piece) -> Rows:
        """(number, row) in order. Raises UserError when the first line is no header."""
        with piece.file.open() as raw:
            # surrogateescape lets one bad byte spoil one value, not the file.
            text = io.TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape", newline="")
            records = _records(csv.reader(text, strict=True, **self._dialect))
            header = _header(piece.file, records)
            for number, values in enumerate(records):
                if isinstance(values, Reject):
                    yield number, values
                elif len(values) != len(header):
                    yield number, Reject(f"{len(values)} values for {len(header)} columns")
                else:
                    yield number, dict(zip(header, values, strict=True))


def _header(file: File, records: Iterator[list[str] | Reject]) -> list[str]:
    header = next(records, [])
    if isinstance(header, Reject):
        raise UserError(f"{file.uri}: its first line is no header: {header}")
    twice = [name for name, count in Counter(header).items() if count > 1]
    if twice:
        raise UserError(f"{file.uri}: two columns are named {twice[0]!r}")
    return header


def _records(reader: Iterator[list[str]]) -> Iterator[list[str] | Reject]:
    """The records of a file; after one that is malformed it goes on with the next line."""
    csv.field_size_limit(2**31 - 1)  # its default of 131072 would refuse long documents
    while True:
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Reject(f"not CSV: {error}")
        except Torn as torn:
            yield Reject(str(torn))
            return


CSV = Delimited("csv")
TSV = Delimited("tsv", delimiter="\t", quoting=csv.QUOTE_NONE)
