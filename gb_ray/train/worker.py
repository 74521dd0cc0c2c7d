"""What one worker holds, and its part of a step."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from itertools import chain, pairwise
from typing import Any, cast

import torch
import torch.distributed as dist

from gb_ray import machine
from gb_ray.corpus.corpus import Corpus
from gb_ray.model import adapter, load, package, packing, several
from gb_ray.model.hollow import Hollow
from gb_ray.tasks.embedding import Embedding
from gb_ray.tasks.task import make
from gb_ray.tasks.tokenizer import tokenizer
from gb_ray.train import engine, r_drop, samples, skips, word_dropout
from gb_ray.train.adversary import Adversary
from gb_ray.train.agreement import Agreement, shared
from gb_ray.train.batch import Group, Layout, MicroBatch
from gb_ray.train.checkpoints.checkpoint import Progress
from gb_ray.train.checkpoints.restore import restore
from gb_ray.train.contrast import contrasted
from gb_ray.train.feeder import Feeder, Share
from gb_ray.train.job import Job
from gb_ray.train.objective import Answers, Objective
from gb_ray.train.orders import Order
from gb_ray.train.run import write_json
from gb_ray.train.schedule import Step, steps, steps_per_epoch


class Worker:
    """Its lanes, its share of the engine, and how far the run is."""

    def __init__(self, job: Job, packed: bool = True):
        """`packed`: False pads, as it is done anyway for an architecture that cannot be packed."""
        torch.use_deterministic_algorithms(True, warn_only=True)
        # Nothing here reads memory before it is written, and filling DeepSpeed's buffers took a quarter of a step.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        self.job, recipe = job, job.recipe
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self.labels = [Corpus.open(job.corpora[name]).manifest.labels for name in recipe.tasks]
        self.reader = samples.reader(job, self.rank, self.world)
        backbone = str(load.backbone(recipe.model))
        self.tasks = tuple(
            make(section, backbone, recipe.model.max_tokens, state=job.states.get(name))
            for name, section in recipe.tasks.items()
        )
        weights = [section.weight for section in recipe.tasks.values()]
        self.objective = Objective(self.tasks, weights, recipe.train.r_drop)
        self.tokenizer = tokenizer(backbone)
        self.precision = _precision(recipe.train.precision)
        self.device = torch.device("cuda", torch.cuda.current_device()) if job.gpus else torch.device("cpu")
        found = restore(job)
        hollow = self._hollow()
        if recipe.train.r_drop:
            r_drop.check(hollow.model)
        if packed and all(packing.packs(hollow.model.config, task.architecture) for task in self.tasks):
            packing.pack(hollow.model)
        self.layout = Layout.of(hollow.model, self.tasks, self.device, together=job.zero != 3)
        changes = word_dropout.changes(recipe.train, self.tokenizer, recipe.seed)
        self.feeder = Feeder(self.reader, self.layout, recipe.train.micro_tokens, changes)
        self.total = steps_per_epoch(self.reader.samples_per_epoch, recipe.train.batch) * recipe.train.epochs
        reshaped = bool(found and found.world != self.world)
        self.engine = engine.start(hollow, job, self.precision, self.total, reshaped)
        against = recipe.train.adversary
        self.adversary = Adversary(self.engine.module, against) if against else None
        if found:
            self.engine.load(found)
        self.progress = found.progress if found else Progress(0, 0, 0, 0)
        self._following: Step | None = None
        self._known: tuple[Step | None, Share] | None = None

    def steps(self) -> Iterator[Step]:
        """The steps that are left."""
        train = self.job.recipe.train
        if self.progress.ended:
            return
        found = steps(self.reader.samples_per_epoch, train.batch, train.epochs, first=self.progress.steps)
        left_out = skips.numbers(self.job.run)
        left = (step for step in found if step.number not in left_out)
        for step, self._following in pairwise(chain(left, [None])):
            yield cast(Step, step)

    @property
    def at_end(self) -> bool:
        """Whether the newest of `steps` is the last of the run: those after it, if any, are left out."""
        return self._following is None

    def lay_out(self, step: Step) -> tuple[list[MicroBatch], Answers]:
        """This worker's micro-batches of a step, and the answers of the whole global batch, by task.

        Every worker takes part in as many collectives: one with fewer micro-batches adds empty ones.
        """
        mine = self.feeder.take(step, self._following)
        # Known since the step before, but for the first one.
        all = self._known[1] if self._known and self._known[0] == step else shared(mine.share)
        micro = mine.micro + [self.layout.empty()] * (all.micro - len(mine.micro))
        return micro, all.answers

    def gradients(
        self, step: Step, micro: list[MicroBatch], answers: Answers, moved: Callable[[], None] = lambda: None
    ) -> float:
        """Compute the gradients of a step, whose means are over `answers`. Returns this worker's part of its loss.

        `moved` is called after each micro-batch.
        """
        _seed(self.job.recipe.seed, step.number, self.rank)
        if isinstance(self.tasks[0], Embedding):
            micro = contrasted(self.engine, self.tasks[0], micro, moved)
            _seed(self.job.recipe.seed, step.number, self.rank)
        loss = torch.zeros((), device=self.device)
        for i, m in enumerate(micro, 1):
            loss = loss + self._backward(m, answers, last=i == len(micro))
            moved()
        return float(loss)

    def _backward(self, micro: MicroBatch, answers: Answers, last: bool) -> torch.Tensor:
        once = last / self.world / len(micro.groups)

        def part(group: Group, model: Any) -> tuple[torch.Tensor, torch.Tensor]:
            known = group.outputs is not None
            draws = [group.outputs if known else model(**group.inputs) for _ in range(self.job.recipe.train.draws)]
            return self.objective.part(draws, group.targets, micro.weight, answers, once)

        if self.adversary:
            return self.adversary.backward(micro.groups, part, self.engine, last)
        loss, shown = torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        for group in micro.groups:
            found, seen = part(group, self.engine)
            loss, shown = loss + found, shown + seen
        self.engine.backward(loss, last)
        return shown

    def agree(self, loss: float, micro: list[MicroBatch], order: Order) -> Agreement:
        """What all workers know of a step; once a step, when its gradients are computed."""
        all = Agreement.of(loss, micro, order, self.feeder.ahead())
        self._known = self._following, all.ahead
        return all

    def export(self, progress: Progress) -> None:
        """Rank 0 writes the model in fp32 and the run's totals."""
        self.feeder.close()
        self.reader.close()
        hollow = self._hollow()
        section = self.job.recipe.model.adapter
        alone = section is not None and section.export == "adapter"
        weights = (adapter.trained if alone else adapter.merged)(self.engine.weights(hollow.read), hollow.model)
        if self.rank == 0:
            names = list(self.job.recipe.tasks)
            states = {name: task.state for name, task in zip(names, self.tasks, strict=True)}
            model, written = hollow.model, weights
            if isinstance(model, several.Several):
                model, written = model.backbone, several.exported_names(weights, names)
            base = {"sha256": load.digest(load.backbone(self.job.recipe.model))}
            manifest = self.job.manifest | {"state": states, "base": base}
            manifest = package.export(model, self.tokenizer, manifest, self.job.run / "model", written, adapter=alone)
            write_json(
                self.job.run / "result.json",
                {
                    "steps": progress.steps,
                    "samples_seen": progress.samples,
                    "tokens_seen": progress.tokens,
                    **progress.measured,
                    "padding": round(1 - progress.tokens / progress.computed, 4),
                    "precision": self.precision,
                    "layout": "packed" if self.layout.packed else "padded",
                    "zero": self.job.zero,
                    "workers": self.world,
                    "weights_sha256": manifest["weights_sha256"],
                },
            )
        for _ in weights:
            pass  # each is gathered from all workers
        dist.barrier()

    def _hollow(self) -> Hollow:
        recipe = self.job.recipe
        learns = recipe.train.balance == "uncertainty"
        return several.hollow(recipe.model, self.tasks, self.labels, recipe.seed, learns, [*recipe.tasks])


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
