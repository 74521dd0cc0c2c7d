"""E-mail addresses."""

from __future__ import annotations

import re
from collections.abc import Iterator

_LATIN = "0-9A-Za-z\u00c0-\u024f\u1e00-\u1eff"
_OTHER = r"""\s!-,/:-?\[-\^`{-~。、，；：！？।،؛؟«»“”‘’「」『』（）\0"""
"""What ends an address in a script other than Latin."""

# Scripts without blanks between words (Chinese, Thai) run into an address: a Latin address ends where Latin does.
_LATIN_LOCAL = re.compile(rf"[{_LATIN}.!#$%&'*+/=?^_`{{|}}~-]{{1,64}}\Z")
_OTHER_LOCAL = re.compile(rf"[^{_OTHER}@]{{1,64}}\Z")
_DOMAIN = re.compile(
    rf"@(?:(?:[{_LATIN}](?:[{_LATIN}-]{{0,61}}[{_LATIN}])?\.)+(?:[A-Za-z]{{2,24}}|xn--[0-9a-z-]{{2,59}})(?![{_LATIN}])"
    rf"|(?:[^{_OTHER}@.-][^{_OTHER}@.]{{0,62}}\.)+[^{_OTHER}@.0-9-]{{2,24}})",
    re.IGNORECASE,
)
_LEADING = ".!#$%&'*+/=?^`{|}~-"
_FILES = (".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".pdf", ".css", ".js")
"""Names like icon@2x.png are files."""


def find(view: str) -> Iterator[tuple[int, int]]:
    """Where e-mail addresses are: RFC 5322 without quoted local parts, and RFC 6531 (letters of every script)."""
    done = 0
    at = view.find("@")
    while at >= 0:
        first = max(done, at - 64)
        local = _LATIN_LOCAL.search(view, first, at) or _OTHER_LOCAL.search(view, first, at)
        domain = _DOMAIN.match(view, at)
        if local and domain and not domain.group().lower().endswith(_FILES):
            start = local.end() - len(local.group().lstrip(_LEADING))
            if start < at and view[start - 1 : start] != "@" and view[at - 1] != ".":
                yield start, domain.end()
                done = domain.end()
        at = view.find("@", at + 1)
