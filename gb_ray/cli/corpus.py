"""`gb corpus WHAT`: build, check, show, list and compare corpora."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gb_ray.cli.call import DONE, FAILED, Call, Outcome
from gb_ray.corpus.manifest import where_rows_went
from gb_ray.recipe import load
from gb_ray.section import UserError


def corpus_build(call: Call) -> Outcome:
    """gb corpus build RECIPE: sources to a corpus, every row accounted for."""
    from gb_ray.corpus import build

    plan = call.inputs.corpus
    found = build.existing(plan, call.home)
    if found is None:
        call.ray()
    corpus = found or build.build(plan, call.home, call.progress)
    summary = corpus.manifest.summary(corpus.uri) | {"reused": found is not None}
    return DONE, summary, _corpus_lines(summary)


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
    """The corpus of a recipe, or the one in a directory or at an address."""
    from gb_ray.corpus.corpus import Corpus

    path = Path(where).expanduser()
    if path.suffix in (".yaml", ".yml"):
        from gb_ray.corpus import build
        from gb_ray.finetune import check

        found = build.existing(check(load(path, call.args.overrides), path).corpus, call.home)
        if found is None:
            raise UserError(f"{where}: its corpus is not built; run: gb corpus build {where}")
        return found
    if "://" not in where and not path.exists():
        raise UserError(f"{where}: nothing there; expected a corpus (gb corpus list names them) or a recipe (.yaml)")
    return Corpus.open(where if "://" in where else path)


def _corpus_lines(summary: dict[str, Any]) -> list[str]:
    splits = ", ".join(f"{count} {name}" for name, count in summary["splits"].items())
    return [
        f"corpus     {summary['path']}{' (unchanged, reused)' if summary.get('reused') else ''}",
        f"rows       {where_rows_went(summary)}",
        f"splits     {splits}",
        f"digest     {summary['digest']}",
    ]
