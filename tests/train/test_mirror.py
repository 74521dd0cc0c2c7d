"""Checkpoints outlive the machine: what the mirror has is whole or not there, and what it gives is verified."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import processes
import pytest
from s3_store import serve
from small_job import small_job

from gb_ray.corpus.sources import remote
from gb_ray.corpus.sources.remote import Unreachable
from gb_ray.train.account import notes
from gb_ray.train.checkpoints import checkpoint
from gb_ray.train.checkpoints import mirror as mirror_of
from gb_ray.train.checkpoints.checkpoint import Progress, newest, place
from gb_ray.train.checkpoints.mirror import Mirror, Store, fetch
from gb_ray.train.checkpoints.sealed import MANIFEST
from gb_ray.train.job import Job
from gb_ray.train.loop import train
from gb_ray.train.orders import ask
from gb_ray.train.run import read_json

KEY = "k" * 64
RUN = "run-0000"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that does not answer is given up after 5 tries, without the 12 s of waiting between them."""
    monkeypatch.setattr(remote, "PAUSES", (0.01,) * 4)


@pytest.fixture(params=["folder", "s3"])
def mirror(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """An address, and the folder in which what is sent there can be seen."""
    (tmp_path / "stores" / "bucket").mkdir(parents=True)
    seen = tmp_path / "stores" / "bucket" / "mirror" / RUN
    if request.param == "folder":
        yield str(seen.parent), seen
    else:
        with serve(tmp_path / "stores") as server:
            yield server.uri("bucket/mirror"), seen


def whole(run: Path, steps: int, best: int | None = None) -> Path:
    folder = run / "checkpoints"
    path = checkpoint.part(folder, steps, "a")
    (path / "state").mkdir(parents=True)
    (path / "state" / "weights.pt").write_bytes(bytes(range(256)) * 100 * steps)
    (path / "state" / "optimizer.pt").write_bytes(b"o" * 999)
    checkpoint.commit(path, 2, Progress(steps, steps, steps, steps, best), KEY)
    return place(folder, steps)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def job(tmp_path: Path, backbone: Path) -> Job:
    return small_job(tmp_path / "job", backbone)


def test_what_was_copied_comes_back_as_it_was_to_a_machine_that_has_nothing(
    mirror: tuple[str, Path], job: Job, tmp_path: Path
) -> None:
    address, seen = mirror
    copies = Mirror(address, job, keep=2)
    for steps in (10, 20, 30):
        path = whole(job.run, steps)
        copies.copy(path)
        copies.close()
    assert sorted({name.split("/")[0] for name in contents(seen)}) == ["step-00000020", "step-00000030"]
    assert contents(seen / path.name) == contents(path)
    fresh = tmp_path / "elsewhere" / RUN
    (fresh / "checkpoints").mkdir(parents=True)
    said: list[str] = []
    fetch(address, fresh, KEY, 0, said.append)
    found = newest(fresh / "checkpoints", KEY)
    assert found and found.progress.steps == 30 and len(said) == 1 and "fetched" in said[0]
    assert contents(found.path) == contents(path)
    assert [path.name for path in (fresh / "checkpoints").iterdir()] == ["step-00000030"]
    assert notes.all_of(job.run) == []


def test_the_best_checkpoint_stays_in_the_mirror_and_gives_way_to_none(job: Job, tmp_path: Path) -> None:
    copies = Mirror(str(tmp_path / "mirror"), job, keep=1)
    best = whole(job.run, 10, best=10)
    with copies._changed:  # nothing is taken while all of them come
        for path in (best, whole(job.run, 20, best=10), whole(job.run, 30, best=10)):
            copies.copy(path, best)
        assert copies.copying == [best, path]
    copies.close()
    store = Store.at(str(tmp_path / "mirror"), RUN)
    assert store.steps() == [30, 10]
    copies.copy(newer := whole(job.run, 40, best=40), newer)
    copies.close()
    assert store.steps() == [40]


def test_a_copy_that_takes_long_gives_signs_of_life_as_long_as_bytes_go_out(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror_of, "CHUNK", 100)
    monkeypatch.setattr(mirror_of, "LOOK_S", 0.01)
    signs: list[float] = []
    copies = Mirror(str(tmp_path / "mirror"), job, keep=1)
    copies.copy(whole(job.run, 400))
    copies.close(lambda: signs.append(time.monotonic()))
    assert len(signs) > 1
    monkeypatch.setattr(Store, "put", lambda *_: time.sleep(0.1))
    copies.copy(whole(job.run, 500))
    copies.close(lambda: pytest.fail("nothing is sent"))


def test_a_damaged_copy_in_the_mirror_pushes_no_whole_one_out(job: Job, tmp_path: Path) -> None:
    copies = Mirror(str(tmp_path / "mirror"), job, keep=1)
    store = Store.at(str(tmp_path / "mirror"), job.run.name)
    for steps, there in ((30, [30]), (10, [30, 10]), (20, [30, 20]), (30, [30])):
        copies.copy(whole(job.run, steps))
        copies.close()
        assert store.steps() == there
        (tmp_path / "mirror" / job.run.name / "step-00000030" / "state" / "weights.pt").write_bytes(b"w")


def test_nothing_is_fetched_that_is_not_newer(mirror: tuple[str, Path], job: Job, tmp_path: Path) -> None:
    Store.at(mirror[0], RUN).put(whole(job.run, 10))
    fresh = tmp_path / RUN
    fetch(mirror[0], fresh, KEY, 10, lambda line: None)
    assert not fresh.exists()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut": lambda path: (path / "state/weights.pt").write_bytes(b"w" * 100),
    "missing": lambda path: (path / "state/weights.pt").unlink(),
    "manifest": lambda path: (path / MANIFEST).write_text("{}"),
    "renamed": lambda path: path.rename(path.with_name("step-00000040")),
}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_in_the_mirror_is_passed_over_with_a_line(
    damage: str, mirror: tuple[str, Path], job: Job, tmp_path: Path
) -> None:
    address, seen = mirror
    for steps in (10, 20):
        Store.at(address, RUN).put(whole(job.run, steps))
    DAMAGES[damage](seen / "step-00000020")
    fresh, said = tmp_path / RUN, list[str]()
    fetch(address, fresh, KEY, 0, said.append)
    found = newest(fresh / "checkpoints", KEY)
    assert found and found.progress.steps == 10
    assert len(said) == 2 and "passed over" in said[0]


