"""The engine of ZeRO 1 to 3: DeepSpeed shares out what a worker holds. See https://www.deepspeed.ai/docs/config-json."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from gb_ray.model.hollow import Hollow
from gb_ray.model.recompute import recompute
from gb_ray.section import UserError
from gb_ray.train import lean, optimizer
from gb_ray.train.checkpoints import checkpoint
from gb_ray.train.checkpoints.checkpoint import Checkpoint
from gb_ray.train.engine import DTYPES
from gb_ray.train.job import Job
from gb_ray.train.padding import loadable
from gb_ray.train.section import TrainSection

BUCKET = {1: 500_000_000, 2: 500_000_000, 3: 50_000_000}
"""Elements of the buffer through which gradients travel, at most. Stage 3 is there to save memory."""


class Sharded:
    """An `Engine` under ZeRO 1, 2 or 3. Raises UserError for what this machine or this model cannot do."""

    def __init__(self, hollow: Hollow, job: Job, precision: str, universal: bool):
        section = job.recipe.train
        self._norm = 0.0
        deepspeed = lean.deepspeed()
        logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
        # On CPU its start compiles shared-memory collectives for 40 s, which only inference calls.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        _check(section)
        config = _config(section, job.zero, precision, universal)
        model = hollow.sharded(config, DTYPES[precision]) if job.zero == 3 else hollow.filled()
        if section.recompute:
            recompute(model)
        basic, self._peaks = optimizer.build(model, section, job.zero)
        trained = sum(optimizer.shape(p).numel() for p in model.parameters() if p.requires_grad)
        # The buffer is allocated anew at every step: no larger than the gradients that go through it.
        config["zero_optimization"]["reduce_bucket_size"] = min(trained, BUCKET[job.zero])
        self._engine, self._wrapped, _, _ = deepspeed.initialize(model=model.train(), optimizer=basic, config=config)
        # Imported here: it imports DeepSpeed.
        from gb_ray.train.checkpoints.snapshot import Snapshots

        self._engine.checkpoint_engine = self._snapshots = Snapshots()
        self._engine._copy_recovery_script = lambda folder: None  # it would write into a checkpoint
        self.world = dist.get_world_size()

    def __call__(self, **inputs: torch.Tensor) -> Any:
        """The model's outputs."""
        return self._engine(**inputs)

    def backward(self, loss: torch.Tensor, last: bool) -> None:
        """Add the gradients of `loss`, a part of the step's global loss; `last` closes the step's micro-batches.

        DeepSpeed averages over workers, and the parts are meant to add up: hence the factor.
        """
        self._engine.set_gradient_accumulation_boundary(last)
        self._engine.backward(loss * self.world)

    def step(self, factor: float) -> None:
        """Update the weights at `factor` of each group's peak rate."""
        for group, peak in zip(self._wrapped.param_groups, self._peaks, strict=True):
            group["lr"] = peak * factor
        self._engine.step()
        self._norm = float(self._engine.get_global_grad_norm() or 0.0)

    @property
    def grad_norm(self) -> float:
        """Of the last step, before clipping."""
        return self._norm

    @property
    def module(self) -> torch.nn.Module:
        """The model, of which this worker may hold a part."""
        return self._engine.module

    def averaged(self) -> AbstractContextManager[None]:
        """No average is kept here."""
        return nullcontext()

    def snapshot(self, path: Path) -> dict[str, Any]:
        """What a checkpoint in the folder `path` consists of: {name of a file of this worker: its state}.

        The states are copies in host memory. Every worker calls it; nothing is written.
        """
        self._engine.save_checkpoint(str(path), tag=checkpoint.STATE, save_latest=False, exclude_frozen_parameters=True)
        return {str(Path(name).relative_to(path)): state for name, state in self._snapshots.take().items()}

    def load(self, found: Checkpoint) -> None:
        """Take up weights and optimizer state; every worker calls it."""
        tag = "universal" if found.world != self.world else checkpoint.STATE
        # Other workers may have saved it than those whose checkpoint this attempt began with.
        self._engine._config.load_universal_checkpoint = tag == "universal"
        rules = [{key: group[key] for key in group.keys() - {"params"}} for group in self._wrapped.param_groups]
        with loadable(self._wrapped):
            self._engine.load_checkpoint(str(found.path), tag=tag, load_module_strict=False)
        # From a universal checkpoint of stage 3 every group gets the rules of the first, which has no weight decay, and
        # all of them one counter of steps, which each would then count up.
        for group, rule in zip(self._wrapped.param_groups, rules, strict=True):
            group.update(rule)
        for state in self._wrapped.state.values():
            if torch.is_tensor(state.get("step")):
                state["step"] = state["step"].clone()

    def weights(self, untrained: Callable[[str], torch.Tensor]) -> Iterator[tuple[str, torch.Tensor]]:
        """(name, tensor) of all that an exported model holds, one whole fp32 tensor at a time.

        Every worker goes through all of them. `untrained` gives those that were not trained: the engine may hold a
        rounded copy of them.
        """
        from deepspeed.utils import safe_get_full_fp32_param

        module = self._engine.module
        for name, parameter in module.named_parameters():
            if not parameter.requires_grad:
                yield name, untrained(name)
            else:
                yield name, safe_get_full_fp32_param(parameter).view(optimizer.shape(parameter))
        kept = module.state_dict().keys()
        yield from ((name, buffer) for name, buffer in module.named_buffers() if name in kept)


