"""Tokenizers that see every blank, and chat templates."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

TURN = "<s>{{ m['role'] }}\n{{ m['content'] }}</s>\n"
BEGUN = "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
TEMPLATES = {
    "plain": "{% for m in messages %}" + TURN + "{% endfor %}" + BEGUN,
    "marked": "{% for m in messages %}{% if m['role'] == 'assistant' %}<s>assistant\n"
    "{% generation %}{{ m['content'] }}</s>\n{% endgeneration %}{% else %}" + TURN + "{% endif %}{% endfor %}" + BEGUN,
    # As templates do that leave out what the assistant thought before it was asked again.
    "forgetful": "{% for m in messages %}{% if m['role'] == 'assistant' and not loop.last %}<s>assistant\n"
    "(left out)</s>\n{% else %}" + TURN + "{% endif %}{% endfor %}" + BEGUN,
    "strict": "{% if messages[0]['role'] != 'user' %}{{ raise_exception('a user begins') }}{% endif %}"
    "{% for m in messages %}" + TURN + "{% endfor %}" + BEGUN,
}


@pytest.fixture(scope="session")
def byte_level(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level BPE that knows a few words, with and without the blank before them."""
    path = tmp_path_factory.mktemp("bpe")
    _byte_level().save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def chatty(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same tokenizer with each of the templates."""
    paths = {name: tmp_path_factory.mktemp("chat") / name for name in TEMPLATES}
    for name, path in paths.items():
        made = _byte_level()
        made.chat_template = TEMPLATES[name]
        made.save_pretrained(path)
    return paths


def _byte_level() -> PreTrainedTokenizerFast:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator(["London grid in Paris", "in the grid of London", "Paris"] * 30, trainer)
    made.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    names = {"cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>", "eos_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=made, **names)
