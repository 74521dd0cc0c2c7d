"""Opening models: the backbone with a new head, or an exported model. Only safetensors, never code from a model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from gb_ray.corpus.location import locate, verify
from gb_ray.files import sha256
from gb_ray.model import adapter, gguf, pooling, trained
from gb_ray.model.digest import ADAPTER, weights_digest
from gb_ray.model.hollow import Hollow, Place, located, stand_ins
from gb_ray.model.section import ModelSection
from gb_ray.section import UserError
from gb_ray.tasks.task import Task

WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
HEADS = "heads."
"""Before the names of the heads' tensors in the exported directory of several tasks: heads.TASK.NAME."""
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


def backbone(section: ModelSection) -> Path:
    """The local folder of the backbone, checked. Raises UserError when missing, unsafe or not the expected one."""
    if section.path.startswith("pypi:") or Path(section.path).expanduser().exists():
        folder = locate(section.path)
        if file := gguf.inside(folder):
            verify(section.path, file, section.sha256)
            return gguf.folder(file)
    else:
        folder = _from_hub(section.path, section.revision)
    check_safe(folder, section.path)
    if (folder / ADAPTER).is_file():
        raise UserError(f"{section.path}: an adapter, not a backbone; train it with model.adapter.export=merged")
    if section.sha256:
        if not (folder / WEIGHTS[0]).is_file():
            raise UserError(f"{section.path}: model.sha256 is of {WEIGHTS[0]}, but its weights are in several files")
        verify(f"{section.path}/{WEIGHTS[0]}", folder / WEIGHTS[0], section.sha256)
    return folder


