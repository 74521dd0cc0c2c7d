"""Models that take a packed row: which can, and what is changed on them."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from gb_ray.model import prefix
from gb_ray.model.attention import NAMES, Segments, packed_attention
from gb_ray.model.dropout import lighten

ENCODERS = {"bert", "roberta", "xlm-roberta", "distilbert", "modernbert"}
DECODERS = {"llama", "qwen2", "qwen3"}
"""Model types whose packed outputs and gradients were compared with the padded ones: tests/model/test_packing.py."""


def packs(config: Any, architecture: str) -> bool:
    """Whether models of this configuration and class (AutoModelFor...) are packed. All others are padded.

    A decoder that classifies texts looks for the last token of each row that is not padding: it has to be padded.
    """
    whole_text = architecture.endswith("SequenceClassification")
    return config.model_type in ENCODERS or (config.model_type in DECODERS and not whole_text)


def pack(model: Any) -> None:
    """Make a model take packed rows: input_ids and position_ids [1, tokens], and `segments`. It takes no other then.

    A model with an answer a text then gives logits [samples, labels], one with an answer a token [1, tokens, labels].
    """
    from transformers import AttentionInterface

    for kernel, name in NAMES.items():
        AttentionInterface.register(name, partial(packed_attention, kernel=kernel))
    model.set_attn_implementation(NAMES[prefix.kernel(model.config._attn_implementation)])
    lighten(model)
    if reads_whole_texts(model):
        model.base_model.register_forward_hook(_to_samples, with_kwargs=True)


def reads_whole_texts(model: Any) -> bool:
    """Whether a model has an answer a text, not a token."""
    return type(model).__name__.endswith("ForSequenceClassification")


def is_packed(model: Any) -> bool:
    """Whether `pack` was called on it."""
    return model.config._attn_implementation in NAMES.values()


def first_position(model: Any) -> int:
    """The position of a sample's first token: RoBERTa and its like count from the number of the padding on."""
    embeddings = getattr(model.base_model, "embeddings", None)
    counts = hasattr(embeddings, "create_position_ids_from_input_ids")
    return int(embeddings.padding_idx) + 1 if counts and embeddings else 0


def _to_samples(backbone: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
    output.last_hidden_state, pooled = of_samples(backbone, output.last_hidden_state, kwargs["segments"])
    if pooled is not None:
        output.pooler_output = pooled
    return output


def of_samples(
    backbone: Any, hidden: torch.Tensor, segments: Segments, rows: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """What the heads of texts read of a backbone: [samples, 1, hidden], and [samples, hidden] if it has a pooler.

    A head takes the first token, or the mean over the tokens it is told of; of one token both are that token. `hidden`
    is that of a packed row, [1, tokens, hidden]; `rows` are the numbers of the samples that are wanted, if not all.
    """
    mean = getattr(backbone.config, "classifier_pooling", "cls") == "mean"
    taken = (mean_of(hidden[0], segments).to(hidden.dtype) if mean else _first(hidden[0], segments))[:, None]
    taken = taken if rows is None else taken[rows]
    pooler = getattr(backbone, "pooler", None)
    return taken, None if pooler is None else pooler(taken)


def _first(hidden: torch.Tensor, segments: Segments) -> torch.Tensor:
    return hidden[segments.edges[:-1].long()]


def mean_of(hidden: torch.Tensor, segments: Segments) -> torch.Tensor:
    """float32 [samples, hidden]: the mean over each sample's tokens of [tokens, hidden]."""
    lengths = torch.tensor(segments.lengths, device=hidden.device)
    numbers = torch.arange(len(lengths), device=hidden.device)
    owner = torch.repeat_interleave(numbers, lengths, output_size=len(hidden))
    sums = hidden.new_zeros(len(lengths), hidden.shape[1], dtype=torch.float32).index_add(0, owner, hidden.float())
    return sums / lengths[:, None]
