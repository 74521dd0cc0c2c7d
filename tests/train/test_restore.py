"""A run goes on from the newest checkpoint that is whole, and what is damaged stands in nobody's way."""

from __future__ import annotations

from pathlib import Path

import processes
from small_job import small_job

from gb_ray.train.account import notes
from gb_ray.train.checkpoints import checkpoint
from gb_ray.train.checkpoints.checkpoint import Progress, place
from gb_ray.train.checkpoints.restore import restore
from gb_ray.train.job import Job


def saved(job: Job, steps: int) -> None:
    """One more checkpoint of a run that keeps one."""
    folder = job.run / "checkpoints"
    path = checkpoint.part(folder, steps, "a")
    (path / "state").mkdir(parents=True)
    (path / "state" / "weights.pt").write_bytes(b"w" * steps)
    checkpoint.commit(path, 1, Progress(steps, steps, steps, steps), job.key)
    checkpoint.prune(folder, 1)


def restored_after_each_save(job: Job) -> list[int]:
    """The steps after which a run goes on: at first, and when it has saved again and again."""
    reached = []
    for steps in (50, 100, 150):
        found = restore(job)
        reached.append(found.progress.steps if found else 0)
        saved(job, steps)
    return reached


def test_saves_after_a_damaged_checkpoint_stay_and_it_is_kept_until_the_run_has_passed_it(
    tmp_path: Path, backbone: Path
) -> None:
    job = small_job(tmp_path, backbone)
    saved(job, 150)
    folder = job.run / "checkpoints"
    (place(folder, 150) / "state" / "weights.pt").write_bytes(b"x" * 150)
    assert processes.run(1, restored_after_each_save, job) == [[0, 50, 100]]
    assert [path.name for path in folder.iterdir()] == ["step-00000150"]
    lines = [note["text"] for note in notes.all_of(job.run)]
    assert lines[1:] == ["kept aside, until the run is past them: step-00000150.damaged"]
    assert lines[0].startswith("checkpoint step-00000150 is passed over: ")