def reshape(found: Checkpoint) -> None:
    """Make a checkpoint loadable by another number of workers: DeepSpeed's universal format, beside its state.

    Rank 0 calls it. Does nothing for one of stage 0, which is not divided among the workers.
    https://www.deepspeed.ai/tutorials/universal-checkpointing
    """
    if not any((found.path / checkpoint.STATE).glob("*_optim_states.pt")):
        return
    from argparse import Namespace

    from deepspeed.checkpoint.ds_to_universal import main

    target = found.path / "universal"
    if target.is_dir():
        return
    beside = found.path / "universal.part"
    shutil.rmtree(beside, ignore_errors=True)
    # A folder in a folder: it leaves a file of its own beside what it makes.
    main(
        Namespace(
            input_folder=str(found.path / checkpoint.STATE),
            output_folder=str(beside / target.name),
            num_extract_workers=1,
            num_merge_workers=1,
            keep_temp_folder=False,
            strict=True,
            inject_missing_state=True,
        )
    )
    (beside / target.name).rename(target)
    shutil.rmtree(beside)


def _config(section: TrainSection, zero: int, precision: str, universal: bool) -> dict[str, Any]:
    config: dict[str, Any] = {
        # Micro-batches hold tokens, not a number of samples; the loop counts them and this only satisfies the schema.
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": section.clip,
        # Its loss scale adapts by itself: https://arxiv.org/abs/1710.03740
        "fp16": {"enabled": precision == "fp16"},
        "bf16": {"enabled": precision == "bf16"},
        "zero_optimization": {"stage": zero},
        "zero_allow_untested_optimizer": True,
        # Its own AdamW for the host is compiled for minutes.
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 2**31,
        "checkpoint": {"load_universal": universal},
    }
    for part in ("optimizer", "parameters"):
        if (device := getattr(section.offload, part)) != "none":
            key = {"optimizer": "offload_optimizer", "parameters": "offload_param"}[part]
            config["zero_optimization"][key] = {"device": device, "pin_memory": torch.cuda.is_available()}
            if device == "nvme":
                config["zero_optimization"][key]["nvme_path"] = str(section.offload.folder)
    return config


def _check(section: TrainSection) -> None:
    if "nvme" in (section.offload.optimizer, section.offload.parameters):
        from deepspeed.ops.op_builder import AsyncIOBuilder

        if not AsyncIOBuilder().is_compatible(verbose=False):
            raise UserError(
                "train.offload: nvme reads and writes through libaio, which this machine lacks: install libaio and its "
                "headers (libaio-dev, libaio-devel), or set train.offload to cpu"
            )
