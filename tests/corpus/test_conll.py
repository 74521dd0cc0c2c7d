"""CoNLL: sentences, their tags as IOB2, and what spoils one of them."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from format_files import put, read
from helpers import ROOT
from hypothesis import given
from hypothesis import strategies as st

from gb_ray.corpus.sources.formats.conll import iob2

SHARED = ROOT.parent / "shared" / "data"


CONLL = b"""# sent_id = 1
# newpar
EU NNP B-NP I-ORG
rejects VBZ B-VP O

-DOCSTART- -X- -X- O

# . O O
1 CD O I-MISC
2 CD O B-MISC


a\xc2\xa0b NN O O
short O

bad NN O PERSON
\xff NN O O

\xff NN O O

word NN O PERSON

last NN O S-LOC"""


def test_conll_sentences_documents_comments_and_faults(tmp_path: Path) -> None:
    assert read(put(tmp_path, "x.conll", CONLL)) == [
        (0, {"tokens": ["EU", "rejects"], "tags": ["B-ORG", "O"]}),
        (1, {"tokens": ["#", "1", "2"], "tags": ["O", "B-MISC", "B-MISC"]}),
        (2, "a line has another number of columns"),
        (3, "not UTF-8"),
        (4, "not UTF-8"),
        (5, "a tag is not IOB"),
        (6, {"tokens": ["last"], "tags": ["B-LOC"]}),
    ]


def test_conll_a_first_sentence_that_is_spoilt_does_not_decide_on_the_columns(tmp_path: Path) -> None:
    found = read(put(tmp_path, "x.iob2", "\ufeffa X O\nb O\n\nc O\nd O\n\ne O\n"))
    assert [row if isinstance(row, str) else row["tokens"] for _, row in found] == [
        "a line has another number of columns",
        ["c", "d"],
        ["e"],
    ]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("I-A I-A B-A I-A O I-B I-A", "B-A I-A B-A I-A O B-B B-A"),  # IOB1
        ("B-A I-A B-A O B-B I-B", "B-A I-A B-A O B-B I-B"),  # IOB2
        ("S-A B-A I-A E-A E-B S-B I-B", "B-A B-A I-A I-A B-B B-B B-B"),  # IOBES
        ("B-creative-work I-creative-work", "B-creative-work I-creative-work"),
    ],
)
def test_tags_become_iob2(given: str, expected: str) -> None:
    assert iob2(given.split()) == expected.split()


SPANS = st.lists(st.tuples(st.sampled_from(["O", "PER", "LOC"]), st.integers(1, 4)), max_size=8)


@given(SPANS)
def test_every_scheme_gives_the_same_entities(spans: list[tuple[str, int]]) -> None:
    schemes: dict[str, list[str]] = {"iob1": [], "iob2": [], "iobes": []}
    last = "O"
    for kind, length in spans:
        if kind == "O":
            for tags in schemes.values():
                tags += ["O"] * length
        else:
            inner = [f"I-{kind}"] * (length - 1)
            schemes["iob1"] += [f"{'B' if kind == last else 'I'}-{kind}", *inner]
            schemes["iob2"] += [f"B-{kind}", *inner]
            schemes["iobes"] += [f"S-{kind}"] if length == 1 else [f"B-{kind}", *inner[1:], f"E-{kind}"]
        last = kind
    for name, tags in schemes.items():
        assert iob2(tags) == schemes["iob2"], name


def test_real_sentences_with_entities_survive_conll(tmp_path: Path) -> None:
    if not SHARED.is_dir():
        pytest.skip("the shared real data is not there")
    expected = pq.read_table(SHARED / "uner" / "test.parquet").to_pylist()[:4000]
    sentences = ["\n".join(f"{t}\t{n}" for t, n in zip(r["tokens"], r["ner"], strict=True)) for r in expected]
    found = read(put(tmp_path, "x.iob2", "\n\n".join(sentences)))
    assert [row for _, row in found] == [{"tokens": r["tokens"], "tags": iob2(r["ner"])} for r in expected]