def test_another_runs_checkpoints_are_not_taken(mirror: tuple[str, Path], job: Job, tmp_path: Path) -> None:
    Store.at(mirror[0], RUN).put(whole(job.run, 10))
    said: list[str] = []
    fetch(mirror[0], tmp_path / RUN, "other", 0, said.append)
    assert newest(tmp_path / RUN / "checkpoints", "other") is None and "another run" in said[0]


def test_a_copy_that_is_cut_short_is_none(mirror: tuple[str, Path], job: Job) -> None:
    address, seen = mirror
    path = whole(job.run, 10)
    (path / "state" / "weights.pt").unlink()
    copies = Mirror(address, job, keep=2)
    copies.copy(path)
    copies.close()
    assert Store.at(address, RUN).steps() == [] and not list(seen.glob(f"*/{MANIFEST}"))
    assert "was not copied" in notes.all_of(job.run)[0]["text"]


@pytest.mark.usefixtures("quick")
def test_a_store_that_fails_ends_nothing_and_gets_the_next_one(job: Job, tmp_path: Path) -> None:
    (tmp_path / "stores" / "bucket").mkdir(parents=True)
    with serve(tmp_path / "stores") as server:
        copies = Mirror(server.uri("bucket"), job, keep=2)
        server.faults.errors = 2  # the tries of one file get over them
        copies.copy(whole(job.run, 10))
        copies.close()
        server.faults.always_error = True
        copies.copy(whole(job.run, 20))
        copies.close()
        server.faults.always_error = False
        copies.copy(whole(job.run, 30))
        copies.close()
        assert Store.at(server.uri("bucket"), job.run.name).steps() == [30, 10]
    (note,) = notes.all_of(job.run)
    assert "step-00000020 was not copied to the mirror" in note["text"] and "\n" not in note["text"]


@pytest.mark.usefixtures("quick")
def test_a_mirror_that_does_not_answer_is_no_reason_to_begin_again(tmp_path: Path) -> None:
    """With a checkpoint here the run goes on from it; with none it must not start over without a word."""
    (tmp_path / "stores" / "bucket").mkdir(parents=True)
    with serve(tmp_path / "stores") as server:
        server.faults.always_error = True
        said: list[str] = []
        fetch(server.uri("bucket"), tmp_path / RUN, KEY, 10, said.append)
        assert len(said) == 1 and "not asked" in said[0]
        with pytest.raises(Unreachable):
            fetch(server.uri("bucket"), tmp_path / RUN, KEY, 0, said.append)


def test_a_run_on_a_fresh_machine_goes_on_from_the_mirror(backbone: Path, tmp_path: Path) -> None:
    (tmp_path / "stores" / "bucket").mkdir(parents=True)
    with serve(tmp_path / "stores") as server:
        section = {"every": 4, "keep": 2, "mirror": server.uri("bucket/mirror")}
        job = small_job(tmp_path / "job", backbone, checkpoint=section)
        processes.run(2, train, job)
        expected = read_json(job.run / "result.json")
        shutil.rmtree(job.run)
        job.run.mkdir()
        processes.run(2, train, job)
    assert "step 12 was fetched from the mirror" in notes.all_of(job.run)[0]["text"]
    assert len((job.run / "metrics.jsonl").read_text().splitlines()) == 4
    assert read_json(job.run / "result.json")["weights_sha256"] == expected["weights_sha256"]


def trains_with_a_slow_mirror(job: Job) -> list[int]:
    """The steps of the checkpoints that the mirror has when a run has ended, and its process may."""
    put = Store.put

    def slowly(self: Store, path: Path, sent: Callable[[], None]) -> None:
        time.sleep(1)
        put(self, path, sent)

    Store.put = slowly  # type: ignore[method-assign]
    train(job)
    return Store.at(str(job.recipe.train.checkpoint.mirror), job.run.name).steps()


def test_a_run_that_was_asked_to_stop_ends_when_its_last_checkpoint_is_in_the_mirror(
    backbone: Path, tmp_path: Path
) -> None:
    section = {"every": 100, "keep": 2, "mirror": str(tmp_path / "mirror")}
    job = small_job(tmp_path / "job", backbone, checkpoint=section)
    ask(job.run, "stop")
    assert processes.run(1, trains_with_a_slow_mirror, job) == [[1]]
    assert read_json(job.run / "stopped.json")["steps"] == 1
