"""A model's outputs on a split: every row once, on as many Ray tasks as asked for."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from numpy.typing import NDArray

from gb_ray.corpus.corpus import Corpus
from gb_ray.corpus.reading.reader import Reader, Sample
from gb_ray.model import packing
from gb_ray.section import UserError
from gb_ray.tasks.task import Task
from gb_ray.train.account.power import Meter
from gb_ray.train.batch import Layout, layout
from gb_ray.train.pace import Pace, Spent

WORTH_A_TASK = 512
"""Samples below which another task would take longer to start than to compute."""
Scored = list[tuple[str, NDArray[np.floating], Any]]
"""(id, what the task keeps of the logits, target) of each sample."""


def evaluate(
    make_model: Callable[[], torch.nn.Module], task: Task, corpus: Corpus, split: str, workers: int = 1
) -> tuple[Scored, Pace]:
    """What the task keeps of the outputs of the model that `make_model` returns, in fp32 on CPU, in order of id.

    `make_model` travels to the tasks; a model does not. Ray must be up. The same model, split and layout give the same
    logits on every machine with the same libraries, so another process can reproduce the numbers. `task` is prepared.
    Raises UserError when the corpus has no such split, and what `make_model` refuses.
    """
    if split not in corpus.manifest.splits:
        raise UserError(f"{corpus.uri}: no split {split!r}; it has {', '.join(corpus.manifest.splits)}")
    workers = min(workers, 1 + corpus.manifest.splits[split].samples // WORTH_A_TASK)
    going = [_score.remote(make_model, task, corpus.folder, split, w, workers) for w in range(workers)]
    try:
        shares = ray.get(going)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, UserError):  # Ray would show where in the code it was raised
            raise error.cause from None
        raise
    scored: Scored = sorted((entry for share, _ in shares for entry in share), key=lambda entry: entry[0])
    expected = corpus.manifest.splits[split].samples
    if len({entry[0] for entry in scored}) != expected or len(scored) != expected:
        raise RuntimeError(f"{split}: {len(scored)} samples scored, the corpus has {expected}")
    return scored, Pace.of(spent for _, spent in shares)


@ray.remote(num_cpus=1)
def _score(
    make_model: Callable[[], torch.nn.Module], task: Task, path: Path | str, split: str, worker: int, workers: int
) -> tuple[Scored, Spent]:
    torch.set_num_threads(1)
    with Reader(Corpus.open(path), split, 0, worker, workers) as reader:
        samples = list(reader.once())
    model: Any = make_model().eval()
    if packing.packs(model.config, task.architecture):
        packing.pack(model)
    laid = Layout.of(model, (task,))
    passes = groups(laid, samples)
    tokens = sum(len(row.input_ids) for rows in passes for row in rows)
    meter, began = Meter(), time.perf_counter()
    scored = score(model, laid, passes)[0]
    seconds = time.perf_counter() - began
    return scored, Spent(len(samples), tokens, seconds, ray.get_runtime_context().get_node_id(), meter.joules())


def groups(laid: Layout, samples: list[Sample]) -> list[list[Sample]]:
    """The samples of each pass through a model."""
    at_once = min(task.tokens_at_once for task in laid.tasks)
    return [group for parts in layout(laid.rows(samples), at_once, laid.packed) for group in parts]


@torch.no_grad()
def score(model: Any, laid: Layout, groups: list[list[Sample]], passes: int = 0) -> list[Scored]:
    """By task, what it keeps of each of its samples' logits, in any order.

    Where a pass is a collective, all workers must make as many `passes`: this one makes up what its groups lack.
    """
    scored: list[Scored] = [[] for _ in laid.tasks]
    for group in groups:
        batch = laid.group(group)
        found = model(**batch.inputs).logits
        for number, own in enumerate(found if isinstance(found, tuple) else (found,)):
            task, logits = laid.tasks[number], own.float().cpu()
            samples = [one for one in group if one.task == number]
            if not samples:
                continue  # a packed row of none of its tokens has logits too
            if batch.segments and logits.ndim == 3:
                logits = logits[0].split([len(one.input_ids) for one in samples])
            for sample, row in zip(samples, logits, strict=True):
                scored[number].append((sample.id, task.kept(row.numpy(), sample.label), sample.label))
    for _ in range(len(groups), passes):
        model(**laid.empty().groups[0].inputs)
    return [task.joined(own) for task, own in zip(laid.tasks, scored, strict=True)]
