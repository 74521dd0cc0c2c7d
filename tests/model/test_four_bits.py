"""A base in four bits takes an eighth of the memory, answers nearly alike, and gradients reach its adapter."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from test_adapter import IDS, new

from gb_ray.model import four_bits
from gb_ray.model.section import AdapterSection
from gb_ray.section import UserError

KIND = {"type": "lora", "rank": 4}
CPU = torch.device("cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_answers_nearly_alike_and_its_adapter_learns(backbone: Path, dtype: torch.dtype) -> None:
    pytest.importorskip("bitsandbytes")
    full, small = new(backbone, KIND).to(dtype), new(backbone, KIND).to(dtype)
    matrices = [base.weight.numel() for base in four_bits.bases(small)]
    four_bits.shrink(small, dtype, CPU)
    held = [module for module in small.modules() if isinstance(module, four_bits.FourBits)]
    assert len(held) == len(matrices) > 0
    assert sum(one.packed.numel() for one in held) == sum(matrices) // 2
    assert not any(name.endswith("base_layer.weight") for name, _ in small.named_parameters())
    apart = (small(IDS).logits - full(IDS).logits).abs().max() / full(IDS).logits.abs().max()
    assert 0 < apart < 0.2
    small(IDS).logits.sum().backward()
    moved = [one for name, one in small.named_parameters() if "lora_B" in name]
    assert moved and all(one.grad.abs().max() > 0 for one in moved)


def test_without_the_library_it_is_refused_with_what_to_do(backbone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(UserError, match="pip install bitsandbytes"):
        four_bits.shrink(new(backbone, KIND), torch.float32, CPU)


@pytest.mark.parametrize("kind", ["dora", "ia3", "prefix"])
def test_adapters_that_read_the_weights_are_refused(kind: Any) -> None:
    with pytest.raises(ValueError, match="use lora or adalora"):
        AdapterSection(type=kind, base="nf4", export="adapter")
