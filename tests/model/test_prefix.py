"""A prefix is read by every token of every text, packed or padded, written on or not; and it is all that is trained."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from test_packing import CASES, SIZE, TOLERANCE, packed_logits, padded_logits
from transformers import AutoConfig

from gb_ray.model import adapter, load, packing
from gb_ray.model.section import AdapterSection, ModelSection
from gb_ray.section import UserError
from gb_ray.tasks.section import SequenceClassificationSection
from gb_ray.tasks.task import make

LENGTHS = [9, 9, 4, 1]
TOKENS = torch.arange(2, 2 + sum(LENGTHS))
SECTION = AdapterSection(type="prefix", tokens=3, export="adapter")


def model_of(case: str, attention: str = "sdpa") -> Any:
    kind, head, changes = CASES[case]
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **(SIZE | changes))
    model = getattr(transformers, f"AutoModelFor{head}").from_config(config, attn_implementation=attention).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def prefixed(model: Any) -> Any:
    """With a prefix that tells, as if it had been trained."""
    adapter.attach(model, SECTION, set())
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("case", CASES)
def test_packed_and_padded_it_is_read_by_every_text(case: str, attention: str) -> None:
    plain = padded_logits(model_of(case, attention), LENGTHS, TOKENS)
    padded = prefixed(model_of(case, attention))
    expected = padded_logits(padded, LENGTHS, TOKENS)
    assert ((plain - expected).abs().amax(dim=1) > 1e-3).all()
    packed = copy.deepcopy(padded)
    packing.pack(packed)
    assert torch.allclose(packed_logits(packed, LENGTHS, TOKENS), expected, atol=TOLERANCE)


@pytest.mark.parametrize("case", ["Llama", "Qwen2", "Qwen3"])
def test_what_is_written_after_it_is_what_it_says_token_by_token(case: str) -> None:
    model = prefixed(model_of(case))
    ids = torch.tensor([[1, 1, 1, 5, 6], [7, 8, 9, 10, 11]])
    mask = (ids != 1).long()
    options = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 1, "eos_token_id": None}
    found = model.generate(input_ids=ids, attention_mask=mask, **options)
    for row, start in zip(found, (3, 0), strict=True):
        for end in range(5, len(row)):
            with torch.no_grad():
                logits = model(input_ids=row[None, start:end]).logits
            assert int(logits[0, -1].argmax()) == int(row[end])


def test_it_is_trained_with_the_head_alone_and_loaded_on_its_base(backbone: Path) -> None:
    task = make(SequenceClassificationSection(type="sequence-classification"), str(backbone), 32)
    section = ModelSection(path=str(backbone), adapter=SECTION, dropout=0.0)
    hollow = load.hollow(section, task, ["a", "b"], 0)
    assert hollow.places
    model = hollow.filled().eval()
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {name.rsplit(".", 1)[1] for name in trained} == {"prefix_key", "prefix_value", "weight", "bias"}
    assert sum("prefix_" in name for name in trained) == 2 * model.config.num_hidden_layers
    model(torch.arange(4, 24)[None]).logits.sum().backward()
    assert all(model.get_parameter(name).grad.abs().max() > 0 for name in trained if "prefix_" in name)

    weights = {n: p.detach().clone() for n, p in adapter.trained(model.named_parameters(), model)}
    base = load.new(section.model_copy(update={"adapter": None}), task, ["a", "b"], 1).eval()
    adapter.put(base, SECTION, weights)
    ids = torch.arange(4, 24)[None]
    assert torch.allclose(base(ids).logits, model(ids).logits, atol=1e-5)


def test_a_prefix_is_never_merged_and_an_unknown_architecture_refused(generative: Path) -> None:
    with pytest.raises(ValueError, match="write export: adapter"):
        AdapterSection(type="prefix")
    with pytest.raises(ValueError, match="lora has no tokens"):
        AdapterSection(tokens=4)
    gpt2 = transformers.AutoModelForCausalLM.from_pretrained(generative)
    with pytest.raises(UserError, match="prefix is not known for gpt2"):
        adapter.attach(gpt2, SECTION, set())
