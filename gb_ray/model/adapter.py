"""Adapters: a few new parameters beside frozen ones, by https://huggingface.co/docs/peft, in the model as it is.

LoRA: https://arxiv.org/abs/2106.09685. DoRA: https://arxiv.org/abs/2402.09353. IA3: https://arxiv.org/abs/2205.05638.
AdaLoRA: https://arxiv.org/abs/2303.10512; which ranks it keeps is decided by train/ranks.py. Prefixes: prefix.py.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from itertools import groupby
from typing import Any

import torch

from gb_ray.model import prefix
from gb_ray.model.section import AdapterSection
from gb_ray.section import UserError

Weights = Iterable[tuple[str, torch.Tensor]]


def attach(model: Any, section: AdapterSection, head: set[str]) -> set[str]:
    """Put adapters beside matrices of the backbone, drawn from torch's generator; returns the names of what is new.

    They and `head`, the names of parameters that were not pretrained, are trained, all else is frozen. An adapted
    matrix NAME.weight is called NAME.base_layer.weight from then on. Raises UserError for targets that are not there.
    """
    # Where it is installed peft imports it, and it warns of a hub's kernels that are not.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    from peft import inject_adapter_in_model

    before = {id(parameter) for parameter in model.parameters()}
    if section.type == "prefix":
        prefix.attach(model, section.tokens)
    else:
        try:
            inject_adapter_in_model(_config(model, section), model)
        except ValueError as error:
            raise UserError(f"model.adapter: {type(model).__name__}: {str(error).splitlines()[0]}") from None
    new = {name for name, parameter in model.named_parameters() if id(parameter) not in before}
    for name, parameter in model.named_parameters():
        # Of what is new, AdaLoRA's count of its ranks is no weight.
        parameter.requires_grad_((name in new and parameter.requires_grad) or name in head)
    return new


def measure(model: Any, read: Callable[[str], torch.Tensor]) -> None:
    """Set DoRA's magnitudes from the weights that `read` returns by name: the model may be without them."""
    for name, parameter in model.named_parameters():
        if "lora_magnitude_vector" in name:
            weight = read(f"{name.split('.lora_magnitude_vector')[0]}.base_layer.weight")
            # The product of the other two is zero at the start.
            parameter.data = torch.linalg.vector_norm(weight, dim=1)


def merged(weights: Weights, model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """(name, tensor) of the model without adapters that computes the same, from those of the model with them.

    `model` has adapters and need not have weights. One adapted matrix is in memory at a time.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    adapted = {name for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)}

    def owner(entry: tuple[str, torch.Tensor]) -> str:
        parts = entry[0].split(".")
        prefixes = (".".join(parts[:i]) for i in range(1, len(parts)))
        return next((prefix for prefix in prefixes if prefix in adapted), "")

    for name, entries in groupby(weights, owner):
        if name:
            yield from _merge(model.get_submodule(name), name, dict(entries))
        else:
            yield from entries


def trained(weights: Weights, model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Of (name, tensor) those that `model` trains: the adapter and the head."""
    learnt = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    return ((name, tensor) for name, tensor in weights if name in learnt)


def put(model: Any, section: AdapterSection, weights: dict[str, torch.Tensor]) -> None:
    """Make of a base and what `trained` gave of another one the model that was trained, its adapters merged where such
    can be.

    Raises UserError when the weights are not those of this adapter.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    attach(model, section, set(weights))
    wanted = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    if wanted != weights.keys():
        name = min(wanted ^ weights.keys())
        raise UserError(f"{name} is {'missing from' if name in wanted else 'unknown to'} the adapter's weights")
    for name, tensor in weights.items():
        model.get_parameter(name).data = tensor
    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            module.merge()


def _merge(module: Any, name: str, tensors: dict[str, torch.Tensor]) -> Iterator[tuple[str, torch.Tensor]]:
    for full, tensor in tensors.items():
        # A copy: merging writes into the weight, and the engine goes on holding what it gave.
        module.get_parameter(full.removeprefix(f"{name}.")).data = tensor.detach().to("cpu", torch.float32, copy=True)
    module.merge()
    base = module.get_base_layer()
    for full in tensors:
        if ".base_layer." in full:
            yield full.replace(".base_layer.", "."), base.get_parameter(full.rsplit(".", 1)[1]).detach()


def _config(model: Any, section: AdapterSection) -> Any:
    from peft import AdaLoraConfig, IA3Config, LoraConfig
    from peft.utils import TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING as FEEDFORWARD
    from peft.utils import TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING as SCALED

    if section.type == "ia3":
        kind = model.config.model_type
        if kind not in SCALED:
            raise UserError(f"model.adapter: ia3 is not known for {kind}; use lora")
        return IA3Config(target_modules=SCALED[kind], feedforward_modules=FEEDFORWARD[kind])
    common: dict[str, Any] = {
        "lora_alpha": section.alpha or 2 * section.rank,
        "lora_dropout": section.dropout,
        "target_modules": _targets(model, section.targets),
    }
    if section.type == "adalora":
        # Its own schedule is not used, and has to be there.
        return AdaLoraConfig(init_r=section.first_rank, target_r=section.rank, total_step=1, **common)
    return LoraConfig(r=section.rank, use_dora=section.type == "dora", **common)


def _targets(model: Any, patterns: list[str]) -> list[str]:
    """The names of the backbone's linear maps, poolers aside, that one of the patterns matches whole or at the end."""
    inner = {id(module) for module in model.base_model.modules() if isinstance(module, torch.nn.Linear)}
    linear = [name for name, m in model.named_modules() if id(m) in inner and ".pooler." not in name]
    for pattern in patterns:
        if not any(_matches(name, pattern) for name in linear):
            ends = sorted({name.rsplit(".", 1)[-1] for name in linear})
            raise UserError(f"model.adapter.targets: {pattern!r} matches no linear map; there are {', '.join(ends)}")
    return [name for name in linear if any(_matches(name, pattern) for pattern in patterns)]


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"*.{pattern}")
