"""Personal data: what is masked and what stays, in many languages, in any text, and how often real text is touched."""

from __future__ import annotations

import pickle
import re
import time
from collections import Counter
from collections.abc import Callable
from functools import cache

import pyarrow.parquet as pq
import pytest
from helpers import ROOT
from hypothesis import example, given
from hypothesis import strategies as st
from personal_cases import KINDS, Case, Found, cases, score

from gb_ray.corpus.clean.personal.ascii import to_ascii
from gb_ray.corpus.clean.personal.masker import Masker
from gb_ray.section import UserError

DATA = ROOT.parent / "shared" / "data"
MASKER = Masker()
PLACEHOLDER = re.compile("<(" + "|".join(KINDS.values()) + ")>")
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"the real texts are not there: {DATA}")


def find(text: str) -> Found:
    """(kind, the exact string) of each mask, told from the masked text alone."""
    parts = PLACEHOLDER.split(MASKER.mask(text)[0])
    pattern = "(.+?)".join(re.escape(part) for part in parts[::2])
    match = re.fullmatch(pattern, text, re.DOTALL)
    assert match, "the text around the masks changed"
    return tuple(zip(parts[1::2], match.groups(), strict=True))


def clean_cases() -> list[Case]:
    """Without the one that holds placeholders already: `find` could not tell them from new ones."""
    return [case for case in cases() if not PLACEHOLDER.search(case.text)]


@cache
def texts(path: str, count: int) -> list[str]:
    return pq.read_table(DATA / path, columns=["text"])["text"].to_pylist()[:count]


def test_the_cases_are_many_and_about_half_are_lookalikes() -> None:
    made = cases()
    assert len(made) >= 320
    assert len({case.text for case in made}) == len(made)
    assert 0.4 < sum(not case.found for case in made) / len(made) < 0.6
    assert len({case.language for case in made if case.found}) >= 8


@pytest.mark.parametrize("half", ["all", "seen", "held out"])
def test_masks_are_right_and_complete(half: str) -> None:
    chosen = [case for case in clean_cases() if half == "all" or case.held_out == (half == "held out")]
    scores = score(chosen, find)
    low = 0.97 if half == "all" else 0.95
    assert min(scores.all.precision, scores.all.recall) >= low
    assert set(scores.kinds) == set(KINDS.values())
    assert {kind: one for kind, one in scores.kinds.items() if min(one.precision, one.recall) < 0.9} == {}


def test_the_counter_counts_the_placeholders() -> None:
    for case in clean_cases():
        masked, counts = MASKER.mask(case.text)
        assert counts == Counter(PLACEHOLDER.findall(masked))


def test_masking_a_masked_text_changes_nothing() -> None:
    for case in cases():
        masked, _ = MASKER.mask(case.text)
        again, counts = MASKER.mask(masked)
        assert (again, counts) == (masked, Counter())


def test_a_number_that_a_mask_brings_near_its_word_is_masked_in_the_same_call() -> None:
    text = "SSN: of the holder of DE02 9818 4882 4554 7406 98 it is 536-22-8145."
    assert MASKER.mask(text)[0] == "SSN: of the holder of <IBAN> it is <NATIONAL_ID>."


def test_a_national_telephone_number_needs_its_region() -> None:
    text = "Phone: 0412 345 678"
    assert Masker(("AU",)).mask(text) == ("Phone: <PHONE>", Counter(PHONE=1))
    assert Masker(("JP",)).mask(text)[0] is text
    assert Masker(()).mask("Phone: +61 412 345 678")[0] == "Phone: <PHONE>"


def test_an_unknown_region_is_refused_by_name() -> None:
    with pytest.raises(UserError, match="'UK' is no region"):
        Masker(("FR", "UK"))


def test_a_masker_travels_to_workers() -> None:
    assert len(pickle.dumps(MASKER)) < 1000
    assert pickle.loads(pickle.dumps(MASKER)) == MASKER


CANDIDATES = [string for case in cases() for _, string in case.found]
PIECES = st.one_of(
    st.text(max_size=12), st.sampled_from(CANDIDATES), st.sampled_from([" ", "\n", "tel. ", "SSN ", "<"])
)


