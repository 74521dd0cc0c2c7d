"""Repair of texts: what other programs did to characters is undone, and nothing a language needs is touched."""

from __future__ import annotations

import unicodedata

import ftfy
import pyarrow.parquet as pq
import pytest
from ftfy.chardata import CHARMAP_ENCODINGS
from helpers import ROOT
from hypothesis import example, given
from hypothesis import strategies as st

from gb_ray.corpus.clean.unicode import repair

DATA = ROOT.parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the shared data sets are not here")
ODD = "\u200b\ufeff\u2060\xad\u200e\u202e\x85\x1b&;#Ã©â€™Â \r\n\x00\ud800กក\u0301é<"


@given(st.text() | st.text(st.sampled_from(ODD), max_size=12))
@example("Ã\ufeff©")
@example("&amp;amp;lt;")
@example("ก\u200b\ufeff\u200bก")
def test_a_repaired_text_stays_as_it_is(text: str) -> None:
    assert repair(repair(text)) == repair(text)


@given(st.text())
def test_what_is_repaired_is_nfc_with_no_control_characters_but_what_marks_a_row_as_no_text(text: str) -> None:
    done = repair(text)
    assert unicodedata.is_normalized("NFC", done)
    assert {one for one in done if unicodedata.category(one) == "Cc"} <= {"\t", "\n", "\x00"}


@pytest.mark.parametrize(
    ("broken", "right"),
    [
        ("voilÃ\xa0 l'Ã©tÃ©", "voilà l'été"),
        ("donâ€™t", "don’t"),
        ("ÐŸÑ€Ð¸Ð²ÐµÑ‚", "Привет"),
        ("РџСЂРёРІРµС‚", "Привет"),
        ("à¤¨à¤®à¤¸à¥\x8dà¤¤à¥‡", "नमस्ते"),
        ("l\x92eau", "l’eau"),
        ("Fish &amp; chips &#8211; &quot;hot&quot;", 'Fish & chips – "hot"'),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\ufefftrans\xadport\u2060 soft\u200bly", "transport softly"),
        ("one\r\ntwo\rthree\u2028four\x0bfive", "one\ntwo\nthree\nfour\nfive"),
        ("e\u0301", "é"),
        ("left\u200e \u202aright\u202c", "left right"),
    ],
)
def test_what_a_program_did_is_undone(broken: str, right: str) -> None:
    assert repair(broken) == right


@pytest.mark.parametrize(
    "text",
    [
        "Â zo a fouti â yé na yâ ti dunia",  # Sango: Â is a word
        "می\u200cخواهم",  # Persian: the non-joiner parts a prefix
        "क्\u200dष",
        "👩\u200d🔬 ❤\ufe0f",
        "ភាសា\u200bខ្មែរ",  # Khmer: the space of no width parts words
        "שלום \u200fABC\u200e!",
        "“curly” ‘quotes’ ﬁ ＡＢＣ…",
        "Рівність і її дії; «ЕЗІЇ» у США» — так",
        "À l’État, ÇA VA ? « Éé »",
        "a &lt;b&gt; c < d",
        "AT&T; R&D",
        "\x00 marks a row that is no text",
        "\udcff\ud800",
    ],
)
def test_what_a_language_needs_stays(text: str) -> None:
    assert repair(text) == text


@needs_data
def test_no_declaration_of_human_rights_is_harmed() -> None:
    """In 380 languages only three texts are changed beyond NFC: Windows' quotes, read as control characters."""
    rows = pq.read_table(DATA / "udhr" / "udhr.parquet").to_pylist()
    texts = {row["lang"]: unicodedata.normalize("NFC", row["text"]) for row in rows}
    changed = {lang for lang, text in texts.items() if repair(text) != text}
    assert changed == {"kea", "kng_AO", "sco"}
    for lang in changed:
        windows = texts[lang].replace("\x91", "‘").replace("\x92", "’")
        assert repair(texts[lang]) == windows


@needs_data
def test_only_damaged_sentences_of_200_languages_change() -> None:
    signs = set("\u200b\u200e\u202a\u202c\u2060\xad&Âƒ‚ÃÄâ") | {chr(code) for code in range(0x80, 0xA0)}
    table = pq.read_table(DATA / "sib200" / "test.parquet", columns=["lang", "text"])
    changed = 0
    for text in table["text"].to_pylist()[::2]:
        text = unicodedata.normalize("NFC", text)
        if repair(text) != text:
            changed += 1
            assert signs & set(text), text
    assert changed < len(table) / 2 / 100


@needs_data
@pytest.mark.parametrize("encoding", CHARMAP_ENCODINGS)
def test_mojibake_of_real_texts_is_undone(encoding: str) -> None:
    """ftfy cannot tell all of them (Cyrillic on Cyrillic least), but none that it can is passed over."""
    table = pq.read_table(DATA / "ntrex128" / "ntrex128.parquet").slice(40, 6).drop_columns(["doc_id", "mya"])
    lines = [repair(line.strip()) for column in table.to_pydict().values() for line in column]
    tried = right = 0
    for line in lines:
        try:
            broken = line.encode().decode(encoding)
        except UnicodeDecodeError:
            continue
        if broken != line:
            tried += 1
            right += repair(broken) == line
            if ftfy.fix_encoding(broken) != broken:
                assert repair(broken) != broken
    assert tried > 50
    assert right / tried > (0.5 if encoding.endswith("1251") else 0.7)
