"""The exported directory: a Hugging Face folder that `from_pretrained` opens, plus `gb_model.json`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from gb_ray.corpus.location import sha256
from gb_ray.model.load import check_safe
from gb_ray.section import UserError
from gb_ray.tasks.section import TaskSection
from gb_ray.tasks.task import Task, make

MANIFEST = "gb_model.json"
WEIGHTS = "model.safetensors"


def export(model: Any, tokenizer: Any, manifest: dict[str, Any], path: Path) -> dict[str, Any]:
    """Write model (fp32 safetensors), tokenizer and manifest to `path`, whole or not at all. Returns the manifest.

    Adds `weights_sha256` and `files` (name: sha256) to what the caller knows.
    """
    beside = path.with_name(path.name + ".part")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        model.save_pretrained(beside)
        tokenizer.save_pretrained(beside)
        files = {file.name: sha256(file) for file in sorted(beside.iterdir())}
        complete = {"format": 1, **manifest, "weights_sha256": files[WEIGHTS], "files": files}
        _write(beside, complete)
        shutil.rmtree(path, ignore_errors=True)
        beside.rename(path)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return complete


def amend(path: Path, **known_later: Any) -> dict[str, Any]:
    """Add to the manifest what is measured on the exported model itself: its metrics, for one."""
    manifest = read(path) | known_later
    _write(path, manifest)
    return manifest


def read(path: Path) -> dict[str, Any]:
    """The manifest of an exported directory. Raises UserError when there is none."""
    file = path / MANIFEST
    if not file.is_file():
        raise UserError(f"{path}: not an exported model (no {MANIFEST})")
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{file}: not JSON: {error}") from None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise UserError(f"{file}: not the manifest of an exported model")
    return manifest


def verify(path: Path) -> dict[str, Any]:
    """The manifest, every file checked against it. Raises UserError naming the file that differs."""
    check_safe(path, str(path))
    manifest = read(path)
    for name, digest in manifest["files"].items():
        if not (path / name).is_file():
            raise UserError(f"{path / name}: missing from the exported model")
        if sha256(path / name) != digest:
            raise UserError(f"{path / name}: altered since the model was exported")
    return manifest


def task_of(path: Path, manifest: dict[str, Any]) -> Task:
    """The task an exported model was trained for, over the tokenizer beside it."""
    name, described = next(iter(manifest["tasks"].items()))
    section: TaskSection = TypeAdapter(TaskSection).validate_python(described["section"])
    return make(section, str(path), manifest["max_tokens"], state=manifest.get("state", {}).get(name))


def _write(path: Path, manifest: dict[str, Any]) -> None:
    beside = path / f"{MANIFEST}.part"
    beside.write_text(json.dumps(manifest, indent=1, ensure_ascii=False), encoding="utf-8")
    beside.rename(path / MANIFEST)
