"""The cross entropy that copies no logits is the plain one, and so is its gradient."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gb_ray.tasks.entropy import ROWS, SummedEntropy


@given(st.integers(1, 2 * ROWS + 9), st.floats(0, 1), st.integers(0, 99))
def test_value_and_gradient_are_those_of_the_plain_one(tokens: int, asked: float, seed: int) -> None:
    torch.manual_seed(seed)
    logits = (torch.randn(tokens, 11) * 3).requires_grad_()
    targets = torch.where(torch.rand(tokens) < asked, torch.randint(11, (tokens,)), -100)
    ours = SummedEntropy.apply(logits, targets, -100) * 0.3
    (mine,) = torch.autograd.grad(ours, logits)
    plain = torch.nn.functional.cross_entropy(logits, targets, ignore_index=-100, reduction="sum") * 0.3
    (theirs,) = torch.autograd.grad(plain, logits)
    assert float(ours.detach()) == pytest.approx(float(plain.detach()), rel=1e-6, abs=1e-6)
    assert torch.allclose(mine, theirs, atol=1e-6)


def test_in_bf16_the_gradient_is_the_exact_one_rounded() -> None:
    torch.manual_seed(0)
    logits = torch.randn(40, 30).bfloat16().requires_grad_()
    targets = torch.randint(30, (40,))
    (mine,) = torch.autograd.grad(SummedEntropy.apply(logits, targets, -100), logits)
    exact = logits.detach().float().requires_grad_()
    torch.nn.functional.cross_entropy(exact, targets, reduction="sum").backward()
    assert mine.dtype == torch.bfloat16 and torch.allclose(mine.float(), exact.grad, rtol=1e-2, atol=1e-6)
