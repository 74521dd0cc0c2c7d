"""The plan counts what is there, fits where it says, and says what would fit where it does not."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import ROOT
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    AutoModel,
    BertConfig,
    DistilBertConfig,
    ElectraConfig,
    GPT2Config,
    ModernBertConfig,
    Qwen2Config,
)

from gb_ray.corpus.corpus import Corpus
from gb_ray.corpus.manifest import SplitEntry
from gb_ray.model import load
from gb_ray.recipe import Recipe
from gb_ray.section import UserError
from gb_ray.tasks.section import SequenceClassificationSection, TokenClassificationSection
from gb_ray.tasks.task import make
from gb_ray.train.planning import lengths
from gb_ray.train.planning.memory import Setting, memory
from gb_ray.train.planning.needs import Needs
from gb_ray.train.planning.place import Place, elsewhere
from gb_ray.train.planning.plan import choose_zero, plan
from gb_ray.train.planning.rehearsal import Rehearsal, Size

sys.path.append(str(ROOT / "tests" / "corpus"))
from synthetic import make_corpus

SMALL = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 96}
CONFIGS = {
    "bert": lambda: BertConfig(vocab_size=500, **SMALL),
    "distilbert": lambda: DistilBertConfig(vocab_size=500, dim=64, n_layers=3, n_heads=4, hidden_dim=96),
    "electra": lambda: ElectraConfig(vocab_size=500, embedding_size=32, **SMALL),
    "gpt2": lambda: GPT2Config(vocab_size=500, n_embd=64, n_layer=3, n_head=4, pad_token_id=0),
    "modernbert": lambda: ModernBertConfig(vocab_size=500, pad_token_id=0, **SMALL),
    "qwen2": lambda: Qwen2Config(vocab_size=500, num_key_value_heads=2, pad_token_id=0, **SMALL),
}
TOPICS = SequenceClassificationSection(type="sequence-classification")
SIZE = Size(parameters=100_000_000, trained=80_000_000, multiplying=70_000_000, largest=9_000_000)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Corpus]:
    return {"topic": make_corpus(tmp_path_factory.mktemp("plan") / "corpus", {"train": [(1.0, 300)]}, lanes=4)}


@pytest.fixture
def recipe(content: dict[str, Any]) -> Recipe:
    return Recipe.model_validate(content)


def changed(recipe: Recipe, **train: Any) -> Recipe:
    return Recipe.model_validate(recipe.model_dump() | {"train": recipe.train.model_dump() | train})


def cpus(megabytes: float, workers: int = 2) -> Place:
    return Place("test", workers, int(megabytes * 1e6), False, False, {"fp32": 1e9})


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("frozen", [False, True])
def test_parameters_are_those_of_the_model_that_is_trained(name: str, frozen: bool, tmp_path: Path) -> None:
    recipe_model = {"path": str(tmp_path), "max_tokens": 64, "freeze_embeddings": frozen}
    AutoModel.from_config(CONFIGS[name]()).save_pretrained(tmp_path)
    section = Recipe.model_fields["model"].annotation.model_validate(recipe_model)
    task = make(TOPICS, str(tmp_path), 64)
    real = load.new(section, task, ["a", "b"], seed=0)
    found = Rehearsal(section, tmp_path, [task], [["a", "b"]], "fp32").size
    assert found.parameters == sum(p.numel() for p in real.parameters())
    assert found.trained == sum(p.numel() for p in real.parameters() if p.requires_grad)
    assert (found.trained < found.parameters) == frozen


def test_heads_of_several_tasks_stand_on_one_backbone(backbone: Path) -> None:
    section = Recipe.model_fields["model"].annotation.model_validate({"path": str(backbone), "max_tokens": 32})
    tags = TokenClassificationSection(type="token-classification")
    tasks, labels = [make(one, str(backbone), 32) for one in (TOPICS, tags)], [["a", "b"], ["O", "B-A", "I-A"]]
    found = Rehearsal(section, backbone, tasks, labels, "fp32")
    alone = Rehearsal(section, backbone, tasks[:1], labels[:1], "fp32")
    assert found.size.parameters == alone.size.parameters + 3 * (32 + 1)
    assert found.activations([20] * 8, recomputed=False) > 0


def live_bytes(path: str) -> int:
    """The most bytes that torch's allocator had in use in a forward and backward pass without a mask."""
    from torch.profiler import ProfilerActivity, profile

    section = Recipe.model_fields["model"].annotation.model_validate({"path": path, "attention": "eager"})
    model = load.new(section, make(TOPICS, path, 64), ["a", "b"], seed=0).train()
    ids = torch.zeros(6, 60, dtype=torch.int64)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as done:
        for parameter in model.parameters():
            parameter.register_post_accumulate_grad_hook(lambda p: setattr(p, "grad", None))
        torch.nn.functional.cross_entropy(model(input_ids=ids).logits, torch.zeros(6, dtype=torch.int64)).backward()
    events = [(event.start_ns(), event.nbytes()) for event in done.profiler.kineto_results.events()]
    live = most = 0
    for _, size in sorted(event for event in events if event[1]):
        live += size
        most = max(most, live)
    return most