def check_safe(folder: Path, name: str) -> None:
    """Raises UserError unless `folder` holds a model that loads without unpickling or running its code."""
    if not folder.is_dir():
        raise UserError(f"{name}: expected a folder with config.json and model.safetensors, found a file")
    config = folder / "config.json"
    if not config.is_file():
        raise UserError(f"{name}: no config.json in it; expected a Hugging Face model folder")
    try:
        content = json.loads(config.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{config}: not JSON: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{config}: expected a JSON object")
    if "auto_map" in content:
        raise UserError(f"{name}: refused: its config.json asks to run code that comes with the model (auto_map)")
    if not any((folder / file).is_file() for file in (*WEIGHTS, ADAPTER)):
        pickled = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
        why = f"only pickled weights ({pickled[0]}), which can run code when loaded" if pickled else "no weights"
        raise UserError(f"{name}: refused: {why}; expected model.safetensors")


def new(section: ModelSection, task: Task, labels: list[str], seed: int) -> torch.nn.Module:
    """The backbone in fp32 with a new head for `labels`, the same on every process for one seed."""
    return _new(backbone(section), section, task, labels, seed)[0]


def hollow(section: ModelSection, task: Task, labels: list[str], seed: int) -> Hollow:
    """What `new` returns, its pretrained tensors not yet read."""
    folder = backbone(section)
    tensors, places = stand_ins(weight_files(folder))
    own = {name: tensor for name, tensor in tensors.items() if not name.startswith(HEADS)}
    model, drawn = _new(folder, section, task, labels, seed, own)
    found = located(model, places)
    if {name for name, _ in model.named_parameters()} <= found.places.keys() | drawn:
        adapter.measure(model, found.read)
        return found
    return Hollow(_new(folder, section, task, labels, seed)[0], {})


def _new(
    folder: Path,
    section: ModelSection,
    task: Task,
    labels: list[str],
    seed: int,
    state: dict[str, torch.Tensor] | None = None,
) -> tuple[Any, set[str]]:
    changes = task.head(labels) | _dropout(folder, section.dropout)
    # The head is drawn from torch's generator while the model is made.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, drawn = opened(folder, task.architecture, section.attention, changes, state)
    if section.pooler == "identity":
        drawn |= _hand_on(model, section)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return model, drawn | limit(model, section, drawn)


def limit(model: Any, section: ModelSection, drawn: set[str]) -> set[str]:
    """Freeze what is not to be trained and attach the adapter; `drawn` are the names of parameters that are no
    pretrained ones. Returns the names of new ones.
    """
    new: set[str] = set()
    if section.adapter:
        # Where nothing was drawn, the folder has a head already. That of a generative model came with its backbone.
        head = drawn or (set() if model.can_generate() else trained.head(model))
        new = adapter.attach(model, section.adapter, head)
    trained.choose(model, section.trained)
    if section.freeze_embeddings:
        model.get_input_embeddings().weight.requires_grad_(False)
    return new


def _hand_on(model: Any, section: ModelSection) -> set[str]:
    """Make the pooler an identity but for its tanh. Returns the names of its parameters."""
    named = {id(parameter): name for name, parameter in model.named_parameters()}
    dense = getattr(getattr(model.base_model, "pooler", None), "dense", None)
    if dense is None or dense.in_features != dense.out_features:
        raise UserError(f"model.pooler: {section.path} has no pooler of that kind; leave the key out")
    dense.weight.data, dense.bias.data = torch.eye(dense.out_features), torch.zeros(dense.out_features)
    return {named[id(dense.weight)], named[id(dense.bias)]}


def exported(folder: Path, architecture: str) -> torch.nn.Module:
    """An exported model in fp32, in evaluation mode. Attention is sdpa, which answers fastest."""
    check_safe(folder, str(folder))
    if (folder / ADAPTER).is_file():
        return _adapted(folder, architecture).eval()
    return opened(folder, architecture, "sdpa", {})[0].eval()


def digest(folder: Path) -> str | None:
    """What names the weights of a backbone."""
    return weights_digest({file.name: sha256(file) for file in weight_files(folder)})


def _adapted(folder: Path, architecture: str) -> Any:
    """An exported adapter in its base, which is where the recipe had it. Raises UserError when that is another."""
    from transformers import AutoConfig

    manifest = json.loads((folder / "gb_model.json").read_text(encoding="utf-8"))
    section = ModelSection.model_validate(manifest["recipe"]["model"])
    base, expected = backbone(section), manifest["base"]["sha256"]
    if (found := digest(base)) != expected:
        raise UserError(
            f"{folder}: an adapter of other weights than {section.path} has: their sha256 is {found}, expected "
            f"{expected}; put the base of that digest there, or export with model.adapter.export=merged"
        )
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    model, _ = opened(base, architecture, "sdpa", {"config": config})
    assert section.adapter
    adapter.put(model, section.adapter, load_file(folder / ADAPTER))
    return model


def _dropout(folder: Path, rate: float | None) -> dict[str, float]:
    """Every architecture names its rates differently; all have the word in them."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    rates = (key for key, value in config.items() if "dropout" in key and isinstance(value, float))
    return {} if rate is None else dict.fromkeys(rates, rate)


def opened(
    folder: Path,
    architecture: str,
    attention: str,
    changes: dict[str, Any],
    state: dict[str, torch.Tensor] | None = None,
) -> tuple[Any, set[str]]:
    """The model, of the tensors in `state` if given, else of those in the folder; and the names of what was drawn."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    kind: Any = getattr(transformers, architecture)
    source: Path | None = folder
    options = {"output_loading_info": True, "dtype": torch.float32, "attn_implementation": attention, **changes}
    try:
        if state is not None:
            config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False, **changes)
            with torch.device("meta"):
                kind = type(kind.from_config(config, trust_remote_code=False))
            source = None
            options = {name: value for name, value in options.items() if name not in changes}
            options |= {"config": config, "state_dict": state}
        model, found = kind.from_pretrained(source, use_safetensors=True, trust_remote_code=False, **options)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise UserError(f"{folder}: cannot be opened as {architecture}: {str(error).splitlines()[0]}") from None
    missing = set(found["missing_keys"])
    if architecture == pooling.ARCHITECTURE:
        pooling.pool(model)
        missing &= model.state_dict().keys()
    # What the file lacks was drawn at random: right for a new head and its pooler, never for the rest.
    drawn = sorted(name for name in missing if not changes.keys() & {"id2label", "config"} or _of_backbone(name, model))
    if drawn:
        raise UserError(f"{folder}: its weights lack {len(drawn)} tensors of {architecture}, {drawn[0]} for one")
    return model, missing


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model folder."""
    whole, index = (folder / name for name in WEIGHTS)
    if whole.is_file():
        return [whole]
    return sorted({folder / name for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()})


def places(folder: Path) -> Iterator[tuple[Place, list[int]]]:
    """Where each tensor of a model folder is, and its shape."""
    for path in weight_files(folder):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118 - it is no mapping
                yield Place(path, name), file.get_slice(name).get_shape()


def _of_backbone(name: str, model: Any) -> bool:
    inside = model.base_model is model or name.startswith(f"{model.base_model_prefix}.")
    return inside and ".pooler." not in name


def _from_hub(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(name, revision=revision, allow_patterns=["*.json", "*.safetensors", "*.txt", "*.model"])
        )
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{name}: neither a folder here nor a model that the hub gives: {reason}") from None
