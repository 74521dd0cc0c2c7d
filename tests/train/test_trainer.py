"""What the driver says of workers that failed."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_job import small_job

from gb_ray.progress import Progress
from gb_ray.section import UserError
from gb_ray.train.loop import FAILED
from gb_ray.train.run import write_json
from gb_ray.train.trainer import TrainingFailed, _watch


def test_a_refusal_is_one_also_where_the_workers_ended_before_the_first_look(
    ray_up: str, backbone: Path, tmp_path: Path
) -> None:
    import ray

    job, progress = small_job(tmp_path, backbone), Progress()
    ended = ray.put("worker 0: gb_ray.section.UserError: train.recompute: it cannot")
    with progress.stage("train") as stage:
        with pytest.raises(TrainingFailed):
            _watch(ended, job, 1, stage, progress)
        write_json(job.run / FAILED, {"refused": "train.recompute: it cannot"})
        with pytest.raises(UserError, match=r"^train\.recompute: it cannot$"):
            _watch(ended, job, 1, stage, progress)
