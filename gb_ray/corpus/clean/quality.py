"""Quality of a text by rules that need no model and treat all scripts alike.

The rules come from three papers, whose limits were set on English web pages:
Gopher: Rae et al. 2021, arXiv:2112.11446, appendix A.1.1; C4: Raffel et al. 2020, arXiv:1910.10683, section 2.2;
FineWeb: Penedo et al. 2024, arXiv:2406.17557, section 3.6.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from gb_ray.corpus.section import Quality

Ints = NDArray[np.int64]

SHORT, SHORT_FOR_RUNS = 50, 200
"""Characters. What is shorter is judged as if it had so many, the rest of them faultless."""


def problem(text: str, limits: Quality) -> str | None:
    """Why a text is of too low quality, None if it is not; the first of the rules it breaks, cheap ones first.

    One of: too many digits, too many symbols, too few letters, repeated lines, short lines, boilerplate,
    words too short, words too long, repeated phrase, repeated passages.
    """
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    kinds = _kinds()[codes]
    counts: list[int] = np.bincount(kinds, minlength=len(_KINDS)).tolist()
    total = len(text) - counts[_SPACE]
    if total == 0:
        return None if limits.min_letters is None else "too few letters"
    return (
        _of_characters(counts, total, limits)
        or _of_lines(text, limits)
        or _of_boilerplate(text, limits)
        or (
            _of_units(codes[kinds != _SPACE], counts, limits)
            if _without_blanks(counts)
            else _of_words(text, total, limits)
        )
    )


def _over(share: float, limit: float | None) -> bool:
    return limit is not None and share > limit


def _of_characters(counts: list[int], total: int, limits: Quality) -> str | None:
    total = max(total, SHORT)
    if _over(counts[_DIGIT] / total, limits.max_digits):
        return "too many digits"
    if _over(counts[_SYMBOL] / total, limits.max_symbols):
        return "too many symbols"
    if limits.min_letters is not None:
        others = counts[_DIGIT] + counts[_SYMBOL] + counts[_MARK]
        if others / total > 1 - limits.min_letters:
            return "too few letters"
    return None


def _of_lines(text: str, limits: Quality) -> str | None:
    lines = _filled(text.split("\n"))
    if len(lines) > 1 and _over(1 - sum(map(len, set(lines))) / sum(map(len, lines)), limits.max_repeated_lines):
        return "repeated lines"
    if limits.max_short_lines is None:
        return None
    if any(bar in text for bar in _BARS):
        lines = _filled(_LINE_OR_BAR.split(text))
    if len(lines) >= 5:
        short = [line for line in lines if len(line) < 30 and unicodedata.category(line[-1])[0] != "P"]
        if len(short) / len(lines) > limits.max_short_lines:
            return "short lines"
    return None


def _filled(lines: list[str]) -> list[str]:
    return [line for line in map(str.strip, lines) if line]


def _of_boilerplate(text: str, limits: Quality) -> str | None:
    if limits.max_boilerplate is None:
        return None
    lower = text.lower()
    if "lorem ipsum" in lower:
        return "boilerplate"
    if not any(term in lower for term in (_TERMS[:2] if text.isascii() else _TERMS)):
        return None
    sentences = _SENTENCE_END.split(lower)
    bad = sum(len(one) for one in sentences if any(term in one for term in _TERMS) and _CONTEXT.search(one))
    return "boilerplate" if bad / sum(map(len, sentences)) > limits.max_boilerplate else None


def _without_blanks(counts: list[int]) -> bool:
    return counts[_IDEOGRAPH] + counts[_UNSPACED] > counts[_LETTER]


def _of_units(codes: NDArray[np.uint32], counts: list[int], limits: Quality) -> str | None:
    stride = 3 if counts[_IDEOGRAPH] > counts[_UNSPACED] else 6
    places = len(codes) - stride + 1
    if places < 2:
        return None
    units = np.zeros(places, np.int64)
    for i in range(stride):
        units = units * _MULTIPLIER + codes[i : i + places]
    return _of_runs(units, np.arange(len(codes) + 1), stride, limits)


def _of_words(text: str, total: int, limits: Quality) -> str | None:
    words = text.replace("፡", " ").split()
    mean = total / len(words)
    if limits.min_word is not None and mean < limits.min_word and total >= SHORT:
        return "words too short"
    if _over(mean, limits.max_word) and total >= 2 * SHORT:
        return "words too long"
    if len(words) < 200 and len(set(pairwise(words))) > len(words) - 3:
        return None  # a pair of words must come again twice for either rule
    lengths = np.fromiter(map(len, words), np.int64, len(words))
    units = np.fromiter(map(hash, words), np.int64, len(words))
    return _of_runs(units, np.concatenate(([0], np.cumsum(lengths))), 1, limits)


def _of_runs(units: Ints, offsets: Ints, stride: int, limits: Quality) -> str | None:
    """The rules on runs of n words.

    `units[i]` is the word that starts at place i, int64 [places - stride + 1]; the next one starts at i + stride;
    `offsets` are the characters before each place, int64 [places + 1].

    A run of n + 1 words can come twice only where the runs of n words at its two ends do, so each length looks only
    at what the one before left.
    """
    total = max(int(offsets[-1]), SHORT_FOR_RUNS)
    starts, classes = np.arange(len(units)), units
    for n in range(2, 11):
        ends = np.searchsorted(starts, starts + stride)
        ends[ends == len(starts)] = 0
        whole = (starts[ends] == starts + stride).nonzero()[0]
        if len(whole) < 2:
            return None
        starts, keys = starts[whole], classes[whole] * _MULTIPLIER + classes[ends[whole]]
        order = keys.argsort(kind="stable")  # of equal runs the first in the text comes first
        first = np.ones(len(order) + 1, bool)  # one more, the end
        first[1:-1] = keys[order[1:]] != keys[order[:-1]]
        edges = first.nonzero()[0]
        sizes = edges[1:] - edges[:-1]
        if sizes.max() == 1:
            return None
        if n <= 4 and limits.max_top_ngrams is not None:
            begins = starts[order[edges[:-1][sizes >= 3]]]
            taken = sizes[sizes >= 3] * (offsets[begins + n * stride] - offsets[begins])
            if taken.max(initial=0) / total > limits.max_top_ngrams[n - 2]:
                return "repeated phrase"
        if n >= 5 and limits.max_repeated_ngrams is not None:
            again = np.sort(starts[order[~first[:-1]]])
            if _covered(again, n * stride, offsets) / total > limits.max_repeated_ngrams[n - 5]:
                return "repeated passages"
        classes = np.empty_like(starts)
        classes[order] = first[:-1].cumsum()
        twice = np.sort(order[np.repeat(sizes > 1, sizes)])
        starts, classes = starts[twice], classes[twice]
    return None


def _covered(starts: Ints, places: int, offsets: Ints) -> int:
    """The characters in the runs of so many places from each of the ascending starts; overlaps count once."""
    ends = starts + places
    begins = np.maximum(starts, np.concatenate(([0], ends[:-1])))
    return int((offsets[ends] - offsets[begins]).sum())


_KINDS = _LETTER, _UNSPACED, _IDEOGRAPH, _DIGIT, _SPACE, _MARK, _SYMBOL = range(7)
_WITHOUT_BLANKS = {
    _UNSPACED: (
        (0x0E00, 0x0FFF),  # Thai, Lao, Tibetan
        (0x1000, 0x109F),  # Burmese
        (0x1780, 0x17FF),  # Khmer
        (0x1950, 0x19DF),  # Tai Le, New Tai Lue
        (0x1A20, 0x1AAF),  # Tai Tham
        (0x1B00, 0x1B7F),  # Balinese
        (0xA980, 0xA9FF),  # Javanese, Burmese
        (0xAA60, 0xAADF),  # Burmese, Tai Viet
    ),
    _IDEOGRAPH: ((0x3005, 0x30FF), (0x3400, 0x9FFF), (0xA000, 0xA48F), (0xF900, 0xFAFF), (0x20000, 0x323AF)),
}
_KIND_OF = {"L": _LETTER, "M": _LETTER, "N": _DIGIT, "Z": _SPACE, "P": _MARK, "S": _SYMBOL, "C": _SYMBOL}
_OTHER_KIND = {
    _SPACE: "\t\n\v\f\r\x1c\x1d\x1e\x1f\x85\u0f0b\u1361",  # what str.split takes, and the word marks of two scripts
    _SYMBOL: "#…|{}[]=_/\\*@&%",
    _MARK: "<>\u200b\u200c\u200d\u200e\u200f",
}
_MULTIPLIER = np.int64(-7046029254386353131)  # odd, its bits spread: the 64-bit golden ratio
_BARS = "|•·›>"
_LINE_OR_BAR = re.compile(rf"\n|\s[{_BARS}]\s")
_SENTENCE_END = re.compile(r"[\n.!?。！？।]+")
_TERMS = ("javascript", "cookie", "куки", "クッキー", "쿠키", "कुकी", "تعريف الارتباط", "کوکی", "çerez")
_CONTEXT = re.compile(
    "accept|agree|consent|enable|disabled|browser|website|our site|akzept|zustimm|aktivier"
    "|webs(?:ei)?te|navigateur|ce site|désactiv|acept|habilit|navegador|aceit|ative|accett"
    "|abilit|соглас|включ|браузер|сайт|启用|浏览器|同意|接受|啟用|瀏覽器|ブラウザ|有効|サイト|사용|동의|브라우저|تفعيل"
    "|المتصفح|موافق|الموقع|सहमत|ब्राउज़र|सक्षम|वेबसाइट|kabul|tarayıcı|etkinleştir|site(?:miz"
    "|si)|zgod|zgadza|przeglądar|włącz|setuju|peramban|aktifkan|situs|đồng ý|trình duyệt"
    "|trang web|toestemming|schakel|godkänn|webbläsare|aktivera|tovuti|kivinjari|سایت|مرورگر"
)


@cache
def _kinds() -> NDArray[np.uint8]:
    """The kind of each code point: uint8 [0x110000]. Planes from 2 on are letters: what is in them is ideographs."""
    kinds = np.zeros(sys.maxunicode + 1, np.uint8)
    kinds[:0x20000] = [_KIND_OF[unicodedata.category(chr(code))[0]] for code in range(0x20000)]
    for kind, spans in _WITHOUT_BLANKS.items():
        for start, end in spans:
            part = kinds[start : end + 1]
            part[part == _LETTER] = kind
    for kind, characters in _OTHER_KIND.items():
        kinds[[ord(character) for character in characters]] = kind
    return kinds
