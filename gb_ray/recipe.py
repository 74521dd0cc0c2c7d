"""A recipe says what a run is: one YAML file, one section a stage, each defined beside its stage.

recipe = load(Path("jobs/recipes/sdg.yaml"), ["train.epochs=1"])
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import Field, ValidationError, model_validator

from gb_ray.corpus.section import CorpusSection
from gb_ray.model.section import ModelSection
from gb_ray.registry.section import Policy, RegistrySection
from gb_ray.section import Section, UserError, explain
from gb_ray.serve.section import ServeSection
from gb_ray.tasks.section import TaskSection
from gb_ray.train.section import TrainSection
from gb_ray.tune.section import SearchSection

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
T = TypeVar("T", bound=Section)


class Recipe(Section):
    """What a run is. Where it runs (home, tracking server, Ray) is the command line's business."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$", description="Names the corpus, the run and the model.")
    seed: int = Field(0, description="Of the sample order, the new head and dropout.")
    corpus: CorpusSection
    tasks: dict[str, TaskSection] = Field(min_length=1, description="What the model learns; the names are yours.")
    model: ModelSection
    train: TrainSection = TrainSection()
    registry: RegistrySection = RegistrySection()
    serve: ServeSection = ServeSection()
    search: SearchSection | None = Field(None, description="What `gb tune` tries.")

    @model_validator(mode="after")
    def _each_source_has_its_task(self) -> Recipe:
        several = len(self.tasks) > 1
        for number, source in enumerate(self.corpus.sources):
            key, known = f"corpus.sources.{number}.task", ", ".join(self.tasks)
            if source.task is None and several:
                raise ValueError(f"{key}: required, missing: there are several tasks: {known}")
            if source.task is not None and source.task not in self.tasks:
                raise ValueError(f"{key}: {source.task!r} is no task of this recipe; it has {known}")
        for name, section in self.tasks.items() if several else ():
            if not NAME.fullmatch(name):
                raise ValueError(f"tasks.{name}: of several tasks each needs a name of a-z, 0-9, _ and -, 64 at most")
            if section.type == "causal-lm":
                raise ValueError(
                    f"tasks.{name}: causal-lm goes with no other task: its head is the backbone's own table of words, "
                    "and its model answers with a text; train it by itself"
                )
            if section.type == "embedding":
                raise ValueError(
                    f"tasks.{name}: embedding goes with no other task: its samples are pairs, and its loss compares "
                    "all of a global batch; train it by itself"
                )
            if not any(source.task == name for source in self.corpus.sources):
                raise ValueError(f"tasks.{name}: no source is for it; name it as the `task` of one in corpus.sources")
        if self.train.balance == "uncertainty" and not several:
            raise ValueError("train.balance: uncertainty weighs several tasks, and this recipe has one; leave it out")
        early = self.train.early_stop
        if early and several and early.metric.partition(".")[0] not in self.tasks:
            name, section = next(iter(self.tasks.items()))
            metric = "entity_f1" if section.type == "token-classification" else "loss"
            raise ValueError(
                f"train.early_stop.metric: {early.metric!r} is of no task; of several it is TASK.METRIC, "
                f"{name}.{metric} for one"
            )
        if several and self.model.adapter and self.model.adapter.export == "adapter":
            raise ValueError(
                "model.adapter.export: adapter is of one task; several tasks are exported with it merged: write merged"
            )
        return self

    @model_validator(mode="after")
    def _what_makes_it_robust_suits_the_tasks(self) -> Recipe:
        train = self.train
        for name, section in self.tasks.items():
            if section.type == "embedding" and (train.adversary or train.r_drop or train.word_dropout):
                raise ValueError(
                    f"train: adversary, r_drop and word_dropout are of samples by themselves, and tasks.{name}, an "
                    "embedding, compares them; leave them out"
                )
            if train.word_deletion and section.type in ("token-classification", "causal-lm", "embedding"):
                raise ValueError(
                    f"train.word_deletion: tasks.{name}, {section.type}, asks for words where they stand; leave it out"
                )
            several = section.type == "sequence-classification" and section.multi_label
            if train.r_drop and (several or section.type in ("regression", "causal-lm")):
                raise ValueError(
                    f"train.r_drop: compares probabilities of which one label is right; tasks.{name} is no "
                    "sequence-classification with one label and no token-classification; leave it out"
                )
        return self

    @model_validator(mode="after")
    def _a_pooler_is_read(self) -> Recipe:
        of_texts = any(section.type in ("sequence-classification", "regression") for section in self.tasks.values())
        if self.model.pooler == "identity" and not of_texts:
            raise ValueError(
                "model.pooler: identity is for heads that read a pooler, those of sequence-classification and "
                "regression, and no task here is one; leave it out"
            )
        return self

    @model_validator(mode="after")
    def _an_embedding_can_be_learnt(self) -> Recipe:
        if any(section.type == "embedding" for section in self.tasks.values()):
            if self.train.batch < 2:
                raise ValueError("train.batch: embedding tells pairs from each other; expected 2 or more")
            if self.model.trained == "head":
                raise ValueError("model.trained: embedding has no head; write all, a number of layers, or patterns")
        return self

    @property
    def prunes(self) -> bool:
        """Whether ranks are taken from the adapter while it learns."""
        return self.model.adapter is not None and self.model.adapter.type == "adalora"

    @model_validator(mode="after")
    def _an_adapter_can_be_trained(self) -> Recipe:
        shared = self.train.zero not in ("auto", 0) or self.train.offload.optimizer != "none"
        if self.prunes and (shared or self.train.ema):
            raise ValueError("model.adapter.type: adalora needs train.zero 0 without offload and ema; or use lora")
        if self.in_four_bits and shared:
            raise ValueError("model.adapter.base: nf4 needs train.zero 0 without offload; or leave it out")
        return self

    @property
    def in_four_bits(self) -> bool:
        """Whether the matrices that the adapter is beside are held in four bits."""
        return self.model.adapter is not None and self.model.adapter.base == "nf4"

    def sources_of(self, task: str) -> CorpusSection:
        """The corpus section of one task: its own sources, and what all tasks share."""
        own = [source for source in self.corpus.sources if source.task in (None, task)]
        return self.corpus.model_copy(update={"sources": [s.model_copy(update={"task": None}) for s in own]})

    def corpus_name(self, task: str) -> str:
        """What the corpus of a task is called: as the recipe, or where there are several as both."""
        return self.name if len(self.tasks) == 1 else f"{self.name}-{task}"

    def digest(self) -> str:
        """sha256 (hex) of what decides the samples of every step and what is done with them.

        Neither gating and serving do, nor who computes and how that is watched: a run goes on with other workers.
        """
        who = {"workers", "gpus", "max_failures", "hang_s", "checkpoint"}
        content = self.model_dump(mode="json", exclude={"registry": True, "serve": True, "search": True, "train": who})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def load(path: Path, overrides: list[str] | None = None) -> Recipe:
    """Read `path`, apply `section.key=value` overrides (values are YAML), validate.

    Raises UserError, naming the file and the key, when anything is wrong.
    """
    return parse(read_yaml(path), overrides or [], str(path))


def parse(content: dict[str, Any], overrides: list[str], where: str) -> Recipe:
    """The recipe in a mapping, with overrides. Raises UserError, naming `where` and the key."""
    for override in overrides:
        _apply(content, override)
    return _validate(Recipe, content, where)


def load_policy(path: Path) -> Policy:
    """The gate's policy in a file. Raises UserError."""
    return _validate(Policy, read_yaml(path), str(path))


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises UserError when it is missing, not text, or not a mapping."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text: {error}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: 2020-13-01, for one
        raise UserError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected a mapping of keys to values, got {type(content).__name__}")
    return content


def _validate(model: type[T], content: dict[str, Any], where: str) -> T:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise UserError(explain(error, model, where)) from None


def _apply(content: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise UserError(f"override {override!r}: expected section.key=value")
    *parents, last = key.split(".")
    for part in parents:
        content = content.setdefault(part, {})
        if not isinstance(content, dict):
            raise UserError(f"override {override!r}: {part!r} is not a section")
    try:
        content[last] = yaml.safe_load(value)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise UserError(f"override {override!r}: {value!r} is not a YAML value") from None
