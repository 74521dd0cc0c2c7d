"""The exported directory: what anybody's `from_pretrained` opens, whole or not there, and every file accounted for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from gb_ray.model import package
from gb_ray.model.digest import weights_digest
from gb_ray.section import UserError

TEXT = "grid solar wind 12"


@pytest.fixture
def folder(exported: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of an exported model, to be broken."""
    shutil.copytree(exported["topics"], tmp_path / "model")
    return tmp_path / "model"


@torch.inference_mode()
def logits(model: Any, path: Path) -> torch.Tensor:
    return model(**AutoTokenizer.from_pretrained(path)(TEXT, return_tensors="pt")).logits


def test_plain_transformers_opens_it_and_gives_the_same_logits(
    export: Callable[[str, Path], Any], tmp_path: Path
) -> None:
    model = export("topics", tmp_path / "model")
    opened = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model").eval()
    assert opened.config.id2label == {0: "energy", 1: "health", 2: "water"}
    torch.testing.assert_close(logits(opened, tmp_path / "model"), logits(model, tmp_path / "model"))


def test_its_manifest_names_every_file_and_it_verifies(folder: Path) -> None:
    manifest = package.verify(folder)
    names = {path.name for path in folder.iterdir()}
    assert set(manifest["files"]) | {package.MANIFEST} == names
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
    assert manifest["weights_sha256"] == manifest["files"]["model.safetensors"]


def test_large_weights_are_in_several_files_of_which_none_may_differ(
    export: Callable[[str, Path], Any], backbone: Path, tmp_path: Path
) -> None:
    model, path = export("topics", tmp_path / "whole"), tmp_path / "shards"
    manifest = package.export(model, AutoTokenizer.from_pretrained(backbone), {"tasks": {}}, path, shard=30_000)
    shards = sorted(path.glob("*.safetensors"))
    assert len(shards) > 2 and package.verify(path) == manifest
    assert manifest["weights_sha256"] == weights_digest(manifest["files"])
    assert manifest["weights_sha256"] != weights_digest(manifest["files"] | {shards[1].name: "0" * 64})
    opened = AutoModelForSequenceClassification.from_pretrained(path).eval()
    assert all(map(torch.equal, opened.state_dict().values(), model.state_dict().values()))
    shards[0].unlink()
    with pytest.raises(UserError, match=f"{shards[0].name}: missing"):
        package.verify(path)


def test_a_large_adapter_is_in_one_file(export: Callable[[str, Path], Any], backbone: Path, tmp_path: Path) -> None:
    model, tokens = export("topics", tmp_path / "whole"), AutoTokenizer.from_pretrained(backbone)
    manifest = package.export(model, tokens, {"tasks": {}}, tmp_path / "one", shard=30_000, adapter=True)
    assert [name for name in manifest["files"] if "model" in name] == ["adapter_model.safetensors"]
    assert load_file(tmp_path / "one" / "adapter_model.safetensors").keys() == model.state_dict().keys()


def test_weights_may_come_one_at_a_time(export: Callable[[str, Path], Any], backbone: Path, tmp_path: Path) -> None:
    model = export("topics", tmp_path / "whole")
    doubled = ((name, 2 * tensor) for name, tensor in model.state_dict().items())
    package.export(model, AutoTokenizer.from_pretrained(backbone), {"tasks": {}}, tmp_path / "other", doubled)
    opened = AutoModelForSequenceClassification.from_pretrained(tmp_path / "other")
    for name, tensor in opened.state_dict().items():
        assert torch.equal(tensor, 2 * model.state_dict()[name]), name


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "tokenizer_config.json", "config.json"])
def test_an_altered_file_is_named(name: str, folder: Path) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]) if name.endswith("s") else content + b" ")
    with pytest.raises(UserError) as caught:
        package.verify(folder)
    assert str(caught.value) == f"{folder / name}: altered since the model was exported"


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"tokenizer\.json: missing from the exported model"):
        package.verify(folder)


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "not JSON"), ("[]", "not the manifest"), ("{}", "not the manifest"), ('{"files": [1]}', "not the manifest")],
)
def test_a_manifest_that_is_none_is_refused(text: str, said: str, folder: Path) -> None:
    (folder / package.MANIFEST).write_text(text)
    with pytest.raises(UserError, match=said):
        package.verify(folder)


def test_a_folder_without_a_manifest_is_no_exported_model(backbone: Path) -> None:
    with pytest.raises(UserError, match=r"not an exported model \(no gb_model.json\)"):
        package.verify(backbone)


class Failing:
    """A tokenizer whose disk is full."""

    def save_pretrained(self, path: Path) -> None:
        (Path(path) / "tokenizer.json").write_text("{")
        raise OSError(28, "No space left on device")


def test_a_failed_export_leaves_nothing(export: Callable[[str, Path], Any], tmp_path: Path) -> None:
    model = export("topics", tmp_path / "good")
    target = tmp_path / "out" / "model"
    with pytest.raises(OSError, match="No space left"):
        package.export(model, Failing(), {"tasks": {}}, target)
    assert not target.exists()
    assert list((tmp_path / "out").iterdir()) == []


def test_a_failed_export_leaves_the_one_that_was_there(export: Callable[[str, Path], Any], tmp_path: Path) -> None:
    model = export("topics", tmp_path / "model")
    with pytest.raises(OSError, match="No space left"):
        package.export(model, Failing(), {"tasks": {}}, tmp_path / "model")
    package.verify(tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_an_export_replaces_the_one_before_it_whole(export: Callable[[str, Path], Any], tmp_path: Path) -> None:
    export("entities", tmp_path / "model")
    (tmp_path / "model" / "stale.txt").write_text("of the last one")
    export("topics", tmp_path / "model")
    assert "topics" in package.verify(tmp_path / "model")["tasks"]
    assert not (tmp_path / "model" / "stale.txt").exists()


def test_what_is_measured_later_joins_the_manifest_and_it_still_verifies(folder: Path) -> None:
    before = package.read(folder)
    package.amend(folder, metrics={"macro_f1": 0.5})
    assert package.verify(folder) == before | {"metrics": {"macro_f1": 0.5}}
    assert json.loads((folder / package.MANIFEST).read_text())["metrics"] == {"macro_f1": 0.5}
