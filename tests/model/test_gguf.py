"""A GGUF file is a backbone: converted once, whole, and told from others by its digest."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from gb_ray.files import sha256
from gb_ray.model import gguf, load
from gb_ray.model.section import ModelSection
from gb_ray.section import UserError

WIDTH, INNER, LETTERS = 32, 64, [chr(code) for code in range(97, 123)]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama with one layer and a tokenizer of letters."""
    from gguf import GGUFWriter, TokenType

    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // 2)
    tokens = ["<|end|>", *LETTERS, "ab"]
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.CONTROL, *[TokenType.NORMAL] * (len(tokens) - 1)])
    writer.add_token_merges(["a b"])
    for add in (writer.add_bos_token_id, writer.add_eos_token_id, writer.add_unk_token_id, writer.add_pad_token_id):
        add(0)
    random = np.random.default_rng(0)
    layer = {f"attn_{part}": (WIDTH, WIDTH) for part in ("q", "k", "v", "output")}
    layer |= {"ffn_gate": (INNER, WIDTH), "ffn_up": (INNER, WIDTH), "ffn_down": (WIDTH, INNER)}
    shapes = {f"blk.0.{name}.weight": shape for name, shape in layer.items()}
    shapes |= {f"{name}.weight": (WIDTH,) for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm")}
    for name, shape in (shapes | {"token_embd.weight": (len(tokens), WIDTH)}).items():
        writer.add_tensor(name, random.normal(size=shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_it_becomes_a_folder_with_its_weights_and_tokenizer_once(file: Path, tmp_path: Path) -> None:
    from gguf import GGUFReader
    from transformers import AutoModelForCausalLM, AutoTokenizer

    made = gguf.folder(file, tmp_path)
    load.check_safe(made, "it")
    model = AutoModelForCausalLM.from_pretrained(made)
    (table,) = (tensor for tensor in GGUFReader(file).tensors if tensor.name == "token_embd.weight")
    assert torch.equal(model.get_input_embeddings().weight, torch.from_numpy(np.array(table.data)))
    assert model.dtype == torch.float32
    assert AutoTokenizer.from_pretrained(made)("abc")["input_ids"][-2:] == [27, 3]
    known = json.loads((made / "gguf.json").read_text())
    assert known["source_sha256"] == sha256(file) and known["sha256"] == sha256(made / "model.safetensors")
    (made / "marked").touch()
    assert gguf.folder(file, tmp_path) == made and (made / "marked").exists()
    assert [path.name for path in tmp_path.iterdir()] == [made.name]


def test_a_file_that_is_none_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF but not really")
    with pytest.raises(UserError, match=r"bad\.gguf: not a GGUF file that transformers reads"):
        gguf.folder(bad, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_folder_may_hold_one_and_the_digest_is_checked(file: Path, tmp_path: Path) -> None:
    assert gguf.inside(file) == gguf.inside(file.parent) == file
    assert gguf.inside(tmp_path) is None
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"2 GGUF files; name one: a\.gguf, b\.gguf"):
        gguf.inside(tmp_path)
    with pytest.raises(UserError, match="the recipe expects 0000"):
        load.backbone(ModelSection(path=str(file), sha256="0" * 64))
