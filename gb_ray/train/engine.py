"""The DeepSpeed engine behind four verbs: backward, step, save, load. See https://www.deepspeed.ai/docs/config-json."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from gb_ray.train import checkpoint
from gb_ray.train.checkpoint import Checkpoint, Progress
from gb_ray.train.job import Job
from gb_ray.train.section import TrainSection

NO_DECAY = ("bias", "norm", "LayerNorm")
BUCKET = 500_000_000
"""Elements of the buffer through which gradients travel, at most."""


class Engine:
    """One worker's share of the model, gradients and optimizer, under the ZeRO stage of the recipe."""

    def __init__(self, model: torch.nn.Module, job: Job, precision: str, universal: bool):
        section = job.recipe.train
        # Imported here: it takes seconds, and only workers need it.
        import deepspeed

        logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
        # On CPU its start compiles shared-memory collectives for 40 s, which only inference calls.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        groups = _groups(model, section)
        self._peaks = [group["lr"] for group in groups]
        optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.999), eps=1e-8, fused=True)
        trained = sum(parameter.numel() for group in groups for parameter in group["params"])
        config = _config(section, job.zero, precision, universal, trained)
        self._engine, self._optimizer, _, _ = deepspeed.initialize(model=model, optimizer=optimizer, config=config)
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
        for group, peak in zip(self._optimizer.param_groups, self._peaks, strict=True):
            group["lr"] = peak * factor
        self._engine.step()

    @property
    def grad_norm(self) -> float:
        """Of the last step, before clipping."""
        return float(self._engine.get_global_grad_norm() or 0.0)

    def evaluate(self) -> torch.nn.Module:
        """The model, in evaluation mode until `train` is called."""
        return self._engine.module.eval()

    def train(self) -> None:
        """Back to training mode."""
        self._engine.module.train()

    def save(self, folder: Path, progress: Progress, key: str, keep: int) -> None:
        """Write and commit a checkpoint; every worker calls it."""
        path = checkpoint.place(folder, progress.steps)
        if dist.get_rank() == 0:
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir(parents=True)
        dist.barrier()
        self._engine.save_checkpoint(str(path), tag=checkpoint.STATE, save_latest=False, exclude_frozen_parameters=True)
        dist.barrier()
        if dist.get_rank() == 0:
            checkpoint.commit(path, self.world, progress, key)
            checkpoint.prune(folder, keep)
        dist.barrier()

    def load(self, found: Checkpoint) -> None:
        """Take up weights and optimizer state; every worker calls it."""
        tag = "universal" if found.world != self.world else checkpoint.STATE
        self._engine.load_checkpoint(str(found.path), tag=tag, load_module_strict=False)

    def copy_to(self, model: torch.nn.Module) -> None:
        """Write the trained fp32 weights into `model`, parameter by parameter; every worker calls it.

        Parameters that were not trained keep the value `model` has: the engine may hold a rounded copy of them.
        """
        from deepspeed.utils import safe_get_full_fp32_param

        targets = dict(model.named_parameters())
        with torch.no_grad():
            for name, parameter in self._engine.module.named_parameters():
                if parameter.requires_grad:
                    full = safe_get_full_fp32_param(parameter)
                    targets[name].copy_(parameter if full is None else full.view_as(parameter))


def reshape(found: Checkpoint) -> None:
    """Make a checkpoint loadable by another number of workers: DeepSpeed's universal format, beside its state.

    Rank 0 calls it. https://www.deepspeed.ai/tutorials/universal-checkpointing
    """
    from argparse import Namespace

    from deepspeed.checkpoint.ds_to_universal import main

    target = found.path / "universal"
    if target.is_dir():
        return
    beside = found.path / "universal.part"
    shutil.rmtree(beside, ignore_errors=True)
    main(
        Namespace(
            input_folder=str(found.path / checkpoint.STATE),
            output_folder=str(beside),
            num_extract_workers=1,
            num_merge_workers=1,
            keep_temp_folder=False,
            strict=True,
            inject_missing_state=True,
        )
    )
    beside.rename(target)


def _config(section: TrainSection, zero: int, precision: str, universal: bool, trained: int) -> dict[str, Any]:
    return {
        # Micro-batches hold tokens, not a number of samples; the loop counts them and this only satisfies the schema.
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": section.clip,
        "bf16": {"enabled": precision == "bf16"},
        "zero_optimization": {
            "stage": zero,
            # The buffer is allocated anew at every step: no larger than the gradients that go through it.
            "reduce_bucket_size": min(trained, BUCKET),
        },
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 2**31,
        "checkpoint": {"load_universal": universal},
    }


def _groups(model: torch.nn.Module, section: TrainSection) -> list[dict[str, Any]]:
    """Parameter groups: backbone and head by rate, each with and without weight decay."""
    backbone = getattr(model, "base_model_prefix", "") + "."
    groups: dict[tuple[bool, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decays = parameter.ndim > 1 and not any(part in name for part in NO_DECAY)
            groups.setdefault((name.startswith(backbone), decays), []).append(parameter)
    rates = {True: section.lr, False: section.head_lr or section.lr}
    return [
        {"params": parameters, "lr": rates[is_backbone], "weight_decay": section.weight_decay if decays else 0.0}
        for (is_backbone, decays), parameters in sorted(groups.items())
    ]
