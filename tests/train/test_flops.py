"""Model FLOPs are counted as the papers count them, and the catalogue's devices know themselves by name."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    BertConfig,
    BertForTokenClassification,
    DistilBertConfig,
    DistilBertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from gb_ray.train.planning import machines
from gb_ray.train.planning.flops import flops_per_token, hardware_flops, peak

SMALL = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 96}
MODELS = {
    "bert": lambda: BertForTokenClassification(BertConfig(vocab_size=500, **SMALL)),
    "distilbert": lambda: DistilBertForMaskedLM(
        DistilBertConfig(vocab_size=500, dim=64, n_layers=3, n_heads=4, hidden_dim=96)
    ),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=500, n_embd=64, n_layer=3, n_head=4)),
    "qwen2": lambda: Qwen2ForCausalLM(
        Qwen2Config(vocab_size=500, num_key_value_heads=2, tie_word_embeddings=True, **SMALL)
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_model_flops_are_those_that_a_training_step_counts(name: str) -> None:
    model, samples, length = MODELS[name](), 2, 48
    model.set_attn_implementation("eager")
    ids = torch.zeros(samples, length, dtype=torch.int64)
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids).logits.sum().backward()
    counted = counter.get_total_flops() / (samples * length)
    found = flops_per_token(model, length)
    # Torch counts no biases, norms or rotations, and the gradient of the first layer's input is no weight's.
    assert found.with_attention == pytest.approx(counted, rel=0.03)
    assert found.without_attention < 0.95 * found.with_attention


def test_a_model_without_weights_counts_the_same() -> None:
    with torch.device("meta"):
        empty = MODELS["bert"]()
    assert flops_per_token(empty, 100) == flops_per_token(MODELS["bert"](), 100)


def test_recomputation_does_the_forward_pass_twice() -> None:
    assert hardware_flops(6.0, recompute=True) == pytest.approx(8.0)
    assert hardware_flops(6.0, recompute=False) == 6.0
    assert hardware_flops(6.0, recompute=True, compared=True) == pytest.approx(10.0)


def test_a_cpu_is_measured() -> None:
    assert 1e9 < peak(torch.device("cpu"), "fp32") < 1e14


@pytest.mark.parametrize(
    ("device", "entry"),
    [
        ("NVIDIA H100 80GB HBM3", "H100-80GB"),
        ("NVIDIA A100-SXM4-80GB", "A100-80GB"),
        ("NVIDIA A100-PCIE-40GB", "A100-40GB"),
        ("NVIDIA L4", "L4-24GB"),
        ("NVIDIA L40S", "L40S-48GB"),
        ("Tesla T4", "T4-16GB"),
        ("AMD Instinct MI300X", "MI300X-192GB"),
    ],
)
def test_devices_are_known_by_the_names_they_give_themselves(device: str, entry: str) -> None:
    assert machines.by_device_name(device) is machines.CATALOGUE[entry]


def test_a_device_that_is_not_in_the_catalogue_is_not_taken_for_another() -> None:
    assert machines.by_device_name("NVIDIA H100 PCIe") is None
    assert machines.by_device_name("NVIDIA L40") is None
