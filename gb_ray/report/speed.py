"""How much of what the workers' devices could do at most the training did."""

from __future__ import annotations

from gb_ray.report.facts import Facts

_UNITS = ("FLOP/s", "kFLOP/s", "MFLOP/s", "GFLOP/s", "TFLOP/s", "PFLOP/s", "EFLOP/s")


def told(facts: Facts) -> str:
    """In words: the model FLOP utilisation over the time of all steps, and of which peak it is a share."""
    steps = [step for step in facts.journal if "peak_flops" in step]
    if not steps:
        return "What share of its devices' peak the training reached is not known: no peak of theirs was written down."
    seconds = [step["data_s"] + step["compute_s"] for step in steps]

    def mean(name: str) -> float:
        return sum(step[name] * spent for step, spent in zip(steps, seconds, strict=True)) / sum(seconds)

    precision = facts.account["precision"]
    limit = f"the makers' rate of its GPUs in {precision}, without sparsity"
    if not facts.gpus:
        limit = f"what products of large matrices in {precision} were measured to reach on its processors at the start"
    return (
        f"Of the arithmetic that its workers' devices could do at most, {mean('mfu'):.1%} went into the model "
        f"({mean('mfu_attention'):.1%} with attention). The most is {rate(mean('peak_flops'))} of all workers "
        f"together: {limit}."
    )


def rate(flops: float) -> str:
    """FLOP/s with three digits and a unit."""
    power = 0
    while flops >= 999.5 and power < len(_UNITS) - 1:
        flops, power = flops / 1000, power + 1
    return f"{flops:.3g} {_UNITS[power]}"
