"""Telephone numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumber, PhoneNumberFormat

from gb_ray.corpus.clean.personal.edge import END, START, named, shorter

_GAP = r"(?:[ .\-/]{0,2}| ?\( ?| ?\)[ \-/]{0,2})"
_RUN = re.compile(rf"{START}(?<![#$€£¥₹])(?<![^A-Za-z]-)(?:\+ ?)?(?:\( ?)?\+?\d(?:{_GAP}\d){{6,17}}{END}")
_THOUSANDS = re.compile(r"[1-9]\d?(?:[ .]\d{3}){2,}\Z")
_GROUPS = re.compile(r"\d+")
_BETWEEN = re.compile(r"(?<=\d)[ .\-]+(?=\d)")
_AFTER = re.compile(r"[ (]{0,3}")
_WORDS = re.compile(
    r"\b(?:tele)?phones?\b|\btel\b|\btelf\b|\bmobile\b|\bcell\b|\bfax\b|\bwhatsapp\b|\bsms\b|\bhotline\b"
    r"|\bteléfono|\btelefon|\btelefax|\bm[óo]vil\b|\bcelular|\btéléphone|\btél\b|\bportable\b"
    r"|\bhandy\b|\bmobil\b|\brufnummer|\bdurchwahl|\btelemóvel|\bcellulare|\bmobiel|\bkomórk"
    r"|\bsimu\b|\btelepon|\bponsel\b|điện thoại|τηλέφων|\bτηλ\b|тэлефон|טלפון|تلفن|فون|ቴሌፎን|ስልክ"
    r"|ফোন|মোবাইল|ఫోన్|தொலைபேசி|โทร|տելեֆոն|հեռախոս|ტელეფონ|ဖုန်း"
    r"|телефон|\bтел\b|моб|звон|电话|手机|拨打|致电|電話|携帯|전화|휴대|연락"
    r"|هاتف|الهاتف|جوال|موبايل|محمول|اتصل|फ़ोन|फोन|मोबाइल|दूरभाष|कॉल",
    re.IGNORECASE,
)
_VERBS = re.compile(
    r"\b(?:call|ring|dial|text|reach|ll[aá]m[ae](?:me|nos|r)?|marque|appele[rz]|joignable|joindre|ligue|ligar"
    r"|chiam[aei]|rufen sie|bel|ring|zadzwoń|ara|cep|piga|hubungi)"
    r"(?: (?:me|us|him|her|them|now|on|at|al|a|le|au|para|o|il|naar|do)){0,2}[ :]{1,2}\Z",
    re.IGNORECASE,
)
"""These have other meanings (to call upon somebody): they count directly before a number only."""


def find(view: str, regions: tuple[str, ...]) -> Iterator[tuple[int, int]]:
    """Where telephone numbers are: valid (https://github.com/google/libphonenumber) and written or named as one.

    The international form needs no more. A national one of the regions needs a word like "tel." beside it, or to be
    written just as its country writes it, with signs that an amount does not have.
    """
    worded = _WORDS.search(view) is not None  # most texts with numbers have no such word: asked once, not for each
    for match in _RUN.finditer(view):
        yield from islice(_places(view, *match.span(), regions, worded), 1)


def _places(view: str, start: int, end: int, regions: tuple[str, ...], worded: bool) -> Iterator[tuple[int, int]]:
    """The parts of a run that are numbers, the likeliest first."""
    for first in _starts(view, start, end):
        called = (worded and named(view, first, _WORDS)) or _VERBS.search(view, max(0, first - 24), first) is not None
        for last in shorter(view, first, end):
            is_named = called or (worded and _is_named_after(view, last))
            if _is_phone(view[first:last], regions, is_named, whole=last == end):
                yield first, last


def _starts(view: str, start: int, end: int) -> Iterator[int]:
    """Where a number may start in a run: at its beginning, or at a bracket after a postal code."""
    run = view[start:end]
    if run.count("(") > run.count(")"):  # it opens before the number and closes behind it
        start += len(run) - len(run.lstrip("( "))
    yield start
    yield from (at for at in range(start + 1, end) if view[at] == "(")


def _is_phone(written: str, regions: tuple[str, ...], is_named: bool, whole: bool) -> bool:
    if not written.count("(") == written.count(")") <= 1:
        return False
    groups = _GROUPS.findall(written)
    if "+" in written:
        return _parse(written, None) is not None
    if sum(map(len, groups)) < 8 or _THOUSANDS.match(written):
        return False
    if written.startswith("00"):
        return (is_named or len(groups) > 1) and _parse("+" + written[2:], None) is not None
    if not is_named and not (whole and _signed(written, groups)):
        return False
    numbers = filter(None, (_parse(written, region) for region in regions))
    loose = is_named and whole and _is_even(written, groups)
    return any(loose or groups == _national_groups(number) for number in numbers)


def _is_named_after(view: str, end: int) -> bool:
    after = _AFTER.match(view, end)
    return after is not None and _WORDS.match(view, after.end()) is not None


def _is_even(written: str, groups: list[str]) -> bool:
    """Whether one sign separates all its parts after the area code, as people write when they do not write as usual."""
    return len(groups[-1]) > 1 and len(set(_BETWEEN.findall(written))) <= 1


def _signed(written: str, groups: list[str]) -> bool:
    """Whether it has what numbers of telephones have and amounts and codes have not."""
    return len(groups) > 1 and (
        "(" in written or written[0] == "0" or len(groups) == 3 == len(re.findall("[-.]", written)) + 1
    )


def _national_groups(number: PhoneNumber) -> list[str]:
    return _GROUPS.findall(phonenumbers.format_number(number, PhoneNumberFormat.NATIONAL))


def _parse(written: str, region: str | None) -> PhoneNumber | None:
    try:
        number = phonenumbers.parse(written, region)
    except NumberParseException:
        return None
    return number if phonenumbers.is_valid_number(number) else None
