"""A vector a text: the mean over its tokens, of length 1, whoever opens the exported directory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer, BertConfig, BertForMaskedLM, LlamaConfig, LlamaModel

from gb_ray.corpus.reading.reader import Sample
from gb_ray.model import load, package, packing
from gb_ray.model.predictor import Predictor
from gb_ray.model.section import ModelSection
from gb_ray.section import UserError
from gb_ray.tasks.section import EmbeddingSection
from gb_ray.tasks.task import Task, make
from gb_ray.tasks.tokenizer import tokenizer
from gb_ray.train import optimizer
from gb_ray.train.batch import Layout
from gb_ray.train.evaluate import groups, score
from gb_ray.train.section import TrainSection

TEXTS = ["grid", "solar wind in a river", "clinic, vaccine and nurse; " * 9]


def task_of(backbone: Path) -> Task:
    return make(EmbeddingSection(type="embedding"), str(backbone), 32)


@torch.inference_mode()
def plain(path: Path, text: str) -> torch.Tensor:
    """As transformers alone computes it."""
    inputs = AutoTokenizer.from_pretrained(path)(text, return_tensors="pt", truncation=True, max_length=32)
    mean = AutoModel.from_pretrained(path).eval()(**inputs).last_hidden_state[0].mean(dim=0)
    return mean / mean.norm()


def test_an_answer_is_the_mean_over_tokens_of_length_one(exported: dict[str, Path]) -> None:
    predictor = Predictor(exported["vectors"])
    for text, answer in zip(TEXTS, predictor.predict(predictor.encode(TEXTS)), strict=True):
        found = torch.tensor(answer["embedding"])
        torch.testing.assert_close(found, plain(exported["vectors"], text), atol=1e-6, rtol=0)
        assert found.norm() == pytest.approx(1)


def test_the_directory_says_how_vectors_are_made_and_verifies_it(exported: dict[str, Path], tmp_path: Path) -> None:
    path = exported["vectors"]
    assert "1_Pooling/config.json" in package.verify(path)["files"]
    kinds = [module["type"].rsplit(".", 1)[1] for module in json.loads((path / "modules.json").read_text())]
    assert kinds == ["Transformer", "Pooling", "Normalize"]
    pooling = json.loads((path / "1_Pooling" / "config.json").read_text())
    assert pooling == {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True}
    kept = (path / "1_Pooling" / "config.json").read_bytes()
    (path / "1_Pooling" / "config.json").write_text("{}")
    try:
        with pytest.raises(UserError, match=r"1_Pooling/config.json: altered"):
            package.verify(path)
    finally:
        (path / "1_Pooling" / "config.json").write_bytes(kept)


def test_sentence_transformers_gives_the_same_vectors(exported: dict[str, Path]) -> None:
    library = pytest.importorskip("sentence_transformers")
    predictor = Predictor(exported["vectors"])
    answers = predictor.predict(predictor.encode(TEXTS))
    found = library.SentenceTransformer(str(exported["vectors"]), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(found, [answer["embedding"] for answer in answers], atol=1e-6)


def test_a_pair_is_scored_alike_packed_and_padded(backbone: Path) -> None:
    task, random = task_of(backbone), np.random.default_rng(0)
    samples = []
    for i in range(90):
        query, document = (int(n) for n in random.integers(3, 33, 2))
        ids = random.integers(4, 60, query + document).astype(np.int32)
        samples.append(Sample(f"{i:04d}", ids, np.array([query, i, 2**62 + i])))
    found = []
    for packed in (False, True):
        model: Any = load.new(ModelSection(path=str(backbone)), task, [], 0).eval()
        if packed:
            packing.pack(model)
        laid = Layout.of(model, (task,))
        found.append(score(model, laid, groups(laid, samples))[0])
    assert [entry[0] for entry in found[0]] == [entry[0] for entry in found[1]] == [sample.id for sample in samples]
    for (_, padded, label), (_, made, _), sample in zip(*found, samples, strict=True):
        np.testing.assert_allclose(made, padded, atol=1e-6)
        assert label.tolist() == sample.label.tolist()[1:]
        assert padded.shape == (2, 32)


def test_all_of_the_model_is_backbone_and_its_pooler_is_gone(backbone: Path) -> None:
    model: Any = load.new(ModelSection(path=str(backbone)), task_of(backbone), [], 0)
    assert not [name for name, _ in model.named_parameters() if "pooler" in name]
    rates = {group["lr"] for group in optimizer.groups(model, TrainSection(lr=1e-4, head_lr=1.0))}
    assert rates == {1e-4}


def test_a_backbone_without_a_pooler_and_one_that_reads_ahead_will_do(backbone: Path, tmp_path: Path) -> None:
    size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    vocabulary = len(tokenizer(str(backbone)))
    made = {
        "masked": BertForMaskedLM(BertConfig(vocab_size=vocabulary, **size)),
        "causal": LlamaModel(LlamaConfig(vocab_size=vocabulary, **size)),
    }
    for name, one in made.items():
        path = tmp_path / name
        tokenizer(str(backbone)).save_pretrained(path)
        one.save_pretrained(path)
        model: Any = load.hollow(ModelSection(path=str(path)), task_of(path), [], 0).filled().eval()
        with torch.inference_mode():
            inputs = tokenizer(str(path))("solar wind", return_tensors="pt")
            found = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits[0]
        torch.testing.assert_close(found, plain(path, "solar wind"), atol=1e-6, rtol=0)


def test_weights_that_lack_a_part_are_refused(export: Callable[[str, Path], Any], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    export("vectors", tmp_path / "model")
    file = tmp_path / "model" / "model.safetensors"
    tensors = load_file(file)
    del tensors["encoder.layer.1.output.dense.weight"]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"lack 1 tensors of AutoModel, encoder\.layer\.1"):
        load.exported(tmp_path / "model", "AutoModel")
