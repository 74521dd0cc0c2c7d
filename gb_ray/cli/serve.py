"""Verbs that answer with a model: predict, serve."""

from __future__ import annotations

from typing import Any

import yaml

from gb_ray import machine
from gb_ray.cli.call import DONE, Call, Outcome
from gb_ray.cli.registry import resolved
from gb_ray.recipe import parse, read_yaml
from gb_ray.section import UserError


def predict(call: Call) -> Outcome:
    """gb predict MODEL --text T: answers from a model, in this process; of a file's rows with --rows and --out."""
    from gb_ray.finetune import describe
    from gb_ray.model.predictor import Predictor

    if call.args.rows is not None:
        return _predict_rows(call)
    if call.args.out is not None or call.args.where:
        raise UserError("--out and --where go with --rows; answers to --text are printed")
    if any(not text.strip() or "\x00" in text for text in call.args.text):
        raise UserError("--text: expected a text that is not empty and has no NUL character")
    version = resolved(call, call.args.model)
    predictor = Predictor(version.path)
    answers = predictor.predict(predictor.encode(call.args.text))
    several = len(predictor.tasks) > 1
    lines = [line for answer in answers for line in (_lines(answer) if several else [_answer_line(answer)])]
    return DONE, {"model": describe(version), "answers": answers}, lines


def _predict_rows(call: Call) -> Outcome:
    """The rows of a source with the answers, in a new file that is a source itself."""
    from gb_ray.corpus.section import Source
    from gb_ray.corpus.sources.source import open_source
    from gb_ray.finetune import describe
    from gb_ray.model import rows
    from gb_ray.model.predictor import Predictor

    out, column = call.args.out, call.args.column
    if out is None or out.suffix != ".jsonl":
        raise UserError("--rows: name a file for the rows with their answers, --out FILE.jsonl")
    if out.exists():
        raise UserError(f"--out: {out} is there already; name a new file")
    if not out.absolute().parent.is_dir():
        raise UserError(f"--out: {out.absolute().parent} is no folder; make it first")
    source = open_source(Source(uri=call.args.rows, where=dict(map(_condition, call.args.where))), [column], None)
    version = resolved(call, call.args.model)
    predictor = Predictor(version.path)
    with call.progress.stage("answer", unit="rows") as stage:
        tally = rows.write(predictor, source, column, out, stage.to)
    left = sum(tally.left_out.values())
    counted = {"read": tally.read, "filtered": tally.filtered, "left_out": dict(tally.left_out)}
    account = {"model": describe(version), "out": str(out), "rows": counted | {"answered": tally.answered}}
    sums = f"{tally.filtered:,} filtered + {left:,} left out + {tally.answered:,} answered"
    return DONE, account, [f"rows       {tally.read:,} read = {sums}", *tally.shown, f"answers    {out}"]


def _condition(text: str) -> tuple[str, bool | int | float | str]:
    """KEY=VALUE, the value as YAML reads it."""
    key, equals, value = text.partition("=")
    read = yaml.safe_load(value) if equals else None
    if not key or not isinstance(read, bool | int | float | str):
        raise UserError(f"--where {text}: expected KEY=VALUE, the value a text, a number, true or false")
    return key, read


def serve(call: Call) -> Outcome:
    """gb serve MODEL: the endpoint, until Ctrl-C."""
    from gb_ray.model import package
    from gb_ray.serve import endpoint
    from gb_ray.serve.app import Arguments
    from gb_ray.serve.port import require_free

    version = resolved(call, call.args.model)
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


def _lines(answers: dict[str, Any]) -> list[str]:
    """Of one text, a line a task."""
    return [f"{task}: {_answer_line(answer)}" for task, answer in answers.items()]


def _answer_line(answer: dict[str, Any]) -> str:
    if "text" in answer:
        return str(answer["text"])
    if "embedding" in answer:
        first = ", ".join(f"{value:.4f}" for value in answer["embedding"][:4])
        return f"[{first}, ... {len(answer['embedding'])} numbers]"
    if "values" in answer:
        return ", ".join(f"{name} {value:.4g}" for name, value in answer["values"].items())
    if "labels" in answer:
        return ", ".join(f"{name} {answer['probabilities'][name]:.3f}" for name in answer["labels"]) or "(no label)"
    if "label" in answer:
        return f"{answer['label']}  {answer['probabilities'][answer['label']]:.3f}"
    return ", ".join(f"{e['text']} [{e['label']} {e['score']:.2f}]" for e in answer["entities"]) or "(no entity)"
