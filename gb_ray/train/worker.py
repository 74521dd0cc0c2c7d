"""What one worker holds, and its part of a step."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import torch
import torch.distributed as dist

from gb_ray import machine
from gb_ray.corpus.corpus import Corpus
from gb_ray.corpus.reading.reader import Reader
from gb_ray.model import load, package
from gb_ray.tasks.task import Task, make
from gb_ray.tasks.tokenizer import padding, tokenizer
from gb_ray.train import checkpoint, engine
from gb_ray.train.batch import MicroBatch, layout
from gb_ray.train.checkpoint import Checkpoint, Progress
from gb_ray.train.engine import Engine
from gb_ray.train.job import Job
from gb_ray.train.run import write_json
from gb_ray.train.schedule import Step, steps, steps_per_epoch


class Worker:
    """Its lanes, its share of the engine, and how far the run is."""

    def __init__(self, job: Job):
        torch.use_deterministic_algorithms(True, warn_only=True)
        # Nothing here reads memory before it is written, and filling DeepSpeed's buffers took a quarter of a step.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        self.job, recipe = job, job.recipe
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        corpus = Corpus.open(job.corpus)
        self.labels = corpus.manifest.labels
        self.reader = Reader(corpus, "train", recipe.seed, self.rank, self.world)
        backbone = str(load.backbone(recipe.model))
        self.task: Task = make(recipe.task[1], backbone, recipe.model.max_tokens, state=job.state)
        self.tokenizer = tokenizer(backbone)
        self.precision = _precision(recipe.train.precision)
        self.device = torch.device("cuda", torch.cuda.current_device()) if job.gpus else torch.device("cpu")
        found = _found(job)
        self.engine = Engine(self._new_model(), job, self.precision, bool(found and found.world != self.world))
        if found:
            self.engine.load(found)
        self.engine.train()
        self.progress = found.progress if found else Progress(0, 0, 0, 0)
        self.total = steps_per_epoch(self.reader.samples_per_epoch, recipe.train.batch) * recipe.train.epochs

    def steps(self) -> Iterator[Step]:
        """The steps that are left."""
        train = self.job.recipe.train
        return steps(self.reader.samples_per_epoch, train.batch, train.epochs, first=self.progress.steps)

    def lay_out(self, step: Step) -> tuple[list[MicroBatch], float]:
        """This worker's micro-batches of a step, and the answers of the whole global batch.

        Every worker takes part in as many collectives: one with fewer micro-batches adds empty ones.
        """
        samples = self.reader.step(step.epoch, step.start, step.stop)
        pad = padding(self.tokenizer)
        micro = [
            MicroBatch.of(groups, self.task, pad) for groups in layout(samples, self.job.recipe.train.micro_tokens)
        ]
        mine = torch.tensor(
            [len(micro), sum(self.task.supervised(sample.label) for sample in samples)], dtype=torch.int64
        )
        everyone = [torch.zeros_like(mine) for _ in range(self.world)]
        dist.all_gather(everyone, mine)
        most = max(int(count[0]) for count in everyone)
        micro += [MicroBatch.empty(self.task, pad) for _ in range(most - len(micro))]
        return micro, float(sum(int(count[1]) for count in everyone))

    def gradients(self, step: Step, micro: list[MicroBatch], answers: float) -> float:
        """Compute the gradients of a step, whose mean is over `answers`. Returns this worker's part of its loss."""
        _seed(self.job.recipe.seed, step.number, self.rank)
        return float(sum(self._backward(m, answers, last=m is micro[-1]) for m in micro))

    def _backward(self, micro: MicroBatch, answers: float, last: bool) -> torch.Tensor:
        loss = torch.zeros((), device=self.device)
        for group in micro.groups:
            inputs = {"input_ids": group.input_ids, "attention_mask": group.attention_mask}
            logits = self.engine(**{name: tensor.to(self.device) for name, tensor in inputs.items()}).logits
            loss = loss + self.task.loss(logits, group.targets.to(self.device)) * (micro.weight / answers)
        self.engine.backward(loss, last)
        return loss.detach().cpu()

    def export(self, progress: Progress) -> None:
        """Rank 0 writes the model in fp32 and the run's totals."""
        self.reader.close()
        model = self._new_model()
        self.engine.copy_to(model)
        if self.rank == 0:
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
                    "zero": self.job.zero,
                    "workers": self.world,
                    "weights_sha256": manifest["weights_sha256"],
                },
            )
        dist.barrier()

    def _new_model(self) -> torch.nn.Module:
        recipe = self.job.recipe
        return load.new(recipe.model, self.task, self.labels, recipe.seed)


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
