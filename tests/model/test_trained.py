"""Which parameters are trained, and how deep they lie."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForTokenClassification, DistilBertConfig, LlamaConfig, LlamaForCausalLM
from transformers import DistilBertForSequenceClassification as DistilBert

from gb_ray.model.trained import Choice, choose, depths
from gb_ray.section import UserError
from gb_ray.train.optimizer import groups
from gb_ray.train.section import TrainSection

SIZE = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 20}
TAILS = {1: "layer.2.", 2: "layer.1.", 3: "layer.0.", 4: "embeddings."}


@pytest.fixture
def bert() -> torch.nn.Module:
    torch.manual_seed(0)
    return BertForTokenClassification(BertConfig(**SIZE, num_labels=3))


def trained(model: torch.nn.Module, choice: Choice) -> set[str]:
    choose(model, choice)
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_the_last_layers_and_the_head_are_trained(bert: torch.nn.Module) -> None:
    names = {name for name, _ in bert.named_parameters()}
    above = {name for name in names if "layer.2." in name or "layer.1." in name}
    assert trained(bert, 2) == above | {"classifier.weight", "classifier.bias"}
    assert trained(bert, "head") == {"classifier.weight", "classifier.bias"}


def test_patterns_name_what_is_trained(bert: torch.nn.Module) -> None:
    found = trained(bert, ["*.query.*", "classifier.bias"])
    assert found == {name for name, _ in bert.named_parameters() if ".query." in name} | {"classifier.bias"}


def test_a_pattern_that_matches_nothing_is_refused_with_near_names(bert: torch.nn.Module) -> None:
    with pytest.raises(UserError, match=r"'clasifier\.bias' matches no parameter.*classifier\.bias"):
        choose(bert, ["clasifier.bias"])


def test_more_layers_than_there_are_are_refused(bert: torch.nn.Module) -> None:
    with pytest.raises(UserError, match="4 layers of 3"):
        choose(bert, 4)


def test_an_output_layer_that_shares_the_embeddings_is_a_head_that_is_trained() -> None:
    model = LlamaForCausalLM(LlamaConfig(**SIZE, num_key_value_heads=2, tie_word_embeddings=True))
    assert trained(model, "head") == {"model.norm.weight", "model.embed_tokens.weight"}
    assert depths(model)["model.embed_tokens.weight"] == 4


def test_depth_counts_from_the_head_to_the_embeddings(bert: torch.nn.Module) -> None:
    distil = DistilBert(DistilBertConfig(dim=16, n_layers=3, n_heads=2, hidden_dim=32, vocab_size=20))
    for model in (bert, distil):
        for name, depth in depths(model).items():
            assert depth == next((d for d, part in TAILS.items() if part in name), 0), name


def test_each_layer_has_its_share_of_the_rate(bert: torch.nn.Module) -> None:
    named = {id(parameter): name for name, parameter in bert.named_parameters()}
    section = TrainSection(lr=1e-3, head_lr=1e-2, layer_decay=0.5)
    rates: dict[str, Any] = {named[id(p)]: group["lr"] for group in groups(bert, section) for p in group["params"]}
    assert rates.keys() == set(named.values())
    for name, depth in depths(bert).items():
        assert rates[name] == pytest.approx((1e-2 if depth == 0 else 1e-3) * 0.5**depth), name
