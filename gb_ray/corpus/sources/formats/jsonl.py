"""JSON lines: one object a line, UTF-8. A row's number is that of its line, blank lines counted."""

from __future__ import annotations

import json

from gb_ray.corpus.encoder import Reject
from gb_ray.corpus.sources.formats.piece import PIECE_BYTES, Piece, Row, Rows, found_columns, whole
from gb_ray.corpus.sources.storage import File
from gb_ray.corpus.sources.unpack import Torn, inner_name

BLOCK = 1 << 20


def pieces(file: File) -> list[Piece]:
    """Ranges of bytes of whole lines, of a local file that is not compressed; any other is one piece.

    To number a piece's first line the file is read once; in a bucket that would cost as much as reading its rows.
    """
    if file.store or inner_name(file.name) != file.name or file.size < 2 * PIECE_BYTES:
        return whole(file)
    return cut(file, PIECE_BYTES)


def cut(file: File, size: int) -> list[Piece]:
    cuts = [(0, 0)]  # (byte, line) where a piece begins
    byte = line = 0
    with file.open() as raw:
        while block := raw.read(BLOCK):
            wanted = cuts[-1][0] + size
            if byte + len(block) > wanted:
                end = block.find(b"\n", max(0, wanted - byte)) + 1
                if end and byte + end < file.size:
                    cuts.append((byte + end, line + block.count(b"\n", 0, end)))
            line += block.count(b"\n")
            byte += len(block)
    stops = [byte for byte, _ in cuts[1:]] + [byte]
    return [Piece(file, number, start, stop) for (start, number), stop in zip(cuts, stops, strict=True)]


def columns(file: File) -> list[str]:
    """The keys of the first 100 rows together; a key that is null may be left out of a row."""
    return found_columns(file, "jsonl", rows(Piece(file)), sample=100)


def rows(piece: Piece) -> Rows:
    """(line, row) in order; lines that are blank are no rows."""
    number, position = piece.number, piece.start
    with piece.file.open() as file:
        if piece.start:
            file.seek(piece.start)
        while not piece.stop or position < piece.stop:
            try:
                line = file.readline()
            except Torn as torn:
                yield number, Reject(str(torn))
                return
            if not line:
                return
            if line.strip():
                yield number, _row(line, first=number == 0)
            position += len(line)
            number += 1


def _row(line: bytes, first: bool) -> Row | Reject:
    try:
        row = json.loads(line.decode("utf-8-sig" if first else "utf-8"))
    except UnicodeDecodeError:
        return Reject("not UTF-8")
    except (ValueError, RecursionError):
        return Reject("not JSON")
    return row if isinstance(row, dict) else Reject("not a JSON object")
