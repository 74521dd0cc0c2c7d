"""The `train:` section of a recipe."""

from typing import Literal

from pydantic import Field

from gb_ray.section import Section


class CheckpointSection(Section):
    """When the state of a run is saved, and how many saves are kept."""

    every: int = Field(50, ge=1, description="Steps between checkpoints.")
    keep: int = Field(2, ge=1, description="The newest ones kept.")


class TrainSection(Section):
    """How a corpus becomes weights. One step is one optimizer update over one global batch."""

    epochs: int = Field(3, ge=1)
    batch: int = Field(32, ge=1, description="Samples in a global batch, whatever the number of workers.")
    micro_tokens: int = Field(2048, ge=1, description="Tokens, padding included, a worker computes at once.")
    lr: float = Field(5e-5, gt=0, description="Peak learning rate of the backbone.")
    head_lr: float | None = Field(None, gt=0, description="Of the head; absent, that of the backbone.")
    warmup: float = Field(
        0.1, ge=0, lt=1, description="Share of the steps over which the rate rises; then it falls to 0."
    )
    weight_decay: float = Field(0.01, ge=0, description="Not applied to biases and norms.")
    clip: float = Field(1.0, gt=0, description="Largest norm of the gradient.")
    workers: int = Field(1, ge=1, description="One process each; with GPUs, one GPU each.")
    gpus: bool | Literal["auto"] = Field("auto", description="auto: when the cluster has enough of them.")
    zero: Literal[0, 1, 2] = Field(2, description="DeepSpeed ZeRO stage: what is sharded over the workers.")
    precision: Literal["auto", "bf16", "fp32"] = Field("auto", description="auto: bf16 where the processor has it.")
    max_failures: int = Field(3, ge=0, description="Worker losses survived before the run fails.")
    checkpoint: CheckpointSection = CheckpointSection()
