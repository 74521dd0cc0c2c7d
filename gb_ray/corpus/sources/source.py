"""A source: the files that a recipe's address stands for, checked, and their rows as the task calls their columns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from gb_ray.corpus.encoder import Reject
from gb_ray.corpus.manifest import SourceFile
from gb_ray.corpus.section import Source
from gb_ray.corpus.sources.compose import columns_of, compose
from gb_ray.corpus.sources.formats.format import FORMATS, Input, inputs
from gb_ray.corpus.sources.formats.piece import Piece, Row, Rows
from gb_ray.corpus.sources.storage import files
from gb_ray.section import UserError

CHECKED_REMOTELY = 1
"""Files of a bucket whose columns are looked at before a build; those of a disk are all looked at."""


@dataclass(frozen=True)
class OpenInput:
    """A file, how it is read, and what tells it from another."""

    input: Input
    fingerprint: str


@dataclass(frozen=True)
class OpenPiece:
    """A piece of an open file: what one task reads of a source."""

    opened: OpenInput
    piece: Piece

    def fingerprint(self) -> list[Any]:
        """Equal for pieces that hold the same rows."""
        place = [self.piece.number, self.piece.start, self.piece.stop]
        return [self.opened.fingerprint, self.opened.input.format, self.opened.input.split, *place]


@dataclass(frozen=True)
class OpenSource:
    """A source whose files are there, readable as their formats, with the columns that the task needs."""

    section: Source
    files: list[OpenInput]

    def fingerprint(self) -> list[list[Any]]:
        """Equal for sources with the same files."""
        return [[entry.fingerprint, entry.input.format, entry.input.split] for entry in self.files]

    def listed(self) -> list[SourceFile]:
        """The files, as the manifest names them."""
        found = [(entry.input.file, entry.fingerprint) for entry in self.files]
        return [SourceFile(uri=file.uri, bytes=file.size, fingerprint=print) for file, print in found]

    def pieces(self, whole_files: bool = False) -> list[OpenPiece]:
        """What tasks read; together, in order, all its rows. No file is cut where rows need those beside them."""
        found = []
        for entry in self.files:
            pieces = FORMATS[entry.input.format].pieces(entry.input.file)
            if whole_files:
                pieces = [replace(pieces[0], stop=pieces[-1].stop)]
            found += [OpenPiece(entry, piece) for piece in pieces]
        return found

    def rows(self, of: OpenPiece) -> Rows:
        """(number in the file, row or why it is none)."""
        return FORMATS[of.opened.input.format].rows(of.piece)

    def wanted(self, row: Row) -> bool:
        """Whether the recipe's `where` keeps this row."""
        return all(_among(row.get(column), wanted) for column, wanted in self.section.where.items())

    def renamed(self, row: Row, columns: list[str]) -> Row:
        """The row with its columns under the task's names. Raises Reject when one is not there."""
        found = dict(row)
        for column in columns:
            if column in self.section.compose:
                found[column] = compose(self.section.compose[column], row)
                continue
            name = self.section.columns.get(column, column)
            if name not in row:
                raise Reject(f"no key {name!r}")
            found[column] = row[name]
        return found


def open_source(section: Source, columns: list[str], split_column: str | None) -> OpenSource:
    """Check a source before any work is done. Raises UserError when it is unusable as a whole."""
    for key, names in (("columns", section.columns), ("compose", section.compose)):
        if unknown := [name for name in names if name not in columns]:
            raise UserError(
                f"{section.uri}: {key}: {unknown[0]!r} is no column of the task; it has {', '.join(columns)}"
            )
    found = inputs(files(section.uri), section.format)
    found = [input for input in found if input.file.size] or found  # jobs that write folders leave empty files
    if section.sha256 and len(found) > 1:
        raise UserError(f"{section.uri}: sha256: is of one file, {len(found)} were found")
    needed = [column for column in _read(section, columns) if column not in section.lags] + [*section.where]
    needed += [column for lag in section.lags.values() for column in (lag.column, lag.by)]
    if split_column and not section.split:
        needed.append(split_column)
    for number, input in enumerate(found):
        if not input.file.store or number < CHECKED_REMOTELY:
            _check_columns(input, needed, [*section.lags], [name for name in columns if name not in section.columns])
    opened = [OpenInput(input, input.file.fingerprint()) for input in found]
    if section.sha256 and opened[0].fingerprint != section.sha256:
        raise UserError(
            f"{section.uri}: sha256 is {opened[0].fingerprint}, the recipe expects {section.sha256}; "
            "the file is not the one it was"
        )
    return OpenSource(section, opened)


def _read(section: Source, columns: list[str]) -> list[str]:
    """The source's columns of which the task's are made."""
    found = []
    for column in columns:
        if column in section.compose and column in section.columns:
            raise UserError(f"{section.uri}: {column!r} is in columns: and in compose:; leave it in one of them")
        template = section.compose.get(column)
        made_of = template is not None and columns_of(template, f"{section.uri}: compose: {column}")
        found += made_of or [section.columns.get(column, column)]
    return found


def _check_columns(input: Input, needed: list[str], new: list[str], own: list[str]) -> None:
    """`own` are the task's names of columns that this source says no other name of."""
    found = FORMATS[input.format].columns(input.file)
    if taken := [column for column in new if column in found]:
        raise UserError(f"{input.file.uri}: lags: {taken[0]!r} is a column of the file; give the lag another name")
    missing = [column for column in needed if column not in found]
    if missing:
        known = f"{input.file.uri}: no column {missing[0]!r}; the file has {', '.join(sorted(found))}"
        other = f"; if one of them is it, name it in the source, columns: {{{missing[0]}: ...}}, or in the task"
        raise UserError(known + (other if missing[0] in own else ""))


def _among(found: Any, wanted: Any) -> bool:
    return any(_same(found, one) for one in (wanted if isinstance(wanted, list) else [wanted]))


def _same(found: Any, wanted: Any) -> bool:
    """CSV has only text: compare with the text of the recipe's value as well ('True' and true are the same)."""
    return found == wanted or (isinstance(found, str) and found.strip().lower() == str(wanted).lower())
