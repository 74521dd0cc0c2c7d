"""The training loop: what every worker runs, from its first breath to the exported model."""

from __future__ import annotations

import hashlib
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from gb_ray import machine
from gb_ray.corpus.corpus import Corpus
from gb_ray.corpus.reading.reader import Reader, Sample
from gb_ray.corpus.sources.remote import Unreachable
from gb_ray.model import load, package
from gb_ray.recipe import Recipe
from gb_ray.tasks.task import Task, make
from gb_ray.tasks.tokenizer import padding, tokenizer
from gb_ray.train import checkpoint, engine
from gb_ray.train.batch import MicroBatch, layout
from gb_ray.train.checkpoint import Checkpoint, Progress
from gb_ray.train.engine import Engine
from gb_ray.train.journal import Attempt, Journal
from gb_ray.train.run import write_json
from gb_ray.train.schedule import rate_factor, steps, steps_per_epoch

FAILED = "failed.json"


@dataclass(frozen=True)
class Job:
    """What a worker is told. `key` names the run; `manifest` is what the exported model will say of itself.

    `state` is what the task learnt of the train split beforehand: read once, for all workers and attempts.
    """

    recipe: Recipe
    corpus: Path | str
    run: Path
    key: str
    started: float
    gpus: bool
    manifest: dict[str, Any]
    state: dict[str, Any]


def work(job: Job) -> None:
    """What Ray Train calls on every worker.

    A lost peer, network or disk shows as RuntimeError or OSError, and Ray Train starts the workers again. Any other
    error is in the code or the data and would come again: it is written down, and the driver ends the run.
    """
    try:
        train(job)
    except (RuntimeError, OSError, Unreachable):
        raise
    except Exception:
        write_json(job.run / FAILED, {"error": traceback.format_exc()})
        raise


def train(job: Job) -> None:
    """Train until the recipe's last step, from the newest checkpoint if there is one. One call a worker.

    A step is one update over one global batch, whose samples follow from its position alone. Its gradient is that of
    the mean over all supervised answers of the global batch, however workers and micro-batches split it.
    """
    worker = Worker(job)
    recipe, progress, rank = job.recipe, worker.progress, dist.get_rank()
    attempt = Attempt(job.run / "attempts", job.started) if rank == 0 else None
    journal = Journal(job.run / "metrics.jsonl") if rank == 0 else None
    clock = _Clock(attempt)
    samples, batch = worker.reader.samples_per_epoch, recipe.train.batch
    total = steps_per_epoch(samples, batch) * recipe.train.epochs

    for step in steps(samples, batch, recipe.train.epochs, first=progress.steps):
        began = time.perf_counter()
        with clock("data"):
            mine = worker.reader.step(step.epoch, step.start, step.stop)
            micro, answers = worker.lay_out(mine)
        with clock("compute"):
            _seed(recipe.seed, step.number, rank)
            loss = sum((worker.backward(m, answers, last=m is micro[-1]) for m in micro), torch.zeros(()))
            factor = rate_factor(step.number, total, recipe.train.warmup)
            worker.engine.step(factor)
            sums = _total([float(loss), *(sum(column) for column in zip(*(m.size for m in micro), strict=True))])
        progress = Progress(
            steps=step.number + 1,
            samples=progress.samples + step.stop - step.start,
            tokens=progress.tokens + int(sums[1]),
            computed=progress.computed + int(sums[2]),
        )
        if journal and attempt:
            journal.write(step.number, _metrics(worker, sums, factor, time.perf_counter() - began, step.epoch))
            attempt.at(step.number)
        if progress.steps % recipe.train.checkpoint.every == 0 and progress.steps < total:
            with clock("checkpoint"):
                worker.engine.save(job.run / "checkpoints", progress, job.key, recipe.train.checkpoint.keep)

    worker.reader.close()
    with clock("export"):
        worker.export(progress)
    if attempt:
        attempt.at(progress.steps - 1, final=True)


