"""Digits and signs of all scripts as ASCII, one character for one: places in the result are places in the text."""

from __future__ import annotations

_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63"
_SPACES = "\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
_MARKS = "\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"

_TABLE = {
    **{c: chr(c - 0xFEE0) for c in range(0xFF01, 0xFF5F)},
    **{c: str(int(chr(c))) for c in range(128, 0x20000) if chr(c).isdecimal()},
    **{ord(c): "-" for c in _DASHES},
    **{ord(c): " " for c in _SPACES + _MARKS},
}


def to_ascii(text: str) -> str:
    """The text, as long as it was: decimal digits of every script, full-width forms, dashes and spaces in ASCII."""
    return text if text.isascii() else text.translate(_TABLE)
