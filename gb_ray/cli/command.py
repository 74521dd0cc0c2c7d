"""The command line: its arguments, and what becomes of an error."""

from __future__ import annotations

import argparse
import sys
import warnings
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from typing import Any

from gb_ray import machine
from gb_ray.cli import corpus, registry, runs, serve, start, train, tune
from gb_ray.cli.call import BAD_INPUT, FAILED, STOPPED, Call, Verb
from gb_ray.progress import Progress, fail
from gb_ray.section import UserError

HOME = Path("~/.gb_ray")


def main(argv: list[str] | None = None) -> int:
    """Run one verb. Returns the exit status."""
    args = _arguments(argv)
    warnings.filterwarnings("ignore")
    machine.stop_on_signals()
    verb: Verb = args.verb
    out = sys.stdout
    try:
        # Ray and others print to standard output from threads of their own; only results belong there.
        with redirect_stdout(sys.stderr), ExitStack() as stack:
            call = Call(args, Progress(), stack, out)
            status, account, lines = verb(call)
    except KeyboardInterrupt as stop:
        how = str(stop) or "by a signal"
        fail(f"gb: stopped ({how}); what was started is stopped, and the same command goes on from here")
        return STOPPED
    except Exception as error:
        why = machine.cause(error)
        if isinstance(why, UserError):
            fail(f"gb: {why}")
            return BAD_INPUT
        if args.debug:
            raise
        fail(f"gb: {type(why).__name__}: {why}")
        return FAILED
    if account is not None:
        call.say(account, lines)
    return status


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    """The arguments, with the `key=value` overrides wherever they stand among them."""
    parser = _parser()
    args, rest = parser.parse_known_args(argv)
    strange = [word for word in rest if word.startswith("-") or "=" not in word or not args.overridable]
    if strange:
        parser.error(f"unrecognized arguments: {' '.join(strange)}")
    args.overrides = rest
    return args


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gb", description="From a corpus to a traced model in production.")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="one JSON object on standard output")
    common.add_argument("--home", type=Path, default=HOME, help=f"corpora, runs, ledger, embedded store [{HOME}]")
    common.add_argument("--tracking", metavar="URI", help="MLflow [$MLFLOW_TRACKING_URI, or a store in the home]")
    common.add_argument("--ray", metavar="ADDRESS", help="local, auto, ADDRESS [the job's cluster, or local]")
    common.add_argument("--debug", action="store_true", help="show where an error came from")

    def add(
        name: str, verb: Verb, *what: str, recipe: str = "", default: Path | None = None, under: Any = verbs
    ) -> argparse.ArgumentParser:
        sub = under.add_parser(name, parents=[common], help=(verb.__doc__ or "").split(": ", 1)[-1])
        sub.set_defaults(verb=verb)
        if what:
            sub.add_argument("what", choices=what)
        if recipe == "positional":
            sub.add_argument("recipe", type=Path)
        elif recipe:
            sub.add_argument("--recipe", type=Path, required=recipe == "required", default=default)
        sub.set_defaults(overridable=bool(recipe))
        return sub

    corpora = verbs.add_parser("corpus", help="build, check, show, list and compare corpora")
    under = corpora.add_subparsers(required=True, metavar="WHAT")
    add("build", corpus.corpus_build, recipe="positional", under=under)
    for name, verb in (("check", corpus.corpus_check), ("show", corpus.corpus_show)):
        sub = add(name, verb, under=under)
        sub.add_argument("corpus", metavar="X", help="a recipe (.yaml), or a corpus' directory or address")
        sub.set_defaults(overridable=True)
    add("list", corpus.corpus_list, under=under)
    sub = add("diff", corpus.corpus_diff, under=under)
    sub.add_argument("a", metavar="A", help="a recipe (.yaml), or a corpus' directory or address")
    sub.add_argument("b", metavar="B", help="another")
    sub = add("plan", train.plan, recipe="positional")
    sub.add_argument("--for", dest="place", metavar="NxGPU", help="machines that are not here, such as 8xH100-80GB")
    sub.add_argument("--price", type=float, metavar="P", help="of one device for an hour: what the run would cost")
    sub = add("finetune", train.finetune, recipe="positional")
    sub.add_argument("--from", dest="model", metavar="MODEL", help="go on from it: models:/NAME@alias or a folder")
    add("tune", tune.tune, recipe="positional")
    add("runs", runs.runs)
    for name, verb in (
        ("watch", runs.watch),
        ("save", runs.save),
        ("stop", runs.stop),
        ("checkpoints", runs.checkpoints),
    ):
        add(name, verb).add_argument("run", metavar="RUN", help="a run's name, the beginning of it, or its directory")
    sub = add("report", runs.report)
    sub.add_argument("run", metavar="RUN", help="a run's name, the beginning of it, or its directory")
    sub.add_argument("--out", type=Path, metavar="FILE", help="where to write it [report.html in the run's directory]")
    add("register", train.register).add_argument("run", type=Path, help="the run's directory, or that of an average")
    sub = add("evaluate", train.evaluate, recipe="required")
    sub.add_argument("model", help="models:/NAME@alias, models:/NAME/N, or an exported directory")
    sub.add_argument("--split", default="test", choices=("train", "validation", "test"))
    sub.add_argument(
        "--with", dest="others", action="append", default=[], metavar="MODEL", help="one that answers with it"
    )
    sub.add_argument("--against", metavar="MODEL", help="another model: which of the two is better, and at what")
    sub = add("average", train.average)
    sub.add_argument("models", nargs="+", metavar="MODEL", help="as of gb evaluate; of one base, tasks and labels")
    sub.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to write it; a new directory")
    sub = add("ensemble", train.ensemble)
    sub.add_argument("name", metavar="NAME", help="the model that it becomes a version of")
    sub.add_argument("models", nargs="+", metavar="MODEL", help="as of gb evaluate; of one corpus, tasks and labels")
    sub = add("predict", serve.predict)
    sub.add_argument("model")
    asked = sub.add_mutually_exclusive_group(required=True)
    asked.add_argument("--text", action="append", help="may be given several times")
    asked.add_argument("--rows", metavar="URI", help="a file, folder, pattern, package or bucket, as a source's uri")
    sub.add_argument("--column", default="text", help="of the rows: where their text is [text]")
    sub.add_argument("--where", action="append", default=[], metavar="KEY=VALUE", help="only rows with this value")
    sub.add_argument("--out", type=Path, metavar="FILE.jsonl", help="the rows with the answers; a new file")
    sub = add("promote", registry.promote)
    sub.add_argument("name")
    sub.add_argument("--version", required=True)
    sub.add_argument("--policy", type=Path, help="another gate than the one the version was trained with")
    add("rollback", registry.rollback).add_argument("name")
    add("ledger", registry.ledger, "verify", "show").add_argument("name", nargs="?")
    add("serve", serve.serve, recipe="optional").add_argument("model")
    add("doctor", start.doctor)
    add("schema", start.schema)
    sub = add("quickstart", start.quickstart, recipe="optional", default=Path("jobs/recipes/sdg.yaml"))
    sub.add_argument("--keep", action="store_true", help="leave the endpoint up until Ctrl-C")
    return parser
