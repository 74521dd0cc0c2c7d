"""Adapters start as nothing, change what the model computes, and merge into a model that computes the same."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, LlamaConfig, LlamaForCausalLM

from gb_ray.model import adapter, load
from gb_ray.model.packing import pack
from gb_ray.model.section import AdapterSection, ModelSection
from gb_ray.section import UserError
from gb_ray.tasks.section import SequenceClassificationSection
from gb_ray.tasks.task import Task, make

LABELS = ["a", "b", "c"]
IDS = torch.arange(4, 24)[None]
KINDS: list[dict[str, Any]] = [
    {"type": "lora", "rank": 4},
    {"type": "lora", "rank": 2, "alpha": 7, "targets": ["query", "*.intermediate.dense"]},
    {"type": "dora", "rank": 4},
    {"type": "adalora", "rank": 4},
    {"type": "ia3"},
]


def task_of(backbone: Path) -> Task:
    return make(SequenceClassificationSection(type="sequence-classification"), str(backbone), 32)


def section_of(backbone: Path, kind: dict[str, Any] | None) -> ModelSection:
    return ModelSection(path=str(backbone), adapter=None if kind is None else AdapterSection(**kind), dropout=0.0)


def new(backbone: Path, kind: dict[str, Any] | None, seed: int = 0) -> Any:
    return load.new(section_of(backbone, kind), task_of(backbone), LABELS, seed).eval()


def moved(model: Any) -> Any:
    """As if it had been trained."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) / 10)
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_begins_without_effect_and_trains_with_the_head_alone(backbone: Path, kind: dict[str, Any]) -> None:
    plain, adapted = new(backbone, None), new(backbone, kind)
    assert torch.allclose(plain(IDS).logits, adapted(IDS).logits, atol=1e-6)
    trained = {name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    drawn = {"classifier.weight", "classifier.bias"}
    mark = "ia3_" if kind["type"] == "ia3" else "lora_"
    assert drawn < trained and all(mark in name for name in trained - drawn)
    assert not torch.allclose(plain(IDS).logits, moved(adapted)(IDS).logits, atol=1e-3)


def of_adapter(model: Any) -> dict[str, torch.Tensor]:
    """What is new in a model by name, but for its head."""
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    return {name: parameter for name, parameter in trained.items() if not name.startswith("classifier.")}


@pytest.mark.parametrize(
    ("type", "parts"),
    [
        ("lora", {"lora_A", "lora_B"}),
        ("dora", {"lora_A", "lora_B", "lora_magnitude_vector"}),
        ("adalora", {"lora_A", "lora_B", "lora_E"}),
        ("ia3", {"ia3_l"}),
        ("prefix", {"prefix_key", "prefix_value"}),
    ],
)
def test_each_type_trains_what_its_paper_says(backbone: Path, type: str, parts: set[str]) -> None:
    kind = {"type": type, "export": "adapter" if type == "prefix" else "merged"}
    found = of_adapter(new(backbone, kind))
    assert {
        part for name in found for part in name.split(".") if part.startswith(("lora_", "ia3_", "prefix_"))
    } == parts
    model = new(backbone, kind)
    # Of LoRA one factor begins at zero: no gradient reaches the other until it has moved.
    moved(model)(IDS).logits.square().sum().backward()
    still = [
        name for name, parameter in of_adapter(model).items() if parameter.grad is None or not parameter.grad.any()
    ]
    assert not still


def test_the_rank_is_that_of_the_product(backbone: Path) -> None:
    for rank in (2, 5):
        found = of_adapter(new(backbone, {"rank": rank}))
        assert {tensor.shape[0] for name, tensor in found.items() if "lora_A" in name} == {rank}
        assert {tensor.shape[1] for name, tensor in found.items() if "lora_B" in name} == {rank}


def test_alpha_scales_what_a_lora_adds(backbone: Path) -> None:
    target = {"rank": 4, "targets": ["0.attention.self.query"]}

    def added(**more: Any) -> torch.Tensor:
        query = moved(new(backbone, target | more)).base_model.encoder.layer[0].attention.self.query
        rows = torch.ones(1, 32)
        return query(rows) - query.get_base_layer()(rows)

    assert torch.allclose(added(alpha=12), 3 * added(alpha=4), atol=1e-5) and added(alpha=4).abs().max() > 1e-3
    assert torch.equal(added(), added(alpha=8))  # absent: twice the rank


@pytest.mark.parametrize("type", ["lora", "dora", "adalora"])
def test_dropout_is_drawn_in_training_alone(backbone: Path, type: str) -> None:
    """The backbone itself has none here."""
    for dropout in (0.0, 0.5):
        model = moved(new(backbone, {"type": type, "dropout": dropout}))
        assert torch.equal(model(IDS).logits, model(IDS).logits)
        model.train()
        assert torch.equal(model(IDS).logits, model(IDS).logits) == (dropout == 0)


def test_what_is_no_target_stays_as_it_was(backbone: Path) -> None:
    plain, adapted = new(backbone, None), new(backbone, {"targets": ["value", "1.*.query"]})
    layers = {name.split(".lora_")[0] for name in of_adapter(adapted)}
    assert layers == {
        *(f"bert.encoder.layer.{layer}.attention.self.value" for layer in (0, 1)),
        "bert.encoder.layer.1.attention.self.query",
    }
    kept = dict(adapted.named_parameters())
    for name, parameter in plain.named_parameters():
        if name.rpartition(".")[0] not in layers:
            assert torch.equal(parameter, kept[name]), name


def test_a_prefix_is_as_long_as_its_tokens(backbone: Path) -> None:
    for tokens in (3, 7):
        found = of_adapter(new(backbone, {"type": "prefix", "tokens": tokens, "export": "adapter"}))
        assert len(found) == 4 and {tensor.shape for tensor in found.values()} == {(2, tokens, 16)}


@pytest.mark.parametrize("kind", KINDS)
def test_read_later_or_at_once_the_model_is_the_same(backbone: Path, kind: dict[str, Any]) -> None:
    at_once = new(backbone, kind).state_dict()
    hollow = load.hollow(section_of(backbone, kind), task_of(backbone), LABELS, 0)
    assert hollow.places
    later = hollow.filled().state_dict()
    assert at_once.keys() == later.keys()
    for name, tensor in at_once.items():
        assert torch.equal(tensor, later[name]), name


@pytest.mark.parametrize("kind", KINDS)
def test_merged_it_is_a_model_like_any_other(backbone: Path, kind: dict[str, Any]) -> None:
    plain, adapted = new(backbone, None, seed=1), moved(new(backbone, kind))
    expected = adapted(IDS).logits
    hollow = load.hollow(section_of(backbone, kind), task_of(backbone), LABELS, 0)
    weights = dict(adapter.merged(((n, p.detach()) for n, p in adapted.named_parameters()), hollow.model))
    assert weights.keys() == {name for name, _ in plain.named_parameters()}
    assert torch.equal(adapted(IDS).logits, expected)
    plain.load_state_dict(weights, strict=False)
    assert torch.allclose(plain(IDS).logits, expected, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_trained_and_the_base_make_the_model(backbone: Path, kind: dict[str, Any]) -> None:
    adapted = moved(new(backbone, kind))
    weights = {n: p.detach().clone() for n, p in adapter.trained(adapted.named_parameters(), adapted)}
    base = new(backbone, None, seed=1)
    adapter.put(base, AdapterSection(**kind), weights)
    assert torch.allclose(base(IDS).logits, adapted(IDS).logits, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_packed_it_answers_as_padded(backbone: Path, kind: dict[str, Any]) -> None:
    from gb_ray.model.attention import Segments

    model = moved(new(backbone, kind))
    lengths = [5, 7, 8]
    rows = IDS[0].split(lengths)
    alone = torch.cat([model(row[None]).logits for row in rows])
    pack(model)
    places = torch.cat([torch.arange(length) for length in lengths])[None]
    together = model(input_ids=IDS, position_ids=places, segments=Segments.of(lengths)).logits
    assert torch.allclose(together, alone, atol=1e-5)


def test_the_seed_decides_the_adapter(backbone: Path) -> None:
    one, same, other = (new(backbone, KINDS[0], seed).state_dict() for seed in (0, 0, 1))
    drawn = [name for name in one if "lora_A" in name]
    assert drawn and all(torch.equal(one[name], same[name]) for name in drawn)
    assert not any(torch.equal(one[name], other[name]) for name in drawn)


def test_a_generative_model_trains_its_adapter_alone() -> None:
    """Its output matrix is pretrained, also where it is none of the embeddings."""
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(**size, vocab_size=20, tie_word_embeddings=False))
    load.limit(model, ModelSection(path="x", adapter=AdapterSection()), set())
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained and all("lora_" in name for name in trained)


def test_a_head_that_was_trained_before_is_trained_on(backbone: Path, tmp_path: Path) -> None:
    """As `--from` opens it: nothing of it is drawn."""
    AutoModelForSequenceClassification.from_pretrained(backbone, num_labels=3).save_pretrained(tmp_path)
    shutil.copyfile(backbone / "tokenizer.json", tmp_path / "tokenizer.json")
    adapted = new(tmp_path, KINDS[0])
    trained = {name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    assert {name for name in trained if "lora_" not in name} == {"classifier.weight", "classifier.bias"}


def test_targets_that_are_not_there_are_refused_with_those_that_are(backbone: Path) -> None:
    with pytest.raises(UserError, match=r"'q_proj' matches no linear map; there are dense, key, query, value"):
        new(backbone, {"targets": ["q_proj"]})


def test_keys_that_an_adapter_does_not_have_are_refused() -> None:
    with pytest.raises(ValueError, match="ia3 has no rank"):
        AdapterSection(type="ia3", rank=4)
    with pytest.raises(ValueError, match="leave one of the two out"):
        ModelSection(path="x", trained="head", adapter=AdapterSection())


def test_a_section_that_was_dumped_is_read_again() -> None:
    section = AdapterSection(type="ia3")
    assert AdapterSection.model_validate(section.model_dump()) == section
