"""What a recipe names, found and checked before anything is started; and the corpora of its tasks."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

import gb_ray
from gb_ray.continual.parent import Parent
from gb_ray.corpus import build
from gb_ray.corpus.corpus import Corpus
from gb_ray.corpus.plan import Plan, prepare
from gb_ray.files import sha256
from gb_ray.model import load
from gb_ray.progress import Progress
from gb_ray.recipe import Recipe, load_policy
from gb_ray.registry.section import Policy
from gb_ray.registry.versions import Version
from gb_ray.section import UserError
from gb_ray.tasks import unseen
from gb_ray.tasks.task import Task, make

DECIDES = ("corpus/reading", "tasks", "model", "train")
Corpora = dict[str, Corpus]
"""{task: its corpus}, in the order of the recipe."""


@dataclass(frozen=True)
class Inputs:
    """A recipe with everything it names found and checked. `tasks` and `corpora` go by the names of the tasks."""

    recipe: Recipe
    policy: Policy
    backbone: Path
    tasks: dict[str, Task]
    corpora: dict[str, Plan]
    parent: Parent | None = None
    """The model that the run goes on from."""

    def going_on(self, version: Version, home: Path) -> Inputs:
        """The same for a run that starts from a version's weights, not from the backbone's. Raises UserError."""
        recipe, parent = self.recipe, Parent.of(version, self.recipe, self.backbone, home)
        tokens, chars = recipe.model.max_tokens, recipe.corpus.min_chars
        # The corpus is the recipe's own, whatever the model was; what the outputs mean is the model's.
        tasks = {
            name: make(section, str(self.backbone), tokens, chars, parent.states.get(name))
            for name, section in recipe.tasks.items()
        }
        return replace(self, parent=parent, tasks=tasks)

    def existing(self, home: Path) -> Corpora | None:
        """The corpora if all were built before."""
        found = {task: build.existing(plan, home) for task, plan in self.corpora.items()}
        whole = {task: corpus for task, corpus in found.items() if corpus}
        return whole if len(whole) == len(found) else None

    def built(self, home: Path, progress: Progress) -> Corpora:
        """The corpora; those that are not there are built, with Ray up. Raises UserError as `build.build` does.

        Each task's is cleaned, divided and deduplicated by itself. A text of task A's train split may be in task B's
        test split: what B is asked of it, A's label does not say.
        """
        found: Corpora = {}
        for task, plan in self.corpora.items():
            if corpus := build.existing(plan, home):
                progress.say(f"corpus {corpus.path.name}: unchanged, reused")
            found[task] = corpus or build.build(plan, home, progress)
            if self.parent:
                self.parent.check_labels(task, found[task])
        return found

    def to_train_on(self, home: Path, progress: Progress) -> Corpora:
        """The corpora as `built`; no label is asked for that none of them teaches. Raises UserError as `unseen` too."""
        found = self.built(home, progress)
        for line in unseen.check(found, self.recipe.tasks, self.parent.labels if self.parent else None):
            progress.say(line)
        return found

    def require(self, home: Path, where: str) -> Corpora:
        """The corpora, without building any. Raises UserError when one is not there; `where` is the recipe's file."""
        if found := self.existing(home):
            return found
        raise UserError(f"{where}: its corpus is not built; run: gb corpus build {where}")

    def key(self, corpora: Corpora) -> str:
        """sha256 (hex) of everything that decides a run's weights: the same key, the same run."""
        weights = [sha256(file) for file in sorted(self.backbone.glob("*.safetensors"))]
        digests = [corpus.manifest.digest for corpus in corpora.values()]
        parent = self.parent.digests if self.parent else []
        parts = [self.recipe.digest(), *digests, *weights, *parent, code_digest()]
        return hashlib.sha256("/".join(parts).encode()).hexdigest()


def check(recipe: Recipe, path: Path) -> Inputs:
    """Look at every input of the recipe in the file `path` before anything is started. Raises UserError."""
    backbone = load.backbone(recipe.model)
    tasks = {
        name: make(section, str(backbone), recipe.model.max_tokens, recipe.corpus.min_chars)
        for name, section in recipe.tasks.items()
    }
    policy = load_policy(path.parent / recipe.registry.policy)
    plans = {
        name: prepare(recipe.corpus_name(name), name, recipe.sources_of(name), task, backbone)
        for name, task in tasks.items()
    }
    return Inputs(recipe, policy, backbone, tasks, plans)


def corpora_digest(digests: dict[str, str]) -> str:
    """What stands for all corpora of a run, by task: of one its digest, of several the sha256 (hex) of theirs."""
    if len(digests) == 1:
        return next(iter(digests.values()))
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()


def code_digest() -> str:
    """sha256 (hex) of the source that decides a run's weights: it is there also where no version control is."""
    folder = Path(gb_ray.__file__).parent
    digest = hashlib.sha256()
    for file in sorted(file for part in DECIDES for file in (folder / part).rglob("*.py")):
        digest.update(f"{file.relative_to(folder)} {sha256(file)}\n".encode())
    return digest.hexdigest()
