"""How a worker lays its samples out: each once, within the budget, with little padding, whatever order they came in."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from gb_ray.corpus.reading.reader import Sample
from gb_ray.tasks.section import SequenceClassificationSection, TokenClassificationSection
from gb_ray.tasks.task import Task, make
from gb_ray.train.batch import WASTE, MicroBatch, layout

LENGTHS = st.lists(st.integers(1, 300), max_size=80)
BUDGETS = st.integers(1, 1000)
PAD = 7


def samples(lengths: list[int]) -> list[Sample]:
    return [Sample(f"{i:04d}", np.full(n, i + 10, np.int32), i % 3) for i, n in enumerate(lengths)]


def area(group: list[Sample]) -> int:
    return len(group) * max(len(sample.input_ids) for sample in group)


def ids(micro: list[list[list[Sample]]]) -> list[list[list[str]]]:
    return [[[sample.id for sample in group] for group in groups] for groups in micro]


@given(LENGTHS, BUDGETS)
def test_every_sample_is_laid_out_once(lengths: list[int], budget: int) -> None:
    laid = [sample.id for groups in layout(samples(lengths), budget) for group in groups for sample in group]
    assert sorted(laid) == [sample.id for sample in samples(lengths)]


@given(LENGTHS, BUDGETS)
@example([20] * 40 + [21], 830)  # one sample more fits, but not when it widens the other forty
def test_a_micro_batch_keeps_the_budget_unless_one_sample_alone_is_longer(lengths: list[int], budget: int) -> None:
    for groups in layout(samples(lengths), budget):
        assert all(groups)
        if sum(map(area, groups)) > budget:
            assert [len(group) for group in groups] == [1]


@given(LENGTHS, BUDGETS)
def test_padding_stays_within_its_bound_in_every_group(lengths: list[int], budget: int) -> None:
    for groups in layout(samples(lengths), budget):
        for group in groups:
            assert area(group) <= WASTE * sum(len(sample.input_ids) for sample in group)


@given(LENGTHS, BUDGETS, st.randoms())
def test_the_layout_does_not_depend_on_the_order_of_the_samples(
    lengths: list[int], budget: int, random: object
) -> None:
    shuffled = samples(lengths)
    random.shuffle(shuffled)
    assert ids(layout(shuffled, budget)) == ids(layout(samples(lengths), budget))


def test_samples_of_one_length_share_a_group_up_to_the_budget() -> None:
    assert ids(layout(samples([10] * 7), 30)) == [
        [["0000", "0001", "0002"]],
        [["0003", "0004", "0005"]],
        [["0006"]],
    ]


def test_lengths_that_would_pad_each_other_are_separate_groups_of_one_micro_batch() -> None:
    assert ids(layout(samples([50, 2, 2, 50]), 104)) == [[["0001", "0002"], ["0000", "0003"]]]


def test_no_samples_make_no_micro_batches() -> None:
    assert layout([], 100) == []


def topics() -> Task:
    return make(SequenceClassificationSection(type="sequence-classification"), "unused", 64)


def entities() -> Task:
    return make(TokenClassificationSection(type="token-classification"), "unused", 64)


def test_tensors_hold_tokens_then_padding_that_the_mask_hides() -> None:
    group = [Sample("a", np.array([5, 6], np.int32), 1), Sample("b", np.array([8, 9, 4], np.int32), 2)]
    batch = MicroBatch.of([group], topics(), PAD)
    (only,) = batch.groups
    assert only.input_ids.tolist() == [[5, 6, PAD], [8, 9, 4]]
    assert only.attention_mask.tolist() == [[1, 1, 0], [1, 1, 1]]
    assert only.targets.tolist() == [1, 2]
    assert batch.size == (5, 6)
    assert batch.weight == 1


def test_padding_is_asked_nothing_of() -> None:
    label = np.array([-100, 3], np.int32)
    longer = np.array([-100, 1, 2], np.int32)
    group = [Sample("a", np.array([5, 6], np.int32), label), Sample("b", np.array([8, 9, 4], np.int32), longer)]
    (only,) = MicroBatch.of([group], entities(), PAD).groups
    assert only.targets.tolist() == [[-100, 3, -100], [-100, 1, 2]]


@pytest.mark.parametrize("task", [topics(), entities()], ids=["topics", "entities"])
def test_a_micro_batch_that_only_keeps_step_weighs_nothing_and_counts_no_tokens(task: Task) -> None:
    batch = MicroBatch.empty(task, PAD)
    assert (batch.weight, batch.size) == (0.0, (0, 0))
    (only,) = batch.groups
    width = only.input_ids.shape[1]
    logits = torch.randn((1, width, 4) if only.targets.ndim == 2 else (1, 4), requires_grad=True)
    (task.loss(logits, only.targets) * batch.weight).backward()
    assert torch.equal(logits.grad, torch.zeros_like(logits))
