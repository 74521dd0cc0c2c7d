"""Moving `champion`: forward through the gate, back to the version before. The ledger first, MLflow's alias after."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from gb_ray.registry import records, versions
from gb_ray.registry.entry import Entry, Move
from gb_ray.registry.gate import Check, Gate, judge
from gb_ray.registry.ledger import Ledger
from gb_ray.registry.section import Policy
from gb_ray.registry.tracking import Tracking
from gb_ray.registry.versions import Version
from gb_ray.section import UserError

CHAMPION, PREVIOUS = "champion", "previous"
Measure = Callable[[Path], dict[str, float]]


class Promotion(BaseModel):
    """What came of it. `entry` is the ledger's ("promote" or "refuse"); None when there was nothing to do.

    `previous` is the champion's version from before.
    """

    model_config = ConfigDict(frozen=True)

    gate: Gate
    entry: Entry | None
    previous: str | None

    @property
    def moved(self) -> bool:
        """Whether `champion` is at another version now."""
        return self.entry is not None and self.entry.action == "promote"


def promote(
    tracking: Tracking, home: Path, version: Version, policy: Policy, measure: Measure, several: bool = False
) -> Promotion:
    """Move `champion` to `version` if it passes the gate; either way the ledger keeps the evidence.

    `measure` gives the metrics of the model in a directory, on the policy's split: it is asked for the
    candidate and for the champion. Of `several` tasks it names them TASK.METRIC. Raises LedgerMoved, with nothing
    changed, when someone else promoted meanwhile; UserError when the version is not registered or the ledger does not
    verify.
    """
    if version.version is None:
        raise UserError(f"{version.path}: not registered; register it, then promote models:/{version.name}/NUMBER")
    sync(tracking, home, version.name)
    ledger = Ledger(home, version.name)
    head = ledger.head()
    now = ledger.current(CHAMPION)
    if now and now.version == version.version:
        return Promotion(gate=_nothing_to_do(version), entry=None, previous=now.version)
    champion = versions.by_entry(tracking, home, now) if now else None
    metrics = measure(version.path)
    champion_metrics = measure(champion.path) if champion else None
    gate = judge(policy, metrics, champion_metrics, several)
    evidence = {
        "split": policy.split,
        "policy": policy.model_dump(mode="json"),
        "gate": gate.model_dump(mode="json"),
        "candidate": _evidence(version, metrics),
        "champion": _evidence(champion, champion_metrics) if champion and champion_metrics else None,
        "manifest_sha256": version.manifest_sha256,
    }
    move = Move(
        action="promote" if gate.passed else "refuse",
        alias=CHAMPION,
        version=version.version,
        previous_version=now.version if now else None,
        weights_sha256=version.weights_sha256,
        evidence=evidence,
    )
    entry = ledger.append(move, expected_head=head)
    if gate.passed:
        sync(tracking, home, version.name)
    return Promotion(gate=gate, entry=entry, previous=move.previous_version)


def rollback(tracking: Tracking, home: Path, name: str) -> Entry:
    """Move `champion` back to the version before it; again, to the one before that.

    Raises UserError when there is none; LedgerMoved when someone else moved it meanwhile.
    """
    sync(tracking, home, name)
    ledger = Ledger(home, name)
    head = ledger.head()
    standing = ledger.standing(CHAMPION)
    if len(standing) < 2:
        where = f"version {standing[-1].version} is the first" if standing else "nothing was promoted so far"
        raise UserError(f"models:/{name}@{CHAMPION}: {where}; there is nothing to go back to")
    target = standing[-2]
    versions.by_entry(tracking, home, target)  # refuses to go back to files that do not verify
    move = Move(
        action="rollback",
        alias=CHAMPION,
        version=target.version,
        previous_version=standing[-3].version if len(standing) > 2 else None,
        weights_sha256=target.weights_sha256,
        evidence={"from_version": standing[-1].version, "manifest_sha256": target.evidence["manifest_sha256"]},
    )
    entry = ledger.append(move, expected_head=head)
    sync(tracking, home, name)
    return entry


def sync(tracking: Tracking, home: Path, name: str) -> list[str]:
    """Set MLflow's aliases to what the ledger says; one line for each that was not. The ledger must verify."""
    from mlflow.exceptions import MlflowException

    ledger = Ledger(home, name)
    ledger.checked()
    entry = ledger.current(CHAMPION)
    truth = {CHAMPION: entry.version if entry else None, PREVIOUS: entry.previous_version if entry else None}
    cached = records.aliases(tracking, name)
    changed = []
    try:
        for alias, number in truth.items():
            if number == cached.get(alias):
                continue
            if number is None:
                tracking.client.delete_registered_model_alias(name, alias)
            else:
                tracking.client.set_registered_model_alias(name, alias, number)
            changed.append(f"models:/{name}@{alias}: was {cached.get(alias, 'not set')}, now {number or 'not set'}")
    except MlflowException as error:
        raise UserError(
            f"models:/{name}: the ledger moved and MLflow's alias could not follow; the next promote or rollback "
            f"repairs it. It said: {error}"
        ) from None
    return changed


def _nothing_to_do(version: Version) -> Gate:
    why = f"version {version.version} is the champion already; nothing was changed"
    return Gate(passed=True, checks=[Check(name="already champion", passed=True, value=None, limit=None, why=why)])


def _evidence(version: Version, metrics: dict[str, float]) -> dict[str, Any]:
    # JSON has no NaN; the gate's verdict says in words what was not a number.
    shown = {name: value if value - value == 0 else None for name, value in metrics.items()}
    fields = {"version", "run_id", "corpus_digest", "weights_sha256", "manifest_sha256"}
    return version.model_dump(include=fields) | {"metrics": shown}
