"""Runs of one recipe have directories of their own, whatever became of those before."""

from __future__ import annotations

import shutil
from pathlib import Path

from gb_ray.train.run import adopt, create, find

KEY = "0" * 64


def test_a_run_is_numbered_after_the_newest_of_its_key(tmp_path: Path) -> None:
    assert [create(tmp_path, "topics", KEY).path.name for _ in range(2)] == [
        "topics-00000000-0001",
        "topics-00000000-0002",
    ]
    assert create(tmp_path, "topics", "1" * 64).path.name == "topics-11111111-0001"


def test_after_an_old_run_was_removed_there_are_new_ones(tmp_path: Path) -> None:
    old, newer = create(tmp_path, "topics", KEY), create(tmp_path, "topics", KEY)
    shutil.rmtree(old.path)
    newest = create(tmp_path, "topics", KEY)
    assert newest.path.name > newer.path.name
    found = find(tmp_path, "topics", KEY, finished=False)
    assert found and found.path == newest.path
    made = create(tmp_path / "elsewhere", "trial", KEY)
    assert adopt(tmp_path, "topics", KEY, made.path).path.name == "topics-00000000-0004"
