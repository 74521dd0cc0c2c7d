"""What is shown of a row that is left out: the beginning of its JSON, which may hold what must not be told."""

from __future__ import annotations

import json
import re

from gb_ray.corpus.sources.formats.piece import Row

CHARS = 200
LOOKED_AT = 2048
"""Characters that personal data is looked for in."""
MARGIN = 512
"""Characters, more than anything that is masked has: an address has 254 (RFC 5321), a number is shorter with the words
around it that tell what it is."""
_ESCAPE = re.compile(r"\\(?:([\"\\])|u[0-9a-f]{4}|[bfnrt])")


def excerpt(row: Row, personal: bool) -> str:
    """At most 200 characters. With `personal`, personal data is masked, whole or not shown at all."""
    try:
        text = json.dumps(row, default=repr, ensure_ascii=False)
    except RecursionError:
        return ""
    return (_masked(text) if personal else text[:CHARS]).encode(errors="replace").decode()


def _masked(text: str) -> str:
    from gb_ray.corpus.clean.personal.masker import Masker

    start = text[:LOOKED_AT]
    # A number that follows the n of an escaped new line would pass for the end of a word.
    found, _ = Masker().mask(_ESCAPE.sub(lambda escape: escape[0] if escape[1] else " ", start))
    if len(start) < len(text):
        found = found[:-MARGIN]  # what was cut in half is not recognised
    return found[:CHARS]
