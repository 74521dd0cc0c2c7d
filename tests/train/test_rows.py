"""What travels of word embeddings' gradients by row is what would travel of all of them."""

from __future__ import annotations

import processes
import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertConfig, BertForTokenClassification, GPT2Config, GPT2LMHeadModel

from gb_ray.train.gradients import Gradients
from gb_ray.train.rows import Rows, Table, table

VOCABULARY, SIZE = 40, 8
Share = tuple[list[int], int]
"""(ids a worker looks up, seed of their gradients)."""


def exchanged(cases: list[list[Share]]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """(by row, dense) of each case, with one Rows for all of them: nothing is left over from the one before."""
    rows, found = Rows(torch.zeros(VOCABULARY, SIZE)), []
    for case in cases:
        ids, seed = case[dist.get_rank()]
        # Whole numbers: their sum does not depend on the order in which workers are added up.
        gradient = torch.randint(-99, 99, (len(ids), SIZE), generator=torch.Generator().manual_seed(seed)).float()
        at = torch.tensor(ids, dtype=torch.int64)
        dense = torch.zeros(VOCABULARY, SIZE).index_add_(0, at, gradient)
        dist.all_reduce(dense)
        rows.touch(at)
        rows.start()
        rows.add(at, gradient)
        rows.finish()
        found.append((rows.gather().clone(), dense))
        rows.clear()
        assert not rows.dense.any()
    return found


@pytest.mark.parametrize("world", [1, 2, pytest.param(3, marks=pytest.mark.chaos)])
def test_rows_that_travel_add_up_to_the_dense_gradient(world: int) -> None:
    """Workers that share rows, share none, or have none at all."""
    share = st.tuples(st.lists(st.integers(0, VOCABULARY - 1), max_size=30), st.integers(0, 999))
    drawn: list[list[Share]] = [[([], 0)] * world]

    @settings(max_examples=50, database=None)
    @given(st.lists(share, min_size=world, max_size=world))
    def draw(case: list[Share]) -> None:
        drawn.append(case)

    draw()
    for results in processes.run(world, exchanged, drawn):
        assert len(results) == len(drawn)
        for by_row, dense in results:
            assert torch.equal(by_row, dense)


def sums_of(first: list[list[bool]], last: list[list[bool]]) -> list[torch.Tensor]:
    """Two micro-batches, in which each worker's loss depends on some parameters alone; gradients are powers of 2."""
    rank = dist.get_rank()
    parameters = [torch.nn.Parameter(torch.ones(3 + index)) for index in range(len(first[0]))]
    gradients = Gradients(parameters, [])
    for number, parts in ((0, first), (1, last)):
        loss = torch.zeros((), requires_grad=True).sum()
        for use, parameter in zip(parts[rank], parameters, strict=True):
            loss = loss + parameter.sum() * 2.0 ** (2 * rank + number) if use else loss
        gradients.backward(loss, last=number == 1)
    return [gradient.clone() for gradient in gradients.of()]


def test_workers_whose_losses_depend_on_other_parameters_agree_on_all_gradients() -> None:
    """Each parameter is a bucket of its own: had the workers sent them in another order, sizes would not fit."""
    first = [[True, False, True, False], [False, False, True, True]]
    last = [[False, True, True, False], [False, False, False, False]]
    results = processes.run(2, small_buckets, first, last)
    for found in results:
        for index, gradient in enumerate(found):
            expected = sum(
                parts[rank][index] * 2.0 ** (2 * rank + number)
                for rank in (0, 1)
                for number, parts in ((0, first), (1, last))
            )
            assert gradient.tolist() == [expected] * (3 + index)


def small_buckets(first: list[list[bool]], last: list[list[bool]]) -> list[torch.Tensor]:
    from gb_ray.train import gradients

    gradients.BUCKET = 1
    return sums_of(first, last)


def test_a_table_gives_what_the_embeddings_gave_and_no_gradient_to_padding() -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": SIZE, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    model = BertForTokenClassification(BertConfig(vocab_size=VOCABULARY, **sizes))
    words, ids = model.get_input_embeddings(), torch.tensor([[3, 0, 3, 7]])
    plain = words(ids)
    (plain * torch.arange(4.0)[:, None]).sum().backward()
    expected, words.weight.grad = words.weight.grad, None
    found = table(model, torch.float32)
    assert found is words and isinstance(words, Table)
    assert torch.equal(words(ids), plain)
    (words(ids) * torch.arange(4.0)[:, None]).sum().backward()
    assert words.weight.grad is None and expected is not None and not expected[0].any()
    assert torch.equal(found.rows.dense, expected)


def test_what_is_looked_up_without_gradients_is_not_sent() -> None:
    """After a measurement a step sends what it would have sent without: a resumed run has not measured just now."""
    sizes = {"hidden_size": SIZE, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    found = table(BertForTokenClassification(BertConfig(vocab_size=VOCABULARY, **sizes)), torch.float32)
    assert found is not None
    with torch.no_grad():
        found(torch.tensor([[3, 7]]))
    assert not found.rows._seen.any()
    found(torch.tensor([[3, 7]]))
    assert found.rows._seen.nonzero().flatten().tolist() == [3, 7]


def test_embeddings_that_are_tied_or_frozen_are_left_alone() -> None:
    tied = GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_embd=8, n_layer=1, n_head=2))
    assert table(tied, torch.float32) is None
    tied.get_input_embeddings().weight.requires_grad_(False)
    assert table(tied, torch.float32) is None
