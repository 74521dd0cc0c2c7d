"""Verbs on versions: promote, rollback, ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gb_ray.cli.call import DONE, FAILED, REFUSED, Call, Outcome
from gb_ray.recipe import load_policy
from gb_ray.section import UserError


def promote(call: Call) -> Outcome:
    """gb promote NAME --version N: through the gate to `champion`."""
    policy = load_policy(call.args.policy) if call.args.policy else None
    tracking = call.tracking()
    call.ray()
    return take_through_gate(call, tracking, call.args.name, call.args.version, policy)


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


def resolved(call: Call, model: str) -> Any:
    """The version, or the exported directory, that `model` names."""
    from gb_ray.registry.versions import local, resolve

    if not model.startswith("models:"):
        # A directory is what it is: no store need be there to open it.
        return local(Path(model))
    return resolve(call.tracking(), call.home, model)


def take_through_gate(
    call: Call, tracking: Any, name: str, number: str, policy: Any
) -> tuple[int, dict[str, Any], list[str]]:
    """Status, account and lines of a version that asks to be `champion`; with another policy than its own, or None."""
    from gb_ray.finetune import promote

    outcome = promote(name, number, call.home, tracking, policy, call.progress)
    lines = [f"{'passed' if c['passed'] else 'FAILED'}     {c['why']}" for c in outcome["gate"]["checks"]]
    return DONE if outcome["gate"]["passed"] else REFUSED, outcome, [*lines, outcome["outcome"]]
