"""A micro-batch without data or weights: what a model is made of, and what it holds while it computes.

The model's own code runs on tensors that have shapes and no contents, so that any architecture, head and kind of
attention is counted as it is, not by a formula for one of them.
"""

from __future__ import annotations

import logging
import weakref
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gb_ray.model import four_bits, pooling
from gb_ray.model.attention import Segments
from gb_ray.model.load import limit
from gb_ray.model.packing import pack, packs
from gb_ray.model.recompute import recompute
from gb_ray.model.section import ModelSection
from gb_ray.model.several import Owners, Several
from gb_ray.tasks.task import Task
from gb_ray.train.planning.flops import multiplying

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Size(NamedTuple):
    """Counts of numbers, not bytes."""

    parameters: int
    trained: int
    multiplying: int
    """Parameters that are multiplied with, not looked up."""
    largest: int
    """Parameters of the largest of the layers that are alike, or of the largest table."""
    in_four_bits: int = 0
    """Of the parameters."""


class Rehearsal:
    """The model of a recipe, empty. Making one takes a tenth of a second once `transformers` is imported.

    With several tasks each has its head, and the samples are dealt out to them.
    """

    def __init__(
        self, section: ModelSection, backbone: Path, tasks: list[Task], labels: list[list[str]], precision: str
    ):
        import transformers
        from torch._subclasses.fake_tensor import FakeTensorMode
        from transformers.initialization import no_init_weights

        transformers.logging.set_verbosity_error()
        logging.getLogger("torch._subclasses").setLevel(logging.ERROR)
        self._shrinks = section.adapter is not None and section.adapter.base == "nf4"
        self._empty = FakeTensorMode(allow_non_fake_inputs=True)
        models: list[Any] = []
        for task, names in zip(tasks, labels, strict=True):
            config = transformers.AutoConfig.from_pretrained(backbone, trust_remote_code=False, **task.head(names))
            rates = [key for key, value in vars(config).items() if "dropout" in key and isinstance(value, float)]
            for key in rates if section.dropout is not None else []:
                setattr(config, key, section.dropout)
            with self._empty, no_init_weights():
                kind = getattr(transformers, task.architecture)
                models.append(kind.from_config(config, dtype=TYPES[precision], attn_implementation=section.attention))
        self.packed = all(packs(models[0].config, task.architecture) for task in tasks)
        self._heads, self._texts = len(models), tasks[0].texts_a_sample
        if tasks[0].architecture == pooling.ARCHITECTURE:
            pooling.pool(models[0])
        with self._empty:
            self.model: Any = Several(models) if self._heads > 1 else models[0]
            self.model.train()
            if self.packed:
                pack(self.model)
            head = {name for name, _ in self.model.named_parameters() if _is_new(name, self.model)}
            with torch.device("meta"):  # peft moves what is not there, and cannot move what is empty
                limit(self.model, section, head)
            _place(self.model, TYPES[precision])
        for parameter in self.model.parameters():
            if parameter.requires_grad:
                # Where gradients go is the engine's business, and counted there.
                parameter.register_post_accumulate_grad_hook(_forget)

    @property
    def size(self) -> Size:
        """What the model is made of."""
        parameters = list(self.model.parameters())
        layers = [m for m in self.model.modules() if isinstance(m, torch.nn.ModuleList)]
        units = [sum(p.numel() for p in layer.parameters()) for list_ in layers for layer in list_]
        tables = [p.numel() for p in parameters]
        trained = sum(p.numel() for p in parameters if p.requires_grad)
        shrunk = sum(base.weight.numel() for base in four_bits.bases(self.model)) if self._shrinks else 0
        return Size(sum(tables), trained, multiplying(self.model), max([*units, *tables]), shrunk)

    def activations(self, lengths: list[int], recomputed: bool) -> int:
        """Bytes that a forward and backward pass holds at its fullest, beside weights and their gradients.

        `lengths` are those of the micro-batch's samples, longest last. The texts of a sample are taken as equally long.
        """
        if recomputed:
            recompute(self.model)
        else:
            self.model.gradient_checkpointing_disable()
        if self._texts > 1:
            lengths = [-(-length // self._texts) for length in lengths for _ in range(self._texts)]
        inputs = self._packed(lengths) if self.packed else self._padded(lengths)
        if self._heads > 1:
            owned = [list(range(head, len(lengths), self._heads)) for head in range(self._heads)]
            with self._empty:
                inputs["owners"] = Owners.of(owned, lengths if self.packed else None)
        with self._empty, Ledger() as ledger:
            found = self.model(**inputs).logits
            losses = [_loss(logits) for logits in (found if self._heads > 1 else [found])]
            torch.stack(losses).sum().backward()
        return ledger.peak

    def _packed(self, lengths: list[int]) -> dict[str, Any]:
        segments = Segments.of(lengths)
        with self._empty:
            row = torch.zeros(1, sum(lengths), dtype=torch.int64)
            return {"input_ids": row, "position_ids": row, "segments": segments}

    def _padded(self, lengths: list[int]) -> dict[str, Any]:
        with self._empty:
            ids = torch.zeros(len(lengths), lengths[-1], dtype=torch.int64)
            return {"input_ids": ids, "attention_mask": torch.ones_like(ids)} if self._heads > 1 else {"input_ids": ids}


class Ledger(TorchDispatchMode):
    """Bytes of all tensors that live, and their most so far."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Do the operation, and count what it made."""
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage._cdata not in self._sizes:
            self._sizes[storage._cdata] = storage.nbytes()
            self.live += storage.nbytes()
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._free, storage._cdata)

    def _free(self, key: int) -> None:
        self.live -= self._sizes.pop(key)


def _loss(logits: torch.Tensor) -> torch.Tensor:
    answers = torch.zeros(logits.shape[:-1].numel(), dtype=torch.int64)
    return torch.nn.functional.cross_entropy(logits.float().flatten(0, -2), answers, reduction="sum")


def _is_new(name: str, model: Any) -> bool:
    """Whether a parameter is of a new head: a generative model's is pretrained."""
    if model.base_model is model:
        return False
    return not model.can_generate() and (not name.startswith(f"{model.base_model_prefix}.") or ".pooler." in name)


def _place(model: torch.nn.Module, dtype: torch.dtype) -> None:
    """Make what is on the meta device empty, as the rest of the model is."""
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.device.type == "meta":
                empty = torch.empty(parameter.shape, dtype=dtype)
                setattr(module, name, torch.nn.Parameter(empty, requires_grad=parameter.requires_grad))


def _forget(parameter: torch.Tensor) -> None:
    parameter.grad = None
