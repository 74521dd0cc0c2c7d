"""R-Drop: two passes over the same samples, whose dropout differs, shall give the same probabilities.

Liang et al., R-Drop: Regularized Dropout for Neural Networks (https://arxiv.org/abs/2106.14448, equations 1 to 4).
What is minimised of a sample is the mean of its two losses plus alpha times the mean of the two divergences, as in the
authors' code: half of what equation 4 has with twice this alpha.
"""

from __future__ import annotations

from typing import Any

import torch

from gb_ray.section import UserError
from gb_ray.tasks.base import IGNORED


def divergence(one: torch.Tensor, other: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """(KL(p, q) + KL(q, p)) / 2 in nats, summed over what is asked (fp32 scalar).

    p and q are the softmax of logits [..., labels]; `targets` int64 [...] are IGNORED where nothing is asked.
    """
    p, q = one.float().log_softmax(-1), other.float().log_softmax(-1)
    each = ((p.exp() - q.exp()) * (p - q)).sum(-1) / 2
    return (each * (targets != IGNORED)).sum()


def check(model: Any) -> None:
    """Raises UserError for a model without dropout, whose two passes would be one."""
    rates = [value for key, value in model.config.to_dict().items() if "dropout" in key and isinstance(value, float)]
    rates += [module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)]
    if not any(rates):
        raise UserError("train.r_drop: compares two draws of dropout, and this model has none; set model.dropout=0.1")
