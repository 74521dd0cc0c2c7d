"""The model that a run goes on from: what the run takes of it, and what the run makes it forget."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gb_ray.continual.check import check
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

START = "start"
"""The folder in a run's directory with the parent's weights, where its head had to change."""


@dataclass(frozen=True)
class Parent:
    """The model that a run goes on from. `corpus` is the one it was trained on, None where it is not in the home."""

    version: Version
    manifest: dict[str, Any]
    corpus: Corpus | None

    @classmethod
    def of(cls, version: Version, recipe: Recipe, backbone: Path, home: Path) -> Parent:
        """A version, as the start of a recipe. Raises UserError when the two do not fit together."""
        manifest = package.read(version.path)
        check(version, manifest, recipe, backbone)
        corpus, missing = None, "its manifest names none"
        if version.corpus_digest:
            try:
                corpus = Corpus.find(home, version.corpus_digest)
            except UserError as error:
                missing = str(error)
        if recipe.train.replay and corpus is None:
            raise UserError(
                f"train.replay: the corpus of {version.uri} is needed: {missing}; with train.replay=0 it is not"
            )
        return cls(version, manifest, corpus)

    @property
    def labels(self) -> list[str]:
        """Of its head, in the order of its rows."""
        return next(iter(package.labels_of(self.manifest).values()))

    @property
    def state(self) -> dict[str, Any] | None:
        """What its task learnt of its corpus, if it decides what the outputs mean: the scale of numbers."""
        ((name, described),) = self.manifest["tasks"].items()
        return self.manifest["state"][name] if described["section"]["type"] == "regression" else None

    @property
    def digests(self) -> list[str]:
        """What of it decides a run's weights."""
        return [self.version.weights_sha256, self.corpus.manifest.digest if self.corpus else ""]

    def check_labels(self, corpus: Corpus) -> None:
        """Raises UserError when the corpus lacks a label that the model has."""
        lost = [name for name in self.labels if name not in set(corpus.manifest.labels)]
        if lost:
            every = sorted({*self.labels, *corpus.manifest.labels})
            raise UserError(
                f"{self.version.uri}: its label {lost[0]!r} ({len(lost)} in all) is not one of the new corpus, which "
                f"has {', '.join(corpus.manifest.labels[:20])}; name all labels, the old ones and the new, in the "
                f"recipe's tasks section: labels: {json.dumps(every[:200], ensure_ascii=False)}"
            )

    def start(self, recipe: Recipe, corpus: Corpus, run: Path, task: Task) -> Recipe:
        """The recipe with this model in the place of its backbone, its head with the corpus' labels."""
        folder = self.version.path
        if corpus.manifest.labels != self.labels:
            folder = run / START
            if not folder.is_dir():
                grow(self.version.path, folder, task, self.labels, corpus.manifest.labels, recipe.seed)
        changes = {"path": str(folder), "revision": None, "sha256": None, "pooler": "own"}
        return recipe.model_copy(update={"model": recipe.model.model_copy(update=changes)})

    def measure(self, run: Path, corpora: Mapping[str, Corpus], workers: int) -> None:
        """Keep in the run's folder what this model makes of its old test split; the new labels have a place in it."""
        if self.corpus:
            results.keep(self._measured(self.version.path, self.corpus, corpora, workers), forgetting.BEFORE, run)

    def forgotten(self, run: Run, corpora: Mapping[str, Corpus], workers: int) -> forgetting.Forgotten | None:
        """What the run's model knows less of the old test split; None where the old corpus is not here."""
        if self.corpus is None:
            return None
        return forgetting.forgetting(run.path, self._measured(run.model, self.corpus, corpora, workers))

    def account(self, corpus: Corpus, replay: float, progress: Progress) -> dict[str, Any]:
        """What the model's manifest says of where it comes from; what a person should know of it is said."""
        new = [name for name in corpus.manifest.labels if name not in set(self.labels)]
        found: dict[str, Any] = {"uri": self.version.uri, "name": self.version.name, "version": self.version.version}
        found |= {"weights_sha256": self.version.weights_sha256, "corpus_digest": self.version.corpus_digest}
        found |= {"replay": replay, "new_labels": new, "rows_in_both": self._rows_in_both(corpus, progress)}
        progress.say(f"from {self.version.uri}, weights {self.version.weights_sha256[:16]}…, replay {replay:.0%}")
        if new:
            progress.say(f"from: {len(new)} new labels get new rows in the head: {', '.join(new[:20])}")
        if self.corpus is None:
            progress.say("from: its corpus is not in this home, so what is forgotten of it cannot be measured")
        return found

    def _measured(self, model: Path, old: Corpus, corpora: Mapping[str, Corpus], workers: int) -> Found:
        ((task, new),) = corpora.items()
        return of_models([model], {task: old}, (forgetting.SPLIT,), workers, {task: new.manifest.labels})

    def _rows_in_both(self, corpus: Corpus, progress: Progress) -> dict[str, int] | None:
        """Rows, by id, that make a test split an easy one; None when the old corpus is not here."""
        if self.corpus is None:
            return None
        old, new = (ids.read(one, lambda rows: None) for one in (self.corpus, corpus))
        found = {
            "new_train_in_old_test": ids.common(new["train"], old["test"]),
            "old_train_in_new_test": ids.common(old["train"], new["test"]),
        }
        if rows := found["new_train_in_old_test"]:
            progress.say(f"from: {rows} rows of the new train split are in the old test split: they hide forgetting")
        if rows := found["old_train_in_new_test"]:
            progress.say(f"from: {rows} rows of the new test split are in the old train split: they are known already")
        return found
