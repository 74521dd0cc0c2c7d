"""Results as a person reads them: one line a metric."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gb_ray.corpus.catalogue.figures import columns
from gb_ray.measure.bootstrap import LEVEL

SHOWN_SLICES = 5


def after_lines(account: dict[str, Any], split: str = "test") -> list[str]:
    """Of a run's account: each metric of a split before and after, with intervals, and what else was found."""
    lines = []
    for task, compared in account["compared"].get(split, {}).items():
        rows = [["", "before", "after", "95 % interval", "change", "95 % interval", "p"]]
        for name, value in account["metrics"][split][task].items():
            ends = account["intervals"][split][task].get(name)
            change = compared.get(name)
            before = account["before"][split][task].get(name)
            rows.append([f"  {name}", number(before), number(value), span(ends), *changed(change)])
        lines += [f"{task} on {split}, {_samples(account, split, task)}", *columns(rows)]
        if fitted := account["calibration"].get(task):
            error = fitted["test_ece"]
            lines.append(
                f"  calibration error {number(error['before'])}, {number(error['after'])} "
                f"with temperature {fitted['temperature']:.3f} of {fitted['fitted_on']:,} decisions; "
                f"{number(error['luck'])} would be luck"
            )
        lines += [*_weak(account["slices"][split][task]), *_pace(account["pace"][split][task])]
    return lines + (_forgotten(account) if account.get("from") else [])


def alone_lines(account: dict[str, Any]) -> list[str]:
    """Of one model: each metric with its interval, where it is weakest, and how fast it answers."""
    lines = []
    for split, task, metrics in _each(account["metrics"]):
        ends = account["intervals"][split][task]
        rows = [["", "value", "95 % interval"]]
        rows += [[f"  {name}", number(value), span(ends.get(name))] for name, value in metrics.items()]
        lines += [f"{task} on {split}", *columns(rows), *_weak(account["slices"][split][task])]
        lines += [f"  {_calibration(told)}"] if (told := account["calibration"][split][task]) else []
        lines += _pace(account["pace"][split][task])
    return lines


def against_lines(account: dict[str, Any]) -> list[str]:
    """Of two models, the other one (A) and the one that was asked about (B): which is better at what."""
    lines = [f"A is {account['against']['uri']}", f"B is {account['model']['uri']}"]
    for split, task, found in _each(account["compared"]):
        rows = [["", "A", "B", "B less A", "95 % interval", "p", "better"]]
        rows += [[f"  {name}", *_both(one)] for name, one in found.items()]
        lines += [f"{task} on {split}", *columns(rows)]
        for model, its in (("A", "against_pace"), ("B", "pace")):
            if told := account[its][split][task]:
                lines.append(f"  {model} answers {pace(told)}")
        for model, its in (("A", "against_calibration"), ("B", "calibration")):
            if told := account[its][split][task]:
                lines.append(f"  {model}: {_calibration(told)}")
        slices = account["compared_slices"][split][task]
        decided = [one for one in slices if one["better"]]
        wins = ", ".join(f"{model.upper()} in {sum(one['better'] == model for one in decided)}" for model in "ab")
        if slices:
            lines.append(f"{slices[0]['metric']} by slice, of {len(slices)}: {wins}; one in 20 differs by luck")
        if decided:
            rows = [["", "samples", "A", "B", "B less A", "95 % interval", "p", "better"]]
            rows += [[f"  {one['by']} {one['name']}", f"{one['samples']:,}", *_both(one)] for one in decided]
            lines += columns(rows)
    return lines


def by_luck(slices: int) -> str:
    """Of so many intervals of 95 %, how many lie on the wrong side of the truth, though nothing is the matter."""
    return f"about {slices * (1 - LEVEL) / 2:.1g}"


def number(value: float | None) -> str:
    """With three decimals, or four digits when it is large."""
    if value is None:
        return ""
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:,.0f}"


def span(ends: Any) -> str:
    """An interval."""
    return f"{number(ends[0])} to {number(ends[1])}" if ends else ""


def changed(found: dict[str, Any] | None) -> list[str]:
    """A difference, its interval and p; blanks when there is none."""
    if found is None:
        return ["", "", ""]
    plus = "+" if found["difference"] > 0 else ""
    return [f"{plus}{number(found['difference'])}", span(found["interval"]), f"{found['p']:.4f}"]


def pace(found: dict[str, Any]) -> str:
    """How fast and for how much energy a split was answered."""
    how = "by the processors' counters" if found["measured"] else "an estimate"
    rates = f"{found['texts_per_s']:,.0f} texts/s, {found['tokens_per_s']:,.0f} tokens/s a core"
    return f"{rates}; {found['joules_per_text']:.2g} J a text, {how}"


def _pace(found: dict[str, Any] | None) -> list[str]:
    return [f"  answers {pace(found)}"] if found else []


def _calibration(found: dict[str, Any]) -> str:
    """How far what a model says of its own certainty is off."""
    error, luck = found["ece"], f"{number(found['ece']['luck'])} would be luck"
    if found["temperature"] == 1:
        return f"calibration error {number(error['after'])}; {luck}"
    with_it = f"{number(error['after'])} with its temperature {found['temperature']:.3f}"
    return f"calibration error {number(error['before'])}, {with_it}; {luck}"


def _forgotten(account: dict[str, Any]) -> list[str]:
    """Of a run that went on from a model, and what was measured of the corpus that this model had learnt."""
    if not (found := account["forgetting"]):
        return ["forgetting was not measured: the corpus of the model gone on from, or its test split, is not here"]
    rows = [["", "before", "after", "change", "95 % interval", "p"]]
    rows += [[f"  {name}", number(one["before"]), number(one["after"]), *changed(one)] for name, one in found.items()]
    worse = [name for name, one in found.items() if one["worse"]]
    said = f"  worse than before: {', '.join(worse)}" if worse else "  no metric is worse beyond luck"
    return [f"forgetting, on the test split of {account['from']['uri']}", *columns(rows), said]


def _both(found: dict[str, Any]) -> list[str]:
    better = found["better"].upper() if found["better"] else "neither"
    return [number(found["a"]), number(found["b"]), *changed(found), better]


def _each(found: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    return ((split, task, one) for split, tasks in found.items() for task, one in tasks.items())


def summaries(account: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The corpus of each task, as a run's account tells of it."""
    found, tasks = account["corpus"], list(next(iter(account["metrics"].values()), {}))
    return {tasks[0] if tasks else "": found} if "digest" in found else dict(found)


def _samples(account: dict[str, Any], split: str, task: str) -> str:
    return f"{summaries(account)[task]['splits'][split]:,} samples"


def _weak(slices: list[dict[str, Any]]) -> list[str]:
    """Slices whose interval lies behind the whole; without any, that is said."""
    ranked = [one for one in slices if one["behind"] is not None]
    weak = [one for one in ranked if one["behind"] > 0]
    if not ranked:
        return []
    if not weak:
        return [f"  none of {len(ranked)} slices (language, source, length, label) is behind the whole"]
    return [f"  behind the whole: {len(weak)} of {len(ranked)} slices, {by_luck(len(ranked))} of them by luck"] + [
        f"    {one['by']} {one['name']}: " + _first(one) for one in weak[:SHOWN_SLICES]
    ]


def _first(one: dict[str, Any]) -> str:
    name, value = next(iter(one["metrics"].items()))
    return f"{name} {number(value)}, {span(one['intervals'].get(name))} ({one['samples']:,} samples)"
