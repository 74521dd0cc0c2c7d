"""Personal data in a text is replaced by placeholders that say its kind.

One pass of one regular expression finds the places where anything could be: an @, or digits close together. The exact
recognisers see only windows around those, so a text without them costs that pass alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import phonenumbers

from gb_ray.corpus.clean.personal import email, lookalike, national, network, payment, phone
from gb_ray.corpus.clean.personal.ascii import to_ascii
from gb_ray.section import UserError

REGIONS = (
    *("US", "GB", "AU", "IN", "ZA", "NG", "KE", "FR", "DE", "NL", "SE", "PL", "IT", "ES", "PT"),
    *("MX", "BR", "RU", "TR", "SA", "EG", "CN", "JP", "KR", "ID"),
)
"""Whose national telephone numbers are known unless the caller says otherwise (ISO 3166-1 alpha-2)."""

Span = tuple[int, int]
_GAP = r"[ \-.()/\u00a0\u2009\u202f\u2010-\u2015\u2212（）－\u3000]{0,3}"
_YEAR = r"(?:1[5-9]|20)\d\d"
_ANCHOR = re.compile(
    rf"""[@＠]
    | \d (?: (?! (?:(?<=1)[5-9]|(?<=2)0)\d\d\ ?[-/–—]\ ?{_YEAR}(?![\d\-]) )   # not 1967-1973
           (?! \d{{0,3}}\ \({_YEAR}\) )                                         # nor 1325 (2000)
           (?: {_GAP}\d ){{7,}}                                                   # but eight digits close together,
         | (?: [ \-]?\d ){{5,6}} [ \-]? [A-Z]\b                                   # or six and a letter,
         | \d{{5}}[\-+A-Y]\d{{3}}                                                  # or a Finnish number,
         | \d{{5}}[HMX][A-Z]                                                      # or a Mexican one,
         | \d?[A-EHLMPRST][\dL-V]{{2}}[A-Z]                                        # or an Italian one,
         | \d{{6}}[A-W][ABHWTX]\b                                                 # or an Irish one,
         | \d{{0,2}}\.\d{{1,3}}\.\d{{1,3}}\.\d                                     # or an IPv4 address,
         | [\da-f]{{3}}:[\da-f]{{0,4}}: )                                           # or an IPv6 address
    """,
    re.VERBOSE | re.IGNORECASE,
)
_BEFORE, _AFTER = 48, 32
_TOKEN = re.compile(r"[!-~]*")


@dataclass(frozen=True)
class Masker:
    """Masks personal data; see `mask`. Raises UserError for a region that has no telephone numbers."""

    regions: tuple[str, ...] = REGIONS

    def __post_init__(self) -> None:
        for region in self.regions:
            if region not in phonenumbers.SUPPORTED_REGIONS:
                raise UserError(
                    f"regions: {region!r} is no region; expected ISO 3166-1 codes of two capitals, like 'KE'"
                )

    def mask(self, text: str) -> tuple[str, Counter[str]]:
        """The text with personal data replaced, and how many of each kind were.

        Kinds: EMAIL, PHONE, CARD, IBAN, NATIONAL_ID, IP; each is replaced by <KIND>. Where there is none the text comes
        back as the same object. Masking a masked text changes nothing. Never raises.
        """
        counts: Counter[str] = Counter()
        # A mask is shorter than what it replaces: words that tell what a number is may come near another one.
        while spans := self._spans(text):
            counts.update(kind for _, _, kind in spans)
            text = _replace(text, [(start, end, f"<{kind}>") for start, end, kind in spans])
        return text, counts

    def _spans(self, text: str) -> list[tuple[int, int, str]]:
        return [
            (start + first, start + last, kind)
            for start, end in _windows(text)
            for first, last, kind in self._recognise(to_ascii(text[start:end]))
        ]

    def _recognise(self, view: str) -> list[tuple[int, int, str]]:
        """(start, end, kind) of what is found in a window; what one recogniser took the next does not see."""
        recognisers: list[tuple[str, Callable[[str], Iterator[Span]]]] = [
            ("EMAIL", email.find),
            ("IP", network.find),
            ("", lookalike.find),
            ("IBAN", payment.find_iban),
            ("CARD", payment.find_card),
            ("NATIONAL_ID", national.find),
            ("PHONE", lambda view: phone.find(view, self.regions)),
        ]
        found = []
        for kind, find in recognisers:
            spans = [(start, end, kind) for start, end in _apart(find(view))]
            if spans:
                view = _replace(view, [(start, end, "\0" * (end - start)) for start, end, _ in spans])
                found += spans
        return sorted(span for span in found if span[2])


def _windows(text: str) -> Iterator[Span]:
    """The parts of a text that can hold personal data, in order, apart from each other, cut between words."""
    start = end = 0
    for anchor in _ANCHOR.finditer(text):
        if anchor.end() <= end - _AFTER:
            continue
        first = _word_start(text, max(0, anchor.start() - _BEFORE), end)
        if first > end or end == 0:
            if end:
                yield start, end
            start = first
        end = _word_end(text, anchor.end() + _AFTER)
    if end:
        yield start, end


def _word_start(text: str, at: int, least: int) -> int:
    while at > least and "!" <= text[at - 1] <= "~":
        at -= 1
    return at


def _word_end(text: str, at: int) -> int:
    match = _TOKEN.match(text, min(at, len(text)))
    return match.end() if match else at


def _apart(spans: Iterable[Span]) -> Iterator[Span]:
    """In order, without those that overlap an earlier or longer one: two countries may know the same number."""
    done = 0
    for start, end in sorted(spans, key=lambda span: (span[0], -span[1])):
        if start >= done:
            yield start, end
            done = end


def _replace(text: str, spans: list[tuple[int, int, str]]) -> str:
    """The text with (start, end, what comes there instead) done, in order."""
    pieces = []
    done = 0
    for start, end, instead in spans:
        pieces += [text[done:start], instead]
        done = end
    return "".join([*pieces, text[done:]])
