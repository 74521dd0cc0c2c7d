"""The `gb` command: one thin function a verb.

Every verb prints for a person, or one JSON object on standard output with --json; all else goes to standard error.
Exit status: 0 done, 1 it failed, 2 the user's input is wrong, 3 a gate said no.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections.abc import Callable
from contextlib import ExitStack, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from gb_ray import machine
from gb_ray.corpus.manifest import where_rows_went
from gb_ray.progress import Progress, fail
from gb_ray.recipe import Recipe, load, load_policy, parse, read_yaml
from gb_ray.section import UserError

DONE, FAILED, BAD_INPUT, REFUSED, STOPPED = 0, 1, 2, 3, 130
HOME = Path("~/.gb_ray")
Outcome = tuple[int, dict[str, Any] | None, list[str]]
"""Of a verb: exit status, the account for --json (None when it was printed already), the lines for a person."""


@dataclass
class Call:
    """One call of `gb`: its arguments, where it works, and what it must close."""

    args: argparse.Namespace
    progress: Progress
    stack: ExitStack
    out: TextIO

    @property
    def home(self) -> Path:
        """The directory of corpora, runs, ledger and the embedded tracking store."""
        home: Path = self.args.home.expanduser().absolute()
        home.mkdir(parents=True, exist_ok=True)
        return home

    @property
    def inputs(self) -> Any:
        """The recipe with its overrides, and all that it names, checked."""
        from gb_ray.finetune import check

        return check(load(self.args.recipe, self.args.overrides), self.args.recipe)

    def say(self, account: dict[str, Any], lines: list[str]) -> None:
        """Print the result: the account with --json, else the lines."""
        print(
            json.dumps(account, ensure_ascii=False) if self.args.json else "\n".join(lines), file=self.out, flush=True
        )

    @property
    def tracking_uri(self) -> str | None:
        """The tracking server's address; None for the embedded store."""
        return self.args.tracking or os.environ.get("MLFLOW_TRACKING_URI")

    def tracking(self) -> Any:
        """The tracking server, or the embedded store."""
        from gb_ray.registry.tracking import Tracking

        return Tracking.open(self.home, self.tracking_uri)

    def ray(self) -> None:
        """A Ray until the call ends."""
        with self.progress.stage("ray"):
            self.stack.enter_context(machine.ray_up(self.args.ray))


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


def plan(call: Call) -> Outcome:
    """gb plan RECIPE: what the run would take."""
    from gb_ray.corpus import build
    from gb_ray.train.plan import plan as make_plan

    inputs = call.inputs
    corpus = build.existing(inputs.corpus, call.home)
    if corpus is None:
        raise UserError(f"{call.args.recipe}: its corpus is not built; run: gb corpus build {call.args.recipe}")
    found = make_plan(inputs.recipe, corpus, inputs.backbone)
    return DONE, found.model_dump(), found.lines()


def finetune(call: Call) -> Outcome:
    """gb finetune RECIPE: corpus to registered version, and through the gate if the recipe says so."""
    from gb_ray.finetune import finetune

    inputs = call.inputs
    tracking = call.tracking()
    call.ray()
    account = finetune(inputs, call.home, tracking, call.progress)
    lines = _model_lines(account)
    model = account["model"]
    if not inputs.recipe.registry.promote:
        return DONE, account, [*lines, f"next       gb promote {model['name']} --version {model['version']}"]
    status, outcome, more = _promote(call, tracking, model["name"], model["version"], inputs.policy)
    return status, account | outcome, lines + more


def register(call: Call) -> Outcome:
    """gb register RUN: finish a run whose tracking server was away at the end."""
    from gb_ray.finetune import finish
    from gb_ray.registry.shipper import Shipper
    from gb_ray.train.run import Run

    folder = call.args.run
    if not (folder / "run.json").is_file():
        raise UserError(f"{folder}: not a run (no run.json); runs are in {call.home / 'runs'}")
    run = Run(folder)
    if "account" not in run.state:
        raise UserError(f"{folder}: its training has not ended; run gb finetune with the same recipe to go on")
    tracking = call.tracking()
    with run.locked():
        account = finish(run, tracking, Shipper(run.journal, tracking, run.state["run_id"]), call.progress)
    return DONE, account, _model_lines(account)


def evaluate(call: Call) -> Outcome:
    """gb evaluate MODEL --recipe R --split S: metrics on a split of the recipe's corpus."""
    from gb_ray.corpus import build
    from gb_ray.finetune import describe, measure

    inputs = call.inputs
    version = _resolve(call)
    call.ray()
    corpus = build.build(inputs.corpus, call.home, call.progress)
    with call.progress.stage("evaluate"):
        metrics = measure(version.path, corpus, (call.args.split,), inputs.recipe.train.most)
    account = {"model": describe(version), "corpus": corpus.manifest.digest, "metrics": metrics}
    return DONE, account, _metric_lines(metrics)


