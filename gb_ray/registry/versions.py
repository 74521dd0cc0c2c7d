"""Versions of a model: an exported directory under a number in the registry, and what a name or an alias means."""

from __future__ import annotations

import re
import tempfile
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from gb_ray.registry import pyfunc_model, records
from gb_ray.registry.entry import Entry
from gb_ray.registry.export import Export
from gb_ray.registry.ledger import NAME, Ledger
from gb_ray.registry.tracking import Tracking
from gb_ray.section import UserError

LEDGER_ALIASES = ("champion", "previous")
GRACE_S = 3.0
"""A promotion writes the ledger first and MLflow's alias after: so long may they differ."""
_URI = re.compile(rf"models:/(?P<name>{NAME.pattern})(?:@(?P<alias>[^/@]+)|/(?P<version>\d+))")


class Version(BaseModel):
    """A model whose directory `path` verified. `version` is None when it was named by its path."""

    model_config = ConfigDict(frozen=True)

    name: str
    version: str | None
    uri: str
    path: Path
    weights_sha256: str
    manifest_sha256: str
    run_id: str
    corpus_digest: str | None


def register(tracking: Tracking, export: Path, run_id: str) -> Version:
    """Make the exported directory a version of the model its manifest names, and set alias `candidate` to it.

    The same weights of the same run are registered once: again returns the version there is. Raises UserError
    when the directory does not verify, is another run's, or the run is unknown.
    """
    opened = Export.open(export)
    manifest = opened.manifest
    check_name(manifest.name, str(export))
    if manifest.run_id != run_id:
        raise UserError(f"{export}: exported by run {manifest.run_id}, not by run {run_id}")
    tracking.run(run_id)  # refuses a run that the store does not know
    found = records.find(tracking, manifest.name, run_id, manifest.weights_sha256)
    record = found or _create(tracking, opened)
    tracking.client.set_registered_model_alias(manifest.name, "candidate", str(record.version))
    local = pyfunc_model.local_path(record.source)
    return _version(Export.open(local / pyfunc_model.FOLDER) if local else opened, str(record.version))


def check_name(name: str, where: str) -> None:
    """Raises UserError for one that a model cannot have."""
    if not NAME.fullmatch(name):
        raise UserError(f"{where}: model name {name!r}: expected letters, digits, '_', '.' and '-'")


def resolve(tracking: Tracking, home: Path, model: str) -> Version:
    """The version that `models:/NAME@alias`, `models:/NAME/3` or a directory's path means, its files verified.

    For `champion` and `previous` the ledger decides. Raises UserError when the ledger does not verify or
    disagrees with MLflow or with the weights, and, listing what there is, when there is no such thing.
    """
    if not model.startswith("models:"):
        return local(Path(model))
    parts = _URI.fullmatch(model)
    if not parts:
        raise UserError(f"model {model!r}: expected models:/NAME@ALIAS, models:/NAME/NUMBER or a directory")
    name, alias, number = parts["name"], parts["alias"], parts["version"]
    if alias in LEDGER_ALIASES:
        return _by_ledger(tracking, home, name, alias)
    record = records.record(tracking, name, number or records.aliased(tracking, name, alias))
    return _verified(tracking, home, record, record.tags.get("weights_sha256"), "MLflow")


def local(path: Path) -> Version:
    """The unregistered version in an exported directory. Raises UserError when it does not verify."""
    return _version(Export.open(path), None)


def by_entry(tracking: Tracking, home: Path, entry: Entry) -> Version:
    """The version that an entry of the ledger names. Raises UserError when its files are not what was promoted."""
    record = records.record(tracking, entry.name, entry.version)
    version = _verified(tracking, home, record, entry.weights_sha256, "the ledger")
    if version.manifest_sha256 != entry.evidence.get("manifest_sha256"):
        raise UserError(f"{version.path}: its gb_model.json is not the one in entry {entry.number} of the ledger")
    return version


def _by_ledger(tracking: Tracking, home: Path, name: str, alias: str) -> Version:
    ledger, where = Ledger(home, name), f"models:/{name}@{alias}"
    deadline = time.monotonic() + GRACE_S
    while True:
        entry, cached = _entry(ledger, alias), records.aliases(tracking, name).get(alias)
        agreed = cached == (entry.version if entry else None)
        if agreed or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    if not agreed:
        says = f"version {entry.version}" if entry else "nothing"
        shown = f"version {cached}" if cached else "nothing"
        raise UserError(f"{where}: the ledger says {says}, MLflow says {shown}; run: gb ledger verify {name}")
    if entry is None:
        raise UserError(f"{where}: no version was promoted to it so far; {records.listed(tracking, name)}")
    return by_entry(tracking, home, entry)


def _entry(ledger: Ledger, alias: str) -> Entry | None:
    """The entry that put the version there that the alias points at."""
    ledger.checked()
    standing = ledger.standing("champion")
    depth = 1 + LEDGER_ALIASES.index(alias)
    return standing[-depth] if len(standing) >= depth else None


def _verified(tracking: Tracking, home: Path, record: Any, weights_sha256: str | None, who: str) -> Version:
    where = f"models:/{record.name}/{record.version}"
    if not re.fullmatch("[0-9a-f]{64}", weights_sha256 or ""):
        raise UserError(f"{where}: has no tag weights_sha256, so gb did not register it; register it with gb")
    folder = pyfunc_model.local_path(record.source)
    path = folder / pyfunc_model.FOLDER if folder else _download(tracking, home, record, str(weights_sha256))
    export = Export.open(path)
    if export.manifest.weights_sha256 != weights_sha256:
        found = export.manifest.weights_sha256
        raise UserError(f"{where}: {path} has weights {found}, {who} says {weights_sha256}; do not use it")
    return _version(export, str(record.version))


def _download(tracking: Tracking, home: Path, record: Any, weights_sha256: str) -> Path:
    """A copy of a version's directory in `{home}/models/`, made once, whole or not at all."""
    # Two versions may have the same weights, but not the same manifest.
    target = home.resolve() / "models" / weights_sha256 / f"{record.name}-{record.version}"
    if target.exists():
        return target
    from mlflow.artifacts import download_artifacts

    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".download-") as scratch:
        address = f"{record.source.rstrip('/')}/{pyfunc_model.FOLDER}"
        fetched = Path(download_artifacts(artifact_uri=address, dst_path=scratch, tracking_uri=tracking.uri))
        Export.open(fetched)
        try:
            fetched.rename(target)
        except OSError:
            # Another process was first: its copy is as good.
            if not target.exists():
                raise
    return target


def _create(tracking: Tracking, export: Export) -> Any:
    manifest = export.manifest
    logged = pyfunc_model.log(tracking, export, manifest.run_id)
    tags = {"weights_sha256": manifest.weights_sha256, "run_id": manifest.run_id}
    if manifest.corpus_digest:
        tags["corpus_digest"] = manifest.corpus_digest
    return records.create(tracking, manifest.name, logged, tags)


def _version(export: Export, number: str | None) -> Version:
    manifest = export.manifest
    return Version(
        name=manifest.name,
        version=number,
        uri=str(export.path) if number is None else f"models:/{manifest.name}/{number}",
        path=export.path,
        weights_sha256=manifest.weights_sha256,
        manifest_sha256=export.digest,
        run_id=manifest.run_id,
        corpus_digest=manifest.corpus_digest,
    )
