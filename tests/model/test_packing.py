"""A packed row gives what padded rows give, outputs and gradients, for every architecture that is packed."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
import transformers
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import AutoConfig

from gb_ray.model import packing
from gb_ray.model.attention import Block, Segments, packed_attention
from gb_ray.model.dropout import lighten

TOLERANCE = 1e-5
"""Of outputs and gradients near 1: fp32 sums in another order."""
LENGTHS = st.lists(st.integers(1, 24), min_size=1, max_size=7)
SIZE = {
    "vocab_size": 50,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 260,
    "pad_token_id": 1,
    "num_labels": 3,
}
WITHOUT_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
LOCAL = {"local_attention": 6, "global_attn_every_n_layers": 2}
TOKENS, TEXTS, NEXT = "TokenClassification", "SequenceClassification", "CausalLM"
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "BERT, tokens": ("bert", TOKENS, WITHOUT_DROPOUT),
    "BERT, texts": ("bert", TEXTS, WITHOUT_DROPOUT),
    "RoBERTa, tokens": ("roberta", TOKENS, WITHOUT_DROPOUT),
    "RoBERTa, texts": ("roberta", TEXTS, WITHOUT_DROPOUT),
    "XLM-RoBERTa, tokens": ("xlm-roberta", TOKENS, WITHOUT_DROPOUT),
    "XLM-RoBERTa, texts": ("xlm-roberta", TEXTS, WITHOUT_DROPOUT),
    "DistilBERT, tokens": ("distilbert", TOKENS, {"dropout": 0.0, "attention_dropout": 0.0}),
    "DistilBERT, texts": ("distilbert", TEXTS, {"dropout": 0.0, "attention_dropout": 0.0, "seq_classif_dropout": 0.0}),
    "ModernBERT, tokens": ("modernbert", TOKENS, LOCAL),
    "ModernBERT, texts by their first token": ("modernbert", TEXTS, LOCAL | {"classifier_pooling": "cls"}),
    "ModernBERT, texts by their mean": ("modernbert", TEXTS, LOCAL | {"classifier_pooling": "mean"}),
    "Llama": ("llama", NEXT, {"num_key_value_heads": 2}),
    "Qwen2": ("qwen2", NEXT, {"num_key_value_heads": 2}),
    "Qwen2 with a window": (
        "qwen2",
        NEXT,
        {"num_key_value_heads": 2, "use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1},
    ),
    "Qwen3": ("qwen3", NEXT, {"num_key_value_heads": 2, "head_dim": 8}),
}


@cache
def models(case: str, attention: str) -> tuple[Any, Any]:
    """The same weights, to be fed padded and packed; no dropout, in training mode."""
    kind, head, changes = CASES[case]
    found = []
    for _ in range(2):
        config = AutoConfig.for_model(kind, **(SIZE | changes))
        torch.manual_seed(0)
        opened = getattr(transformers, f"AutoModelFor{head}").from_config(config, attn_implementation=attention)
        with torch.no_grad():
            for parameter in opened.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.1)  # biases of zero would hide what they do
        found.append(opened.train())
    packing.pack(found[1])
    return found[0], found[1]


def padded_logits(model: Any, lengths: list[int], tokens: torch.Tensor) -> torch.Tensor:
    """Of all tokens [tokens, outputs], or of all texts [samples, outputs]."""
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    ids = torch.ones(mask.shape, dtype=torch.int64)
    ids[mask] = tokens
    logits = model(input_ids=ids, attention_mask=mask.long()).logits
    return logits[mask] if logits.ndim == 3 else logits


def packed_logits(model: Any, lengths: list[int], tokens: torch.Tensor) -> torch.Tensor:
    first = packing.first_position(model)
    places = torch.cat([torch.arange(first, first + length) for length in lengths])
    logits = model(input_ids=tokens[None], position_ids=places[None], segments=Segments.of(lengths)).logits
    return logits[0] if logits.ndim == 3 else logits


def gradients(model: Any, logits: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    weights = torch.linspace(-1, 1, logits.numel()).view_as(logits)
    (logits * weights).sum().backward()
    return {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}


def worst(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference, relative to what is largest."""
    found, expected = found.detach(), expected.detach()
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1))


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("case", CASES)
@settings(max_examples=6)
@given(lengths=LENGTHS, seed=st.integers(0, 9))
@example(lengths=[5, 5, 7, 250], seed=0)  # two blocks
def test_outputs_and_gradients_are_those_of_padded_rows(
    case: str, attention: str, lengths: list[int], seed: int
) -> None:
    plain, made = models(case, attention)
    torch.manual_seed(seed)
    tokens = torch.randint(2, 50, (sum(lengths),))
    expected, found = padded_logits(plain, lengths, tokens), packed_logits(made, lengths, tokens)
    assert found.shape == expected.shape
    assert worst(found, expected) < TOLERANCE
    wanted, got = gradients(plain, expected), gradients(made, found)
    assert got.keys() == wanted.keys()
    for name in wanted:
        assert worst(got[name], wanted[name]) < TOLERANCE, name