def predict(call: Call) -> Outcome:
    """gb predict MODEL --text T: answers from a model, in this process."""
    from gb_ray.finetune import describe
    from gb_ray.model.predictor import Predictor

    if any(not text.strip() or "\x00" in text for text in call.args.text):
        raise UserError("--text: expected a text that is not empty and has no NUL character")
    version = _resolve(call)
    predictor = Predictor(version.path)
    answers = predictor.predict(predictor.encode(call.args.text))
    return DONE, {"model": describe(version), "answers": answers}, [_answer_line(a) for a in answers]


def promote(call: Call) -> Outcome:
    """gb promote NAME --version N: through the gate to `champion`."""
    policy = load_policy(call.args.policy) if call.args.policy else None
    tracking = call.tracking()
    call.ray()
    return _promote(call, tracking, call.args.name, call.args.version, policy)


def rollback(call: Call) -> Outcome:
    """gb rollback NAME: `champion` back to the version before."""
    from gb_ray.registry.promote import rollback

    entry = rollback(call.tracking(), call.home, call.args.name)
    line = f"champion of {call.args.name} is version {entry.version} again"
    return DONE, {"entry": entry.model_dump(mode="json")}, [line]


def ledger(call: Call) -> Outcome:
    """gb ledger verify|show [NAME]: every alias move and its evidence."""
    from gb_ray.registry.ledger import Ledger

    folder = call.home / "ledger"
    names = [call.args.name] if call.args.name else sorted(p.name for p in folder.glob("*") if p.is_dir())
    if call.args.name and not (folder / call.args.name).is_dir():
        raise UserError(f"no ledger for {call.args.name!r} in {folder}")
    account: dict[str, Any] = {"ok": True, "ledgers": {}}
    lines = [] if names else [f"no ledger in {folder} yet"]
    for name in names:
        one = Ledger(call.home, name)
        verdict = one.verify()
        account["ok"] &= verdict.ok
        account["ledgers"][name] = {"ok": verdict.ok, "size": verdict.size, "head": verdict.head}
        account["ledgers"][name] |= {"problems": verdict.problems}
        lines += [f"{name}: {verdict.size} entries, {'whole' if verdict.ok else 'NOT whole'}", *verdict.problems]
        if call.args.what == "show":
            entries = one.entries()
            account["ledgers"][name]["entries"] = [entry.model_dump(mode="json") for entry in entries]
            lines += [
                f"  {e.number:4d} {e.time} {e.action:8s} {e.alias} version {e.version} by {e.who}" for e in entries
            ]
    return DONE if account["ok"] else FAILED, account, lines


def serve(call: Call) -> Outcome:
    """gb serve MODEL: the endpoint, until Ctrl-C."""
    from gb_ray.model import package
    from gb_ray.serve import endpoint
    from gb_ray.serve.app import Arguments
    from gb_ray.serve.port import require_free

    version = _resolve(call)
    content = read_yaml(call.args.recipe) if call.args.recipe else package.read(version.path)["recipe"]
    section = parse(content, call.args.overrides, str(call.args.recipe or version.path)).serve
    require_free(section.host, section.port)
    call.ray()
    machine.require(section.min_replicas, 0, f"serve.min_replicas={section.min_replicas}", "set it lower")
    model = call.args.model if call.args.model.startswith("models:/") else str(version.path.absolute())
    arguments = Arguments(model=model, home=call.home, tracking=call.tracking_uri, serve=section)
    with call.progress.stage("serve"):
        running = endpoint.start(arguments)
    call.stack.callback(running.stop)
    account = {"url": running.url, "model": version.name, "version": version.version}
    call.say(account, [f"{running.url} answers; stop it with Ctrl-C"])
    machine.wait_for_stop()
    return DONE, None, []


def doctor(call: Call) -> Outcome:
    """gb doctor: what is wrong on this machine, and how to mend it."""
    from gb_ray.doctor import examine

    findings = examine(call.home, call.tracking_uri)
    marks = {True: "ok  ", False: "BAD "}
    lines = [f"{marks[f.ok]} {f.what}: {f.found}{'' if f.ok else f'. {f.mend}'}" for f in findings]
    ok = all(finding.ok for finding in findings)
    return DONE if ok else FAILED, {"ok": ok, "findings": [f.model_dump() for f in findings]}, lines


def schema(call: Call) -> Outcome:
    """gb schema: the recipe's JSON schema."""
    content = Recipe.model_json_schema()
    return DONE, content, [json.dumps(content, indent=1)]


def quickstart(call: Call) -> Outcome:
    """gb quickstart: the life of one model, from real texts to an endpoint."""
    from gb_ray.quickstart import quickstart, summary

    args, inputs = call.args, call.inputs
    args.ray = args.ray or "local"
    tracking = call.tracking()
    call.ray()
    account = quickstart(inputs, call.home, tracking, call.tracking_uri, args.keep, call.progress)
    status = DONE if account["gate"]["passed"] else REFUSED
    return status, account, summary(account, inputs.recipe.name, args.recipe, call.home)


# --- shared by verbs ------------------------------------------------------------------------------------------------


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


