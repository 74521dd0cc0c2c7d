"""A directory is a checkpoint only when every file in it is the one its manifest names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gb_ray.train import checkpoint
from gb_ray.train.checkpoint import MANIFEST, Progress, newest, place, prune

KEY = "k" * 64


def progress(steps: int) -> Progress:
    return Progress(steps=steps, samples=steps * 8, tokens=steps * 80, computed=steps * 88)


def half(folder: Path, steps: int) -> Path:
    """What the workers write before the commit."""
    path = place(folder, steps)
    (path / "state").mkdir(parents=True)
    (path / "state" / "weights.pt").write_bytes(bytes(range(256)) * steps)
    (path / "state" / "optimizer.pt").write_bytes(b"o" * 999)
    return path


def whole(folder: Path, steps: int, key: str = KEY, world: int = 2) -> Path:
    path = half(folder, steps)
    checkpoint.commit(path, world, progress(steps), key)
    return path


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def edit(**changes: Any) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        manifest = json.loads((path / MANIFEST).read_text()) | changes
        (path / MANIFEST).write_text(json.dumps(manifest))

    return apply


TEARS: dict[str, Callable[[Path], Any]] = {
    "a file is missing": lambda path: (path / "state/optimizer.pt").unlink(),
    "one bit differs": lambda path: flip(path / "state/weights.pt"),
    "a file is truncated": lambda path: (path / "state/weights.pt").write_bytes(b"\x00\x01"),
    "a file is empty": lambda path: (path / "state/optimizer.pt").write_bytes(b""),
    "a file grew": lambda path: (path / "state/optimizer.pt").write_bytes(b"o" * 1000),
    "a file became a folder": lambda path: (
        (path / "state/optimizer.pt").unlink(),
        (path / "state/optimizer.pt").mkdir(),
    ),
    "no manifest": lambda path: (path / MANIFEST).unlink(),
    "half a manifest": lambda path: (path / MANIFEST).write_text((path / MANIFEST).read_text()[:80]),
    "an empty manifest": lambda path: (path / MANIFEST).write_text(""),
    "a manifest of bytes": lambda path: (path / MANIFEST).write_bytes(b"\xff\x00\xfe"),
    "a manifest that is a list": lambda path: (path / MANIFEST).write_text("[1]"),
    "files that are no mapping": edit(files=[1]),
    "a progress that is none": edit(progress={"steps": 1}),
    "another run's key": edit(key="other"),
}


def test_what_was_committed_is_found_with_its_progress(tmp_path: Path) -> None:
    path = whole(tmp_path, 5, world=3)
    found = newest(tmp_path, KEY)
    assert found is not None
    assert (found.path, found.world, found.progress) == (path, 3, progress(5))


@pytest.mark.parametrize("tear", TEARS.values(), ids=TEARS.keys())
def test_a_torn_checkpoint_is_never_found_and_the_newest_whole_one_is(
    tear: Callable[[Path], Any], tmp_path: Path
) -> None:
    whole(tmp_path, 5)
    expected = whole(tmp_path, 10)
    torn = whole(tmp_path, 15)
    tear(torn)
    found = newest(tmp_path, KEY)
    assert found is not None
    assert found.path == expected
    tear(expected)
    tear(place(tmp_path, 5))
    assert newest(tmp_path, KEY) is None


def test_a_save_that_was_cut_short_before_its_commit_is_not_found(tmp_path: Path) -> None:
    half(tmp_path, 5)
    assert newest(tmp_path, KEY) is None


def test_there_is_nothing_to_find_in_an_empty_or_absent_folder(tmp_path: Path) -> None:
    assert newest(tmp_path, KEY) is None
    assert newest(tmp_path / "absent", KEY) is None


def test_the_newest_is_the_one_with_most_steps_whenever_it_was_written(tmp_path: Path) -> None:
    for steps in (100, 9, 20):
        whole(tmp_path, steps)
    found = newest(tmp_path, KEY)
    assert found is not None
    assert found.progress.steps == 100


def test_pruning_keeps_the_newest_and_only_them(tmp_path: Path) -> None:
    for steps in (1, 2, 3, 10):
        whole(tmp_path, steps)
    prune(tmp_path, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000003", "step-00000010"]


def test_pruning_fewer_than_are_kept_removes_nothing(tmp_path: Path) -> None:
    whole(tmp_path, 1)
    prune(tmp_path, 2)
    assert newest(tmp_path, KEY) is not None


def test_pruning_counts_checkpoints_not_what_was_cut_short(tmp_path: Path) -> None:
    """A save that was cut short must not push a whole one out."""
    whole(tmp_path, 1)
    whole(tmp_path, 2)
    half(tmp_path, 3)
    whole(tmp_path, 4)
    half(tmp_path, 5)
    prune(tmp_path, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000002", "step-00000004", "step-00000005"]


def test_pruning_removes_no_checkpoint_when_only_torn_saves_are_newer(tmp_path: Path) -> None:
    whole(tmp_path, 1)
    half(tmp_path, 2)
    prune(tmp_path, 1)
    found = newest(tmp_path, KEY)
    assert found is not None
    assert found.progress.steps == 1
