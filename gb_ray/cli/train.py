"""Verbs that make a model: plan, finetune, register, average, ensemble; and evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from psutil import Process

from gb_ray.cli.call import DONE, Call, Outcome
from gb_ray.cli.registry import resolved, take_through_gate
from gb_ray.measure import table
from gb_ray.section import UserError


def plan(call: Call) -> Outcome:
    """gb plan RECIPE: what the run would take, here or elsewhere."""
    from gb_ray.train.planning.place import elsewhere
    from gb_ray.train.planning.plan import plan as make_plan

    inputs = call.inputs
    corpora = inputs.require(call.home, str(call.args.recipe))
    place = elsewhere(call.args.place) if call.args.place else None
    found = make_plan(inputs.recipe, corpora, inputs.backbone, place=place, price=call.args.price)
    return DONE, found.model_dump(), found.lines()


def finetune(call: Call) -> Outcome:
    """gb finetune RECIPE: corpus to registered version, and through the gate if the recipe says so."""
    from gb_ray.finetune import finetune
    from gb_ray.train.trainer import RunStopped

    inputs = call.inputs
    tracking = call.tracking()
    if call.args.model:
        inputs = inputs.going_on(resolved(call, call.args.model), call.home)
    call.ray()
    try:
        account = finetune(inputs, call.home, tracking, call.progress, began=Process().create_time())
    except RunStopped as stop:
        return as_stopped(call, stop)
    return through_gate(call, tracking, inputs, account)


def through_gate(call: Call, tracking: Any, inputs: Any, account: dict[str, Any]) -> Outcome:
    """What a verb says of a run that was registered; if its recipe says so, after the gate."""
    lines, model = _model_lines(account), account["model"]
    if not inputs.recipe.registry.promote:
        return DONE, account, [*lines, f"next       gb promote {model['name']} --version {model['version']}"]
    status, outcome, more = take_through_gate(call, tracking, model["name"], model["version"], inputs.policy)
    return status, account | outcome, lines + more


def as_stopped(call: Call, stop: Any) -> Outcome:
    """Of a verb whose run was ended by `gb stop`: that is no failure."""
    account = {"run": stop.run.name, "stopped": True, "steps": stop.steps}
    return (
        DONE,
        account,
        [f"stopped    {stop.run} after {stop.steps} steps", "next       the same command goes on from there"],
    )


def register(call: Call) -> Outcome:
    """gb register RUN: finish a run whose tracking server was away at the end, or register what gb average wrote."""
    from gb_ray.finetune import finish
    from gb_ray.registry.export import MANIFEST
    from gb_ray.registry.shipper import Shipper
    from gb_ray.train.run import Run

    folder = call.args.run
    if (folder / MANIFEST).is_file():
        return _register_average(call, folder)
    if not (folder / "run.json").is_file():
        raise UserError(
            f"{folder}: neither a run (no run.json) nor a model (no {MANIFEST}); runs are in {call.home / 'runs'}"
        )
    run = Run(folder)
    if "account" not in run.state:
        raise UserError(f"{folder}: its training has not ended; run gb finetune with the same recipe to go on")
    tracking = call.tracking()
    with run.locked():
        account = finish(run, tracking, Shipper(run.journal, tracking, run.state["run_id"]), call.progress)
    return DONE, account, _model_lines(account)


def _register_average(call: Call, folder: Path) -> Outcome:
    from gb_ray.finetune import describe
    from gb_ray.model import package
    from gb_ray.registry.average import register_average

    found = register_average(call.tracking(), folder)
    parents = package.read(found.path)["parents"]
    account = {"run_id": found.run_id, "model": describe(found), "parents": parents}
    lines = [f"model      {found.uri}  sha256 {found.weights_sha256[:16]}…, the mean of {len(parents)}"]
    lines += [f"parent     {one['uri']}  sha256 {one['weights_sha256'][:16]}…" for one in parents]
    return DONE, account, [*lines, f"next       gb promote {found.name} --version {found.version}"]


def evaluate(call: Call) -> Outcome:
    """gb evaluate MODEL --recipe R --split S: metrics on a split of the recipe's corpus, alone or beside another's."""
    from gb_ray.finetune import describe
    from gb_ray.inputs import corpora_digest
    from gb_ray.measure import ensemble, fit, results
    from gb_ray.model import package
    from gb_ray.tasks import unseen

    inputs, split = call.inputs, call.args.split
    versions = [resolved(call, model) for model in (call.args.model, call.args.against) if model]
    others = [resolved(call, model) for model in call.args.others]
    sections = {name: section.model_dump(mode="json") for name, section in inputs.recipe.tasks.items()}
    for version in versions + others:
        fit.check(version.path, sections, inputs.backbone, "measure it with a recipe of its own task and backbone")
    call.ray()
    corpora = inputs.built(call.home, call.progress)
    unknown = unseen.of_model(package.read(versions[0].path), corpora, split)
    for task, asked in unknown.items():
        call.progress.say(f"{task}: {split} asks for labels that the model does not have, {unseen.shown(asked)}")
    with call.progress.stage("evaluate"):
        answering = [[versions[0], *others], *([one] for one in versions[1:])]
        workers = inputs.recipe.train.most
        labels = [package.labels_of(package.read(as_one[0].path)) for as_one in reversed(answering)]
        found = [
            ensemble.of_models([one.path for one in as_one], corpora, (split,), workers, also)
            for as_one, also in zip(answering, labels, strict=True)
        ]
    digest = corpora_digest({name: corpus.manifest.digest for name, corpus in corpora.items()})
    account = {"model": describe(versions[0]), "corpus": digest, **results.alone(found[0])}
    account |= {"with": [describe(one) for one in others]} if others else {}
    account |= {"unknown_labels": unknown} if unknown else {}
    if len(versions) == 1:
        return DONE, account, table.alone_lines(account)
    account |= {"against": describe(versions[1]), **results.beside(found[1], found[0])}
    return DONE, account, table.against_lines(account)


def average(call: Call) -> Outcome:
    """gb average MODEL MODEL ... --out DIR: one model whose weights are the mean of those of several."""
    from gb_ray.model import package
    from gb_ray.model.average import average
    from gb_ray.registry.card import card

    versions = [resolved(call, model) for model in call.args.models]
    named = {"name", "version", "uri", "run_id", "weights_sha256", "corpus_digest"}
    out = call.args.out
    manifest = average([one.path for one in versions], out, [one.model_dump(include=named) for one in versions])
    (out / "README.md").write_text(card(manifest), encoding="utf-8")
    account = {"path": str(out), "weights_sha256": manifest["weights_sha256"], "parents": manifest["parents"]}
    lines = [f"model      {out}  sha256 {manifest['weights_sha256'][:16]}…, the mean of {len(versions)}"]
    told = [package.read(one.path) for one in versions]
    if any(package.temperature(one, task) != 1.0 for one in told for task in one["tasks"]):
        lines.append("calibrated no: the temperatures of these models are of other weights and were left out")
    lines += [f"next       gb evaluate {out} --recipe RECIPE --against {call.args.models[0]}"]
    return DONE, account, [*lines, f"           gb register {out}"]


def ensemble(call: Call) -> Outcome:
    """gb ensemble NAME MODEL MODEL ...: a version of NAME that answers with the mean of what several answer."""
    from gb_ray.finetune import describe
    from gb_ray.model import package
    from gb_ray.registry.ensemble import ensemble

    tracking = call.tracking()
    found = ensemble(tracking, call.home, call.args.name, [resolved(call, model) for model in call.args.models])
    members = package.read(found.path)[package.MEMBERS]
    account = {"run_id": found.run_id, "model": describe(found), "members": members}
    lines = [f"model      {found.uri}  sha256 {found.weights_sha256[:16]}…, {len(members)} that answer as one"]
    lines += [f"member     {one['uri']}  sha256 {one['weights_sha256'][:16]}…" for one in members]
    return DONE, account, [*lines, f"next       gb promote {found.name} --version {found.version}"]


def _model_lines(account: dict[str, Any]) -> list[str]:
    model = account["model"]
    lines = [
        f"run        {account['run_id']}: {account['steps']} steps, {account['samples_seen']} samples, "
        f"{account['tokens_per_s']:.0f} tokens/s, padding {account['padding']:.1%}, attempts {account['attempts']}",
        f"model      {model['uri']}  sha256 {model['weights_sha256'][:16]}…",
    ]
    return lines + table.after_lines(account)
