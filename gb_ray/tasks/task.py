"""From a recipe's task section to the task."""

from __future__ import annotations

from typing import Any

from gb_ray.tasks.causal_lm import CausalLm
from gb_ray.tasks.embedding import Embedding
from gb_ray.tasks.multi_label import MultiLabel
from gb_ray.tasks.regression import Regression
from gb_ray.tasks.section import (
    CausalLmSection,
    EmbeddingSection,
    RegressionSection,
    SequenceClassificationSection,
    TaskSection,
)
from gb_ray.tasks.sequence_classification import SequenceClassification
from gb_ray.tasks.token_classification import TokenClassification

Task = SequenceClassification | MultiLabel | TokenClassification | Regression | CausalLm | Embedding


def make(
    section: TaskSection, backbone: str, max_tokens: int, min_chars: int = 1, state: dict[str, Any] | None = None
) -> Task:
    """The task of a section over the tokenizer in the folder `backbone`, with what it learnt of a corpus if it did."""
    if isinstance(section, SequenceClassificationSection):
        kind = MultiLabel if section.multi_label else SequenceClassification
        return kind(section, backbone, max_tokens, min_chars, state)
    if isinstance(section, RegressionSection):
        return Regression(section, backbone, max_tokens, min_chars, state)
    if isinstance(section, CausalLmSection):
        return CausalLm(section, backbone, max_tokens, min_chars)
    if isinstance(section, EmbeddingSection):
        return Embedding(section, backbone, max_tokens, min_chars)
    return TokenClassification(section, backbone, max_tokens, min_chars, state)
