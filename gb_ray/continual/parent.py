"""The model that a run goes on from: what the run takes of it, and what the run makes it forget."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from gb_ray.continual.check import check, own_names
from gb_ray.corpus.catalogue import ids
from gb_ray.corpus.corpus import Corpus
from gb_ray.measure import forgetting, results
from gb_ray.measure.ensemble import of_models
from gb_ray.measure.scores import Found
from gb_ray.model import package
from gb_ray.model.grow import grow
from gb_ray.progress import Progress
from gb_ray.recipe import Recipe
from gb_ray.registry.versions import Version
from gb_ray.section import UserError
from gb_ray.tasks.task import Task
from gb_ray.train.run import Run

T = TypeVar("T")
START = "start"
"""The folder in a run's directory with the parent's weights, where a head had to change."""


@dataclass(frozen=True)
class Parent:
    """The model that a run goes on from. Everything goes by the recipe's names of its tasks.

    `corpora` are those it was trained on, none where one of them is not in the home.
    """

    version: Version
    manifest: dict[str, Any]
    names: dict[str, str]
    """{the recipe's name of a task: the model's}."""
    corpora: dict[str, Corpus]

    @classmethod
    def of(cls, version: Version, recipe: Recipe, backbone: Path, home: Path) -> Parent:
        """A version, as the start of a recipe. Raises UserError when the two do not fit together."""
        manifest = package.read(version.path)
        check(version, manifest, recipe, backbone)
        names = own_names(version, manifest, recipe)
        corpora, missing = dict[str, Corpus](), "its manifest names none"
        if version.corpus_digest:
            digests = package.corpora_of(manifest)
            try:
                corpora = {name: Corpus.find(home, digests[its]) for name, its in names.items()}
            except UserError as error:
                missing = str(error)
        if recipe.train.replay and not corpora:
            raise UserError(
                f"train.replay: the corpus of {version.uri} is needed: {missing}; with train.replay=0 it is not"
            )
        return cls(version, manifest, names, corpora)

    @property
    def labels(self) -> dict[str, list[str]]:
        """Of each task's head, in the order of its rows."""
        return self._ours(package.labels_of(self.manifest))

    @property
    def states(self) -> dict[str, dict[str, Any]]:
        """What its tasks learnt of their corpora, if it decides what the outputs mean: the scale of numbers."""
        scaled = [
            name for name, described in self.manifest["tasks"].items() if described["section"]["type"] == "regression"
        ]
        return self._ours({name: self.manifest["state"][name] for name in scaled})

    @property
    def digests(self) -> list[str]:
        """What of it decides a run's weights."""
        return [self.version.weights_sha256, *(corpus.manifest.digest for corpus in self.corpora.values())]

    def check_labels(self, task: str, corpus: Corpus) -> None:
        """Raises UserError when the corpus of a task lacks a label that the model has."""
        labels = self.labels[task]
        lost = [name for name in labels if name not in set(corpus.manifest.labels)]
        if lost:
            every = sorted({*labels, *corpus.manifest.labels})
            raise UserError(
                f"{self.version.uri}: its label {lost[0]!r} ({len(lost)} in all) is not one of the new corpus, which "
                f"has {', '.join(corpus.manifest.labels[:20])}; name all labels, the old ones and the new, in the "
                f"recipe's tasks section: labels: {json.dumps(every[:200], ensure_ascii=False)}"
            )

    def start(self, recipe: Recipe, corpora: Mapping[str, Corpus], run: Path, tasks: Mapping[str, Task]) -> Recipe:
        """The recipe with this model in the place of its backbone, its heads with the corpora's labels."""
        folder, labels = self.version.path, {name: corpus.manifest.labels for name, corpus in corpora.items()}
        if labels != self.labels:
            folder = run / START
            if not folder.is_dir():
                grow(self.version.path, folder, tasks, self.labels, labels, recipe.seed)
        changes = {"path": str(folder), "revision": None, "sha256": None, "pooler": "own"}
        return recipe.model_copy(update={"model": recipe.model.model_copy(update=changes)})

    def measure(self, run: Path, corpora: Mapping[str, Corpus], workers: int) -> None:
        """Keep in the run's folder what this model makes of its old test split; the new labels have a place in it."""
        if self.corpora:
            results.keep(self._measured(self.version.path, corpora, workers), forgetting.BEFORE, run)

    def forgotten(self, run: Run, corpora: Mapping[str, Corpus], workers: int) -> forgetting.Forgotten | None:
        """What the run's model knows less of the old test split; None where the old corpora are not here."""
        if not self.corpora:
            return None
        return forgetting.forgetting(run.path, self._measured(run.model, corpora, workers))

    def account(self, corpora: Mapping[str, Corpus], replay: float, progress: Progress) -> dict[str, Any]:
        """What the model's manifest says of where it comes from; what a person should know of it is said.

        What is told of each task is, of a model of several, told by task.
        """
        progress.say(f"from {self.version.uri}, weights {self.version.weights_sha256[:16]}…, replay {replay:.0%}")
        new, both = dict[str, list[str]](), dict[str, dict[str, int] | None]()
        for task, corpus in corpora.items():
            what = f"from: {task}:" if len(corpora) > 1 else "from:"
            known = set(self.labels[task])
            new[task] = [name for name in corpus.manifest.labels if name not in known]
            if new[task]:
                shown = ", ".join(new[task][:20])
                progress.say(f"{what} {len(new[task])} new labels get new rows in the head: {shown}")
            both[task] = self._rows_in_both(task, corpus, what, progress)
        if not self.corpora:
            progress.say("from: its corpus is not in this home, so what is forgotten of it cannot be measured")
        found: dict[str, Any] = {"uri": self.version.uri, "name": self.version.name, "version": self.version.version}
        found |= {"weights_sha256": self.version.weights_sha256, "corpus_digest": self.version.corpus_digest}
        found |= {"replay": replay, "new_labels": _told(new), "rows_in_both": _told(both)}
        return found

    def _ours(self, by_task: Mapping[str, T]) -> dict[str, T]:
        return {name: by_task[its] for name, its in self.names.items() if its in by_task}

    def _measured(self, model: Path, corpora: Mapping[str, Corpus], workers: int) -> Found:
        labels = {task: corpus.manifest.labels for task, corpus in corpora.items()}
        return of_models([model], self.corpora, (forgetting.SPLIT,), workers, labels)

    def _rows_in_both(self, task: str, corpus: Corpus, what: str, progress: Progress) -> dict[str, int] | None:
        """Rows, by id, that make a test split an easy one; None when the old corpus is not here."""
        if not self.corpora:
            return None
        old, new = (ids.read(one, lambda rows: None) for one in (self.corpora[task], corpus))
        found = {
            "new_train_in_old_test": ids.common(new["train"], old["test"]),
            "old_train_in_new_test": ids.common(old["train"], new["test"]),
        }
        if rows := found["new_train_in_old_test"]:
            progress.say(f"{what} {rows} rows of the new train split are in the old test split: they hide forgetting")
        if rows := found["old_train_in_new_test"]:
            progress.say(f"{what} {rows} rows of the new test split are in the old train split: they are known already")
        return found


def _told(by_task: Mapping[str, Any]) -> Any:
    """Of one task, what is told of it."""
    return by_task if len(by_task) > 1 else next(iter(by_task.values()))
