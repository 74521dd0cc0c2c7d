"""A model whose pretrained tensors are still in their files: read one at a time, where they are wanted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import safe_open

from gb_ray.section import UserError


@dataclass(frozen=True)
class Place:
    """Of a tensor: `name` in a safetensors file."""

    file: Path
    name: str

    def read(self, into: torch.Tensor) -> None:
        """Copy the tensor. The file is closed again: a mapped file counts as memory of the process."""
        with safe_open(self.file, "pt") as file:
            into.copy_(file.get_tensor(self.name))


@dataclass(frozen=True)
class Hollow:
    """The architecture with its new parameters drawn and all its buffers, and where the pretrained ones are."""

    model: Any
    places: dict[str, Place]
    """By the names the model gives its parameters; what is not there was drawn."""

    def read(self, name: str) -> torch.Tensor:
        """A parameter in fp32."""
        parameter = self.model.get_parameter(name).detach()
        if name in self.places:
            parameter = torch.empty(parameter.shape)
            self.places[name].read(parameter)
        return parameter

    def filled(self) -> Any:
        """The model with all its parameters, in fp32."""
        for name, parameter in self.model.named_parameters():
            parameter.data = self.read(name)
        return self.model

    def sharded(self, config: dict[str, Any], dtype: torch.dtype) -> Any:
        """The model under ZeRO 3: every worker holds a part of each parameter, and one whole parameter at a time.

        `config` is DeepSpeed's. Every worker calls it; rank 0 reads and the others are sent what it read. Raises
        UserError for an architecture that does not hold its tensors as its files do.
        """
        import deepspeed

        if not self.places:
            raise UserError(
                f"{type(self.model).__name__} converts its weights when it reads them, so that a worker would hold all "
                "of them at once; set train.zero=2"
            )
        # One buffer for all: freed tensors of many sizes would leave the heap full of holes.
        buffer = torch.empty(max(parameter.numel() for parameter in self.model.parameters()), dtype=dtype)
        for name, parameter in self.model.named_parameters():
            whole = buffer[: parameter.numel()].view(parameter.shape)
            if dist.get_rank() == 0 and name in self.places:
                self.places[name].read(whole)
            elif dist.get_rank() == 0:
                whole.copy_(parameter.detach())
            parameter.data = whole
            deepspeed.zero.Init(module=torch.nn.ParameterList([parameter]), config_dict_or_path=config)
            _zero_padding(parameter)
        return self.model


def _zero_padding(parameter: Any) -> None:
    """Parts are of one size: what is over, DeepSpeed leaves as found, and saves. No two runs gave equal files."""
    part = parameter.ds_tensor.data
    part[max(0, parameter.ds_numel - dist.get_rank() * part.numel()) :].zero_()


def stand_ins(files: list[Path]) -> tuple[dict[str, torch.Tensor], dict[int, Place]]:
    """A state dict with the shapes of what is in safetensors files, and the place of each tensor by its address.

    Each tensor is one number, repeated: it takes no memory, and is known by its address under whatever name a model
    gives it, as long as the state dict is kept.
    """
    tensors: dict[str, torch.Tensor] = {}
    places: dict[int, Place] = {}
    for path in files:
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118 - it is no mapping
                tensors[name] = torch.full((), torch.nan).expand(file.get_slice(name).get_shape())
                places[tensors[name].data_ptr()] = Place(path, name)
    return tensors, places


def located(model: Any, places: dict[int, Place]) -> Hollow:
    """A model that was made of stand-ins, with its buffers read."""
    for _, buffer in model.named_buffers():
        if place := places.get(buffer.data_ptr()):
            buffer.data = torch.empty(buffer.shape, dtype=buffer.dtype)
            place.read(buffer)
    found = {name: places.get(parameter.data_ptr()) for name, parameter in model.named_parameters()}
    return Hollow(model, {name: place for name, place in found.items() if place})