@given(st.lists(PIECES, max_size=8).map("".join))
@example("a@b.co@b.co")
@example("SSN 536-22-8145<IBAN>536-22-8145")
@example("\ud800 +1 415 555 0132 \U0001f600")
def test_any_text_is_masked_once_and_for_all(text: str) -> None:
    masked, counts = MASKER.mask(text)
    assert MASKER.mask(masked) == (masked, Counter())
    assert (masked is text) == (not counts)
    assert Counter(PLACEHOLDER.findall(masked)) - Counter(PLACEHOLDER.findall(text)) == counts


@given(st.text(st.characters(exclude_categories=["Nd", "Cs"], exclude_characters="@＠")))
def test_a_text_without_digits_and_at_signs_comes_back_as_it_is(text: str) -> None:
    assert MASKER.mask(text)[0] is text


SURE = ["ana@example.com", "DE02 9818 4882 4554 7406 98", "4111 1111 1111 1111", "+1 415 555 0132", "MSGPDG77B15H677H"]


@given(st.text(max_size=100), st.sampled_from(SURE), st.text(max_size=100))
def test_what_is_around_stays_to_the_letter(before: str, sure: str, after: str) -> None:
    """Letters of any script and signs outside the BMP do not shift the places."""
    before, after = (re.sub(r"[\d@＠]", "", side) for side in (before, after))
    masked, counts = MASKER.mask(f"{before}\n{sure}\n{after}")
    assert masked == f"{before}\n<{''.join(counts)}>\n{after}"
    assert counts.total() == 1


@given(st.text())
def test_ascii_forms_keep_the_length(text: str) -> None:
    assert len(to_ascii(text)) == len(text)


HOSTILE: dict[str, Callable[[int], str]] = {
    "one number": lambda n: "1" * n,
    "a table": lambda n: "12 " * (n // 3),
    "at signs": lambda n: "a@" * (n // 2),
    "domains": lambda n: "x@" + "a." * (n // 2),
    "brackets": lambda n: "(1 " * (n // 3),
    "plus signs": lambda n: "+1" * (n // 2),
    "symbols": lambda n: "A/" * (n // 2) + "12345678",
    "hex": lambda n: "2a:" * (n // 3),
    "cards": lambda n: "4111111111111111 " * (n // 17),
    "addresses": lambda n: "ana@example.com, " * (n // 17),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_time_grows_with_the_text_and_not_faster(name: str) -> None:
    """Ten times the text takes about ten times as long; a hundred times would be quadratic."""

    def seconds(length: int) -> float:
        start = time.process_time()
        MASKER.mask(HOSTILE[name](length))
        return time.process_time() - start

    short, long = (min(seconds(length) for _ in range(3)) for length in (3_000, 30_000))
    assert long < 40 * short + 0.05


@needs_data
@pytest.mark.parametrize(
    ("path", "count"), [("un_general_debate/ungd_2005_2024.parquet", 600), ("sib200/test.parquet", 42_000)]
)
def test_speeches_and_sentences_of_205_languages_stay(path: str, count: int) -> None:
    counts = sum((MASKER.mask(text)[1] for text in texts(path, count)), Counter[str]())
    assert counts.total() <= 1


@needs_data
@pytest.mark.parametrize(
    ("row", "written", "kind"),
    [
        (165, r"(?<!\w)0800\s?555\s?111(?!\d)", "PHONE"),
        (446, r"(?<!\w)859-292-3680", "PHONE"),
        (1874, r"jo@samaritans\.org", "EMAIL"),
    ],
)
def test_what_128_translations_say_is_found_in_each(row: int, written: str, kind: str) -> None:
    """The same sentence in 128 languages, few of which have a word in the rules."""
    table = pq.read_table(DATA / "ntrex128" / "ntrex128.parquet").slice(row, 1).to_pylist()[0]
    sentences = [text for text in table.values() if isinstance(text, str) and re.search(written, to_ascii(text))]
    found = [MASKER.mask(text)[1][kind] == 1 for text in sentences]
    assert len(sentences) > 110
    assert sum(found) / len(found) >= 0.97