def _resolve(call: Call) -> Any:
    from gb_ray.registry.versions import local, resolve

    if not call.args.model.startswith("models:"):
        # A directory is what it is: no store need be there to open it.
        return local(Path(call.args.model))
    return resolve(call.tracking(), call.home, call.args.model)


def _promote(call: Call, tracking: Any, name: str, number: str, policy: Any) -> tuple[int, dict[str, Any], list[str]]:
    from gb_ray.finetune import promote

    outcome = promote(name, number, call.home, tracking, policy, call.progress)
    lines = [f"{'passed' if c['passed'] else 'FAILED'}     {c['why']}" for c in outcome["gate"]["checks"]]
    return DONE if outcome["gate"]["passed"] else REFUSED, outcome, [*lines, outcome["outcome"]]


def _corpus_lines(summary: dict[str, Any]) -> list[str]:
    splits = ", ".join(f"{count} {name}" for name, count in summary["splits"].items())
    return [
        f"corpus     {summary['path']}{' (unchanged, reused)' if summary.get('reused') else ''}",
        f"rows       {where_rows_went(summary)}",
        f"splits     {splits}",
        f"digest     {summary['digest']}",
    ]


def _model_lines(account: dict[str, Any]) -> list[str]:
    model = account["model"]
    lines = [
        f"run        {account['run_id']}: {account['steps']} steps, {account['samples_seen']} samples, "
        f"{account['tokens_per_s']:.0f} tokens/s, padding {account['padding']:.1%}, attempts {account['attempts']}",
        f"model      {model['uri']}  sha256 {model['weights_sha256'][:16]}…",
    ]
    return lines + _metric_lines(account["metrics"])


def _metric_lines(metrics: dict[str, Any]) -> list[str]:
    lines = []
    for split, tasks in metrics.items():
        for task, values in tasks.items():
            lines.append(f"{split:10s} {task}: " + ", ".join(f"{name} {value:.4f}" for name, value in values.items()))
    return lines


def _answer_line(answer: dict[str, Any]) -> str:
    if "values" in answer:
        return ", ".join(f"{name} {value:.4g}" for name, value in answer["values"].items())
    if "labels" in answer:
        return ", ".join(f"{name} {answer['probabilities'][name]:.3f}" for name in answer["labels"]) or "(no label)"
    if "label" in answer:
        return f"{answer['label']}  {answer['probabilities'][answer['label']]:.3f}"
    return ", ".join(f"{e['text']} [{e['label']} {e['score']:.2f}]" for e in answer["entities"]) or "(no entity)"


# --- the command line -----------------------------------------------------------------------------------------------

Verb = Callable[[Call], Outcome]


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
    except UserError as error:
        fail(f"gb: {error}")
        return BAD_INPUT
    except KeyboardInterrupt as stop:
        how = str(stop) or "by a signal"
        fail(f"gb: stopped ({how}); what was started is stopped, and the same command goes on from here")
        return STOPPED
    except Exception as error:
        if args.debug:
            raise
        fail(f"gb: {type(error).__name__}: {error}")
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

    corpus = verbs.add_parser("corpus", help="build, check, show, list and compare corpora")
    under = corpus.add_subparsers(required=True, metavar="WHAT")
    add("build", corpus_build, recipe="positional", under=under)
    for name, verb in (("check", corpus_check), ("show", corpus_show)):
        sub = add(name, verb, under=under)
        sub.add_argument("corpus", metavar="X", help="a recipe (.yaml), or a corpus' directory or address")
        sub.set_defaults(overridable=True)
    add("list", corpus_list, under=under)
    sub = add("diff", corpus_diff, under=under)
    sub.add_argument("a", metavar="A", help="a recipe (.yaml), or a corpus' directory or address")
    sub.add_argument("b", metavar="B", help="another")
    add("plan", plan, recipe="positional")
    add("finetune", finetune, recipe="positional")
    add("register", register).add_argument("run", type=Path, help="the run's directory")
    sub = add("evaluate", evaluate, recipe="required")
    sub.add_argument("model", help="models:/NAME@alias, models:/NAME/N, or an exported directory")
    sub.add_argument("--split", default="test", choices=("train", "validation", "test"))
    sub = add("predict", predict)
    sub.add_argument("model")
    sub.add_argument("--text", action="append", required=True, help="may be given several times")
    sub = add("promote", promote)
    sub.add_argument("name")
    sub.add_argument("--version", required=True)
    sub.add_argument("--policy", type=Path, help="another gate than the one the version was trained with")
    add("rollback", rollback).add_argument("name")
    add("ledger", ledger, "verify", "show").add_argument("name", nargs="?")
    add("serve", serve, recipe="optional").add_argument("model")
    add("doctor", doctor)
    add("schema", schema)
    sub = add("quickstart", quickstart, recipe="optional", default=Path("jobs/recipes/sdg.yaml"))
    sub.add_argument("--keep", action="store_true", help="leave the endpoint up until Ctrl-C")
    return parser


if __name__ == "__main__":
    sys.exit(main())
