"""A build that is refused, killed, or out of disk leaves nothing that passes for a corpus, and the next one goes on."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from builds import PLAIN, jsonl, left_out, plan_of, row, tree

from gb_ray.corpus.build import build
from gb_ray.corpus.catalogue import catalogue
from gb_ray.corpus.catalogue.check import check
from gb_ray.corpus.corpus import Corpus
from gb_ray.progress import Progress
from gb_ray.section import UserError


@pytest.mark.parametrize(
    ("rows", "keys", "said"),
    [
        ([*PLAIN[:9], row(None, "water")], {}, r"10.0% of 10 rows were quarantined \(1 x text is null\)"),
        (PLAIN[:6], {"splits": {"validation": 0.0, "test": 0.9}}, "no row is left to train on"),
        (PLAIN[::3], {}, "every row has the label 'energy'"),
    ],
)
def test_a_build_that_fails_says_why_and_leaves_nothing_that_passes_for_a_corpus(
    ray_up: str, rows: list[Any], keys: dict[str, Any], said: str, backbone: Path, tmp_path: Path
) -> None:
    plan = plan_of(backbone, [{"uri": str(jsonl(tmp_path / "rows.jsonl", rows))}], **keys)
    with pytest.raises(UserError, match=said):
        build(plan, tmp_path, Progress())
    assert list(tmp_path.rglob("manifest.json")) == []
    (left,) = (tmp_path / "corpora").glob("*.failed")
    assert {path.suffix for path in (tmp_path / "corpora").iterdir()} == {".failed", ".parts"}
    assert len(left_out(left)) == rows.count(row(None, "water"))


BUILD = """
import json, sys
from pathlib import Path
from gb_ray import machine
from gb_ray.corpus.build import build
from gb_ray.corpus.plan import prepare
from gb_ray.corpus.section import CorpusSection
from gb_ray.progress import Progress
from gb_ray.tasks.section import SequenceClassificationSection
from gb_ray.tasks.task import make
address, uri, backbone, home = sys.argv[1:]
section = CorpusSection(
    sources=[{"uri": uri}], lanes=4, shard_rows=16, window_shards=2, splits={"by": "stratified"}
)
task = make(SequenceClassificationSection(type="sequence-classification"), backbone, 16)
with machine.ray_up(address):
    build(prepare("nasty", "topic", section, task, Path(backbone)), Path(home), Progress())
"""


def start_a_build(head: dict[str, str], uri: str, backbone: Path, home: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", BUILD, head["address"], uri, str(backbone), str(home)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def wait_for(when: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Until `when` says so or the process ends."""
    deadline = time.monotonic() + 60
    while not when() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(15)


def kill_a_build(head: dict[str, str], uri: str, backbone: Path, home: Path, when: Callable[[], bool]) -> None:
    """Start a build and kill it with SIGKILL as soon as `when` says so, or let it end."""
    process = start_a_build(head, uri, backbone, home)
    wait_for(when, process)
    kill(process)


def test_a_second_build_of_the_same_name_waits_while_one_runs(
    head: dict[str, str], plain: Corpus, backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They share what was read: the end of one would remove what the other is at. A finished corpus opens as ever."""
    home, lock = tmp_path / "home", tmp_path / "home/corpora/nasty.parts/lock"
    few, some = (
        plan_of(backbone, [{"uri": str(jsonl(tmp_path / f"{count}.jsonl", PLAIN[:count]))}]) for count in (30, 60)
    )
    finished = build(few, home, Progress())
    node = lock.stat().st_ino
    process = start_a_build(head, plain.manifest.sources[0].uri, backbone, home)
    wait_for(lambda: bool(list(home.glob("corpora/*.building"))), process)
    os.kill(process.pid, signal.SIGSTOP)  # so that it is at work until it is killed
    with ThreadPoolExecutor(1) as pool:
        try:
            second = pool.submit(build, some, home, Progress())
            with pytest.raises(TimeoutError):
                second.result(2)
            assert f"corpus nasty: process {process.pid} builds one of this name; waiting" in capsys.readouterr().err
            assert build(few, home, Progress()).manifest == finished.manifest
        finally:
            kill(process)
        assert second.result(60).manifest.funnel.samples == 60
    assert len(list(lock.parent.iterdir())) == 2  # what was read of the 60 rows, and the lock
    assert lock.stat().st_ino == node
    assert {entry["state"] for entry in catalogue.entries(home)} == {"corpus", "parts", "unfinished"}


def test_a_build_that_is_killed_leaves_no_corpus_and_the_next_one_goes_on(
    head: dict[str, str], plain: Corpus, backbone: Path, tmp_path: Path
) -> None:
    uri, home = plain.manifest.sources[0].uri, tmp_path / "home"
    kill_a_build(head, uri, backbone, home, lambda: bool(list(home.glob("corpora/*.building/bucket-*/result.json"))))
    plan = plan_of(backbone, [{"uri": uri}])
    assert not plan.path(home).exists()
    with pytest.raises(UserError, match="no corpus"):
        Corpus.find(home, plain.manifest.digest)
    assert build(plan, home, Progress()).manifest.digest == plain.manifest.digest
    assert not list(home.glob("corpora/*.building"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_stops_a_build_and_leaves_the_corpus_that_was_there(
    ray_up: str, backbone: Path, tmp_path: Path, small_disk: Path
) -> None:
    few = build(plan_of(backbone, [{"uri": str(jsonl(tmp_path / "few.jsonl", PLAIN[:30]))}]), small_disk, Progress())
    many = [row(f"{'x' * 1000} {i}", "water" if i % 2 else "health") for i in range(3000)]
    plan = plan_of(backbone, [{"uri": str(jsonl(tmp_path / "many.jsonl", many))}])
    with pytest.raises(UserError, match=r"the disk is full: .*; free some space"):
        build(plan, small_disk, Progress())
    assert not plan.path(small_disk).exists()
    assert check(Corpus.open(few.path)) == []


@pytest.mark.chaos
def test_twenty_builds_killed_at_random_moments_all_end_in_the_same_bytes(
    head: dict[str, str], ray_up: str, plain: Corpus, backbone: Path, tmp_path: Path
) -> None:
    uri = plain.manifest.sources[0].uri
    began = time.monotonic()
    kill_a_build(head, uri, backbone, tmp_path / "undisturbed", lambda: False)
    whole = time.monotonic() - began
    for number in range(20):
        home = tmp_path / str(number)
        after = time.monotonic() + random.uniform(0.3, 1) * whole
        kill_a_build(head, uri, backbone, home, lambda after=after: time.monotonic() > after)
        found = build(plan_of(backbone, [{"uri": uri}]), home, Progress())
        assert found.manifest.digest == plain.manifest.digest
        assert check(found) == []
        assert tree(found.path) == tree(plain.path)
