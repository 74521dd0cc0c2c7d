"""A version made of the mean of models' weights, with a run of its own, which says which models these are."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from gb_ray.registry.card import card
from gb_ray.registry.tracking import Tracking
from gb_ray.registry.versions import Version, check_name, register
from gb_ray.section import UserError


def register_average(tracking: Tracking, folder: Path) -> Version:
    """Register what `gb average` wrote to `folder` as a version of the model its manifest names, alias `candidate`.

    Its manifest and card get the id of the run that this starts; registered again, it stays the version it is. Raises
    UserError for a directory that is no average, does not verify, or whose parents were trained on several corpora.
    """
    # It imports torch, which the ledger and the gate do without.
    from gb_ray.model import package
    from gb_ray.model.average import NO_RUN
    from gb_ray.model.ensemble import CORPUS

    manifest = package.verify(folder)
    parents, run_id = manifest.get("parents"), manifest["run_id"]
    if not parents:
        raise UserError(f"{folder}: neither a run nor what gb average wrote; its run registers it: gb register RUN")
    if not manifest.keys() & set(CORPUS):
        raise UserError(f"{folder}: its parents are not of one corpus; a gate would measure it on rows that one learnt")
    check_name(manifest["name"], str(folder))
    began = run_id.startswith(NO_RUN)
    if began:
        tags = {f"parent_{number}": f"{one['uri']} {one['weights_sha256']}" for number, one in enumerate(parents, 1)}
        run_id = tracking.start_run(manifest["name"], f"average of {len(parents)}", {}, tags)
        manifest = package.amend(folder, run_id=run_id)
        (folder / "README.md").write_text(card(manifest), encoding="utf-8")
    try:
        found = register(tracking, folder, run_id)
    except Exception:
        if began:
            with suppress(Exception):  # the server may be what failed, and hides nothing
                tracking.finish(run_id, "FAILED")
        raise
    tracking.finish(run_id, "FINISHED")
    return found
