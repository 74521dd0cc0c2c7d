"""A worker's micro-batches of the next step, made while this one computes."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from gb_ray.corpus.reading.reader import Reader
from gb_ray.corpus.reading.replay import Replay
from gb_ray.train.batch import Layout, MicroBatch
from gb_ray.train.schedule import Step
from gb_ray.train.word_dropout import Change


class Share(NamedTuple):
    """What one worker has of a step: micro-batches, and by task the answers that are supervised."""

    micro: int
    answers: tuple[int, ...]


class Prepared(NamedTuple):
    """A step's micro-batches of this worker, on its device."""

    micro: list[MicroBatch]
    share: Share


class Feeder:
    """One thread, which ends when nothing refers to the feeder any more, or with the process."""

    def __init__(self, reader: Reader | Replay, layout: Layout, micro_tokens: int, changes: Sequence[Change] = ()):
        """`changes` are made to each sample before it is laid out."""
        self._reader, self._layout, self._micro_tokens, self._changes = reader, layout, micro_tokens, changes
        self._thread = ThreadPoolExecutor(1, "feeder")
        self._ahead: tuple[Step, Future[Prepared]] | None = None

    def take(self, step: Step, following: Step | None) -> Prepared:
        """The micro-batches of a step; from now on those of the following one are made.

        Raises what reading raises: see Reader.step.
        """
        ahead = self._ahead if self._ahead and self._ahead[0] == step else self._start(step)
        prepared = ahead[1].result()
        self._ahead = self._start(following) if following else None
        return prepared

    def ahead(self) -> Share:
        """The share of the following step; waits until it is made. Raises as `take` does."""
        return self._ahead[1].result().share if self._ahead else Share(0, self._layout.answers([]))

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()

    def _start(self, step: Step) -> tuple[Step, Future[Prepared]]:
        return step, self._thread.submit(self._prepare, step)

    def _prepare(self, step: Step) -> Prepared:
        samples = self._reader.step(step.epoch, step.start, step.stop)
        for change in self._changes:
            samples = [change(step, sample) for sample in samples]
        micro = self._layout.micro(samples, self._micro_tokens)
        return Prepared(micro, Share(len(micro), self._layout.answers(samples)))
