"""The frozen matrices that adapters are beside, in four bits each number: QLoRA, https://arxiv.org/abs/2305.14314.

The numbers are NF4 with scales of 64, and the scales are quantised again, by https://huggingface.co/docs/bitsandbytes.
A product takes the matrix back to the precision of what it is multiplied with, which takes time and no memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch

from gb_ray.section import UserError


def bases(model: torch.nn.Module) -> Iterator[torch.nn.Linear]:
    """The linear maps of a model that have an adapter."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            yield cast(torch.nn.Linear, module.get_base_layer())


def shrink(model: torch.nn.Module, dtype: torch.dtype, device: torch.device) -> None:
    """Hold the matrices of `bases` in four bits, on `device`; they are multiplied with in `dtype`.

    They are no parameters of the model any more. Raises UserError without bitsandbytes.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    try:
        import bitsandbytes  # noqa: F401 - what FourBits needs
    except ImportError:
        raise UserError(
            "model.adapter.base: nf4 needs bitsandbytes: pip install bitsandbytes, or leave it out"
        ) from None
    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            cast(Any, module).base_layer = FourBits(cast(torch.nn.Linear, module.get_base_layer()), dtype, device)


class FourBits(torch.nn.Module):
    """A linear map whose matrix is held in four bits. Its bias stays as it is."""

    def __init__(self, linear: torch.nn.Linear, dtype: torch.dtype, device: torch.device):
        from bitsandbytes.functional import quantize_4bit

        super().__init__()
        exact = linear.weight.detach().to(device, dtype)
        self.packed, self.scales = quantize_4bit(exact, quant_type="nf4", compress_statistics=True)
        self.bias = linear.bias
        self.in_features, self.out_features = linear.in_features, linear.out_features

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """[..., in] to [..., out]."""
        from bitsandbytes import matmul_4bit

        bias = None if self.bias is None else self.bias.to(hidden.dtype)
        return cast(torch.Tensor, matmul_4bit(hidden, self.packed.t(), bias=bias, quant_state=self.scales))
