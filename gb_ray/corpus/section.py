"""The `corpus:` section of a recipe."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from gb_ray.section import Section

Split = Literal["train", "validation", "test"]
Fraction = Annotated[float, Field(ge=0, lt=1)]


class Source(Section):
    """Where rows come from: one file."""

    uri: str = Field(description="A path, or pypi:DIST/path for a file inside an installed package (never imported).")
    format: Literal["csv", "jsonl", "parquet"] | None = Field(None, description="Absent: taken from the file's name.")
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$", description="Refuse the file if its digest differs.")
    where: dict[str, bool | int | float | str] = Field({}, description="Keep only rows with these values.")
    split: Split | None = Field(None, description="The split all its rows belong to; absent, rows are split by hash.")


class Splits(Section):
    """How rows without a given split are divided, by the hash of their content, label by label."""

    validation: Fraction = 0.1
    test: Fraction = 0.2
    seed: int = Field(0, description="Another seed, another division.")

    @model_validator(mode="after")
    def _leave_something_to_train_on(self) -> "Splits":
        if self.validation + self.test >= 1:
            raise ValueError("validation + test must be below 1")
        return self


class CorpusSection(Section):
    """Which rows, how they are cleaned and divided, and how they are laid out on disk."""

    sources: list[Source] = Field(min_length=1)
    splits: Splits = Splits()
    min_chars: int = Field(1, ge=1, description="A shorter text is quarantined.")
    max_quarantine: float = Field(0.05, ge=0, le=1, description="The build fails when a larger share is quarantined.")
    lanes: int = Field(8, ge=1, le=65536, description="Parallel columns of shards; at least the most workers ever.")
    shard_rows: int = Field(4096, ge=1, description="Samples a shard.")
    window_shards: int = Field(4, ge=1, description="Shards of a lane among which an epoch shuffles rows.")
