"""The page: sections in the order in which a reader asks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from math import nan

import yaml

from gb_ray.measure.slices import FEWEST, Slice
from gb_ray.measure.table import by_luck, changed, number, pace, span
from gb_ray.report import charts, speed
from gb_ray.report.energy import told
from gb_ray.report.facts import Facts
from gb_ray.report.markup import Markup, element, join, table
from gb_ray.report.pairs import SHOWN
from gb_ray.report.style import STYLE

LABELS_SHOWN = 40
SLICES_SHOWN = 12
_TAKEN = ("filtered", "quarantined", "dropped", "duplicates", "near_duplicates", "leaks")


def page(facts: Facts) -> str:
    """One HTML document that needs nothing but itself."""
    head = element(
        "head",
        Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        element("title", f"{facts.name}: report"),
        element("style", Markup(STYLE)),
    )
    of_each = (_named, _results, _slices, _calibration, _confusion, _worst, _data)
    told = [join(section(facts, task)) for task in facts.answers for section in of_each]
    last = [join(section(facts)) for section in (_forgotten, _curves, _time, _origin)]
    body = element("body", element("main", join(_title(facts)), *told, *last))
    return f'<!doctype html>\n<html lang="en">{head}{body}</html>\n'


def verdict(facts: Facts, task: str) -> str:
    """In one or two sentences: how good it is, how sure that is, and since when."""
    split = facts.split
    metrics = facts.account["metrics"].get(split, {}).get(task)
    if not metrics:
        return "No split held samples out, so nothing is known of its quality."
    name, value = next(iter(metrics.items()))
    ends = facts.account["intervals"][split][task].get(name)
    sure = f" (95 % interval {span(ends)})" if ends else ""
    text = f"On {facts.answers[task].corpus['splits'][split]:,} {split} samples {_words(name)} is {number(value)}{sure}"
    change = facts.account["compared"][split][task].get(name)
    if change is None:
        return f"{text}."
    how = {"b": "better than", "a": "worse than", None: "not surely different from"}[change["better"]]
    return f"{text}: {how} before training, when it was {number(change['a'])}."


def _title(facts: Facts) -> Iterator[Markup]:
    account = facts.account
    yield element("h1", facts.manifest["name"])
    model = account.get("model", {}).get("uri", "not registered")
    yield element("p", f"run {facts.name} · {model} · {_moment(facts.ended)}", class_="quiet")
    several = len(facts.answers) > 1
    for task in facts.answers:
        text = verdict(facts, task)
        yield element("p", f"{task}: {text}" if several else text, class_="verdict")


def _named(facts: Facts, task: str) -> Iterator[Markup]:
    if len(facts.answers) > 1:
        yield element("h1", task)


def _results(facts: Facts, task: str) -> Iterator[Markup]:
    account = facts.account
    for split in sorted(account["metrics"], key=lambda split: split != facts.split):
        rows = []
        for name, value in account["metrics"][split].get(task, {}).items():
            before = account["before"][split][task].get(name)
            ends = account["intervals"][split][task].get(name)
            moved = changed(account["compared"][split][task].get(name))
            rows.append(
                [_words(name), charts.span(before, value, ends), number(before), number(value), span(ends), *moved]
            )
        yield element("h2", f"Results on {split}")
        yield element("p", "The ring is before training, the dot after it, the bar its 95 % interval.", class_="quiet")
        yield table(["", "", "before", "after", "95 % interval", "change", "95 % interval", "p"], rows, left=2)
        if found := account.get("pace", {}).get(split, {}).get(task):
            yield element("p", f"In fp32 on CPUs it answered {pace(found)}.", class_="quiet")


def _slices(facts: Facts, task: str) -> Iterator[Markup]:
    found = facts.account["slices"].get(facts.split, {}).get(task, [])
    if not found:
        return
    ranked = [one for one in found if one["behind"] is not None]
    small = [one for one in found if one["behind"] is None]
    weak = sum(one["behind"] > 0 for one in ranked)
    yield element("h2", "Where it is weaker")
    text = (
        f"Behind the whole {facts.split} split: {weak} of {len(ranked)} slices, {by_luck(len(ranked))} of them by luck."
    )
    yield element("p", f"{text} The weakest come first.")
    yield _listed(ranked[:SLICES_SHOWN])
    if small:
        summary = element(
            "summary", f"{len(small)} more that are not ranked: fewer than {FEWEST} samples, or nothing to find"
        )
        yield element("details", summary, _listed(small[: 4 * SLICES_SHOWN]))


def _forgotten(facts: Facts) -> Iterator[Markup]:
    if not (found := facts.account.get("forgetting")):
        return
    yield element("h2", "What it forgot")
    origin = facts.account["from"]["uri"]
    yield element("p", f"It went on from {origin}. This is that model's test split, before and after.", class_="quiet")
    rows = []
    for name, one in found.items():
        before, after = one["before"], one["after"]
        rows.append([_words(name), charts.span(before, after, None), number(before), number(after), *changed(one)])
    yield table(["", "", "before", "after", "change", "95 % interval", "p"], rows, left=2)


def _listed(slices: list[Slice]) -> Markup:
    rows = []
    for one in slices:
        name, value = next(iter(one["metrics"].items()))
        ends = one["intervals"].get(name)
        cells = [f"{one['samples']:,}", _words(name), number(value), span(ends)]
        rows.append([one["by"], one["name"], charts.span(None, value, ends), *cells])
    return table(["by", "", "", "samples", "", "value", "95 % interval"], rows, left=3)


def _calibration(facts: Facts, task: str) -> Iterator[Markup]:
    fitted = facts.account["calibration"].get(task)
    if not fitted:
        return
    error = fitted["test_ece"]
    yield element("h2", "Can its probabilities be believed?")
    text = (
        f"Confidence is off by {number(error['before'])} on average as trained, and by {number(error['after'])} with "
        f"the temperature {fitted['temperature']:.3f}, fitted on {fitted['fitted_on']:,} validation decisions: the "
        f"endpoint answers with the latter. On so few samples that of an honest model would be {number(error['luck'])} "
        "by luck. On the diagonal a model is right as often as it says."
    )
    yield element("p", text)
    plots = {"as trained": fitted["bins"]["before"], "as served": fitted["bins"]["after"]}
    yield element("div", *(charts.reliability(name, bins) for name, bins in plots.items()), class_="row")


def _confusion(facts: Facts, task: str) -> Iterator[Markup]:
    labels, found = facts.manifest["tasks"][task]["labels"], facts.answers[task]
    if not labels:
        return
    yield element("h2", "What it confuses")
    if found.confusion is not None and len(labels) <= LABELS_SHOWN:
        yield element("p", "A row for each true label, a column for each answer.", class_="quiet")
        yield element("div", charts.confusion(found.confusion, labels), class_="wide")
    elif found.pairs is None:
        yield element("p", "Not known: what it answered to each text was too large to be kept, or was removed.")
    elif not found.pairs:
        yield element("p", "Nothing: every answer is right.")
    else:
        text = f"What is taken for what, the most frequent first, {SHOWN} at most; with the worst example of each."
        yield element("p", text, class_="quiet")
        rows = [[one["truth"], one["answer"], one["text"], f"{one['count']:,}"] for one in found.pairs]
        yield table(["true", "answered", "for example", "times"], rows, left=3)


def _worst(facts: Facts, task: str) -> Iterator[Markup]:
    worst = facts.answers[task].worst
    if not worst:
        return
    yield element("h2", "What it was most wrong about")
    if not any(one["text"] for one in worst):
        yield element("p", "The texts are not here: the corpus was moved, or keeps none.", class_="quiet")
    rows = [[one["text"] or one["id"], one["truth"], one["answer"], number(one["loss"])] for one in worst]
    yield table(["text", "true", "answered", "loss"], rows, left=3)


def _curves(facts: Facts) -> Iterator[Markup]:
    yield element("h2", "Training")
    account = facts.account
    text = f"{account['steps']:,} steps, {account['samples_seen']:,} samples and {account['tokens_seen']:,} tokens on "
    yield element("p", f"{text}{account['workers']} workers with ZeRO {account['zero']} in {account['precision']}.")
    named = {"loss": "loss", "lr": "learning rate", "tokens_per_s": "tokens a second"}
    if any("mfu" in step for step in facts.journal):
        named["mfu"] = "share of the devices' peak"
    if early := facts.manifest["recipe"]["train"].get("early_stop"):
        named[f"early_stop_{early['metric']}"] = f"{early['metric']} of the validation split"
    if facts.journal:
        curves = (charts.curve(name, [step.get(key, nan) for step in facts.journal]) for key, name in named.items())
        yield element("div", *curves, class_="row")
        yield element("p", speed.told(facts))


def _data(facts: Facts, task: str) -> Iterator[Markup]:
    corpus = facts.answers[task].corpus
    yield element("h2", "Where the rows went")
    rows = [["read", charts.share(1, 1), f"{corpus['read']:,}"]]
    for name in _TAKEN:
        if corpus[name]:
            rows.append([_words(name), charts.share(corpus[name], corpus["read"], "bad"), f"{corpus[name]:,}"])
    rows += [
        [split, charts.share(count, corpus["read"]), f"{count:,}"] for split, count in corpus["splits"].items() if count
    ]
    yield table(["", "", "rows"], rows, left=2)


def _time(facts: Facts) -> Iterator[Markup]:
    yield element("h2", "Where the time went")
    spent = {name: seconds for name, seconds in facts.goodput.items() if seconds > 0}
    whole = sum(spent.values())
    bad = ("restart", "lost", "away")
    rows = [
        [name, charts.share(seconds, whole, "bad" if name in bad else ""), f"{seconds:,.1f}", f"{seconds / whole:.0%}"]
        for name, seconds in spent.items()
    ]
    yield table(["", "", "seconds", ""], rows, left=2)
    count = len(facts.attempts)
    yield element("p", f"The workers were started {'once' if count == 1 else f'{count} times'}.")
    yield element("div", charts.timeline(facts.began, facts.ended, facts.attempts), class_="wide")
    yield element("p", told(facts.energy))


def _origin(facts: Facts) -> Iterator[Markup]:
    manifest, code = facts.manifest, facts.manifest["code"]
    digests = {
        "weights": manifest["weights_sha256"],
        "corpus": manifest["corpus_digest"],
        "recipe": manifest["recipe_digest"],
        "code": code["sha256"],
        "MLflow run": manifest["run_id"],
    }
    yield element("h2", "How to get it again")
    yield table(["", "sha256, or id"], [[name, element("code", value)] for name, value in digests.items()], left=2)
    versions = ", ".join(f"{name} {found}" for name, found in facts.versions.items())
    yield element("p", f"This page was written with {versions}.", class_="quiet")
    model = facts.account.get("model", {}).get("uri", "MODEL")
    commands = ["gb corpus build recipe.yaml", "gb finetune recipe.yaml"]
    commands += [f"gb evaluate {model} --recipe recipe.yaml --split {split}" for split in facts.account["metrics"]]
    yield element("pre", "\n".join(commands))
    recipe = yaml.safe_dump(manifest["recipe"], sort_keys=False, allow_unicode=True)
    yield element("details", element("summary", "recipe.yaml"), element("pre", recipe))


def _words(name: str) -> str:
    return name.replace("_", " ")


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
