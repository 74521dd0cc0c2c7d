"""One stage of a build: items that Ray tasks work through in parallel, each of which leaves a result on disk.

An item whose result is there is not done again: this is how a build that was killed goes on.

    read/3f2a.../result.json       written last, by renaming: the item's files are whole
    read/3f2a.../part-0000.arrow
"""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeVar

import ray

from gb_ray.section import UserError

RESULT = "result.json"
AHEAD = 2
"""Tasks handed out for each CPU: one runs while the next is on its way."""
Result = dict[str, Any]
"""What a stage must know of an item's outcome (JSON)."""


class Item(Protocol):
    """One piece of a stage's work."""

    @property
    def name(self) -> str:
        """Names its folder; the same name, the same outcome."""


I = TypeVar("I", bound=Item)  # noqa: E741


def run(
    items: Sequence[I], work: Callable[[I, Path], Result], folder: Path, seen: Callable[[Result], None]
) -> list[Result]:
    """The results of all items, in their order. `work(item, its folder)` runs in a Ray task with one CPU.

    `seen` is told each result as it comes. Raises UserError when the disk is full or `work` raised one.
    """
    results: dict[int, Result] = {}
    for index, item in enumerate(items):
        file = folder / item.name / RESULT
        if file.is_file():
            results[index] = json.loads(file.read_bytes())
            seen(results[index])
    missing = [index for index in range(len(items)) if index not in results]
    for index, result in _work_through(items, missing, work, folder):
        results[index] = result
        seen(result)
    return [results[index] for index in range(len(items))]


def _work_through(
    items: Sequence[I], missing: list[int], work: Callable[[I, Path], Result], folder: Path
) -> Iterator[tuple[int, Result]]:
    """(index, result) as they come. Tasks, not Ray Data: results are files here, and it took seconds to start."""
    at_work: dict[Any, int] = {}
    left = iter(missing)
    room = max(2, int(ray.cluster_resources().get("CPU", 1))) * AHEAD
    while True:
        for index in islice(left, room - len(at_work)):
            at_work[_task.remote(items[index], work, folder / items[index].name)] = index
        if not at_work:
            return
        (done,), _ = ray.wait(list(at_work))
        refused, result = ray.get(done)
        if refused:
            raise UserError(refused)
        yield at_work.pop(done), result


@ray.remote
def _task(item: Item, work: Callable[[Any, Path], Result], folder: Path) -> tuple[str, Result]:
    """(what the user must mend, or nothing; the result). An exception would lose its kind on the way."""
    try:
        return "", _do(item, work, folder)
    except UserError as error:
        return str(error), {}
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return str(disk_full(error)), {}


def _do(item: Item, work: Callable[[Any, Path], Result], folder: Path) -> Result:
    shutil.rmtree(folder, ignore_errors=True)  # of an attempt that was killed
    folder.mkdir(parents=True)
    result = work(item, folder)
    beside = folder / f"{RESULT}.part"
    beside.write_text(json.dumps(result), encoding="utf-8")
    beside.rename(folder / RESULT)
    return result


def disk_full(error: OSError) -> UserError:
    """What a person is told."""
    return UserError(f"the disk is full: {error}; free some space, and the same command goes on from here")
