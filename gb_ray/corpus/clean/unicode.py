"""Unicode of a text as it comes: mojibake undone, unseen characters out, NFC.

Mojibake is UTF-8 that was read as a one-byte encoding ("sÃ³" for "só"). ftfy undoes it well and at 3 MB/s, so it is
given only lines that show bytes of UTF-8 in one of the ten encodings it knows.
"""

from __future__ import annotations

import re
import unicodedata

import ftfy
from ftfy.chardata import CHARMAP_ENCODINGS

_FIXES = ftfy.TextFixerConfig(
    unescape_html=False,  # done for the whole text, not for each line
    fix_latin_ligatures=False,
    fix_character_width=False,
    uncurl_quotes=False,
    fix_line_breaks=False,
    fix_surrogates=False,
    remove_control_chars=False,
    normalization=None,
    explain=False,
)


def repair(text: str) -> str:
    """The text with what other programs did to its characters undone; `repair(repair(t)) == repair(t)`.

    - Mojibake, HTML entities (in text that holds no `<`) and escape codes of terminals: decoded, or dropped.
    - Control characters: those that end lines become a line feed, tab stays, the others go. NUL and lone surrogates
      stay, since the row that has them is no text and `clean_text` refuses it.
    - Byte order marks, soft hyphens, word joiners and object placeholders go. So do zero-width spaces, but not between
      letters of Thai, Lao, Burmese, Khmer, Tai Tham, Javanese or Balinese: they part words there.
    - Marks of direction stay in a text with letters of a right-to-left script and go from any other.
    - Zero-width joiners, variation selectors, ligatures, quotes and wide forms stay.
    - NFC (Unicode Standard Annex 15).
    """
    while (repaired := _repair_once(text)) != text:
        text = repaired
    return text


def _repair_once(text: str) -> str:
    if "&" in text and "<" not in text:
        text = ftfy.fixes.unescape_html(text)
    if "\x1b" in text:
        text = ftfy.fixes.remove_terminal_escapes(text)
    if not text.isascii() and _MOJIBAKE.search(text):
        text = "\n".join(_decode(line) if _MOJIBAKE.search(line) else line for line in text.split("\n"))
    if _UNSEEN.search(text):
        text = _drop_unseen(text)
    return unicodedata.normalize("NFC", text)


def _decode(line: str) -> str:
    return ftfy.fix_text_segment(line, _FIXES)


def _drop_unseen(text: str) -> str:
    text = _LINE_ENDS.sub("\n", text)
    text = _ZERO_WIDTH.sub(r"\1", text)
    if not _RIGHT_TO_LEFT.search(text):
        text = _DIRECTION.sub("", text)
    return _INVISIBLE.sub("", text)


def _mojibake_pattern() -> re.Pattern[str]:
    """Matches wherever UTF-8 read in one of ftfy's encodings shows a whole character, and at C1 controls.

    Bytes that read as Cyrillic letters or as marks of punctuation are common neighbours in clean text too. They count
    only when one of the later bytes reads as a rare sign, or when two characters of UTF-8 follow each other. "Â " alone
    (a no-break space, once decoded wrongly and once made a blank) is left: in Sango and Sicilian it is a word.
    """
    pair = "[«»…–—“”‘’\xa0‹›\u0400-\u04ff][^‚†‡€‰•™¤¦§©¬\xad®°±µ¶·№]"
    start, end = "[\u0400-\u04ff][\u0450-\u045f’]", "[\u0450-\u045f«»“”’\xa0]"
    kinds = []
    for encoding in CHARMAP_ENCODINGS:
        two, three, four = (
            f"[{_characters([encoding], *span)}]" for span in ((0xC2, 0xE0), (0xE0, 0xF0), (0xF0, 0xF5))
        )
        later = f"[{_characters([encoding], 0x80, 0xC0)}]"
        kinds += [
            f"(?<=(?!{pair}){two}{later})",
            f"(?<={two}{later}){two}{later}",
            f"(?<=(?!{start}){three}{later}){later}",
            f"(?<={three}{later})(?!{end}){later}",
            f"(?<={three}{later}){later}{three}{later}{later}",
            f"(?<={four}{later}){later}{later}",
        ]
    # A class in front, and no alternative to it, makes re skip over clean text; the kinds look back at what it took.
    first, second = _characters(CHARMAP_ENCODINGS, 0xC2, 0xF5), _characters(CHARMAP_ENCODINGS, 0x80, 0xC0)
    return re.compile(f"[{first}\x80-\x9f](?:(?<=[\x80-\x9f])|[{second}](?:{'|'.join(kinds)}))")


def _characters(encodings: list[str], start: int, stop: int) -> str:
    """What the bytes from start to stop - 1 stand for in any of the encodings, escaped for a class."""
    found = {character for encoding in encodings for character in bytes(range(start, stop)).decode(encoding, "ignore")}
    return re.escape("".join(sorted(found)))


_MOJIBAKE = _mojibake_pattern()
_UNSEEN = re.compile(  # any character that one of the patterns below takes
    "[\x01-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060\u2066-\u2069\ufeff\ufff9-\ufffc\ufffe\uffff]"
)
_LINE_ENDS = re.compile("\r\n|[\x0b-\x0d\x1c-\x1f\x85\u2028\u2029]")
_NO_BLANKS = "[\u0e01-\u0eff\u1000-\u109f\u1780-\u17ff\u1a20-\u1aaf\u1b00-\u1b7f\ua980-\ua9df\uaa60-\uaa7f]"
_ZERO_WIDTH = re.compile(f"(?<={_NO_BLANKS})(\u200b)\u200b*(?={_NO_BLANKS})|\u200b")
_DIRECTION = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_RIGHT_TO_LEFT = re.compile("[\u05d0-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]")
_INVISIBLE = re.compile("[\x01-\x08\x0e-\x1b\x7f-\x9f\xad\u2060\ufeff\ufff9-\ufffc\ufffe\uffff]")