def test_a_token_of_another_sample_changes_nothing() -> None:
    """What the test above would not show if both layouts leaked alike."""
    for case in ("BERT, tokens", "ModernBERT, tokens", "Llama"):
        model = models(case, "eager")[1]
        tokens = torch.randint(2, 50, (20,), generator=torch.Generator().manual_seed(0))
        other = tokens.clone()
        other[9:] = 2 + (other[9:] - 2 + 7) % 48
        found, again = (packed_logits(model, [4, 5, 5, 6], ids) for ids in (tokens, other))
        torch.testing.assert_close(found[:9], again[:9], rtol=0, atol=1e-6)
        assert not torch.allclose(found[9:], again[9:], atol=1e-3)


def test_recomputing_a_layer_in_the_backward_pass_gives_the_same_gradients() -> None:
    for case in ("BERT, texts", "Llama"):
        model = models(case, "sdpa")[1]
        lengths, tokens = [3, 9, 9, 20], torch.arange(2, 43)
        expected = gradients(model, packed_logits(model, lengths, tokens))
        model.gradient_checkpointing_enable({"use_reentrant": False})
        found = gradients(model, packed_logits(model, lengths, tokens))
        model.gradient_checkpointing_disable()
        assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("kernel", ["eager", "sdpa"])
def test_dropout_drops_the_share_it_is_asked_to_and_keeps_the_mean(kernel: str) -> None:
    torch.manual_seed(0)
    lengths = [40] * 20 + [39] * 20
    query = torch.zeros(1, 2, sum(lengths), 4)
    value = torch.ones_like(query)
    call = {"segments": Segments.of(lengths), "kernel": kernel, "is_causal": False}
    found, _ = packed_attention(torch.nn.Identity(), query, query, value, None, dropout=0.25, **call)
    assert float(found.mean()) == pytest.approx(1, abs=0.02)
    # Of 40 equal weights a quarter goes: sqrt(0.25 / 0.75 / 40).
    assert float(found.std()) == pytest.approx(0.091, abs=0.01)


@given(rate=st.sampled_from([0.0, 0.1, 0.5, 0.9]), shape=st.sampled_from([(400, 501), (7, 11, 2603)]))
def test_a_model_drops_the_share_it_is_asked_to(rate: float, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Dropout(rate))
    lighten(model)
    given_ones = torch.ones(shape, requires_grad=True)
    found = model(given_ones)
    assert float((found == 0).float().mean()) == pytest.approx(rate, abs=0.005)
    assert found.detach().unique().tolist() == pytest.approx([0, 1 / (1 - rate)][rate == 0 :], rel=1e-3)
    found.sum().backward()
    assert torch.equal(given_ones.grad, found.detach())
    torch.manual_seed(0)
    assert torch.equal(model(given_ones), found)
    assert torch.equal(model.eval()(given_ones), given_ones)


@given(lengths=st.lists(st.integers(1, 300), min_size=1, max_size=60))
def test_blocks_hold_every_sample_once_in_order(lengths: list[int]) -> None:
    lengths = sorted(lengths)
    blocks = Segments.of(lengths).blocks
    assert [block.start for block in blocks] == [0, *(block.stop for block in blocks[:-1])]
    assert blocks[-1].stop == sum(lengths)
    assert sum(block.samples for block in blocks) == len(lengths)
    assert max(block.width for block in blocks) == max(lengths)


@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=12))
def test_a_block_has_a_place_for_every_token(lengths: list[int]) -> None:
    block = Block.of(lengths, 0)
    if block.slots is None or block.places is None or block.filled is None:
        assert len(set(lengths)) == 1
        return
    assert block.slots[block.places].tolist() == list(range(sum(lengths)))
    assert block.filled.sum() == sum(lengths)
    assert block.filled.flatten().nonzero().flatten().tolist() == block.places.tolist()


def test_long_samples_are_not_padded_to_the_longest_but_short_ones_share_a_block() -> None:
    assert len(Segments.of([8, 9, 10, 11, 12]).blocks) == 1
    assert len(Segments.of([100] * 10 + [500] * 10).blocks) == 2


def test_what_is_not_known_to_agree_is_not_packed() -> None:
    for kind, head, expected in (
        ("bert", TOKENS, True),
        ("llama", NEXT, True),
        ("llama", TEXTS, False),
        ("gpt2", NEXT, False),
        ("t5", TEXTS, False),
    ):
        assert packing.packs(AutoConfig.for_model(kind), f"AutoModelFor{head}") is expected
