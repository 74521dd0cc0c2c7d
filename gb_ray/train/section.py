"""The `train:` section of a recipe."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from gb_ray.section import Section


class CheckpointSection(Section):
    """When the state of a run is saved, where, and how many saves are kept."""

    every: int = Field(50, ge=1, description="Steps between checkpoints.")
    keep: int = Field(2, ge=1, description="The newest ones kept.")
    mirror: str | None = Field(None, description="A folder, s3:// or gs:// address that gets a copy of each.")


class OffloadSection(Section):
    """What leaves the accelerator's memory while it is not needed."""

    optimizer: Literal["none", "cpu", "nvme"] = Field("none", description="State of the optimizer; zero 1 to 3.")
    parameters: Literal["none", "cpu", "nvme"] = Field("none", description="Weights between uses; zero 3.")
    folder: Path | None = Field(None, description="On an NVMe disk; needed by nvme.")

    @model_validator(mode="after")
    def _has_folder(self) -> "OffloadSection":
        if "nvme" in (self.optimizer, self.parameters) and self.folder is None:
            raise ValueError("nvme needs `folder`, a folder on the NVMe disk")
        return self


class ScheduleSection(Section):
    """How the learning rate moves from step to step, as a share of its peak."""

    shape: Literal["linear", "cosine", "constant", "warmup-stable-decay"] = Field("linear")
    warmup: float = Field(0.1, ge=0, lt=1, description="Share of the steps over which it rises.")
    decay: float = Field(0.2, gt=0, le=1, description="Share over which warmup-stable-decay falls to `floor`.")
    floor: float = Field(0.0, ge=0, le=1, description="Where it ends, as a share of the peak.")


class BadLossSection(Section):
    """What happens when the loss is not a number, or far above what it was."""

    policy: Literal["stop", "skip"] = Field("stop", description="skip: go back to a checkpoint, leave the step out.")
    spike: float = Field(10.0, gt=1, description="Times the median loss of the last `window` steps.")
    window: int = Field(50, ge=5)


class AdversarySection(Section):
    """Who moves the word embeddings of each sample to where the loss is larger; the loss there is added."""

    method: Literal["fgm", "pgd"] = Field("fgm", description="fgm: one step. pgd: `steps` smaller ones, a pass each.")
    radius: float = Field(1.0, gt=0, description="Largest L2 norm of the move, over all tokens of a sample.")
    steps: int | None = Field(None, ge=2, description="Of pgd. Absent: 3.")

    @model_validator(mode="after")
    def _agrees(self) -> "AdversarySection":
        if self.method == "fgm" and self.steps is not None:
            raise ValueError("fgm takes one step: leave `steps` out, or set method to pgd")
        return self

    @property
    def gradients(self) -> int:
        """How often it asks where the loss grows."""
        return 1 if self.method == "fgm" else self.steps or 3


class EarlyStopSection(Section):
    """The validation split is measured while training goes on; the best step's weights are the model."""

    metric: str = Field(description="One of the task's, or of several tasks TASK.METRIC.")
    patience: int = Field(3, ge=1, description="Measurements in a row without a better one that end the run.")
    every: int | None = Field(None, ge=1, description="Steps between measurements; absent, an epoch.")


class TrainSection(Section):
    """How a corpus becomes weights. One step is one optimizer update over one global batch."""

    epochs: int = Field(3, ge=1)
    batch: int = Field(32, ge=1, description="Samples in a global batch, whatever the number of workers.")
    micro_tokens: int = Field(2048, ge=1, description="Tokens, padding included, a worker computes at once.")
    replay: float = Field(
        0.0, ge=0, lt=1, description="Share of an epoch that is of the corpus of the model gone on from (--from)."
    )
    lr: float = Field(5e-5, gt=0, description="Peak learning rate of the backbone.")
    head_lr: float | None = Field(None, gt=0, description="Of the head; absent, that of the backbone.")
    layer_decay: float | None = Field(None, gt=0, le=1, description="Factor of the rate from layer to layer downwards.")
    schedule: ScheduleSection = ScheduleSection()
    optimizer: Literal["adamw", "adamw-8bit", "muon"] = Field("adamw")
    weight_decay: float = Field(0.01, ge=0, description="Not applied to biases and norms.")
    clip: float = Field(1.0, gt=0, description="Largest norm of the gradient.")
    balance: Literal["fixed", "uncertainty"] = Field("fixed", description="Of several tasks; fixed: by weight.")
    adversary: AdversarySection | None = Field(None, description="Absent: none.")
    r_drop: float | None = Field(None, gt=0, description="Weight of how far two draws of dropout differ in answers.")
    word_dropout: float = Field(0.0, ge=0, lt=1, description="Share of a text's tokens that is hidden, anew each time.")
    word_deletion: float = Field(0.0, ge=0, lt=1, description="Share of a text's tokens left out, anew each time.")
    ema: float | None = Field(None, gt=0, lt=1, description="Of a moving average of the weights, the model; zero 0.")
    bad_loss: BadLossSection = BadLossSection()
    early_stop: EarlyStopSection | None = Field(None, description="Absent: the model is that of the last step.")
    workers: int | tuple[int, int] = Field(1, description="Processes, or [fewest, most]; with GPUs, one GPU each.")
    gpus: bool | Literal["auto"] = Field("auto", description="auto: when the cluster has enough of them.")
    zero: Literal["auto", 0, 1, 2, 3] = Field("auto", description="ZeRO stage: what workers share out; 0: nothing.")
    offload: OffloadSection = OffloadSection()
    recompute: bool = Field(False, description="Keep a layer's input alone and compute the rest again: less memory.")
    precision: Literal["auto", "bf16", "fp16", "fp32"] = Field("auto", description="auto: bf16 where hardware has it.")
    max_failures: int = Field(3, ge=0, description="Worker losses survived before the run fails.")
    hang_s: float = Field(60, gt=0, description="Seconds without a sign of life before a worker is named as hanging.")
    checkpoint: CheckpointSection = CheckpointSection()

    @model_validator(mode="after")
    def _agrees(self) -> "TrainSection":
        if not 1 <= self.fewest <= self.most:
            raise ValueError("workers: expected a number of at least 1, or [fewest, most] with 1 <= fewest <= most")
        if self.offload.optimizer != "none" and self.zero == 0:
            raise ValueError("offload.optimizer needs zero 1, 2 or 3")
        if self.offload.parameters != "none" and self.zero != 3:
            raise ValueError("offload.parameters needs zero 3")
        if self.ema and (self.zero not in ("auto", 0) or self.offload.optimizer != "none"):
            raise ValueError("ema needs zero 0 and no offload: set train.zero=0, or leave train.ema out")
        return self

    @property
    def draws(self) -> int:
        """How many times samples go through the model before the way back."""
        return 2 if self.r_drop else 1

    @property
    def passes(self) -> float:
        """How much arithmetic a step takes, as a multiple of one pass forward and backward."""
        # A gradient of the embeddings alone leaves out a third, that of the weights.
        return self.draws * (2 + (self.adversary.gradients - 1) * 2 / 3 if self.adversary else 1)

    @property
    def fewest(self) -> int:
        """The fewest workers the run goes on with."""
        return self.workers if isinstance(self.workers, int) else self.workers[0]

    @property
    def most(self) -> int:
        """The most workers it takes."""
        return self.workers if isinstance(self.workers, int) else self.workers[1]
