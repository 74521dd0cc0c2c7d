"""The optimizers a recipe may name, and which parameters each of their groups holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from gb_ray.model.trained import depths
from gb_ray.section import UserError
from gb_ray.train.section import TrainSection

NO_DECAY = ("bias", "norm", "LayerNorm", "ia3_l")
ADAM: dict[str, Any] = {"betas": (0.9, 0.999), "eps": 1e-8}


def build(model: torch.nn.Module, section: TrainSection, zero: int) -> tuple[torch.optim.Optimizer, list[float]]:
    """The optimizer of a model's trained parameters, and the peak rate of each of its groups.

    Raises UserError for one that this machine or this ZeRO stage cannot run.
    """
    optimizer: torch.optim.Optimizer
    if section.optimizer == "muon":
        optimizer = _muon(model, section, zero)
    elif section.optimizer == "adamw-8bit":
        optimizer = _adamw_8bit()(groups(model, section), **ADAM)
    else:
        optimizer = torch.optim.AdamW(groups(model, section), **ADAM, fused=True)
    return optimizer, [group["lr"] for group in optimizer.param_groups]


def groups(model: torch.nn.Module, section: TrainSection) -> list[dict[str, Any]]:
    """Parameter groups: by rate (that of the backbone, the head, or a layer), each with and without weight decay.

    With `layer_decay` the rate falls by that factor from layer to layer, away from the head.
    """
    backbone = _prefix(model)
    depth = {} if section.layer_decay is None else depths(model)
    found: dict[tuple[bool, int, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decays = len(shape(parameter)) > 1 and not any(part in name for part in NO_DECAY)
            found.setdefault((name.startswith(backbone), depth.get(name, 0), decays), []).append(parameter)
    rates, falls = {True: section.lr, False: section.head_lr or section.lr}, section.layer_decay or 1.0
    return [
        {
            "params": parameters,
            "lr": rates[is_backbone] * falls**deep,
            "weight_decay": section.weight_decay if decays else 0.0,
        }
        for (is_backbone, deep, decays), parameters in sorted(found.items())
    ]


def _prefix(model: torch.nn.Module) -> str:
    """What the names of the backbone's parameters begin with. A model that has no head is its own backbone."""
    return "" if getattr(model, "base_model", None) is model else getattr(model, "base_model_prefix", "") + "."


def shape(parameter: torch.nn.Parameter) -> torch.Size:
    """Of the whole parameter: under ZeRO 3 a worker holds a part of it."""
    return getattr(parameter, "ds_shape", parameter.shape)


class Muon(torch.optim.Optimizer):
    """Momentum made orthogonal for hidden matrices, AdamW for all else (https://kellerjordan.github.io/posts/muon/).

    Updates of matrices are scaled to the size that AdamW's have (https://arxiv.org/abs/2502.16982, section 2.2), so one
    learning rate and one weight decay serve both.
    """

    def __init__(self, matrices: list[dict[str, Any]], others: list[dict[str, Any]]):
        self._parts: list[torch.optim.Optimizer] = [torch.optim.Muon(matrices, adjust_lr_fn="match_rms_adamw")]
        if others:  # an adapter may be nothing but matrices
            self._parts.append(torch.optim.AdamW(others, **ADAM, fused=True))
        super().__init__([group for part in self._parts for group in part.param_groups], {})

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update all parameters."""
        # Loading a checkpoint replaces the groups and the state of this optimizer: its parts take up what it has now.
        for part in self._parts:
            of_matrices = isinstance(part, torch.optim.Muon)
            part.param_groups = [group for group in self.param_groups if ("ns_steps" in group) == of_matrices]
            part.state = self.state
            part.step()


def _muon(model: torch.nn.Module, section: TrainSection, zero: int) -> Muon:
    if zero != 0:
        raise UserError(
            f"train.optimizer: muon makes whole matrices orthogonal, and zero {zero} splits them over the workers; "
            "set train.zero=0"
        )
    inner = {id(parameter) for parameter in _hidden_matrices(model)}
    matrices: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    for group in groups(model, section):
        for mine, into in ((True, matrices), (False, others)):
            parameters = [parameter for parameter in group["params"] if (id(parameter) in inner) == mine]
            if parameters:
                into.append({**group, "params": parameters})
    if not matrices:
        raise UserError(
            "train.optimizer: muon is for the matrices of the backbone, and none of them is trained here; "
            "set train.optimizer=adamw"
        )
    return Muon(matrices, others)


def _hidden_matrices(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """Of the backbone, embeddings aside: what maps hidden states to hidden states."""
    backbone = _prefix(model)
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    return [
        parameter
        for name, parameter in model.named_parameters()
        if name.startswith(backbone) and parameter.ndim == 2 and id(parameter) not in embeddings
    ]


def _adamw_8bit() -> Any:
    """https://arxiv.org/abs/2110.02861."""
    if not torch.cuda.is_available():
        raise UserError("train.optimizer: adamw-8bit needs GPUs; set train.optimizer=adamw")
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError:
        raise UserError("train.optimizer: adamw-8bit needs bitsandbytes: pip install bitsandbytes") from None
    return AdamW8bit
