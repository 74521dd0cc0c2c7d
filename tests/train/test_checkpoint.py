"""A directory is a checkpoint only when every file in it is the one its manifest names."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gb_ray.train.account import notes
from gb_ray.train.checkpoints import checkpoint
from gb_ray.train.checkpoints.checkpoint import Progress, account, lines, newest, place, prune
from gb_ray.train.checkpoints.sealed import MANIFEST, Torn, manifest, seal

KEY = "k" * 64


def progress(steps: int) -> Progress:
    return Progress(steps=steps, samples=steps * 8, tokens=steps * 80, computed=steps * 88)


def half(folder: Path, steps: int) -> Path:
    """What the workers write before the commit."""
    path = checkpoint.part(folder, steps, "a")
    (path / "state").mkdir(parents=True)
    (path / "state" / "weights.pt").write_bytes(bytes(range(256)) * steps)
    (path / "state" / "optimizer.pt").write_bytes(b"o" * 999)
    return path


def whole(folder: Path, steps: int, key: str = KEY, world: int = 2) -> Path:
    checkpoint.commit(half(folder, steps), world, progress(steps), key)
    return place(folder, steps)


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
    "a file more": lambda path: (path / "state/zero_pp_rank_9_optim_states.pt").write_bytes(b"x"),
    "a link more": lambda path: (path / "state/more.pt").symlink_to("absent"),
    "a manifest that counts otherwise": lambda path: (path / MANIFEST).write_text(
        (path / MANIFEST).read_text().replace('"tokens": ', '"tokens": 1')
    ),
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
    for steps in (1, 2, 4):
        whole(tmp_path, steps)
    half(tmp_path, 3)
    damaged = whole(tmp_path, 5)
    (damaged / MANIFEST).unlink()
    prune(tmp_path, 2)
    left = ["step-00000002", "step-00000003.a.part", "step-00000004", "step-00000005"]
    assert sorted(path.name for path in tmp_path.iterdir()) == left
    checkpoint.sweep(tmp_path)
    assert not list(tmp_path.glob("*.part"))


def test_pruning_spares_what_is_being_copied(tmp_path: Path) -> None:
    paths = [whole(tmp_path, steps) for steps in (1, 2, 3, 4)]
    prune(tmp_path, 1, spare=[paths[1]])
    assert sorted(tmp_path.iterdir()) == [paths[1], paths[3]]


def test_a_damaged_checkpoint_that_was_set_aside_is_none_and_goes_when_its_step_is_passed(tmp_path: Path) -> None:
    whole(tmp_path, 1)
    for steps in (3, 5):
        flip(whole(tmp_path, steps) / "state/weights.pt")
    said: list[str] = []
    checkpoint.set_aside(tmp_path, 1, said.append)
    assert checkpoint.reached(tmp_path) == 1
    assert said == ["kept aside, until the run is past them: step-00000005.damaged, step-00000003.damaged"]
    for steps, left in ((2, "step-00000002 step-00000003.damaged"), (3, "step-00000003"), (4, "step-00000004")):
        whole(tmp_path, steps)
        prune(tmp_path, 1)
        names = sorted(path.name for path in tmp_path.iterdir())
        assert names == [*left.split(), "step-00000005.damaged"]
    checkpoint.set_aside(tmp_path, 4, said.append)
    assert len(said) == 1


def test_pruning_removes_no_checkpoint_when_only_torn_saves_are_newer(tmp_path: Path) -> None:
    whole(tmp_path, 1)
    half(tmp_path, 2)
    prune(tmp_path, 1)
    found = newest(tmp_path, KEY)
    assert found is not None
    assert found.progress.steps == 1


def test_a_checkpoint_of_another_run_says_so(tmp_path: Path) -> None:
    path = whole(tmp_path, 1, key="other")
    with pytest.raises(Torn, match="another run"):
        checkpoint.opened(path, KEY)


def test_a_manifest_that_leads_out_of_its_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    path = half(tmp_path / "checkpoints", 1)
    with pytest.raises(Torn):
        seal(path, {}, {"../../secret": (1, "0")})
    seal(path, {})
    content = json.loads((path / MANIFEST).read_text())
    content["files"]["../../secret"] = [1, "0"]
    (path / MANIFEST).write_text(json.dumps(content))
    with pytest.raises(Torn, match="damaged"):
        manifest(path)


def test_a_commit_refuses_a_file_that_is_not_what_its_worker_wrote(tmp_path: Path) -> None:
    """As where the run's folder is not one and the same to all workers."""
    path = half(tmp_path, 3)
    for files in ({"state/absent.pt": (1, "0")}, {"state/weights.pt": (1, "0")}):
        with pytest.raises(Torn, match=r"absent|bytes"):
            checkpoint.commit(path, 2, progress(3), KEY, files)
    assert newest(tmp_path, KEY) is None


