"""The engine of ZeRO 0: every worker holds the whole model, and nothing is copied that need not be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from gb_ray.model import four_bits
from gb_ray.model.hollow import Hollow
from gb_ray.model.recompute import recompute
from gb_ray.train import optimizer
from gb_ray.train.average import Average
from gb_ray.train.checkpoints.checkpoint import STATE, Checkpoint
from gb_ray.train.checkpoints.copied import copied
from gb_ray.train.engine import DTYPES
from gb_ray.train.gradients import Gradients
from gb_ray.train.job import Job
from gb_ray.train.ranks import Ranks
from gb_ray.train.rows import table
from gb_ray.train.scale import Scale

FILE = f"{STATE}/whole.pt"


class Whole:
    """An `Engine`. Weights are kept in fp32; in bf16 and fp16 the layers compute with a rounded copy of them."""

    def __init__(self, hollow: Hollow, job: Job, precision: str, total: int):
        section, dtype = job.recipe.train, DTYPES[precision]
        device = torch.device("cuda", torch.cuda.current_device()) if job.gpus else torch.device("cpu")
        model = hollow.filled()
        self._names = [name for name, _ in model.named_parameters()]
        if job.recipe.in_four_bits:
            four_bits.shrink(model, dtype, device)
        model = model.to(device).train()
        if section.recompute:
            recompute(model)
        self._optimizer, self._peaks = optimizer.build(model, section, 0)
        self._trained = {name: one for name, one in model.named_parameters() if one.requires_grad}
        words = table(model, dtype)
        inner = [one for one in self._trained.values() if not words or one is not words.weight]
        self._rounded = _Rounded(model, inner, dtype) if dtype != torch.float32 else None
        self._gradients = Gradients(self._rounded.copies if self._rounded else inner, [words.rows] if words else [])
        self._owners = [*inner, *([words.weight] if words else [])]
        self._clip, self._norm, self._model = section.clip, 0.0, model
        self._scale = Scale(precision)
        self._average = Average(self._trained, section.ema) if section.ema else None
        adapter = job.recipe.model.adapter
        self._ranks = Ranks(self._trained, adapter.rank, total) if adapter and job.recipe.prunes else None
        self._copy: dict[str, Any] | None = None

    def __call__(self, **inputs: Any) -> Any:
        """The model's outputs."""
        return self._model(**inputs)

    def backward(self, loss: torch.Tensor, last: bool) -> None:
        """Add the gradients of `loss`, a part of the step's global loss; `last` closes the step's micro-batches."""
        self._gradients.backward(loss * self._scale.value, last)

    def step(self, factor: float) -> None:
        """Update the weights at `factor` of each group's peak rate; not where fp16 overflowed."""
        if self._ranks:
            self._ranks.pull(zip(self._owners, self._gradients.of(), strict=True), self._scale.value)
        tensors = self._gradients.tensors()
        norm = float(torch.nn.utils.get_total_norm(tensors, foreach=True)) / self._scale.value
        shrunk = min(1.0, self._clip / (norm + 1e-6)) / self._scale.value
        if self._scale.holds(norm):
            self._norm = norm
            if shrunk < 1:
                torch._foreach_mul_(tensors, shrunk)
            self._update(factor)
        self._gradients.clear()

    def _update(self, factor: float) -> None:
        for group, peak in zip(self._optimizer.param_groups, self._peaks, strict=True):
            group["lr"] = peak * factor
        for owner, gradient in zip(self._owners, self._gradients.of(), strict=True):
            owner.grad = gradient
        self._optimizer.step()
        if self._ranks:
            self._ranks.prune()
        for owner in self._owners:
            owner.grad = None
        if self._average:
            self._average.follow()
        self._refresh()

    def _refresh(self) -> None:
        if self._rounded:
            self._rounded.refresh()

    @property
    def grad_norm(self) -> float:
        """Of the last step, before clipping."""
        return self._norm

    @property
    def module(self) -> torch.nn.Module:
        """The model."""
        return self._model

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """See `Engine.averaged`."""
        if not self._average:
            yield
            return
        self._average.swap()
        self._refresh()
        yield
        self._average.swap()
        self._refresh()

    def snapshot(self, path: Path) -> dict[str, Any]:
        """{name of a file in the checkpoint's folder: a copy of the state}; only rank 0 has one.

        The next call writes into the same memory.
        """
        if dist.get_rank():
            return {}
        state = {"weights": self._trained, "optimizer": self._optimizer.state_dict(), "scale": self._scale.state()}
        if self._average:
            state["average"] = self._average.state()
        if self._ranks:
            state["ranks"] = self._ranks.state()
        self._copy = copied(state, self._copy)
        return {FILE: self._copy}

    def load(self, found: Checkpoint) -> None:
        """Take up weights and optimizer state, saved by any number of workers."""
        state = torch.load(found.path / FILE, map_location="cpu", weights_only=True)
        for name, parameter in self._trained.items():
            parameter.data.copy_(state["weights"][name])
        self._optimizer.load_state_dict(state["optimizer"])
        self._scale.load(state["scale"])
        if self._average:
            self._average.load(state["average"])
        if self._ranks:
            self._ranks.load(state["ranks"])
        self._refresh()

    def weights(self, untrained: Callable[[str], torch.Tensor]) -> Iterator[tuple[str, torch.Tensor]]:
        """See `Engine.weights`."""
        found = self._average.values if self._average else self._trained
        for name in self._names:
            yield name, found[name].detach() if name in found else untrained(name)
        kept = self._model.state_dict().keys()
        yield from ((name, buffer) for name, buffer in self._model.named_buffers() if name in kept)


class _Rounded:
    """Copies of `trained` parameters in 16 bits, which take their places in the model."""

    def __init__(self, model: torch.nn.Module, trained: list[torch.nn.Parameter], dtype: torch.dtype):
        # One piece of memory each: rounding is one call.
        self._whole = torch.cat([one.detach().flatten() for one in trained])
        self._flat = self._whole.to(dtype)
        sizes = [one.numel() for one in trained]
        places: dict[int, torch.nn.Parameter] = {}
        for one, exact, rounded in zip(trained, self._whole.split(sizes), self._flat.split(sizes), strict=True):
            one.data = exact.view(one.shape)
            places[id(one)] = torch.nn.Parameter(rounded.view(one.shape))
        self.copies = list(places.values())
        for module in model.modules():
            for name, held in module._parameters.items():
                if held is not None and not held.requires_grad:
                    held.data = held.data.to(dtype)
                elif held is not None:
                    module._parameters[name] = places.get(id(held), held)

    def refresh(self) -> None:
        """After an update."""
        self._flat.copy_(self._whole)
