"""What would fit where a run does not."""

from __future__ import annotations

from collections.abc import Iterator

from gb_ray.train.planning.machines import CATALOGUE
from gb_ray.train.planning.needs import Needs
from gb_ray.train.planning.place import elsewhere

COUNTS = (1, 2, 4, 8, 16, 32, 64)


def remedies(needs: Needs) -> list[str]:
    """For a person: the smallest change of the recipe that fits here, the largest micro-batch, the smallest machines.

    Empty where nothing in the catalogue is large enough.
    """
    found = []
    change = next((what for what, changed in _changes(needs) if changed.fits), None)
    if change:
        found.append(f"{change} would fit here")
    if most := needs.largest_micro_tokens():
        found.append(f"the largest micro_tokens that fits is {most}")
    machines = _machines(needs)[:2]
    if machines:
        found.append(f"it fits on {' or '.join(machines)}")
    return found or ["nor does it on any machine of the catalogue"]


def _changes(needs: Needs) -> Iterator[tuple[str, Needs]]:
    """From the one that costs least time to the one that costs most."""
    stages = needs.stages
    recomputed = needs.but(recompute=True)
    for base, more in ((needs, ""), (recomputed, " + recompute")):
        for stage in stages:
            yield f"zero {stage}{more}", base.but(zero=stage)
    if needs.place.gpu and max(stages, default=0) > 0:
        for base, more in ((needs, ""), (recomputed, " + recompute")):
            for stage in range(max(1, stages[0]), 4):
                changed = base.but(zero=stage, offload_optimizer="cpu")
                yield f"zero {stage} + offload.optimizer cpu{more}", changed


def _machines(needs: Needs) -> list[str]:
    """Of each accelerator the fewest that are enough; few before many, small before large."""
    found = []
    for name, entry in CATALOGUE.items():
        for count in COUNTS if entry.bf16 or needs.precision != "bf16" else ():
            there = needs.but(place=elsewhere(f"{count}x{name}"))
            stage = next((stage for stage in there.stages if there.but(zero=stage).fits), None)
            if stage is not None:
                found.append((count, entry.memory, f"{count}x{name} (zero {stage})"))
                break
    return [text for _, _, text in sorted(found)]