def test_a_damaged_checkpoint_gives_way_to_the_same_step_saved_again(tmp_path: Path) -> None:
    flip(whole(tmp_path, 5) / "state/weights.pt")
    assert newest(tmp_path, KEY) is None
    whole(tmp_path, 5)
    assert newest(tmp_path, KEY) is not None


def damaged(draw: random.Random, path: Path, other: Path) -> str:
    """Do one random damage to a checkpoint."""
    file = draw.choice(sorted(file for file in path.rglob("*") if file.is_file()))
    content = bytearray(file.read_bytes())
    kind = draw.choice(["bit", "cut", "missing", "extra", "swap", "zeros", "empty"])
    if kind == "bit":
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        file.write_bytes(content)
    elif kind == "cut":
        file.write_bytes(content[: draw.randrange(len(content))])
    elif kind == "missing":
        file.unlink()
    elif kind == "extra":
        (path / draw.choice([".", "state"]) / f"more-{draw.randrange(99)}").write_bytes(content)
    elif kind == "swap":
        (path / MANIFEST).write_bytes((other / MANIFEST).read_bytes())
    elif kind == "zeros":
        # What a file system may leave after a loss of power.
        start = draw.randrange(len(content))
        file.write_bytes(content[:start] + bytes(len(content) - start))
    else:
        file.write_bytes(b"")
    return f"{kind} {file.name}"


def contents(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.mark.parametrize("seed", range(6))
def test_of_random_damages_none_is_ever_loaded(seed: int, tmp_path: Path) -> None:
    """50 each: any number of the newest are damaged; the newest whole one is found, with a line for each above it."""
    draw = random.Random(seed)
    undamaged = [whole(tmp_path / "undamaged", steps) for steps in (5, 10, 15)]
    for round in range(50):
        folder = tmp_path / str(round)
        paths = [
            shutil.copytree(path, place(folder, steps)) for path, steps in zip(undamaged, (5, 10, 15), strict=True)
        ]
        count = draw.randint(1, 3)
        done = [damaged(draw, paths[-1 - k], paths[(1 - k) % 3]) for k in range(count)]
        same = [contents(path) == contents(original) for path, original in zip(paths, undamaged, strict=True)]
        said: list[str] = []
        found = newest(folder, KEY, said.append)
        expected = next((path for path, whole in zip(paths[::-1], same[::-1], strict=True) if whole), None)
        assert (found and found.path) == expected, done
        passed = paths[::-1].index(expected) if expected else 3
        assert [line.split()[1] for line in said] == [path.name for path in paths[::-1][:passed]], done
        assert all(line.count("\n") == 0 and "passed over: " in line for line in said)


def test_the_account_says_of_each_checkpoint_whether_it_is_whole_and_why_not(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    (tmp_path / "run.json").write_text(json.dumps({"key": KEY}))
    assert lines(account(tmp_path)) == ["no checkpoint yet"]
    whole(folder, 10, world=3)
    flip(whole(folder, 20) / "state/weights.pt")
    notes.say(tmp_path, "the checkpoint after step 5 was given up: no space", gave_up=5)
    notes.say(tmp_path, "the checkpoint after step 30 was given up: no space", gave_up=30)
    found = account(tmp_path)
    assert [(one["steps"], one["ok"]) for one in found] == [(30, False), (20, False), (10, True)]
    assert found[2]["world"] == 3 and found[2]["bytes"] > 256 * 10 + 999 and 0 <= found[2]["age"] < 60
    assert "damaged" in found[1]["why"] and "no space" in found[0]["why"]
    text = lines(found)
    assert "whole, of 3 workers" in text[2] and "NOT USABLE" in text[1]
