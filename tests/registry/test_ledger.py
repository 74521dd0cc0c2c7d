import json
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gb_ray.registry.entry import Move
from gb_ray.registry.ledger import Ledger, LedgerMoved
from gb_ray.section import UserError

NUMBERS = st.dictionaries(st.text(max_size=5), st.floats(allow_nan=False, allow_infinity=False), max_size=3)
MOVES = st.builds(
    Move,
    action=st.sampled_from(["promote", "rollback", "refuse"]),
    alias=st.sampled_from(["champion", "previous"]),
    version=st.integers(1, 9).map(str),
    previous_version=st.none() | st.integers(1, 9).map(str),
    weights_sha256=st.sampled_from(["a" * 64, "b" * 64]),
    evidence=NUMBERS,
)


def move(version: str = "1", action: str = "promote", **evidence: object) -> Move:
    return Move(
        action=action, alias="champion", version=version, previous_version=None, weights_sha256="a" * 64,
        evidence=evidence,
    )  # fmt: skip


def written(home: Path, moves: list[Move]) -> Ledger:
    ledger = Ledger(home, "climate")
    for each in moves:
        ledger.append(each, ledger.head())
    return ledger


@settings(max_examples=25, deadline=None)
@given(st.lists(MOVES, max_size=6))
def test_whatever_is_written_verifies_and_reads_back(moves):
    with tempfile.TemporaryDirectory() as home:
        ledger = written(Path(home), moves)
        result = ledger.verify()
        assert result.ok, result.problems
        assert (result.size, result.head) == (len(moves), ledger.head())
        assert [Move(**entry.model_dump(include=set(Move.model_fields))) for entry in ledger.entries()] == moves


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    return written(tmp_path_factory.mktemp("home"), [move(str(n), f1=n / 7, text="ö") for n in range(1, 5)])


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_changed_byte_is_detected(four, data):
    path = data.draw(st.sampled_from(sorted(four.directory.glob("*.json"))))
    content = path.read_bytes()
    place = data.draw(st.integers(0, len(content) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != content[place]))
    try:
        path.write_bytes(content[:place] + bytes([byte]) + content[place + 1 :])
        result = four.verify()
        assert not result.ok
        assert any(str(path) in problem for problem in result.problems)
    finally:
        path.write_bytes(content)
    assert four.verify().ok


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_removal_or_reordering_is_detected(four, data):
    paths = sorted(four.directory.glob("*.json"))
    contents = [path.read_bytes() for path in paths]
    left = data.draw(st.permutations(contents).flatmap(lambda order: st.integers(0, 4).map(lambda n: order[:n])))
    if left == contents:
        return
    try:
        for path in paths:
            path.unlink()
        for path, content in zip(paths, left, strict=False):
            path.write_bytes(content)
        assert not four.verify().ok
    finally:
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(content)
    assert four.verify().ok


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_missing_file_is_detected(four, number):
    path = four.directory / f"{number:08d}.json"
    content = path.read_bytes()
    path.unlink()
    try:
        assert not four.verify().ok
        with pytest.raises(UserError):
            four.append(move(), four.head())
    finally:
        path.write_bytes(content)


def test_a_missing_or_forged_head_is_detected(tmp_path):
    ledger = written(tmp_path, [move("1"), move("2")])
    head = ledger.directory / "HEAD"
    content = head.read_text()
    (ledger.directory / "00000002.json").unlink()
    head.write_text(json.dumps(json.loads(content) | {"number": 1, "hash": ledger.head()}))
    assert "HEAD: its signature is wrong" in ledger.verify().problems[0]
    head.unlink()
    assert "HEAD: missing" in ledger.verify().problems[0]


def test_a_writer_that_died_before_head_leaves_a_good_ledger(tmp_path):
    ledger = written(tmp_path, [move("1")])
    behind = (ledger.directory / "HEAD").read_bytes()
    written(tmp_path, [move("2"), move("3")])
    (ledger.directory / "HEAD").write_bytes(behind)
    assert ledger.verify().ok
    ledger.append(move("4"), ledger.head())
    assert json.loads((ledger.directory / "HEAD").read_text())["number"] == 4


def test_an_entry_of_another_ledger_or_key_is_detected(tmp_path):
    ours = written(tmp_path, [move("1")])
    other = Ledger(tmp_path, "other")
    other.append(move("1"), None)
    for file in ("00000001.json", "HEAD"):
        (ours.directory / file).write_bytes((other.directory / file).read_bytes())
    assert "belongs to the ledger of other" in ours.verify().problems[0]
    strange = written(tmp_path / "strange", [move("1")])
    for file in ("00000001.json", "HEAD"):
        (ours.directory / file).write_bytes((strange.directory / file).read_bytes())
    assert "another key" in ours.verify().problems[0]


def test_a_lost_key_is_not_replaced(tmp_path):
    ledger = written(tmp_path, [move("1")])
    for path in (ledger.key.private_path, ledger.key.public_path):
        path.unlink()
    assert not ledger.verify().ok
    with pytest.raises(UserError, match=r"ledger\.pub"):
        ledger.append(move("2"), ledger.head())
    with pytest.raises(UserError, match="key is missing"):
        Ledger(tmp_path, "another").append(move("1"), None)


def test_the_private_key_is_its_owners_alone(tmp_path):
    ledger = written(tmp_path, [move("1")])
    assert ledger.key.private_path.stat().st_mode & 0o777 == 0o600
    ledger.key.private_path.chmod(0o644)
    with pytest.raises(UserError, match="chmod 600"):
        ledger.append(move("2"), ledger.head())


def test_only_the_expected_head_is_followed(tmp_path):
    ledger = Ledger(tmp_path, "climate")
    first = ledger.append(move("1"), None)
    for stale in (None, "0" * 64):
        with pytest.raises(LedgerMoved):
            ledger.append(move("2"), stale)
    assert ledger.head() == first.hash


def _race(home: Path, worker: int) -> list[tuple[str | None, int]]:
    ledger = Ledger(home, "climate")
    won: list[tuple[str | None, int]] = []
    while len(ledger.entries()) < 12:
        head = ledger.head()
        try:
            ledger.append(move(str(worker + 1)), head)
            won.append((head, worker))
        except LedgerMoved:
            pass
    return won


def test_of_racing_writers_exactly_one_wins_each_head(tmp_path):
    with ProcessPoolExecutor(4, mp_context=get_context("fork")) as pool:
        results = pool.map(_race, [tmp_path] * 4, range(4))
        wins = [win for result in results for win in result]
    ledger = Ledger(tmp_path, "climate")
    assert ledger.verify().ok
    entries = ledger.entries()
    followed = {head: str(worker + 1) for head, worker in wins}
    assert len(followed) == len(wins) == len(entries) >= 12
    assert all(followed[entry.previous_hash] == entry.version for entry in entries)
    assert not list(ledger.directory.glob(".new-*"))


def test_current_and_standing(tmp_path):
    ledger = written(tmp_path, [move("1"), move("2"), move("3", "refuse"), move("4"), move("2", "rollback")])
    assert ledger.current("champion").version == "2"
    assert [entry.version for entry in ledger.standing("champion")] == ["1", "2"]
    assert ledger.current("previous") is None


def test_evidence_must_be_finite_and_names_safe(tmp_path):
    with pytest.raises(ValueError):
        Ledger(tmp_path, "climate").append(move(f1=float("nan")), None)
    assert Ledger(tmp_path, "climate").verify().size == 0
    with pytest.raises(UserError, match="model name"):
        Ledger(tmp_path, "../climate")
