"""One model made of several by the mean of their weights."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from gb_ray.model import package
from gb_ray.model.digest import ADAPTER
from gb_ray.model.load import weight_files
from gb_ray.section import UserError

OWN = {"run_id", "metrics", "before", "intervals", "calibration", "state", "files", "weights_sha256"}
"""What a manifest says of one model's weights."""
NO_RUN = "average of "
"""What stands before the parents' runs, in place of the id of a run: that is known when it is registered."""
SAYS_NOTHING = ("dropout", "transformers_version", "_name_or_path", "dtype")
"""Keys of config.json, or their ends, that decide no answer."""


def average(parents: Sequence[Path], out: Path, names: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Write the mean of exported models to the new directory `out`; returns its manifest, with `names` as `parents`.

    Wortsman et al., Model soups: averaging weights of multiple fine-tuned models improves accuracy without increasing
    inference time (https://arxiv.org/abs/2203.05482, the uniform soup). Sums are of fp64. What all manifests say alike
    stays, name, recipe and policy are those of the first; metrics and temperatures are those of other weights and are
    left out.

    Raises UserError for fewer than two models, for one that is there twice or is an adapter alone, for models of
    another architecture, base, tokenizer, task or label set than the first, and for an `out` that exists.
    """
    if len(parents) < 2:
        raise UserError(f"average: expected two models or more, got {len(parents)}")
    if out.exists():
        raise UserError(f"{out}: exists already; name a new directory with --out")
    manifests = [package.verify(path) for path in parents]
    first = manifests[0]
    for number, (path, manifest) in enumerate(zip(parents, manifests, strict=True)):
        if package.MEMBERS in manifest:
            raise UserError(f"{path}: an ensemble; average its members, each of which is a model")
        if ADAPTER in manifest["files"]:
            raise UserError(f"{path}: an adapter alone; export with model.adapter.export=merged to average it")
        if manifest["weights_sha256"] in {one["weights_sha256"] for one in manifests[:number]}:
            raise UserError(f"{path}: the same weights as a model before it; name each model once")
        for what, own in _alike(path, manifest).items():
            if own != (expected := _alike(parents[0], first)[what]):
                raise UserError(f"{path}: its {what} is not that of {parents[0]}: {_apart(own, expected)}")
    kept = {key: value for key, value in first.items() if all(one.get(key) == value for one in manifests)}
    known = {key: value for key, value in kept.items() if key not in OWN}
    known |= {key: first[key] for key in ("name", "tasks", "recipe", "policy") if key in first}
    runs = ", ".join(str(one.get("run_id")) for one in manifests)
    known |= {"run_id": f"{NO_RUN}{runs}", "state": _state(first), "parents": list(names)}
    with ExitStack() as stack:
        return package.alike(parents[0], known, out, _means(parents, stack))


def _alike(path: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """What models must have in common, by what it is called."""
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    tasks = manifest["tasks"]
    return {
        "architecture": {key: value for key, value in config.items() if not any(end in key for end in SAYS_NOTHING)},
        "base": manifest.get("base"),
        "tokenizer": manifest["files"].get("tokenizer.json"),
        "longest input": manifest["max_tokens"],
        "kind of task": {name: [task.get("type"), task["section"].get("multi_label")] for name, task in tasks.items()},
        "label set": {name: task["labels"] for name, task in tasks.items()},
        "scale of targets": _state(manifest),
    }


def _apart(own: Any, expected: Any) -> str:
    """What differs, or of mappings the first key that does."""
    if isinstance(own, dict) and isinstance(expected, dict):
        key = next(key for key in sorted({*own, *expected}) if own.get(key) != expected.get(key))
        return f"{key} is {own.get(key)!r:.80}, expected {expected.get(key)!r:.80}"
    return f"{own!r:.80}, expected {expected!r:.80}"


def _state(manifest: dict[str, Any]) -> dict[str, Any]:
    """What the tasks learnt of their corpora, without temperatures."""
    states = manifest.get("state", {})
    found = {task: {key: one for key, one in state.items() if key != "temperature"} for task, state in states.items()}
    return {task: state for task, state in found.items() if state}


def _means(parents: Sequence[Path], stack: ExitStack) -> Iterator[tuple[str, torch.Tensor]]:
    """One tensor at a time, fp32; numbers that are not learnt are those of the first."""
    files = [[stack.enter_context(safe_open(file, "pt")) for file in weight_files(path)] for path in parents]
    held = [{name: file for file in own for name in file.keys()} for own in files]  # noqa: SIM118 - it is no mapping
    for path, own in zip(parents, held, strict=True):
        if lacking := sorted(held[0].keys() ^ own.keys()):
            raise UserError(f"{path}: has not the same tensors as {parents[0]}: {lacking[0]} is in one of them alone")
    for name in held[0]:
        tensors = [own[name].get_tensor(name) for own in held]
        if len({tensor.shape for tensor in tensors}) > 1:
            raise UserError(f"{name}: has not the same shape in all models")
        if tensors[0].is_floating_point():
            yield name, torch.stack([tensor.double() for tensor in tensors]).mean(0).float()
        else:
            yield name, tensors[0]
