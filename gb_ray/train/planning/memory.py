"""The bytes of one worker at its fullest moment.

ZeRO shares the optimizer's state out from stage 1, gradients from 2 and weights from 3
(https://arxiv.org/abs/1910.02054). What DeepSpeed needs beside that was read off its code and measured by
benchmarks/plan_memory.py, on CPU. At stage 0 gradients are always there, in fp32, and travel from where they are.
"""

from __future__ import annotations

from typing import NamedTuple

from pydantic import BaseModel

from gb_ray.train.planning.rehearsal import Size
from gb_ray.train.sharded import BUCKET

MASTER = 4
"""Bytes a trained parameter of the fp32 weights that the optimizer updates."""
MOMENTS = {"adamw": 8, "adamw-8bit": 2, "muon": 8}
FOUR_BITS = 0.5 + (1 + 4 / 256) / 64
"""Bytes a parameter: a scale of one byte for 64 of them, and one of four bytes for 256 scales."""
LIVE = 1_000_000_000
"""Elements of the weights that ZeRO 3 keeps whole at once, at most."""
FRAMEWORK = {False: 850_000_000, True: 1_500_000_000}
"""Bytes of a worker without a model, on CPU (the libraries and the code they generate) and on a GPU (its context)."""
HEAP = {"fp32": 1.15, "bf16": 1.3, "fp16": 1.3}
"""What activations take of the heap for each byte in use: tensors of many sizes leave gaps, and rounded copies come and
go between them.
"""
HEAP_OF_GPU = 1.05


class Setting(NamedTuple):
    """How a model is trained, as far as memory is concerned."""

    zero: int
    precision: str
    optimizer: str
    workers: int
    gpu: bool
    offload_optimizer: str = "none"
    offload_parameters: str = "none"
    accumulates: bool = False
    """Whether a full micro-batch meets the gradients of one before it."""
    saves: bool = True
    """Whether checkpoints are made: a copy of the state is kept while it is written."""

    averages: bool = False
    """Whether a moving average of the weights is kept."""

    @property
    def width(self) -> int:
        """Bytes of a number in weights and gradients."""
        return 4 if self.precision == "fp32" else 2

    @property
    def masters(self) -> bool:
        """Whether there are fp32 weights beside those that compute: under ZeRO in any precision."""
        return self.zero >= 1 or self.precision != "fp32"

    def share(self, stage: int) -> int:
        """Among how many workers something is divided that ZeRO divides from `stage` on."""
        return self.workers if self.zero >= stage else 1


class Memory(BaseModel):
    """Bytes, which add up to `total`. `host` is what a worker on a GPU takes of its machine's memory."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    buffers: int
    framework: int
    host: int

    @property
    def total(self) -> int:
        """Of the worker's device."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.buffers + self.framework


def memory(size: Size, setting: Setting, activations: int) -> Memory:
    """What a worker holds when it holds most: in a backward pass, or in the update after it.

    `activations` are bytes of the fullest micro-batch. The state that is offloaded to `cpu` is the host's; on CPU that
    is the same memory, and nothing is gained.
    """
    width, mine = setting.width, size.trained // setting.share(1)
    state = mine * (MASTER * (setting.masters + setting.averages) + MOMENTS[setting.optimizer])
    weights = (size.parameters - size.in_four_bits) * width // setting.share(3) + int(size.in_four_bits * FOUR_BITS)
    whole = min(size.parameters, LIVE) * width if setting.zero == 3 else 0
    held = size.trained * (width if setting.zero else 4) // setting.share(2)
    travels = min(size.trained, BUCKET[setting.zero]) * width if setting.zero else 0
    # At stage 0 the rounded weights are not saved, and in fp32 the weights are the state's.
    saved = weights if setting.zero in (1, 2) or not setting.masters else 0
    copied = state + saved if setting.saves else 0
    backward = {
        "gradients": held if setting.accumulates or not setting.zero else 0,
        "activations": int(activations * (HEAP_OF_GPU if setting.gpu else HEAP[setting.precision])),
        "buffers": whole + travels,
    }
    # Its share of the gradients is made one piece, and in 16 bits that piece is copied in fp32. Where the state is
    # offloaded these two lie beside it all the time.
    pieces = mine * (width + (0 if setting.precision == "fp32" else 4)) if setting.zero else 0
    beside = mine * (4 + width) if setting.offload_optimizer != "none" else 0
    update = {"gradients": held, "activations": 0, "buffers": 0 if beside else pieces}
    parts = max(backward, update, key=lambda moment: sum(moment.values()))
    device = {"weights": weights, "optimizer": state, **parts, "framework": FRAMEWORK[setting.gpu]}
    if not setting.gpu:
        device["buffers"] += copied + beside
        return Memory(**device, host=0)
    moved = _offload(device, setting) + (beside if setting.offload_optimizer == "cpu" else 0)
    return Memory(**device, host=FRAMEWORK[False] + copied + moved)


def _offload(device: dict[str, int], setting: Setting) -> int:
    """Take what is offloaded out of `device`. Returns the bytes of it that the host's memory gets."""
    moved = 0
    for part, where in (("optimizer", setting.offload_optimizer), ("weights", setting.offload_parameters)):
        if where != "none":
            moved += device[part] if where == "cpu" else 0
            device[part] = 0
    return moved
