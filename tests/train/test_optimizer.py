"""Which parameters each group of an optimizer holds, and what muon does with matrices."""

from __future__ import annotations

import pytest
import torch
from transformers import BertConfig, BertForTokenClassification, BertModel, LlamaConfig, LlamaForCausalLM

from gb_ray.model.trained import choose
from gb_ray.section import UserError
from gb_ray.train.optimizer import Muon, build, groups
from gb_ray.train.section import TrainSection

SIZE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 20}


@pytest.fixture
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    return BertForTokenClassification(BertConfig(**SIZE, num_labels=3))


def names_of(model: torch.nn.Module, parameters: list[torch.nn.Parameter]) -> set[str]:
    return {name for name, parameter in model.named_parameters() if any(parameter is one for one in parameters)}


def test_every_trained_parameter_is_in_one_group_with_its_rate_and_decay(model: torch.nn.Module) -> None:
    model.get_input_embeddings().weight.requires_grad_(False)
    found = groups(model, TrainSection(lr=1e-4, head_lr=1e-2, weight_decay=0.1))
    by_name = {name: group for group in found for name in names_of(model, group["params"])}
    assert len(by_name) == sum(len(group["params"]) for group in found)
    assert by_name.keys() == {name for name, p in model.named_parameters() if p.requires_grad}
    for name, group in by_name.items():
        assert group["lr"] == (1e-2 if name.startswith("classifier") else 1e-4)
        assert group["weight_decay"] == (0 if name.endswith("bias") or "LayerNorm" in name else 0.1)


def test_without_a_rate_of_its_own_the_head_has_that_of_the_backbone(model: torch.nn.Module) -> None:
    assert {group["lr"] for group in groups(model, TrainSection(lr=1e-4))} == {1e-4}


def test_muon_takes_the_hidden_matrices_and_adamw_all_else(model: torch.nn.Module) -> None:
    optimizer, peaks = build(model, TrainSection(optimizer="muon", lr=1e-4, head_lr=1e-2), 0)
    taken = {
        name for group in optimizer.param_groups if "ns_steps" in group for name in names_of(model, group["params"])
    }
    layers = {name for name, parameter in model.named_parameters() if ".layer." in name and parameter.ndim == 2}
    assert taken == layers and len(layers) == 12
    left = {name for group in optimizer.param_groups if "betas" in group for name in names_of(model, group["params"])}
    assert left == {name for name, _ in model.named_parameters()} - layers
    assert peaks == [group["lr"] for group in optimizer.param_groups]


def test_muon_leaves_the_output_matrix_of_a_generative_model_to_adamw() -> None:
    model = LlamaForCausalLM(LlamaConfig(**SIZE, num_key_value_heads=2, tie_word_embeddings=False))
    optimizer, _ = build(model, TrainSection(optimizer="muon"), 0)
    left = {name for group in optimizer.param_groups if "betas" in group for name in names_of(model, group["params"])}
    assert {"lm_head.weight", "model.embed_tokens.weight"} <= left


def test_muon_takes_the_hidden_matrices_of_a_model_without_a_head() -> None:
    """That of an embedding is its own backbone."""
    model = BertModel(BertConfig(**SIZE), add_pooling_layer=False)
    optimizer, _ = build(model, TrainSection(optimizer="muon"), 0)
    taken = {
        name for group in optimizer.param_groups if "ns_steps" in group for name in names_of(model, group["params"])
    }
    assert taken == {name for name, one in model.named_parameters() if "layer." in name and one.ndim == 2}


def test_muon_trains_matrices_alone_where_nothing_else_is_trained(model: torch.nn.Module) -> None:
    choose(model, ["*.query.weight"])
    optimizer, _ = build(model, TrainSection(optimizer="muon", lr=1e-2), 0)
    before = [one.detach().clone() for one in model.parameters() if one.requires_grad]
    for one in model.parameters():
        one.grad = torch.randn_like(one) if one.requires_grad else None
    optimizer.step()
    after = [one for one in model.parameters() if one.requires_grad]
    assert len(after) == 2 and not any(map(torch.equal, before, after))


def test_muon_is_refused_where_no_matrix_is_trained(model: torch.nn.Module) -> None:
    choose(model, "head")
    with pytest.raises(UserError, match=r"none of them is trained here; set train\.optimizer=adamw"):
        build(model, TrainSection(optimizer="muon"), 0)


def test_muon_steps_are_orthogonal_and_of_the_size_of_adamw_steps() -> None:
    torch.manual_seed(0)
    matrix, before = torch.nn.Parameter(torch.zeros(24, 40)), torch.zeros(24, 40)
    optimizer = Muon([{"params": [matrix], "lr": 1.0, "weight_decay": 0.0}], [{"params": [torch.zeros(1)]}])
    matrix.grad = torch.randn(24, 40) @ torch.diag(torch.logspace(-1, 1, 40))
    optimizer.step()
    step = before - matrix.detach()
    spread = torch.linalg.svdvals(step) / (0.2 * 40**0.5)
    assert float(spread.min()) > 0.5 and float(spread.max()) < 1.3
    assert float(step.square().mean().sqrt()) == pytest.approx(0.2, rel=0.25)


def test_muon_goes_on_from_its_state_as_if_it_had_not_stopped(model: torch.nn.Module) -> None:
    torch.manual_seed(1)
    gradients = [[torch.randn_like(p) for p in model.parameters()] for _ in range(4)]
    start = [parameter.detach().clone() for parameter in model.parameters()]

    def run(steps: list[list[torch.Tensor]], state: dict[str, object] | None) -> dict[str, object]:
        optimizer, _ = build(model, TrainSection(optimizer="muon", lr=1e-2), 0)
        if state:
            optimizer.load_state_dict(state)
        for each in steps:
            for parameter, gradient in zip(model.parameters(), each, strict=True):
                parameter.grad = gradient.clone()
            optimizer.step()
        return optimizer.state_dict()

    run(gradients, None)
    straight = [parameter.detach().clone() for parameter in model.parameters()]
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), start, strict=True):
            parameter.copy_(value)
    run(gradients[2:], run(gradients[:2], None))
    assert all(map(torch.equal, model.parameters(), straight))


@pytest.mark.parametrize("zero", [1, 2, 3])
def test_muon_is_refused_where_matrices_are_split(model: torch.nn.Module, zero: int) -> None:
    with pytest.raises(UserError, match=r"muon makes whole matrices orthogonal.*set train\.zero=0"):
        build(model, TrainSection(optimizer="muon"), zero)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there are GPUs")
def test_8_bit_state_is_refused_without_gpus(model: torch.nn.Module) -> None:
    with pytest.raises(UserError, match="adamw-8bit needs GPUs"):
        build(model, TrainSection(optimizer="adamw-8bit"), 1)
