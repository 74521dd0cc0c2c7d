"""Which language a text is in."""

from __future__ import annotations

import time
from collections import defaultdict

import pyarrow.parquet as pq
import pytest
from helpers import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from gb_ray.corpus.clean.language import PART, identify, sample

DATA = ROOT.parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the shared data sets are not here")

SENTENCES = {
    "en": "The council opened the new pumping station on Monday after two years of work.",
    "es": "El ayuntamiento abrió el lunes la nueva estación de bombeo tras dos años de obras.",
    "ru": "В понедельник совет открыл новую насосную станцию после двух лет работы.",
    "ar": "افتتح المجلس محطة الضخ الجديدة يوم الاثنين بعد عامين من العمل.",
    "zh": "经过两年的施工，市议会于星期一启用了新的抽水站。",
    "hi": "परिषद ने दो साल के काम के बाद सोमवार को नया पंपिंग स्टेशन खोला।",
    "sw": "Baraza lilifungua kituo kipya cha kusukuma maji siku ya Jumatatu baada ya miaka miwili ya kazi.",
    "bo": "བོད་སྐད་ནི་བོད་ཡུལ་གྱི་སྐད་ཡིག་ཡིན།",
    "yi": "דער ראַט האָט געעפֿנט די נײַע סטאַנציע מאָנטיק נאָך צוויי יאָר אַרבעט.",
}


@pytest.mark.parametrize("lang", SENTENCES)
def test_a_sentence_is_told(lang: str) -> None:
    [(found, confidence)] = identify([SENTENCES[lang]])
    assert found == lang
    assert confidence > 0.5


def test_answers_keep_the_order_of_the_texts() -> None:
    assert [found for found, _ in identify(list(SENTENCES.values()))] == list(SENTENCES)
    assert identify([]) == []


@pytest.mark.parametrize("text", ["", " \n", "123 456", "?!… ★ 🙂", "12:30 – 14:00", "\x00"])
def test_a_text_without_letters_has_no_language(text: str) -> None:
    assert identify([text]) == [("und", 0.0)]


@given(st.text(st.characters(), max_size=60))
@settings(max_examples=300)
def test_any_text_has_an_answer_that_depends_on_it_alone(text: str) -> None:
    [(language, confidence)] = identify([text])
    assert 0 <= confidence <= 1
    assert 2 <= len(language) <= 3
    assert identify(["Another text before it.", text])[1] == (language, confidence)


def test_control_characters_and_lone_surrogates_do_not_hide_a_language() -> None:
    assert identify(["The council opened\x00 the new \ud800pumping station\x07 on Monday.\ufffe"])[0][0] == "en"


@given(st.integers(0, 5000), st.integers(2, 200))
def test_of_a_long_text_a_bounded_part_of_start_middle_and_end_is_read(length: int, times: int) -> None:
    short = "ab " * (PART - 1)
    assert sample(short) == short
    long = "s" * (PART * times) + "m" * length + "e" * (PART * times)
    assert len(sample(long)) <= 3 * PART + 2
    assert sample(long).startswith("s" * PART)
    assert sample(long).endswith("e" * PART)


def test_a_text_of_megabytes_costs_what_a_page_costs() -> None:
    page, book = SENTENCES["en"] * 60, SENTENCES["en"] * 60_000
    identify([page])

    def cost(text: str) -> float:
        start = time.process_time()
        assert identify([text])[0][0] == "en"
        return time.process_time() - start

    assert min(cost(book) for _ in range(5)) < 3 * min(cost(page) for _ in range(5)) + 0.005


@needs_data
def test_over_ninety_languages_are_told_by_a_sentence() -> None:
    """Of SIB-200's 205 varieties, 12 sentences each; more are known, these are told almost always."""
    texts: dict[str, list[str]] = defaultdict(list)
    for row in pq.read_table(DATA / "sib200" / "test.parquet", columns=["lang", "text"]).to_pylist():
        if len(texts[row["lang"]]) < 12:
            texts[row["lang"]].append(row["text"])
    told = set()
    for lines in texts.values():
        found = [language for language, _ in identify(lines)]
        best = max(set(found), key=found.count)
        if found.count(best) >= 11 and best != "und":
            told.add(best)
    assert len(told) >= 110


VARIETIES = """
    amh_Ethi-am tir_Ethi-ti mya_Mymr-my khm_Khmr-km lao_Laoo-lo bod_Tibt-bo hau_Latn-ha yor_Latn-yo zul_Latn-zu
    wol_Latn-wo snd_Arab-sd pbt_Arab-ps tgk_Cyrl-tg khk_Cyrl-mn ceb_Latn-ceb gla_Latn-gd kat_Geor-ka jpn_Jpan-ja
"""


@needs_data
@pytest.mark.parametrize("pair", VARIETIES.split())
def test_languages_of_every_continent_are_told(pair: str) -> None:
    variety, expected = pair.split("-")
    table = pq.read_table(DATA / "sib200" / "validation.parquet", filters=[("lang", "=", variety)])
    found = [language for language, _ in identify(table["text"].to_pylist()[:60])]
    assert found.count(expected) / len(found) >= 0.9
