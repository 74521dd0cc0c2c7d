"""IP addresses that can be somebody's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

from gb_ray.corpus.clean.personal.edge import LETTERS, START

_QUAD = re.compile(rf"{START}(?<![.\-])\d{{1,3}}(?:\.\d{{1,3}}){{3}}(?![{LETTERS}\-]|\.\d)")
_HEX = re.compile(
    rf"(?<![{LETTERS}:.])[23][0-9a-f]{{3}}:[0-9a-f:.]{{2,40}}(?<![.:])(?:::)?(?![{LETTERS}])", re.IGNORECASE
)
_VERSION = re.compile(
    r"(?:versi|\bver\b|\bv\b|release|firmware|build|section|clause|chapter|article|paragraph|annex|kapitel|abschnitt"
    r"|sección|seção|верси|раздел|пункт|الإصدار|संस्करण|धारा|版本|バージョン|버전|sürüm|§)[^\d]{0,12}(?:[\d.]+\W{1,5}(?:\w+\W)?)?\Z",
    re.IGNORECASE,
)
_NAMED = re.compile(
    r"\bip\b|ipv4|address|adress|host|server|ping|dns|login|log ?in|from|://|адрес|вход|الدخول|عنوان|पता|आईपी|登录|地址|IP",
    re.IGNORECASE,
)
_SMALL = 32


def find(view: str) -> Iterator[tuple[int, int]]:
    """Where addresses of the public Internet are.

    Loopback, private, link-local, multicast and documentation ranges (IANA special-purpose registries) name nobody and
    stay. So does what a word calls a version or a section, and four numbers under 32 without a word for an address.
    """
    for match in _QUAD.finditer(view):
        try:
            address = IPv4Address(match.group())
        except ValueError:
            continue
        before = view[max(0, match.start() - 32) : match.start()]
        if not address.is_global or address.is_multicast or _VERSION.search(before):
            continue
        if max(address.packed) >= _SMALL or _NAMED.search(before):
            yield match.span()
    for match in _HEX.finditer(view):
        try:
            if IPv6Address(match.group()).is_global:
                yield match.span()
        except ValueError:
            continue
