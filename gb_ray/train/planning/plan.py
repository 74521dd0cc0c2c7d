"""What a run will take, before anything is taken: memory of each worker, steps, time, cost; and what would fit."""

from __future__ import annotations

from math import ceil
from pathlib import Path

from pydantic import BaseModel

from gb_ray.corpus.corpus import Corpus
from gb_ray.recipe import Recipe
from gb_ray.section import UserError
from gb_ray.train.planning import lengths
from gb_ray.train.planning.flops import Flops, hardware_flops
from gb_ray.train.planning.memory import Memory
from gb_ray.train.planning.needs import Needs
from gb_ray.train.planning.place import Place, here
from gb_ray.train.planning.remedy import remedies
from gb_ray.train.samples import per_epoch


class Plan(BaseModel):
    """Bytes are of one worker. `seconds` and `fits` are None where the devices are not known from here."""

    place: str
    parameters: int
    trained: int
    zero: int
    why_zero: str
    precision: str
    layout: str
    workers: int
    memory: Memory
    total: int
    available: int | None
    fits: bool | None
    remedies: list[str]
    """What would fit where this does not."""
    micro_tokens: int
    """Tokens of the fullest micro-batch."""
    largest_micro_tokens: int | None
    """That fit, of the recipe's samples; 0 when not even one token does."""
    accumulation: int
    """Micro-batches that a worker computes for a step of mean length."""
    batch: int
    steps: int
    tokens: int
    flops_per_token: Flops
    seconds: float | None
    cost: float | None

    def lines(self) -> list[str]:
        """For a person."""
        parts = {name: size for name, size in self.memory.model_dump().items() if name != "host"}
        held = ", ".join(f"{name} {_mb(size)}" for name, size in parts.items() if size)
        room = "" if self.available is None else f" of {_mb(self.available)}"
        host = f"; {_mb(self.memory.host)} of host memory" if self.memory.host else ""
        lines = [
            f"{self.workers} worker{'s' if self.workers > 1 else ''} on {self.place}, {self.precision}, {self.layout}; "
            f"{self.parameters / 1e6:.1f} M parameters, {self.trained / 1e6:.1f} M trained",
            f"ZeRO {self.zero}: {self.why_zero}",
            f"a worker holds {_mb(self.total)} MB{room}: {held}{host}",
            f"micro-batches of up to {self.micro_tokens} tokens, about {self.accumulation} a step"
            + (f"; up to {self.largest_micro_tokens} fit" if self.largest_micro_tokens else ""),
            f"{self.steps} steps of {self.batch} samples, {self.tokens / 1e3:.0f} k tokens; {self._time()}",
        ]
        return lines + ([f"does not fit: {'; '.join(self.remedies)}"] if self.fits is False else [])

    def _time(self) -> str:
        if self.seconds is None:
            return "time: not known before the first steps"
        cost = "" if self.cost is None else f", {self.cost:{',.2f' if self.cost >= 1 else '.2g'}} at the price given"
        return f"about {self.seconds:.0f} s{cost}"


def plan(
    recipe: Recipe,
    corpora: dict[str, Corpus],
    backbone: Path,
    gpus: bool = False,
    place: Place | None = None,
    price: float | None = None,
) -> Plan:
    """Memory, time and cost of a run, here or at `place`; `price` is that of one worker's device for an hour.

    `corpora` go by the recipe's tasks. The model is made without weights and one micro-batch played through: seconds.
    Raises UserError for a recipe that its model cannot follow.
    """
    train = recipe.train
    place = place or here(train.most, gpus, train.precision)
    needs = Needs.of(recipe, corpora, backbone, place)
    samples = needs.split
    zero, why = _stage(needs)
    chosen = needs.but(zero=zero)
    found, size = chosen.memory(), needs.size
    # Replayed samples count as many tokens as the others: they are not known before the model is that is gone on from.
    tokens = round(samples.tokens * per_epoch(samples.epoch, train.replay) / max(1, samples.epoch)) * train.epochs
    flops = needs.flops(lengths.attended(samples))
    rate = place.rate(needs.precision)
    accumulation = ceil(samples.tokens / samples.samples * train.batch / place.workers / train.micro_tokens)
    compared = accumulation > 1 and any(section.type == "embedding" for section in recipe.tasks.values())
    work = hardware_flops(flops.with_attention * tokens, train.recompute, compared) * train.passes
    seconds = rate and work / place.workers / rate
    fits = None if place.memory is None else found.total <= place.memory
    return Plan(
        place=place.name,
        parameters=size.parameters,
        trained=size.trained,
        zero=zero,
        why_zero=why,
        precision=needs.precision,
        layout="packed" if needs.packed else "padded: this architecture is not packed",
        workers=place.workers,
        memory=found,
        total=found.total,
        available=place.memory,
        fits=fits,
        remedies=remedies(chosen) if fits is False else [],
        micro_tokens=chosen.tokens,
        largest_micro_tokens=None if fits is None else chosen.largest_micro_tokens(),
        accumulation=accumulation,
        batch=train.batch,
        steps=needs.steps,
        tokens=tokens,
        flops_per_token=flops,
        seconds=seconds,
        cost=None if price is None or seconds is None else price * place.workers * seconds / 3600,
    )


def choose_zero(recipe: Recipe, corpora: dict[str, Corpus], backbone: Path, gpus: bool) -> int:
    """The ZeRO stage of a run here: the recipe's, or for `auto` the lowest that fits, as the plan says."""
    if recipe.train.zero != "auto":
        return recipe.train.zero
    return _stage(Needs.of(recipe, corpora, backbone, here(recipe.train.most, gpus, recipe.train.precision)))[0]


def _stage(needs: Needs) -> tuple[int, str]:
    """The ZeRO stage, and why."""
    wanted, stages = needs.recipe.train.zero, needs.stages
    if wanted != "auto":
        return wanted, "as the recipe says"
    if not stages:
        raise UserError("train: muon and ema need zero 0, and offload does not go with it; leave one of them out")
    if needs.place.memory is None:
        return stages[-1], "the memory of these devices is not known here, so all is shared out"
    for stage in stages:
        if needs.but(zero=stage).fits:
            why = "the lowest stage that fits, and so the fastest" if stage == stages[0] else "lower stages do not fit"
            return stage, why
    return stages[-1], "no stage fits"


def _mb(size: int) -> str:
    return f"{size / 1e6:,.0f}"
