"""How a worker lays its samples out: each once, within the budget, with little padding or none, in one order."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from gb_ray.corpus.reading.reader import Sample
from gb_ray.tasks.base import PerToken
from gb_ray.tasks.section import SequenceClassificationSection, TokenClassificationSection
from gb_ray.tasks.task import Task, make
from gb_ray.train.batch import WASTE, Group, Layout, layout

LENGTHS = st.lists(st.integers(1, 300), max_size=80)
BUDGETS = st.integers(1, 1000)
PAD = 7


def samples(lengths: list[int]) -> list[Sample]:
    return [Sample(f"{i:04d}", np.full(n, i + 10, np.int32), i % 3) for i, n in enumerate(lengths)]


def area(group: list[Sample], packed: bool) -> int:
    """Tokens that are computed."""
    lengths = [len(sample.input_ids) for sample in group]
    return sum(lengths) if packed else len(lengths) * max(lengths)


def ids(micro: list[list[list[Sample]]]) -> list[list[list[str]]]:
    return [[[sample.id for sample in group] for group in groups] for groups in micro]


@given(LENGTHS, BUDGETS, st.booleans())
def test_every_sample_is_laid_out_once(lengths: list[int], budget: int, packed: bool) -> None:
    laid = [sample.id for groups in layout(samples(lengths), budget, packed) for group in groups for sample in group]
    assert sorted(laid) == [sample.id for sample in samples(lengths)]


@given(LENGTHS, BUDGETS, st.booleans())
@example([20] * 40 + [21], 830, False)  # one sample more fits, but not when it widens the other forty
def test_a_micro_batch_keeps_the_budget_unless_one_sample_alone_is_longer(
    lengths: list[int], budget: int, packed: bool
) -> None:
    for groups in layout(samples(lengths), budget, packed):
        assert all(groups)
        if sum(area(group, packed) for group in groups) > budget:
            assert [len(group) for group in groups] == [1]


@given(LENGTHS, BUDGETS)
def test_padding_stays_within_its_bound_in_every_group(lengths: list[int], budget: int) -> None:
    for groups in layout(samples(lengths), budget, packed=False):
        for group in groups:
            assert area(group, packed=False) <= WASTE * sum(len(sample.input_ids) for sample in group)


@given(LENGTHS, BUDGETS)
def test_a_packed_micro_batch_is_one_row_and_no_two_of_them_would_fit_in_one(lengths: list[int], budget: int) -> None:
    micro = layout(samples(lengths), budget, packed=True)
    assert all(len(groups) == 1 for groups in micro)
    sizes = [area(groups[0], packed=True) for groups in micro]
    assert all(one + other > budget for one, other in pairwise(sizes))


@given(LENGTHS, BUDGETS, st.booleans(), st.randoms())
def test_the_layout_does_not_depend_on_the_order_of_the_samples(
    lengths: list[int], budget: int, packed: bool, random: object
) -> None:
    shuffled = samples(lengths)
    random.shuffle(shuffled)
    assert ids(layout(shuffled, budget, packed)) == ids(layout(samples(lengths), budget, packed))


@pytest.mark.parametrize("packed", [False, True])
def test_samples_of_one_length_share_a_group_up_to_the_budget(packed: bool) -> None:
    assert ids(layout(samples([10] * 7), 30, packed)) == [
        [["0000", "0001", "0002"]],
        [["0003", "0004", "0005"]],
        [["0006"]],
    ]


def test_lengths_that_would_pad_each_other_are_separate_groups_of_one_micro_batch() -> None:
    assert ids(layout(samples([50, 2, 2, 50]), 104, False)) == [[["0001", "0002"], ["0000", "0003"]]]


@pytest.mark.parametrize("packed", [False, True])
def test_no_samples_make_no_micro_batches(packed: bool) -> None:
    assert layout([], 100, packed) == []


def topics() -> Task:
    return make(SequenceClassificationSection(type="sequence-classification"), "unused", 64)


def entities() -> Task:
    return make(TokenClassificationSection(type="token-classification"), "unused", 64)


def several() -> Task:
    return make(SequenceClassificationSection(type="sequence-classification", multi_label=True), "unused", 64)


def laid(task: Task, packed: bool, first: int = 0) -> Layout:
    return Layout((task,), PAD, packed, first, torch.device("cpu"), together=True)


def test_padded_tensors_hold_tokens_then_padding_that_the_mask_hides() -> None:
    group = [Sample("a", np.array([5, 6], np.int32), 1), Sample("b", np.array([8, 9, 4], np.int32), 2)]
    only = Group.padded(group, (topics(),), PAD)
    assert only.input_ids.tolist() == [[5, 6, PAD], [8, 9, 4]]
    assert only.attention_mask.tolist() == [[1, 1, 0], [1, 1, 1]]
    assert only.targets[0].tolist() == [1, 2]
    assert only.size == (5, 6)


def test_a_packed_row_holds_tokens_alone_and_each_sample_counts_from_the_first_position() -> None:
    group = [Sample("a", np.array([5, 6], np.int32), 1), Sample("b", np.array([8, 9, 4], np.int32), 2)]
    only = Group.packed(group, (topics(),), first=2)
    assert only.input_ids.tolist() == [[5, 6, 8, 9, 4]]
    assert only.position_ids.tolist() == [[2, 3, 2, 3, 4]]
    assert only.segments.edges.tolist() == [0, 2, 5]
    assert only.targets[0].tolist() == [1, 2]
    assert only.size == (5, 5)


def test_padding_is_asked_nothing_of_and_a_packed_row_has_all_labels() -> None:
    label = np.array([-100, 3], np.int32)
    longer = np.array([-100, 1, 2], np.int32)
    group = [Sample("a", np.array([5, 6], np.int32), label), Sample("b", np.array([8, 9, 4], np.int32), longer)]
    assert Group.padded(group, (entities(),), PAD).targets[0].tolist() == [[-100, 3, -100], [-100, 1, 2]]
    assert Group.packed(group, (entities(),), 0).targets[0].tolist() == [[-100, 3, -100, 1, 2]]


def test_several_labels_a_text_are_targets_of_texts_in_both_layouts() -> None:
    group = [Sample("a", np.array([5, 6], np.int32), np.array([1], np.int32)), Sample("b", np.array([8], np.int32), [])]
    for only in (Group.padded(group, (several(),), PAD), Group.packed(group, (several(),), 0)):
        assert only.targets[0].tolist() == [[1], [-1]]


@given(LENGTHS.filter(bool), BUDGETS, st.booleans())
def test_a_micro_batch_counts_its_tokens_and_what_is_computed(lengths: list[int], budget: int, packed: bool) -> None:
    micro = laid(topics(), packed).micro(samples(lengths), budget)
    tokens, computed = zip(*(one.size for one in micro), strict=True)
    assert sum(tokens) == sum(lengths)
    assert sum(computed) == sum(group.input_ids.numel() for one in micro for group in one.groups)
    assert sum(computed) <= (1 if packed else WASTE) * sum(lengths)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("task", [topics(), entities(), several()], ids=["topics", "entities", "several"])
def test_a_micro_batch_that_only_keeps_step_weighs_nothing_and_counts_no_tokens(task: Task, packed: bool) -> None:
    batch = laid(task, packed).empty()
    assert (batch.weight, batch.size) == (0.0, (0, 0))
    (only,) = batch.groups
    width = only.input_ids.shape[1]
    logits = torch.randn((1, width, 4) if isinstance(task, PerToken) else (1, 4), requires_grad=True)
    (task.loss(logits, only.targets[0]) * batch.weight).backward()
    assert torch.equal(logits.grad, torch.zeros_like(logits))
