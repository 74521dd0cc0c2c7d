"""Numbers that money moves by: payment cards and IBANs."""

from __future__ import annotations

import re
from collections.abc import Iterator

from stdnum import iban, luhn

from gb_ray.corpus.clean.personal.edge import END, START, near

_IBAN = re.compile(rf"{START}[A-Z]{{2}}\d\d(?:[ -]?[A-Z0-9]){{11,30}}", re.IGNORECASE | re.ASCII)
_CARD = re.compile(
    rf"{START}(?:\d{{13,19}}|\d{{4}}([ -])\d{{4}}\1\d{{4}}\1\d{{1,7}}|\d{{4}}([ -])\d{{6}}\2\d{{4,5}}"
    rf"|\d{{4}}([ -])\d{{4}}\3\d{{4}}\3\d{{4}}\3\d{{3}}){END}"
)
_ISSUERS = (
    ("American Express", re.compile(r"3[47]"), {15}),
    ("Diners Club", re.compile(r"30[0-5]|3095|3[689]"), {14, 16}),
    ("JCB", re.compile(r"35(?:2[89]|[3-8])"), {16, 17, 18, 19}),
    ("Mastercard", re.compile(r"5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720"), {16}),
    ("Mir", re.compile(r"220[0-4]"), {16, 17, 18, 19}),
    ("Visa", re.compile(r"4"), {16, 19}),
    ("Discover, RuPay", re.compile(r"6011|64[4-9]|65|60|81|82|508"), {16, 19}),
    ("UnionPay", re.compile(r"62"), {16, 17, 18, 19}),
    ("Maestro", re.compile(r"5018|5020|5038|5893|6304|6759|676[1-3]"), {16, 17, 18, 19}),
    ("Troy", re.compile(r"9792"), {16}),
)
"""First digits and lengths (ISO/IEC 7812 leaves them to the issuers): https://en.wikipedia.org/wiki/Payment_card_number"""
_CARD_WORDS = re.compile(
    r"\bcards?\b|visa|tarjeta|carte|karte|cartão|carta|карта|بطاقة|कार्ड|卡|カード|카드", re.IGNORECASE
)


def find_iban(view: str) -> Iterator[tuple[int, int]]:
    """Where IBANs are: check digits and the country's own length and structure (ISO 13616)."""
    at = 0
    while match := _IBAN.search(view, at):
        at = match.start() + 1
        for end in range(match.end(), match.start() + 14, -1):
            if (end == len(view) or not _joins(view[end])) and iban.is_valid(view[match.start() : end]):
                yield match.start(), end
                at = end
                break


def find_card(view: str) -> Iterator[tuple[int, int]]:
    """Where card numbers are: Luhn's check digit (ISO/IEC 7812-1), an issuer's first digits and length."""
    for match in _CARD.finditer(view):
        digits = re.sub(r"\D", "", match.group())
        known = any(start.match(digits) and len(digits) in lengths for _, start, lengths in _ISSUERS)
        old_visa = len(digits) == 13 and digits[0] == "4" and near(view, *match.span(), _CARD_WORDS)
        if (known or old_visa) and luhn.is_valid(digits):
            yield match.span()


def _joins(character: str) -> bool:
    return character.isascii() and character.isalnum()
