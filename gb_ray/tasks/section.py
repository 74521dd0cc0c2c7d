"""The `tasks:` section of a recipe: what a sample teaches, by task name."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from gb_ray.section import Section

ClassWeights = Literal["balanced"] | dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] | None
Labels = Annotated[list[str], Field(min_length=2)]
# A metric is named after its target, and a tracking server takes no other characters in the name of a metric.
Target = Annotated[str, Field(pattern=r"^[\w.\- /:]+$")]
ANSWERED = ("type", "multi_label", "targets")
"""Keys that say what a model answers; the others are about columns, or how it is learnt."""


def unlike(one: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    """The first key by which two sections of a task, as JSON, ask for other answers; None when they ask for the same.

    A key that is false, empty or absent says the same: of the types of task some do not have it.
    """
    return next((key for key in ANSWERED if (one.get(key) or None) != (other.get(key) or None)), None)


class Weighted(Section):
    """A task that may stand beside others."""

    weight: float = Field(1.0, gt=0, description="Of its loss in the sum over the tasks of the recipe.")


class SequenceClassificationSection(Weighted):
    """One label a text, or with `multi_label` any number of them."""

    type: Literal["sequence-classification"]
    text: str = Field("text", description="The column with the text.")
    label: str = Field("label", description="The column with the label; numbers become their decimal form.")
    labels: Labels | None = Field(None, description="The label set; absent, the labels found in the sources, sorted.")
    multi_label: bool = Field(False, description="A text has a list of labels, maybe an empty one.")
    separator: str | None = Field(
        None, min_length=1, description="With multi_label: what stands between the labels of a cell of text, as in CSV."
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="Of the label's certainty, shared out to all labels.")
    focal: float = Field(0.0, ge=0, description="How much less what is answered well counts: gamma of the focal loss.")
    class_weights: ClassWeights = Field(None, description="What an answer counts, by its label; absent, all alike.")
    balance: float = Field(
        0.0, ge=0, le=1, description="How far an epoch repeats rows of rare labels: 1, until all labels are seen alike."
    )

    @model_validator(mode="after")
    def _fit_together(self) -> "SequenceClassificationSection":
        if self.balance and self.multi_label:
            raise ValueError("balance: is of one label a text, not of multi_label: true")
        if self.balance and self.class_weights == "balanced":
            raise ValueError("balance: goes without class_weights: balanced, or rare labels would count twice")
        if self.separator is not None and not self.multi_label:
            raise ValueError("separator: goes with multi_label: true, and with nothing else")
        if self.label_smoothing and self.multi_label:
            raise ValueError("label_smoothing: is of one label a text, not of multi_label: true")
        if self.label_smoothing and self.focal:
            raise ValueError("focal: goes without label_smoothing, which makes no answer fully right")
        return self


class TokenClassificationSection(Weighted):
    """One IOB2 tag a word: named entities."""

    type: Literal["token-classification"]
    tokens: str = Field("tokens", description="The column with the list of words.")
    tags: str = Field("tags", description="The column with the list of IOB2 tags, one a word.")
    labels: Labels | None = Field(None, description="The tag set; absent, the tags found in the sources, sorted.")
    context: int = Field(
        0, ge=0, description="Words of the same document on either side of a sentence, read but not asked about."
    )
    document: str | None = Field(
        None, description="The column that tells documents apart, with context; absent, each file is one document."
    )
    focal: float = Field(0.0, ge=0, description="How much less what is answered well counts: gamma of the focal loss.")
    class_weights: ClassWeights = Field(None, description="What an answer counts, by its label; absent, all alike.")

    @model_validator(mode="after")
    def _documents_are_of_context(self) -> "TokenClassificationSection":
        if self.document is not None and not self.context:
            raise ValueError("document: goes with context above 0, and with nothing else")
        return self

    @model_serializer(mode="wrap")
    def _without_absent(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # The digests of corpora and runs cover the task as it is written: those of single sentences keep theirs.
        found: dict[str, Any] = write(self)
        return found if self.context else {k: v for k, v in found.items() if k not in ("context", "document")}


class RegressionSection(Weighted):
    """One number a target and text."""

    type: Literal["regression"]
    text: str = Field("text", description="The column with the text.")
    targets: list[Target] = Field(
        min_length=1, description="The columns with the numbers; a source's `columns` renames what is not a plain name."
    )

    last: list[str] = Field([], description="The columns with each target's last known value, to be better than.")

    @model_validator(mode="after")
    def _fit_together(self) -> "RegressionSection":
        if len(set(self.targets)) < len(self.targets):
            raise ValueError("targets: a column is named twice")
        if self.last and len(self.last) != len(self.targets):
            raise ValueError(f"last: {len(self.last)} for {len(self.targets)} targets; name a column for each, or none")
        if known := sorted(set(self.last) & set(self.targets)):
            raise ValueError(f"last: {known[0]!r} is a target, so not known beforehand; name one of earlier values")
        return self

    @model_serializer(mode="wrap")
    def _without_absent(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Samples without last values are what they were: the digests that cover this section stay.
        found: dict[str, Any] = write(self)
        return {key: value for key, value in found.items() if key != "last" or value}


class CausalLmSection(Weighted):
    """The next token: of texts, of responses to prompts, or of the assistant's messages in chats."""

    type: Literal["causal-lm"]
    text: str | None = Field(None, description="The column with a text, all of which is learnt.")
    prompt: str | None = Field(None, description="The column with a prompt, which is read but not learnt.")
    response: str | None = Field(None, description="The column with the response to the prompt, on a line of its own.")
    messages: str | None = Field(
        None, description="The column with a chat: a list of {role, content}; the assistant's messages are learnt."
    )
    new_tokens: int = Field(64, ge=1, description="The most that the model writes as an answer.")

    @model_validator(mode="after")
    def _one_form(self) -> "CausalLmSection":
        named = {name for name in ("text", "prompt", "response", "messages") if getattr(self, name) is not None}
        if named not in ({"text"}, {"prompt", "response"}, {"messages"}):
            raise ValueError("name the columns of one form: text, or prompt and response, or messages")
        return self


class EmbeddingSection(Weighted):
    """A vector a text, learnt from pairs of texts that belong together."""

    type: Literal["embedding"]
    query: str = Field("query", description="The column with a text that asks.")
    document: str = Field("document", description="The column with a text that should be found by it.")
    group: str | None = Field(
        None, description="The column with a group: its rows' documents are no wrong answers to each other's queries."
    )
    temperature: float = Field(0.05, gt=0, description="What cosines are divided by in the loss: less is sharper.")


TaskSection = Annotated[
    SequenceClassificationSection | TokenClassificationSection | RegressionSection | CausalLmSection | EmbeddingSection,
    Field(discriminator="type"),
]
