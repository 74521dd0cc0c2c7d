"""CoNLL: a token and its tag a line, columns between blanks or tabs, sentences between empty lines.

The first column is the token, the last its tag. Tags may be IOB1, IOB2 or IOBES (Ramshaw and Marcus 1995, Tjong Kim
Sang and Veenstra 1999) and come out as IOB2. A row's number counts sentences.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

from gb_ray.corpus.encoder import Reject
from gb_ray.corpus.sources.formats.piece import Piece, Row, Rows, found_columns, whole
from gb_ray.corpus.sources.storage import File
from gb_ray.corpus.sources.unpack import Torn

_BLANKS = re.compile(r"[ \t]+")  # str.split would also cut at the no-break space that tokens may have
_TAG = re.compile(r"O|[BIES]-.+")
# CoNLL-U's `# key = value`; a lone `#` may well be a token.
_COMMENT = re.compile(r"# (?:(?:newdoc|newpar)\s*$|[\w.:-]+(?: id)? =)")


def pieces(file: File) -> list[Piece]:
    """One: a file of sentences is rarely large."""
    return whole(file)


def columns(file: File) -> list[str]:
    """`tokens` and `tags`. Raises UserError when no sentence is readable."""
    return found_columns(file, "conll", rows(Piece(file)), sample=1)


def rows(piece: Piece) -> Rows:
    """(sentence, {"tokens": [text], "tags": [IOB2 tag]}) in order. `-DOCSTART-` lines are no rows."""
    width = 0  # of the first sentence whose lines agree
    for number, sentence in enumerate(_sentences(piece.file)):
        if isinstance(sentence, Reject):
            yield number, sentence
            continue
        widths = {len(fields) for fields in sentence}
        if not width and len(widths) == 1 and min(widths) > 1:
            width = widths.pop()
            widths = {width}
        yield number, _row(sentence) if widths == {width} else Reject("a line has another number of columns")


def _row(sentence: list[list[str]]) -> Row | Reject:
    tags = iob2([fields[-1] for fields in sentence])
    return tags if isinstance(tags, Reject) else {"tokens": [fields[0] for fields in sentence], "tags": tags}


def iob2(tags: list[str]) -> list[str] | Reject:
    """IOB1, IOB2 or IOBES as IOB2: the first tag of an entity is B, the others are I."""
    found = []
    inside = ""  # the type of the entity that may go on
    for tag in tags:
        if not _TAG.fullmatch(tag):
            return Reject("a tag is not IOB")
        place, _, kind = tag.partition("-")
        goes_on = place in "IE" and kind == inside
        found.append(tag if place == "O" else f"{'I' if goes_on else 'B'}-{kind}")
        inside = kind if place in "BI" else ""
    return found


def _sentences(file: File) -> Iterator[list[list[str]] | Reject]:
    lines: list[bytes] = []
    with file.open() as raw:
        try:
            for line in raw:
                bare = line.removeprefix(codecs.BOM_UTF8).strip(b" \t\r\n")
                if bare and not bare.startswith(b"-DOCSTART-"):
                    lines.append(line)
                elif lines:
                    yield from _sentence(lines)
                    lines = []
        except Torn as torn:
            yield Reject(str(torn))  # the sentence it is in is not whole
            return
    yield from _sentence(lines)


def _sentence(lines: list[bytes]) -> Iterator[list[list[str]] | Reject]:
    """The columns of each token; nothing where there are only comments."""
    try:
        texts = [line.decode("utf-8-sig").strip(" \t\r\n") for line in lines]
    except UnicodeDecodeError:
        yield Reject("not UTF-8")
        return
    tokens = [text for text in texts if not _COMMENT.match(text)]
    if tokens:
        yield [text.split("\t") if "\t" in text else _BLANKS.split(text) for text in tokens]