@pytest.mark.parametrize("name", ["gpt2", "electra"])
def test_activations_without_data_are_those_that_the_allocator_counts(name: str, tmp_path: Path) -> None:
    AutoModel.from_config(CONFIGS[name]()).save_pretrained(tmp_path)
    counted = live_bytes(str(tmp_path))
    section = Recipe.model_fields["model"].annotation.model_validate({"path": str(tmp_path), "attention": "eager"})
    found = Rehearsal(section, tmp_path, [make(TOPICS, str(tmp_path), 64)], [["a", "b"]], "fp32")
    assert found.activations([60] * 6, recomputed=False) == pytest.approx(counted, rel=0.08)


def test_recomputation_holds_less_and_longer_samples_more(
    recipe: Recipe, corpora: dict[str, Corpus], backbone: Path
) -> None:
    found = Rehearsal(recipe.model, backbone, [make(recipe.tasks["topic"], str(backbone), 32)], [["a", "b"]], "bf16")
    assert found.activations([32] * 16, recomputed=True) < 0.7 * found.activations([32] * 16, recomputed=False)
    assert found.activations([32] * 16, recomputed=False) < 0.7 * found.activations([64] * 16, recomputed=False)


@given(st.sampled_from(["bf16", "fp32"]), st.sampled_from(["adamw", "adamw-8bit"]), st.booleans(), st.integers(2, 64))
def test_a_higher_stage_never_holds_more_when_weights_are_what_matters(
    precision: str, optimizer: str, gpu: bool, workers: int
) -> None:
    settings = [Setting(zero, precision, optimizer, workers, gpu, saves=False) for zero in (1, 2, 3)]
    one, two, three = (memory(SIZE, setting, 0) for setting in settings)
    assert two.total <= one.total
    assert three.weights * workers == pytest.approx(two.weights, rel=1e-6)
    assert two.optimizer == one.optimizer == three.optimizer


@given(st.sampled_from([1, 2, 3]), st.integers(1, 64))
def test_what_a_gpu_offloads_its_host_gets(zero: int, workers: int) -> None:
    kept, moved, away = (
        memory(SIZE, Setting(zero, "bf16", "adamw", workers, True, where, saves=False), 10**9)
        for where in ("none", "cpu", "nvme")
    )
    assert moved.total == kept.total - kept.optimizer == away.total
    assert moved.host >= kept.host + kept.optimizer
    assert away.host == kept.host


def split(counts: list[int], longest: int) -> SplitEntry:
    total = sum(counts)
    return SplitEntry(samples=total, tokens=1, longest=longest, labels={}, languages={}, lengths=counts, strata=[])


@given(st.lists(st.integers(0, 40), min_size=1, max_size=9), st.integers(1, 50), st.integers(1, 2000))
def test_the_fullest_micro_batch_is_within_its_bounds(counts: list[int], samples: int, micro_tokens: int) -> None:
    longest = 2 ** len(counts) - 1
    found = lengths.fullest(split(counts, longest), samples, micro_tokens)
    assert len(found) == 0 or found == sorted(found)
    assert len(found) <= min(samples, sum(counts))
    assert sum(found) <= micro_tokens or len(found) == 1
    if sum(found) < micro_tokens:
        assert len(found) == min(samples, sum(counts))


def test_auto_takes_the_lowest_stage_that_fits(recipe: Recipe, corpora: dict[str, Corpus], backbone: Path) -> None:
    roomy = plan(recipe, corpora, backbone, place=cpus(4000))
    assert (roomy.zero, roomy.fits, roomy.remedies) == (0, True, [])
    assert "lowest stage that fits" in "\n".join(roomy.lines())
    assert choose_zero(changed(recipe, zero=3), corpora, backbone, gpus=False) == 3


