"""The training loop: what every worker runs, from its first breath to the exported model."""

from __future__ import annotations

import traceback
from collections.abc import Callable

import torch.distributed as dist

from gb_ray.corpus.sources.remote import Unreachable
from gb_ray.section import UserError
from gb_ray.train.account.record import Record
from gb_ray.train.checkpoints.saver import Saver
from gb_ray.train.guard import Guard
from gb_ray.train.job import Job
from gb_ray.train.orders import Orders
from gb_ray.train.run import write_json
from gb_ray.train.schedule import rate_factor
from gb_ray.train.validation import Validation
from gb_ray.train.worker import Worker

FAILED = "failed.json"


def work(job: Job) -> None:
    """What Ray Train calls on every worker; `torchrun` may as well.

    A lost peer, network or disk shows as RuntimeError or OSError, and Ray Train starts the workers again. Any other
    error is in the recipe, the code or the data and would come again: it is written down, and the driver ends the run.
    """
    try:
        if not _is_done(job):
            train(job)
    except (RuntimeError, OSError, Unreachable):
        raise
    except UserError as error:
        write_json(job.run / FAILED, {"refused": str(error)})
        raise
    except Exception:
        if dist.is_initialized():  # or Ray Train is ending the workers, to start others
            write_json(job.run / FAILED, {"error": traceback.format_exc()})
        raise


def _is_done(job: Job) -> bool:
    """An attempt before this one reached the end, as when a resize comes then. Other nodes may see the file later."""
    said = [(job.run / "result.json").is_file()]
    dist.broadcast_object_list(said, src=0)
    return said[0]


def train(job: Job, look: Callable[[Worker, int], None] | None = None) -> None:
    """Train until the recipe's last step, from the newest checkpoint if there is one. One call a worker.

    `look`, if there is one, is shown the worker after each step, and how many steps are done.

    A step is one update over one global batch, whose samples follow from its position alone. Its gradient is that of
    the mean over all supervised answers of the global batch, however workers and micro-batches split it.
    """
    section = job.recipe.train
    record = Record(job)
    worker = Worker(job)
    record.ready(worker)
    orders, guard, saver = Orders(job), Guard(job, worker), Saver(job, worker.engine)
    validation = Validation(job, worker, record)
    progress = worker.progress

    for step in worker.steps():
        with record.spends("data", step):
            micro, answers = worker.lay_out(step)
        with record.spends("compute", step):
            loss = worker.gradients(step, micro, answers, record.moved)
            agreed = worker.agree(loss, micro, orders.seen(step))
            guard.judge(step, agreed.loss)
            factor = rate_factor(step.number, worker.total, section.schedule)
            worker.engine.step(factor)
            guard.judge_update(step, worker.engine.grad_norm)
        progress = validation.after(step, progress.after(step, agreed))
        record.step(step, agreed, factor, worker.engine.grad_norm, validation.metrics)
        if look:
            look(worker, progress.steps)

        last = progress.ended or worker.at_end
        due = progress.is_best or progress.steps % section.checkpoint.every == 0
        if agreed.save or agreed.stop or (due and not last):
            with record.spends("checkpoint", step):
                saver.save(progress, wait=agreed.stop)
        if agreed.stop and not last:
            with record.spends("checkpoint", step):
                saver.close(record.moved)  # Ray Train ends this process, and with it what still goes to the mirror
            record.stopped(progress)
            return
        if last:
            break
    else:  # no step was left: those since the checkpoint are left out for their loss
        progress = validation.at_end(progress)
        if look:
            look(worker, progress.steps)

    with record.spends("export"):
        saver.close(record.moved)
        worker.export(validation.take_best(progress))
    record.close()
