"""Whether a model can be measured on a corpus: what does not fit is refused, with what to do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gb_ray.model import package
from gb_ray.section import UserError
from gb_ray.tasks.section import unlike
from gb_ray.tasks.tokenizer import rules

Sections = Mapping[str, Mapping[str, Any]]
"""The section of each task by its name, as JSON."""


def check(model: Path, sections: Sections, tokenizer: Path, instead: str) -> None:
    """Raises UserError unless an exported model (an ensemble, maybe) can be measured on the corpora of these tasks,
    whose tokens are those of `tokenizer`; it may have other tasks besides. `instead` says what to do.
    """
    _same_tasks(model, sections, instead)
    _same_tokenizer(model, tokenizer, instead)


def _same_tasks(model: Path, sections: Sections, instead: str) -> None:
    """One task on each side may be called otherwise."""
    has = {name: task["section"] for name, task in package.read(model)["tasks"].items()}
    if len(has) == len(sections) == 1:
        has = {next(iter(sections)): next(iter(has.values()))}
    for name in sections:
        if name not in has:
            raise UserError(f"{model}: its tasks are {', '.join(has)}, and a corpus is of {name}; {instead}")
        its, asked = has[name], sections[name]
        if key := unlike(its, asked):
            raise UserError(
                f"{model}: its task has {key}: {its.get(key)}, the corpus of {name} is of {key}: {asked.get(key)}; "
                f"{instead}"
            )


def _same_tokenizer(model: Path, tokenizer: Path, instead: str) -> None:
    """A corpus holds the numbers of one tokenizer's tokens, and a model takes those of another for other words."""
    for folder in package.models(model, package.read(model)):
        if rules(str(folder)) != rules(str(tokenizer)):
            raise UserError(
                f"{folder}: its tokenizer is not that of {tokenizer}, whose tokens the corpus holds, so that its "
                f"answers would mean nothing; {instead}"
            )
