"""Every request gets its own answer, within the token budget, and none is overtaken for ever."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gb_ray.serve.batcher import Batcher, choose


@dataclass(frozen=True)
class Text:
    number: int
    input_ids: list[int]


class Echo:
    """Answers each text with its number; fails on a batch with a number in `poison`; waits for `gate`."""

    def __init__(self, poison: frozenset[int] = frozenset()):
        self.manifest: dict[str, Any] = {}
        self.poison = poison
        self.batches: list[list[Text]] = []
        self.gate = threading.Event()
        self.gate.set()

    def encode(self, texts: list[str]) -> list[Any]:
        raise NotImplementedError

    def predict(self, encoded: list[Text]) -> list[dict[str, Any]]:
        self.gate.wait(10)
        self.batches.append(encoded)
        if self.poison.intersection(text.number for text in encoded):
            raise ValueError("poisoned")
        return [{"number": text.number} for text in encoded]


def texts(lengths: list[int]) -> list[Text]:
    return [Text(number, [0] * length) for number, length in enumerate(lengths)]


def answer_all(backend: Echo, items: list[Text], budget: int) -> list[Any]:
    async def main() -> list[Any]:
        with ThreadPoolExecutor(1) as executor:
            batcher = Batcher(backend, budget, executor)
            return await asyncio.gather(*(batcher.submit(item) for item in items), return_exceptions=True)

    return asyncio.run(main())


lengths = st.lists(st.integers(1, 50), min_size=1, max_size=60)
budgets = st.integers(1, 200)


@given(lengths, budgets)
@settings(max_examples=60, deadline=None)
def test_each_request_gets_its_own_answer_within_the_budget(sizes: list[int], budget: int) -> None:
    backend = Echo()
    answers = answer_all(backend, texts(sizes), budget)
    assert [answer["number"] for answer in answers] == list(range(len(sizes)))
    for batch in backend.batches:
        cost = len(batch) * max(len(text.input_ids) for text in batch)
        assert cost <= budget or len(batch) == 1
        assert batch == sorted(batch, key=lambda text: len(text.input_ids))


@given(lengths, budgets)
@settings(deadline=None)
def test_a_batch_has_the_oldest_and_cannot_grow_at_either_end(sizes: list[int], budget: int) -> None:
    chosen = choose(sizes, budget)
    assert 0 in chosen
    assert len(set(chosen)) == len(chosen)
    longest, shortest = sizes[chosen[-1]], sizes[chosen[0]]
    left = [sizes[index] for index in set(range(len(sizes))) - set(chosen)]
    for size in left:
        assert size <= shortest or size >= longest
        assert (len(chosen) + 1) * max(longest, size) > budget


def test_no_length_is_no_batch() -> None:
    assert choose([], 10) == []


@given(lengths, budgets)
@settings(max_examples=40, deadline=None)
def test_nothing_waits_longer_than_its_predecessors_take(sizes: list[int], budget: int) -> None:
    backend = Echo()
    answer_all(backend, texts(sizes), budget)
    for place, batch in enumerate(backend.batches):
        assert all(place <= text.number for text in batch)


@given(lengths, budgets, st.frozensets(st.integers(0, 59), max_size=3))
@settings(max_examples=60, deadline=None)
def test_a_failing_batch_fails_alone(sizes: list[int], budget: int, poison: frozenset[int]) -> None:
    backend = Echo(poison)
    answers = answer_all(backend, texts(sizes), budget)
    for batch in backend.batches:
        failed = bool(poison.intersection(text.number for text in batch))
        for text in batch:
            assert (
                isinstance(answers[text.number], ValueError)
                if failed
                else answers[text.number]["number"] == text.number
            )


def test_a_wrong_number_of_answers_is_an_error_and_not_a_hang() -> None:
    class Short(Echo):
        def predict(self, encoded: list[Text]) -> list[dict[str, Any]]:
            return []

    (answer,) = answer_all(Short(), texts([3]), 10)
    assert "0 answers to 1 texts" in str(answer)


def test_what_nobody_waits_for_is_not_computed() -> None:
    backend = Echo()
    backend.gate.clear()

    async def main() -> None:
        with ThreadPoolExecutor(1) as executor:
            batcher = Batcher(backend, 5, executor)
            requests = [asyncio.create_task(batcher.submit(item)) for item in texts([5, 5, 5])]
            await asyncio.sleep(0.05)
            requests[1].cancel()
            await asyncio.sleep(0)
            backend.gate.set()
            assert (await requests[2])["number"] == 2
            with pytest.raises(asyncio.CancelledError):
                await requests[1]

    asyncio.run(main())
    assert [[text.number for text in batch] for batch in backend.batches] == [[0], [2]]


def test_an_idle_model_answers_at_once_and_a_busy_one_gathers() -> None:
    backend = Echo()
    backend.gate.clear()

    async def main() -> None:
        with ThreadPoolExecutor(1) as executor:
            batcher = Batcher(backend, 100, executor)
            first = asyncio.create_task(batcher.submit(texts([5])[0]))
            await asyncio.sleep(0.05)
            rest = [asyncio.create_task(batcher.submit(item)) for item in texts([5, 5, 5])]
            await asyncio.sleep(0)
            backend.gate.set()
            await asyncio.gather(first, *rest)

    asyncio.run(main())
    assert [len(batch) for batch in backend.batches] == [1, 3]
