"""Labels that are asked for and that nothing taught: a metric alone does not tell that they were the fault."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from gb_ray.corpus.corpus import Corpus
from gb_ray.section import UserError
from gb_ray.tasks.section import TaskSection

SHOWN = 5
Unseen = dict[str, int]
"""{label: how often it is asked for}, the most frequent first. Entities go by their type, and count in words."""


def unseen(asked: Mapping[str, int], known: Iterable[str], kind: str) -> Unseen:
    """Those of a split's counts of labels, of a task of this kind, whose label is not a `known` one."""
    name = _entity if kind == "token-classification" else str
    names, found = {name(label) for label in known}, Counter[str]()
    for label, count in asked.items():
        if name(label) not in names:
            found[name(label)] += count
    return dict(found.most_common())


def check(
    corpora: Mapping[str, Corpus], tasks: Mapping[str, TaskSection], taught: Mapping[str, Iterable[str]] | None = None
) -> list[str]:
    """What a person should know of labels that validation or test have, and train has not: a line for each such split.

    All go by task; `taught` are the labels of the model that is gone on from, if there is one. Raises UserError where
    the recipe does not name its labels itself: then one that is not in train may well be a mistake.
    """
    faults, told = [], []
    for task, corpus in corpora.items():
        section, splits = tasks[task], corpus.manifest.splits
        known = [*splits["train"].labels, *(taught or {}).get(task, ())]
        for split in ("validation", "test"):
            if found := unseen(splits[split].labels, known, section.type):
                line = f"tasks.{task}: {split} asks for labels that train has no row of, {shown(found)}"
                if getattr(section, "labels", None):
                    told.append(f"{line}; they count as wrong answers")
                else:
                    faults.append(f"{line}; {_what_to_do(task)}")
    if faults:
        raise UserError("\n".join(faults))
    return told


def of_model(manifest: Mapping[str, Any], corpora: Mapping[str, Corpus], split: str) -> dict[str, Unseen]:
    """Of each task's corpus the labels that an exported model does not have; tasks without such labels are left out."""
    found = {}
    for task, corpus in corpora.items():
        # Of one task each, the names may differ.
        its = manifest["tasks"].get(task) or next(iter(manifest["tasks"].values()))
        found[task] = unseen(corpus.manifest.splits[split].labels, its["labels"], its["type"])
    return {task: labels for task, labels in found.items() if labels}


def shown(found: Unseen) -> str:
    """How often all are asked for, and the first of them."""
    first = ", ".join(f"{label!r} ({count:,})" for label, count in list(found.items())[:SHOWN])
    more = f" and {len(found) - SHOWN:,} more" if len(found) > SHOWN else ""
    total = sum(found.values())
    return f"{'once' if total == 1 else f'{total:,} times'}: {first}{more}"


def _what_to_do(task: str) -> str:
    return (
        "put rows of them into train, keep theirs out with the `where` of their source, or divide the rows in another "
        f"way (corpus.splits); name all labels in tasks.{task}.labels to count these as wrong answers all the same"
    )


def _entity(tag: str) -> str:
    return tag[2:] or tag
