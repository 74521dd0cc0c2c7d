"""Which checkpoint a run goes on from."""

from __future__ import annotations

import shutil
from contextlib import suppress

import torch.distributed as dist

from gb_ray.files import sha256
from gb_ray.train.account import notes
from gb_ray.train.checkpoints import checkpoint, mirror
from gb_ray.train.checkpoints.checkpoint import Checkpoint
from gb_ray.train.checkpoints.sealed import MANIFEST, Torn, seal, verify
from gb_ray.train.job import Job
from gb_ray.train.sharded import reshape


def restore(job: Job) -> Checkpoint | None:
    """The newest checkpoint that verifies, here or in the mirror, ready for this number of workers.

    Rank 0 looks and verifies, everyone takes its word; every worker calls it.
    """
    holder = [_found(job) if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(holder, src=0)
    return holder[0]


def restore_step(job: Job, steps: int) -> Checkpoint:
    """The checkpoint after so many steps, ready for this number of workers. Every worker calls it. Raises Torn."""
    holder: list[Checkpoint | Torn] = []
    if dist.get_rank() == 0:
        try:
            found = checkpoint.opened(checkpoint.place(job.run / "checkpoints", steps), job.key)
            if found.world != dist.get_world_size():
                _reshape(found)
            holder = [found]
        except Torn as why:
            holder = [Torn(f"its checkpoint cannot be used: {why}")]
    holder = holder or [Torn()]
    dist.broadcast_object_list(holder, src=0)
    if isinstance(holder[0], Torn):
        raise holder[0]
    return holder[0]


def _found(job: Job) -> Checkpoint | None:
    folder, address = job.run / "checkpoints", job.recipe.train.checkpoint.mirror

    def say(line: str) -> None:
        notes.say(job.run, line)

    found = checkpoint.newest(folder, job.key, say)
    before = found.progress.steps if found else 0
    checkpoint.set_aside(folder, before, say)
    if address:
        mirror.fetch(address, job.run, job.key, before, say)
        if checkpoint.reached(folder) > before:
            found = checkpoint.newest(folder, job.key)
        best = found.progress.best if found else None
        if best is not None and not checkpoint.place(folder, best).is_dir():
            mirror.fetch_step(address, job.run, job.key, best, say)
    if found and found.world != dist.get_world_size():
        _reshape(found)
    return found


def _reshape(found: Checkpoint) -> None:
    """Derive what another number of workers loads, unless it is there and whole."""
    derived, of = found.path / checkpoint.UNIVERSAL, sha256(found.path / MANIFEST)
    with suppress(Torn):
        if verify(derived)["of"] == of:
            return
    shutil.rmtree(derived, ignore_errors=True)
    reshape(found)
    if derived.is_dir():
        seal(derived, {"of": of})
