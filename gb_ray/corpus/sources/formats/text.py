"""Plain text and Markdown: a file is a row."""

from __future__ import annotations

from gb_ray.corpus.encoder import Reject
from gb_ray.corpus.sources.formats.piece import Piece, Rows, whole
from gb_ray.corpus.sources.storage import File
from gb_ray.corpus.sources.unpack import Torn
from gb_ray.section import UserError


def pieces(file: File) -> list[Piece]:
    """One."""
    return whole(file)


def columns(file: File) -> list[str]:
    """`text`, and `path`: the file's name relative to the folder that the recipe names. Raises UserError when empty."""
    if file.size == 0:
        raise UserError(f"{file.uri}: the file is empty")
    return ["text", "path"]


def rows(piece: Piece) -> Rows:
    """The one row, number 0."""
    with piece.file.open() as file:
        try:
            yield 0, {"text": file.read().decode("utf-8-sig"), "path": piece.file.name}
        except Torn as torn:
            yield 0, Reject(str(torn))
        except UnicodeDecodeError:
            yield 0, Reject("not UTF-8")
