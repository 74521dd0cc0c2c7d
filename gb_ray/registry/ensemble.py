"""A version made of versions: an ensemble with a run of its own, which says what its members are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gb_ray.registry.card import card
from gb_ray.registry.tracking import Tracking
from gb_ray.registry.versions import Version, check_name, register

FOLDER = "ensembles"
SAID = {"name", "version", "uri", "run_id", "weights_sha256", "manifest_sha256", "corpus_digest"}


def ensemble(tracking: Tracking, home: Path, name: str, versions: Sequence[Version]) -> Version:
    """Register versions, in this order, as one version of the model `name`, with alias `candidate`; they verified.

    An ensemble among them stands for its members. The package is in `{home}/ensembles/`, where weights are links to
    the members' own files if the file system has links. Raises UserError for versions that cannot answer as one.
    """
    # It imports torch, which the ledger and the gate do without.
    from gb_ray.model.ensemble import bind, check

    check_name(name, "ensemble")
    paths, said = zip(*(member for version in versions for member in _members(version)), strict=True)
    check(paths)
    tags = {f"member_{number}": f"{one['uri']} {one['weights_sha256']}" for number, one in enumerate(said, 1)}
    run_id = tracking.start_run(name, f"ensemble of {len(said)}", {}, tags)
    folder = home / FOLDER / f"{name}-{run_id[:8]}"
    try:
        manifest = bind(paths, said, {"name": name, "run_id": run_id}, folder)
        (folder / "README.md").write_text(card(manifest), encoding="utf-8")
        found = register(tracking, folder, run_id)
    except BaseException:
        tracking.finish(run_id, "FAILED")
        raise
    tracking.finish(run_id, "FINISHED")
    return found


def _members(version: Version) -> list[tuple[Path, dict[str, Any]]]:
    """The directory of each model that answers, and what an ensemble's manifest says of it."""
    from gb_ray.model import package

    manifest = package.read(version.path)
    said = manifest.get(package.MEMBERS, [version.model_dump(include=SAID)])
    return list(zip(package.models(version.path, manifest), said, strict=True))
