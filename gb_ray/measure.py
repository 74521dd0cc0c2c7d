"""What is measured of a model: the metrics of every task on the splits of its corpus."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from gb_ray.inputs import Corpora, Inputs
from gb_ray.model import load, package, several
from gb_ray.section import UserError
from gb_ray.tasks.task import Task
from gb_ray.train.evaluate import evaluate

MEASURED = ("validation", "test")
Metrics = dict[str, dict[str, dict[str, float]]]
"""{split: {task: {metric: value}}}."""


def measure(model: Path, corpora: Corpora, splits: tuple[str, ...], workers: int) -> Metrics:
    """The metrics of an exported model; splits without samples are left out. Ray must be up.

    Raises UserError when the corpora are not of the model's tasks.
    """
    tasks = package.tasks_of(model, package.verify(model))
    makers = {name: partial(several.exported, model, name, task) for name, task in tasks.items()}
    if len(tasks) == len(corpora) == 1:  # a task may be called otherwise elsewhere
        name = next(iter(corpora))
        makers, tasks = {name: next(iter(makers.values()))}, {name: next(iter(tasks.values()))}
    if tasks.keys() != corpora.keys():
        raise UserError(f"{model}: its tasks are {', '.join(tasks)}; the corpora are of {', '.join(corpora)}")
    return _measure(makers, tasks, corpora, splits, workers)


def before(inputs: Inputs, corpora: Corpora, workers: int) -> Metrics:
    """The metrics of the backbone with new, untrained heads. Ray must be up; the tasks are prepared."""
    seed, tasks = inputs.recipe.seed, inputs.tasks
    sections = {name: several.suited(inputs.recipe.model, task, tasks.values()) for name, task in tasks.items()}
    makers = {
        name: partial(load.new, sections[name], task, corpora[name].manifest.labels, seed)
        for name, task in tasks.items()
    }
    return _measure(makers, tasks, corpora, MEASURED, workers)


def flat(metrics: Metrics, prefix: str) -> dict[str, float]:
    """The metrics as a tracking server names them: PREFIX SPLIT_METRIC, of several tasks PREFIX SPLIT_TASK.METRIC."""
    return {
        f"{prefix}{split}_{name}": value for split, tasks in metrics.items() for name, value in joined(tasks).items()
    }


def joined(tasks: dict[str, dict[str, float]]) -> dict[str, float]:
    """The metrics of one split, as a gate names them: METRIC, of several tasks TASK.METRIC."""
    if len(tasks) == 1:
        return next(iter(tasks.values()))
    return {f"{task}.{name}": value for task, values in tasks.items() for name, value in values.items()}


def _measure(
    makers: Mapping[str, Callable[[], Any]],
    tasks: dict[str, Task],
    corpora: Corpora,
    splits: tuple[str, ...],
    workers: int,
) -> Metrics:
    found: Metrics = {split: {} for split in splits}
    for split, values in found.items():
        for name, corpus in corpora.items():
            if corpus.manifest.splits[split].samples:
                values[name] = evaluate(makers[name], tasks[name], corpus, split, workers)
    return {split: values for split, values in found.items() if values}