class Worker:
    """What a worker holds: its lanes, its share of the engine, and how far the run is."""

    def __init__(self, job: Job):
        torch.use_deterministic_algorithms(True, warn_only=True)
        # Nothing here reads memory before it is written, and filling DeepSpeed's buffers took a quarter of a step.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        self.job, recipe = job, job.recipe
        rank, world = dist.get_rank(), dist.get_world_size()
        corpus = Corpus.open(job.corpus)
        self.labels = corpus.manifest.labels
        self.reader = Reader(corpus, "train", recipe.seed, rank, world)
        backbone = str(load.backbone(recipe.model))
        self.task: Task = make(recipe.task[1], backbone, recipe.model.max_tokens, state=job.state)
        self.tokenizer = tokenizer(backbone)
        self.precision = _precision(recipe.train.precision)
        self.device = torch.device("cuda", torch.cuda.current_device()) if job.gpus else torch.device("cpu")
        found = _found(job)
        self.engine = Engine(self._new_model(), recipe.train, self.precision, bool(found and found.world != world))
        if found:
            self.engine.load(found)
        self.engine.train()
        self.progress = found.progress if found else Progress(0, 0, 0, 0)

    def lay_out(self, samples: list[Sample]) -> tuple[list[MicroBatch], float]:
        """This worker's micro-batches of a step, and the answers of the whole global batch.

        Every worker takes part in as many collectives: one with fewer micro-batches adds empty ones.
        """
        pad = padding(self.tokenizer)
        micro = [
            MicroBatch.of(groups, self.task, pad) for groups in layout(samples, self.job.recipe.train.micro_tokens)
        ]
        mine = torch.tensor(
            [len(micro), sum(self.task.supervised(sample.label) for sample in samples)], dtype=torch.int64
        )
        everyone = [torch.zeros_like(mine) for _ in range(self.engine.world)]
        dist.all_gather(everyone, mine)
        most = max(int(count[0]) for count in everyone)
        micro += [MicroBatch.empty(self.task, pad) for _ in range(most - len(micro))]
        return micro, float(sum(int(count[1]) for count in everyone))

    def backward(self, micro: MicroBatch, answers: float, last: bool) -> torch.Tensor:
        """Add the gradients of a micro-batch. Returns its part of the step's mean loss."""
        loss = torch.zeros((), device=self.device)
        for group in micro.groups:
            inputs = {"input_ids": group.input_ids, "attention_mask": group.attention_mask}
            logits = self.engine(**{name: tensor.to(self.device) for name, tensor in inputs.items()}).logits
            loss = loss + self.task.loss(logits, group.targets.to(self.device)) * (micro.weight / answers)
        self.engine.backward(loss, last)
        return loss.detach().cpu()

    def export(self, progress: Progress) -> None:
        """Rank 0 writes the model in fp32 and the run's totals."""
        model = self._new_model()
        self.engine.copy_to(model)
        if dist.get_rank() == 0:
            manifest = self.job.manifest | {"state": {self.job.recipe.task[0]: self.task.state}}
            manifest = package.export(model, self.tokenizer, manifest, self.job.run / "model")
            write_json(
                self.job.run / "result.json",
                {
                    "steps": progress.steps,
                    "samples_seen": progress.samples,
                    "tokens_seen": progress.tokens,
                    "padding": round(1 - progress.tokens / progress.computed, 4),
                    "precision": self.precision,
                    "workers": self.engine.world,
                    "weights_sha256": manifest["weights_sha256"],
                },
            )
        dist.barrier()

    def _new_model(self) -> torch.nn.Module:
        recipe = self.job.recipe
        return load.new(recipe.model, self.task, self.labels, recipe.seed)


class _Clock:
    """Counts seconds on rank 0, and nothing elsewhere."""

    def __init__(self, attempt: Attempt | None):
        self._attempt = attempt

    def __call__(self, category: str) -> Any:
        from contextlib import nullcontext

        return self._attempt.spends(category) if self._attempt else nullcontext()


def _found(job: Job) -> Checkpoint | None:
    """The checkpoint to go on from: rank 0 looks and verifies, everyone takes its word."""
    holder: list[Checkpoint | None] = [None]
    if dist.get_rank() == 0:
        holder = [checkpoint.newest(job.run / "checkpoints", job.key)]
        if holder[0] and holder[0].world != dist.get_world_size():
            engine.reshape(holder[0])
    dist.broadcast_object_list(holder, src=0)
    return holder[0]


def _precision(wanted: str) -> str:
    """bf16 when every worker has it in hardware: ranks must compute alike."""
    if wanted != "auto":
        return wanted
    able = torch.tensor(int(machine.has_bf16()))
    dist.all_reduce(able, op=dist.ReduceOp.MIN)
    return "bf16" if int(able) else "fp32"


def _seed(seed: int, step: int, rank: int) -> None:
    """Dropout is a function of position, so that a resumed run draws what the undisturbed one drew."""
    digest = hashlib.sha256(f"dropout/{seed}/{step}/{rank}".encode()).digest()
    torch.manual_seed(int.from_bytes(digest[:7], "big"))


def _total(values: list[float]) -> list[float]:
    """Sums over all workers."""
    tensor = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(tensor)
    return [float(value) for value in tensor]


def _metrics(worker: Worker, sums: list[float], factor: float, seconds: float, epoch: int) -> dict[str, float]:
    loss, tokens, computed = sums
    return {
        "loss": loss,
        "lr": worker.job.recipe.train.lr * factor,
        "grad_norm": worker.engine.grad_norm,
        "tokens_per_s": tokens / seconds,
        "padding": 1 - tokens / computed,
        "epoch": float(epoch),
    }
