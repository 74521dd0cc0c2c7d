"""Which parameters of a model are trained, and how deep each of them lies."""

from __future__ import annotations

import difflib
from fnmatch import fnmatchcase
from typing import Any, Literal

import torch

from gb_ray.section import UserError

Choice = Literal["all", "head"] | int | list[str]


def choose(model: Any, choice: Choice) -> None:
    """Freeze all but what `model.trained` names. Raises UserError for a pattern or a depth the model does not have."""
    if choice == "all":
        return
    chosen = (
        _matching(model, choice) if isinstance(choice, list) else _topmost(model, 0 if choice == "head" else choice)
    )
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in chosen)


def head(model: Any) -> set[str]:
    """The names of the parameters outside the backbone."""
    own = {id(parameter) for parameter in model.base_model.parameters()}
    return {name for name, parameter in model.named_parameters() if id(parameter) not in own}


def depths(model: Any) -> dict[str, int]:
    """How far from the top each parameter lies, by name.

    0 is what comes after the layers (head, pooler, last norm), 1 the last layer, and one more than there are layers
    what comes before them: the embeddings, also where the output layer shares them. Raises UserError for an
    architecture without a list of its layers.
    """
    stack, count = _layers(model)
    own = {id(parameter) for parameter in model.base_model.parameters()}
    found, passed = {}, False
    for name, parameter in model.named_parameters():
        if name.startswith(stack):
            passed = True
            found[name] = count - int(name.removeprefix(stack).split(".")[0])
        else:
            found[name] = 0 if passed or id(parameter) not in own else count + 1
    return found


def _topmost(model: Any, most: int) -> set[str]:
    depth = depths(model)
    layers = max(depth.values()) - 1
    if most > layers:
        raise UserError(f"model.trained: {most} layers of {layers}; write all, or at most {layers}")
    output = model.get_output_embeddings()
    shared = () if output is None else output.parameters()
    head = {id(parameter) for parameter in shared}
    return {name for name, p in model.named_parameters() if depth[name] <= most or id(p) in head}


def _matching(model: Any, patterns: list[str]) -> set[str]:
    names = [name for name, _ in model.named_parameters()]
    chosen: set[str] = set()
    for pattern in patterns:
        matched = {name for name in names if fnmatchcase(name, pattern)}
        if not matched:
            near = difflib.get_close_matches(pattern, names, n=3, cutoff=0.0)
            raise UserError(f"model.trained: {pattern!r} matches no parameter; near ones are {', '.join(near)}")
        chosen |= matched
    return chosen


def _layers(model: Any) -> tuple[str, int]:
    """The prefix of the names of the backbone's layers, and how many they are."""
    count = model.config.get_text_config().num_hidden_layers
    backbone = f"{model.base_model_prefix}." if model.base_model is not model else ""
    for name, module in model.base_model.named_modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == count:
            return f"{backbone}{name}.", count
    raise UserError(
        f"model.trained, train.layer_decay: {type(model).__name__} has no list of its {count} layers; "
        "name parameters by patterns instead"
    )
