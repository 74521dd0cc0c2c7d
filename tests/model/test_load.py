"""Backbones: only weights that load without running code, whole or not at all, and a new head decided by the seed."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForSequenceClassification

from gb_ray.files import sha256
from gb_ray.model import load
from gb_ray.model.section import ModelSection
from gb_ray.section import UserError
from gb_ray.tasks.section import SequenceClassificationSection, TokenClassificationSection
from gb_ray.tasks.task import Task, make

WEIGHTS = "model.safetensors"
LABELS = ["a", "b", "c"]


def topics(folder: Path) -> Task:
    return make(SequenceClassificationSection(type="sequence-classification"), str(folder), 16)


def new(folder: Path, seed: int = 0, **keys: Any) -> torch.nn.Module:
    return load.new(ModelSection(path=str(folder), **keys), topics(folder), LABELS, seed)


def edit_config(folder: Path, **keys: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | keys))


def pickled(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({}))


def renamed(folder: Path) -> None:
    weights = {f"other.{name}": value for name, value in load_file(folder / WEIGHTS).items()}
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


def one_less(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


def another_head(folder: Path) -> None:
    config = BertConfig.from_pretrained(folder)
    config.num_labels = 7
    BertForSequenceClassification(config).save_pretrained(folder)


REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no weights": (lambda p: (p / WEIGHTS).unlink(), "no weights; expected model.safetensors"),
    "only pickles": (pickled, r"only pickled weights \(pytorch_model.bin\), which can run code"),
    "remote code": (lambda p: edit_config(p, auto_map={"AutoModel": "evil.Model"}), "asks to run code that comes"),
    "no config": (lambda p: (p / "config.json").unlink(), "no config.json in it"),
    "a config of no JSON": (lambda p: (p / "config.json").write_text("{"), "not JSON"),
    "a config of bytes": (lambda p: (p / "config.json").write_bytes(b"\xff"), "not JSON"),
    "a config that is a number": (lambda p: (p / "config.json").write_text("5"), "expected a JSON object"),
    "an unknown architecture": (lambda p: edit_config(p, model_type="no-such-model"), "cannot be opened as"),
    "half the weights": (lambda p: (p / WEIGHTS).write_bytes((p / WEIGHTS).read_bytes()[:999]), "cannot be opened as"),
    "weights of another model": (renamed, r"its weights lack \d+ tensors"),
    "a layer missing": (one_less, "its weights lack 1 tensors .*encoder.layer.1.output.dense.weight"),
    "a head of another size": (another_head, "cannot be opened as"),
}


@pytest.mark.parametrize(("break_it", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_a_backbone_that_is_not_safe_and_whole_is_refused(
    break_it: Callable[[Path], Any], said: str, backbone: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(backbone, folder)
    new(folder)
    break_it(folder)
    with pytest.raises(UserError, match=said) as caught:
        new(folder)
    assert str(folder) in str(caught.value)


def test_a_file_instead_of_a_folder_is_refused(backbone: Path) -> None:
    with pytest.raises(UserError, match="expected a folder with config"):
        new(backbone / "config.json")


def test_code_beside_a_model_does_not_run(backbone: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(backbone, folder)
    edit_config(folder, auto_map={"AutoModelForSequenceClassification": "evil.Model"})
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(UserError):
        new(folder)
    assert not (tmp_path / "ran").exists()


def test_the_digest_is_that_of_the_weights_and_another_is_refused(backbone: Path, tmp_path: Path) -> None:
    right = sha256(backbone / WEIGHTS)
    assert load.backbone(ModelSection(path=str(backbone), sha256=right)) == backbone
    with pytest.raises(UserError, match=f"sha256 is {right}, the recipe expects {'0' * 64}"):
        load.backbone(ModelSection(path=str(backbone), sha256="0" * 64))


def test_a_digest_of_weights_in_several_files_is_refused_not_ignored(backbone: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(backbone, folder)
    (folder / WEIGHTS).rename(folder / "model-00001-of-00001.safetensors")
    (folder / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(UserError, match="its weights are in several files"):
        load.backbone(ModelSection(path=str(folder), sha256="0" * 64))


def test_a_new_head_is_decided_by_the_seed_and_the_backbone_by_its_file(backbone: Path) -> None:
    torch.manual_seed(5)
    one = new(backbone, seed=1).state_dict()
    torch.manual_seed(6)
    same, other = new(backbone, seed=1).state_dict(), new(backbone, seed=2).state_dict()
    assert all(torch.equal(one[name], same[name]) for name in one)
    differ = [name for name in one if not torch.equal(one[name], other[name])]
    assert differ == ["classifier.weight"]
    weights = load_file(backbone / WEIGHTS)
    assert all(torch.equal(one[f"bert.{name}"], value) for name, value in weights.items())


def test_loading_leaves_the_generator_of_the_process_alone(backbone: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    new(backbone, seed=1)
    assert torch.equal(torch.rand(3), expected)


def test_a_new_model_is_fp32_and_knows_its_labels(backbone: Path) -> None:
    model = new(backbone)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert model.config.id2label == {0: "a", 1: "b", 2: "c"}
    assert model.config.label2id == {"a": 0, "b": 1, "c": 2}


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_attention_is_the_one_asked_for(attention: str, backbone: Path) -> None:
    assert new(backbone, attention=attention).config._attn_implementation == attention


def test_frozen_embeddings_and_only_they_do_not_learn(backbone: Path) -> None:
    frozen = {name for name, p in new(backbone, freeze_embeddings=True).named_parameters() if not p.requires_grad}
    assert frozen == {"bert.embeddings.word_embeddings.weight"}
    assert all(parameter.requires_grad for parameter in new(backbone).parameters())


def test_a_backbone_without_a_pooler_gets_a_head_for_tokens(backbone: Path) -> None:
    task = make(TokenClassificationSection(type="token-classification"), str(backbone), 16)
    model = load.new(ModelSection(path=str(backbone)), task, ["O", "B-X", "I-X"], 0)
    assert model.classifier.out_features == 3


def test_a_pooler_that_starts_as_identity_hands_on_the_first_token(backbone: Path) -> None:
    section = ModelSection(path=str(backbone), pooler="identity")
    model = load.new(section, topics(backbone), LABELS, 0).eval()
    found = model.base_model(torch.tensor([[2, 5, 6, 3]]))
    assert torch.allclose(found.pooler_output, found.last_hidden_state[:, 0].tanh())
    hollow = load.hollow(section, topics(backbone), LABELS, 0)
    assert hollow.places, "it can still be read tensor by tensor"
    assert all(map(torch.equal, hollow.filled().state_dict().values(), model.state_dict().values()))


def test_a_backbone_without_a_pooler_cannot_start_with_one(backbone: Path) -> None:
    task = make(TokenClassificationSection(type="token-classification"), str(backbone), 16)
    with pytest.raises(UserError, match="has no pooler of that kind"):
        load.new(ModelSection(path=str(backbone), pooler="identity"), task, ["O", "B-X", "I-X"], 0)


def test_an_exported_model_without_its_head_is_refused(backbone: Path) -> None:
    """A head drawn at random would answer, and wrongly."""
    with pytest.raises(UserError, match="its weights lack 2 tensors"):
        load.exported(backbone, "AutoModelForSequenceClassification")


@pytest.mark.parametrize("frozen", [False, True])
def test_a_model_that_was_hollow_is_the_one_that_is_opened_whole(backbone: Path, frozen: bool) -> None:
    section = ModelSection(path=str(backbone), dropout=0.2, freeze_embeddings=frozen)
    whole = load.new(section, topics(backbone), LABELS, 7)
    torch.manual_seed(1)
    hollow = load.hollow(section, topics(backbone), LABELS, 7)
    assert {name for name, _ in whole.named_parameters()} - hollow.places.keys() == {
        "classifier.weight",
        "classifier.bias",
    }
    filled = hollow.filled()
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(after, torch.rand(1)), "the caller's generator is left alone"
    assert filled.config.to_diff_dict() == whole.config.to_diff_dict()
    assert all(map(torch.equal, filled.state_dict().values(), whole.state_dict().values()))
    assert [p.requires_grad for p in filled.parameters()] == [p.requires_grad for p in whole.parameters()]


def test_a_hollow_model_takes_no_memory_for_its_pretrained_tensors(backbone: Path) -> None:
    hollow = load.hollow(ModelSection(path=str(backbone)), topics(backbone), LABELS, 0)
    sizes = {name: parameter.untyped_storage().nbytes() for name, parameter in hollow.model.named_parameters()}
    assert {sizes[name] for name in hollow.places} == {4}


def test_shards_in_half_precision_are_read_as_well(backbone: Path, tmp_path: Path) -> None:
    model = transformers.AutoModel.from_pretrained(backbone, dtype=torch.bfloat16)
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    for file in backbone.glob("tokenizer*"):
        shutil.copy(file, tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    section = ModelSection(path=str(tmp_path))
    whole = load.new(section, topics(tmp_path), LABELS, 3)
    filled = load.hollow(section, topics(tmp_path), LABELS, 3).filled()
    assert {tensor.dtype for tensor in filled.parameters()} == {torch.float32}
    assert all(map(torch.equal, filled.state_dict().values(), whole.state_dict().values()))


@pytest.mark.parametrize("kind", ["Llama", "Qwen3", "DistilBert", "Roberta", "ModernBert"])
def test_other_architectures_are_hollow_too(kind: str, backbone: Path, tmp_path: Path) -> None:
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    if kind == "DistilBert":
        size = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}
    config = getattr(transformers, f"{kind}Config")(vocab_size=50, pad_token_id=0, **size)
    getattr(transformers, f"{kind}Model")(config).save_pretrained(tmp_path)
    section, task = ModelSection(path=str(tmp_path)), topics(backbone)
    whole, hollow = load.new(section, task, LABELS, 3), load.hollow(section, task, LABELS, 3)
    assert hollow.places
    assert all(map(torch.equal, hollow.filled().state_dict().values(), whole.state_dict().values()))
