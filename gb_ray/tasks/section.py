"""The `tasks:` section of a recipe: what a sample teaches, by task name."""

from typing import Annotated, Literal

from pydantic import Field

from gb_ray.section import Section

Labels = Annotated[list[str], Field(min_length=2)]


class SequenceClassificationSection(Section):
    """One label a text."""

    type: Literal["sequence-classification"]
    text: str = Field("text", description="The column with the text.")
    label: str = Field("label", description="The column with the label; numbers become their decimal form.")
    labels: Labels | None = Field(None, description="The label set; absent, the labels found in the sources, sorted.")


class TokenClassificationSection(Section):
    """One IOB2 tag a word: named entities."""

    type: Literal["token-classification"]
    tokens: str = Field("tokens", description="The column with the list of words.")
    tags: str = Field("tags", description="The column with the list of IOB2 tags, one a word.")
    labels: Labels | None = Field(None, description="The tag set; absent, the tags found in the sources, sorted.")


TaskSection = Annotated[SequenceClassificationSection | TokenClassificationSection, Field(discriminator="type")]
