"""Batches of what waits, bounded by tokens. There is no timer: an idle model answers at once."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from gb_ray.serve.backend import Backend, Encoded

# How many of the oldest waiting items a batch may choose from: bounds the cost of choosing, and how many
# younger items can be answered before an older one.
LOOK_AHEAD = 1024

logger = logging.getLogger(__name__)


@dataclass
class _Item:
    encoded: Encoded
    length: int
    answer: asyncio.Future[dict[str, Any]]


class Batcher:
    """Answers encoded texts with `backend`, at most `batch_tokens` tokens (padding included) at a time.

    Every batch has the oldest waiting item in it, so none starves, and those nearest to it in length. An item
    longer than the budget goes alone. `executor` computes the batches: give it one thread.
    """

    def __init__(self, backend: Backend, batch_tokens: int, executor: Executor):
        self.backend = backend
        self._batch_tokens = batch_tokens
        self._executor = executor
        self._waiting: deque[_Item] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def submit(self, encoded: Encoded) -> dict[str, Any]:
        """The backend's answer to one encoded text.

        Raises what the backend raised on its batch. When cancelled while it waits, it is never computed.
        """
        item = _Item(encoded, len(encoded.input_ids), asyncio.get_running_loop().create_future())
        self._waiting.append(item)
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        return await item.answer

    async def _work(self) -> None:
        try:
            while batch := self._take():
                await self._answer(batch)
        finally:
            self._worker = None

    def _take(self) -> list[_Item]:
        """The next batch, shortest first, removed from those waiting; empty when none waits."""
        window: list[_Item] = []
        while self._waiting and len(window) < LOOK_AHEAD:
            item = self._waiting.popleft()
            if not item.answer.done():
                window.append(item)
        chosen = choose([item.length for item in window], self._batch_tokens)
        left = set(range(len(window))).difference(chosen)
        self._waiting.extendleft(window[index] for index in sorted(left, reverse=True))
        return [window[index] for index in chosen]

    async def _answer(self, batch: list[_Item]) -> None:
        loop = asyncio.get_running_loop()
        try:
            encoded = [item.encoded for item in batch]
            answers = await loop.run_in_executor(self._executor, self.backend.predict, encoded)
            if len(answers) != len(batch):
                raise RuntimeError(f"the model gave {len(answers)} answers to {len(batch)} texts")
        except Exception as error:
            logger.exception("a batch of %d texts failed", len(batch))
            for item in batch:
                if not item.answer.done():
                    item.answer.set_exception(error)
            return
        for item, answer in zip(batch, answers, strict=True):
            if not item.answer.done():
                item.answer.set_result(answer)


def choose(lengths: list[int], budget: int) -> list[int]:
    """Indices into `lengths` (tokens, oldest first) of the next batch, shortest first.

    Holds index 0 and those nearest to it in length while (number * longest) <= budget. Empty for no lengths.
    """
    if not lengths:
        return []
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    sizes = [lengths[index] for index in order]
    first = last = order.index(0)
    oldest = sizes[first]
    while True:
        more = last - first + 2
        down = first > 0 and more * sizes[last] <= budget
        up = last + 1 < len(sizes) and more * sizes[last + 1] <= budget
        if not (down or up):
            return order[first : last + 1]
        if down and not (up and sizes[last + 1] - oldest < oldest - sizes[first - 1]):
            first -= 1
        else:
            last += 1
