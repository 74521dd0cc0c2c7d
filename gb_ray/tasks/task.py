"""From a recipe's task section to the task."""

from __future__ import annotations

from gb_ray.tasks.section import SequenceClassificationSection, TaskSection
from gb_ray.tasks.sequence_classification import SequenceClassification
from gb_ray.tasks.token_classification import TokenClassification

Task = SequenceClassification | TokenClassification


def make(section: TaskSection, backbone: str, max_tokens: int, min_chars: int = 1) -> Task:
    """The task of a section over the tokenizer in the folder `backbone`."""
    if isinstance(section, SequenceClassificationSection):
        return SequenceClassification(section, backbone, max_tokens, min_chars)
    return TokenClassification(section, backbone, max_tokens, min_chars)
