"""The exported directory: a Hugging Face folder that `from_pretrained` opens, plus `gb_model.json`."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from safetensors.torch import save_file

from gb_ray.files import link, sha256
from gb_ray.model import pooling
from gb_ray.model.digest import ADAPTER, WEIGHTS, weights_digest
from gb_ray.model.load import check_safe
from gb_ray.section import UserError
from gb_ray.tasks.section import TaskSection
from gb_ray.tasks.task import Task, make

MANIFEST = "gb_model.json"
MEMBERS = "members"
"""The folder of an ensemble's models, 1, 2 and so on; in its manifest, what they are."""
SHARD = 2_000_000_000
"""Bytes of weights in one file, and in memory while they are written, at most."""


def export(
    model: Any,
    tokenizer: Any,
    manifest: dict[str, Any],
    path: Path,
    weights: Iterable[tuple[str, torch.Tensor]] | None = None,
    shard: int = SHARD,
    adapter: bool = False,
) -> dict[str, Any]:
    """Write model (fp32 safetensors), tokenizer and manifest to `path`, whole or not at all. Returns the manifest.

    `weights` are those to write, (name, tensor) one at a time; absent, the model's own. More than `shard` bytes of
    them go into several files. Those of an `adapter` go into one file that is named so, however many they are. Adds
    `weights_sha256` and `files` (name: sha256) to what the caller knows.
    """
    with _whole(path, manifest) as (beside, complete):
        _write_config(model, beside)
        _write_weights(_own(model) if weights is None else weights, beside, math.inf if adapter else shard)
        if adapter:
            (beside / WEIGHTS).rename(beside / ADAPTER)
        tokenizer.save_pretrained(beside)
        if any(task.get("type") == "embedding" for task in manifest["tasks"].values()):
            pooling.describe(model, manifest["max_tokens"], beside)
    return complete


def alike(
    parent: Path, manifest: dict[str, Any], path: Path, weights: Iterable[tuple[str, torch.Tensor]]
) -> dict[str, Any]:
    """What `export` does, with configuration and tokenizer of an exported model that verified."""
    with _whole(path, manifest) as (beside, complete):
        for name in read(parent)["files"]:
            if not name.endswith((".safetensors", ".safetensors.index.json")):
                (beside / name).parent.mkdir(exist_ok=True)
                shutil.copyfile(parent / name, beside / name)
        _write_weights(weights, beside, SHARD)
    return complete


def several(parents: Sequence[Path], manifest: dict[str, Any], path: Path) -> dict[str, Any]:
    """What `export` does, with exported models that verified, each whole in a folder of its own."""
    with _whole(path, manifest) as (beside, complete):
        for parent, folder in zip(parents, models(beside, manifest), strict=True):
            for name in (*read(parent)["files"], MANIFEST):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                copy = link if name.endswith(".safetensors") else shutil.copyfile
                copy(parent / name, folder / name)
    return complete


def models(path: Path, manifest: dict[str, Any]) -> list[Path]:
    """The directories of the models that answer: those of an ensemble's members, or the exported one itself."""
    count = len(manifest.get(MEMBERS, []))
    return [path / MEMBERS / str(number + 1) for number in range(count)] or [path]


@contextmanager
def _whole(path: Path, manifest: dict[str, Any]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """(A folder to fill, the manifest that is complete when it was filled): `path` is it then, or is as it was."""
    beside, complete = path.with_name(path.name + ".part"), dict[str, Any]()
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir(parents=True)
        yield beside, complete
        written = sorted(file for file in beside.rglob("*") if file.is_file())
        files = {file.relative_to(beside).as_posix(): sha256(file) for file in written}
        complete |= {"format": 1, **manifest, "weights_sha256": weights_digest(files), "files": files}
        _write(beside, complete)
        shutil.rmtree(path, ignore_errors=True)
        beside.rename(path)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


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
    manifest = read(path)
    for folder in models(path, manifest):
        check_safe(folder, str(folder))
    for name, digest in manifest["files"].items():
        if not (path / name).is_file():
            raise UserError(f"{path / name}: missing from the exported model")
        if sha256(path / name) != digest:
            raise UserError(f"{path / name}: altered since the model was exported")
    return manifest


def tasks_of(path: Path, manifest: dict[str, Any]) -> dict[str, Task]:
    """The tasks an exported model was trained for by name, over the tokenizer beside it."""
    sections: dict[str, TaskSection] = {
        name: TypeAdapter(TaskSection).validate_python(described["section"])
        for name, described in manifest["tasks"].items()
    }
    states = manifest.get("state", {})
    return {
        name: make(section, str(path), manifest["max_tokens"], state=states.get(name))
        for name, section in sections.items()
    }


def labels_of(manifest: dict[str, Any]) -> dict[str, list[str]]:
    """{task: the labels of its outputs, in their order}."""
    return {name: list(described["labels"]) for name, described in manifest["tasks"].items()}


def corpora_of(manifest: dict[str, Any]) -> dict[str, str]:
    """{task: digest of the corpus it was trained on}."""
    return dict(manifest.get("corpora") or dict.fromkeys(manifest["tasks"], manifest["corpus_digest"]))


def temperature(manifest: dict[str, Any], task: str) -> float:
    """What a task's logits are divided by before they become probabilities; 1 when none was fitted."""
    return float(manifest.get("state", {}).get(task, {}).get("temperature", 1.0))


def calibrate(path: Path, task: str, temperature: float) -> None:
    """Give an exported model the temperature of a task."""
    state = read(path).get("state", {})
    amend(path, state=state | {task: state.get(task, {}) | {"temperature": temperature}})


def _write(path: Path, manifest: dict[str, Any]) -> None:
    beside = path / f"{MANIFEST}.part"
    beside.write_text(json.dumps(manifest, indent=1, ensure_ascii=False), encoding="utf-8")
    beside.rename(path / MANIFEST)


def _own(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """A tensor that has two names is written under the first."""
    kept = model.state_dict().keys()
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if name in kept:
            yield name, tensor.detach()


def _write_config(model: Any, folder: Path) -> None:
    model.config.architectures = [type(model).__name__]
    model.config.dtype = "float32"
    model.config.save_pretrained(folder)
    if model.can_generate():
        model.generation_config.save_pretrained(folder)


def _write_weights(weights: Iterable[tuple[str, torch.Tensor]], folder: Path, shard: float) -> None:
    """As `from_pretrained` reads them: one file, or shards and an index of them."""
    held: dict[str, torch.Tensor] = {}
    shards: list[list[str]] = []
    size = total = 0

    def write() -> None:
        save_file(held, folder / f"shard-{len(shards)}", metadata={"format": "pt"})
        shards.append(list(held))
        held.clear()

    for name, tensor in weights:
        if held and size + tensor.nbytes > shard:
            write()
            size = 0
        held[name] = tensor.to("cpu").contiguous()
        size, total = size + tensor.nbytes, total + tensor.nbytes
    write()
    if len(shards) == 1:
        (folder / "shard-0").rename(folder / WEIGHTS)
        return
    names = [f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i in range(len(shards))]
    for i, name in enumerate(names):
        (folder / f"shard-{i}").rename(folder / name)
    places = {name: file for file, held_in in zip(names, shards, strict=True) for name in held_in}
    index = {"metadata": {"total_size": total}, "weight_map": places}
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps(index, indent=1), encoding="utf-8")
