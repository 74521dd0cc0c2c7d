"""`gb corpus WHAT`: build, check, show, list and compare corpora."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from gb_ray.cli.call import DONE, FAILED, Call, Outcome
from gb_ray.corpus.manifest import how_often, where_rows_went
from gb_ray.recipe import load
from gb_ray.section import UserError

RECIPE = re.compile(r"\.ya?ml:[^/]+$")
"""The end of RECIPE:TASK."""


def corpus_build(call: Call) -> Outcome:
    """gb corpus build RECIPE: sources to a corpus, or one a task, every row accounted for."""
    from gb_ray.corpus import build

    plans = call.inputs.corpora
    found = {task: build.existing(plan, call.home) for task, plan in plans.items()}
    if None in found.values():
        call.ray()
    summaries = {}
    for task, plan in plans.items():
        corpus = found[task] or build.build(plan, call.home, call.progress)
        summaries[task] = corpus.manifest.summary(corpus.uri) | {"reused": found[task] is not None}
    lines = [line for summary in summaries.values() for line in _corpus_lines(summary)]
    return DONE, summaries if len(summaries) > 1 else next(iter(summaries.values())), lines


def corpus_check(call: Call) -> Outcome:
    """gb corpus check X: whether every byte and count of a corpus is still right."""
    from gb_ray.corpus.catalogue.check import check

    corpus = _corpus(call, call.args.corpus)
    problems = check(corpus, call.progress)
    summary = corpus.manifest.summary(corpus.uri) | {"ok": not problems, "problems": problems}
    return FAILED if problems else DONE, summary, problems or [f"every file of {corpus.uri} is what its manifest says"]


def corpus_show(call: Call) -> Outcome:
    """gb corpus show X: what is in a corpus."""
    from gb_ray.corpus.catalogue import portrait

    corpus = _corpus(call, call.args.corpus)
    account = portrait.account(corpus)
    return DONE, account, portrait.lines(corpus, account)


def corpus_list(call: Call) -> Outcome:
    """gb corpus list: the corpora of the home, and builds that did not end."""
    from gb_ray.corpus.catalogue import catalogue

    entries = catalogue.entries(call.home)
    return DONE, {"corpora": entries}, catalogue.lines(call.home, entries)


def corpus_diff(call: Call) -> Outcome:
    """gb corpus diff A B: what differs in two corpora, down to their rows."""
    from gb_ray.corpus.catalogue import diff

    account = diff.diff(_corpus(call, call.args.a), _corpus(call, call.args.b), call.progress)
    return DONE, account, diff.lines(account)


def _corpus(call: Call, where: str) -> Any:
    """The corpus of a recipe, or of a task of it (RECIPE:TASK), or the one in a directory or at an address."""
    from gb_ray.corpus.corpus import Corpus

    file, _, task = where.rpartition(":") if RECIPE.search(where) else (where, "", "")
    path = Path(file).expanduser()
    if path.suffix in (".yaml", ".yml"):
        from gb_ray.inputs import check

        inputs = check(load(path, call.args.overrides), path)
        if task not in (inputs.corpora if task or len(inputs.corpora) > 1 else ("",)):
            named = ", ".join(f"{file}:{name}" for name in inputs.corpora)
            raise UserError(f"{where}: expected a corpus of one task: {named}")
        corpora = inputs.require(call.home, file)
        return corpora[task or next(iter(corpora))]
    if "://" not in where and not path.exists():
        raise UserError(f"{where}: nothing there; expected a corpus (gb corpus list names them) or a recipe (.yaml)")
    return Corpus.open(where if "://" in where else path)


def _corpus_lines(summary: dict[str, Any]) -> list[str]:
    splits = ", ".join(f"{count} {name}" for name, count in summary["splits"].items())
    return [
        f"corpus     {summary['path']}{' (unchanged, reused)' if summary.get('reused') else ''}",
        f"rows       {where_rows_went(summary)}",
        *(f"epoch      {line}" for line in how_often(summary)),
        f"splits     {splits}",
        f"digest     {summary['digest']}",
    ]