def test_a_run_that_does_not_fit_says_what_would(recipe: Recipe, corpora: dict[str, Corpus], backbone: Path) -> None:
    asked = changed(recipe, zero=0, precision="fp32", micro_tokens=10**6, batch=300)
    free = plan(asked, corpora, backbone, place=cpus(10**6))
    found = plan(asked, corpora, backbone, place=cpus(free.total / 1e6 - 1))
    assert found.fits is False
    assert 0 < found.largest_micro_tokens < found.micro_tokens
    less = changed(asked, micro_tokens=found.largest_micro_tokens)
    assert plan(less, corpora, backbone, place=cpus(free.total / 1e6 - 1)).fits
    said = "\n".join(found.lines())
    assert "zero 0 + recompute would fit here" in said or "zero 1 would fit here" in said
    assert "T4-16GB" in said


def test_passes_that_robustness_takes_are_in_the_time(
    recipe: Recipe, corpora: dict[str, Corpus], backbone: Path
) -> None:
    seconds = {
        name: plan(changed(recipe, **train), corpora, backbone, place=cpus(8000)).seconds or 0.0
        for name, train in {
            "plain": {},
            "fgm": {"adversary": {"method": "fgm"}},
            "pgd": {"adversary": {"method": "pgd", "steps": 4}},
            "both": {"adversary": {"method": "fgm"}, "r_drop": 1.0},
        }.items()
    }
    times = {name: seconds[name] / seconds["plain"] for name in seconds}
    assert times == pytest.approx({"plain": 1, "fgm": 2, "pgd": 4, "both": 4})


def test_a_price_becomes_a_cost(recipe: Recipe, corpora: dict[str, Corpus], backbone: Path) -> None:
    found = plan(recipe, corpora, backbone, place=elsewhere("4xH100-80GB"), price=2.5)
    assert found.workers == 4
    assert found.cost == pytest.approx(found.seconds / 3600 * 4 * 2.5)
    assert plan(recipe, corpora, backbone, place=elsewhere("4xH100-80GB")).cost is None


@pytest.mark.parametrize("wanted", ["8xP100-16GB", "0xH100-80GB", "H100", "x", "8x"])
def test_a_machine_that_is_not_known_is_refused_with_those_that_are(wanted: str) -> None:
    with pytest.raises(UserError, match=r"such as 8xH100-80GB; known are .*A100-80GB"):
        elsewhere(wanted)


def test_muon_leaves_no_choice_of_stage(recipe: Recipe, corpora: dict[str, Corpus], backbone: Path) -> None:
    assert plan(changed(recipe, optimizer="muon"), corpora, backbone, place=cpus(10)).zero == 0


@pytest.mark.parametrize(
    "kind",
    [
        {},
        {"type": "dora"},
        {"type": "ia3"},
        {"type": "adalora"},
        {"type": "prefix", "export": "adapter"},
        {"base": "nf4"},
    ],
)
def test_adapters_of_every_kind_are_planned(
    kind: dict[str, Any], recipe: Recipe, corpora: dict[str, Corpus], backbone: Path
) -> None:
    model = recipe.model.model_dump() | {"adapter": kind}
    adapted = Needs.of(Recipe.model_validate(recipe.model_dump() | {"model": model}), corpora, backbone, cpus(8000))
    plain = Needs.of(recipe, corpora, backbone, cpus(8000))
    assert 0 < adapted.size.trained < plain.size.trained
    assert adapted.stages == ([0] if "base" in kind or kind.get("type") == "adalora" else [0, 1, 2, 3])
    assert (adapted.but(zero=0).memory().weights < plain.but(zero=0).memory().weights) == ("base" in kind)


def test_an_average_is_kept_at_stage_0_beside_the_weights_and_in_their_copy(
    recipe: Recipe, corpora: dict[str, Corpus], backbone: Path
) -> None:
    plain, averaged = (
        plan(changed(recipe, zero=zero, ema=ema), corpora, backbone, place=cpus(10))
        for zero, ema in ((0, None), ("auto", 0.999))
    )
    assert averaged.zero == 0
    assert averaged.memory.optimizer == plain.memory.optimizer + 4 * averaged.trained


def test_the_account_is_json(recipe: Recipe, corpora: dict[str, Corpus], backbone: Path) -> None:
    found = plan(recipe, corpora, backbone, place=cpus(4000))
    account = json.loads(found.model_dump_json())
    assert account["memory"]["weights"] == found.memory.weights
    assert account["total"] == sum(value for part, value in account["memory"].items() if part != "host")
