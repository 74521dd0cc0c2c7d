"""The `corpus:` section of a recipe."""

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from gb_ray.section import Section

Split = Literal["train", "validation", "test"]
Format = Literal["csv", "tsv", "jsonl", "parquet", "text", "conll", "arrow-folder"]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Cell = bool | int | float | str


class Lag(Section):
    """A column with the value that another one had earlier: "the same as last time"."""

    column: str = Field(description="The column whose value it is.")
    by: str = Field(description="The column with each row's time (date, time, ISO text), or with a number.")
    back: float = Field(gt=0, allow_inf_nan=False, description="How much earlier: seconds, or in the number's unit.")


class Source(Section):
    """Where rows come from: a file, the files of a folder, or those that a pattern matches."""

    uri: str = Field(description="A path, folder or pattern; pypi:DIST/path; s3://, gs:// or hdfs:// addresses.")
    format: Format | None = Field(None, description="Absent: taken from the file's name.")
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$", description="Refuse the (one) file if it differs.")
    where: dict[str, Cell | list[Cell]] = Field({}, description="Keep only rows with this value, or one of these.")
    split: Split | None = Field(None, description="The split all its rows belong to; absent, rows are divided.")
    columns: dict[str, str] = Field({}, description="What the task calls a column: what this source calls it.")
    compose: dict[str, str] = Field({}, description="What the task calls a column: a text made of columns, {temp:.0f}.")
    lags: dict[str, Lag] = Field({}, description="A new column: what a column was some time before, in these rows.")
    language: str | None = Field(None, description="ISO 639 code of its texts; absent, it is identified if asked for.")
    licence: str | None = Field(None, description="Shown in the data card.")
    weight: float = Field(1.0, gt=0, description="How often an epoch sees each of its training rows.")
    task: str | None = Field(None, description="The task its rows are for, where the recipe has several.")

    @model_serializer(mode="wrap")
    def _without_absent(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # The digest of a corpus covers its sources as they are written: those of one task or without lags keep theirs.
        found: dict[str, Any] = write(self)
        return {key: value for key, value in found.items() if key not in ("task", "lags") or value}


class Quality(Section):
    """What a text must keep within; null switches a rule off. Shares are of its characters without white space.

    Short texts are judged as if they were longer, the rest of them faultless: 50 characters, 200 where runs of words
    are looked for. In scripts without blanks three ideographs or kana, or six letters, stand for a word. The rules are
    Gopher's (arXiv:2112.11446), C4's (arXiv:1910.10683) and FineWeb's (arXiv:2406.17557); clean/quality.py says how
    their limits were fitted to all scripts.
    """

    max_digits: float | None = Field(0.3, description="Share of digits of any script.")
    max_symbols: float | None = Field(0.1, description="Share of symbols, and of signs that code is made of.")
    min_letters: float | None = Field(0.5, description="Share of letters and their marks.")
    min_word: float | None = Field(1.5, description="Mean characters a word, in scripts with blanks.")
    max_word: float | None = Field(20.0, description="Mean characters a word, in scripts with blanks.")
    max_repeated_lines: float | None = Field(0.2, description="Share of characters in lines that came before.")
    max_short_lines: float | None = Field(0.67, description="Share of lines under 30 characters without punctuation.")
    max_boilerplate: float | None = Field(0.3, description="Share in sentences on cookies, JavaScript; lorem ipsum.")
    max_top_ngrams: tuple[float, float, float] | None = Field(
        (0.20, 0.18, 0.16), description="Share in one run of 2, 3 and 4 words that is there three times or more."
    )
    max_repeated_ngrams: tuple[float, float, float, float, float, float] | None = Field(
        (0.20, 0.19, 0.18, 0.17, 0.16, 0.15), description="Share in runs of 5, 6 ... 10 words that came before."
    )


class Clean(Section):
    """What is done to each row's text, in this order; every step is optional and counted."""

    repair: bool = Field(False, description="Undo mojibake; remove control characters.")
    quality: Quality | None = Field(None, description="Drop texts outside these limits.")
    max_chars: int | None = Field(None, ge=1, description="Drop longer texts.")
    identify: bool = Field(False, description="Identify the language of texts whose source does not say it.")
    confidence: Share = Field(0.5, description="A language identified with less is 'und'.")
    languages: list[str] | None = Field(None, description="Drop texts in other languages (ISO 639 codes).")
    personal: bool = Field(False, description="Mask e-mail, telephone, card, IBAN, national and IP numbers.")


class Duplicates(Section):
    """Exact duplicates always go. Two texts are near duplicates when their shingles' Jaccard index reaches a limit."""

    near: Literal["keep", "leaks", "remove"] = Field(
        "keep",
        description="leaks: a near duplicate of a test or validation row leaves train; remove: one of each stays.",
    )
    similarity: Share = Field(0.8, description="The Jaccard index from which two texts are near duplicates.")


class Splits(Section):
    """How rows without a given split are divided."""

    by: Literal["hash", "stratified", "group", "time"] = Field(
        "hash",
        description="hash: by content, for ever the same; stratified: each label's exact share; group: by the hash of "
        "a column's value, no group in two splits; time: the latest rows are the test split.",
    )
    column: str | None = Field(None, description="The column of group or time.")
    validation: Fraction = 0.1
    test: Fraction = 0.2
    seed: int = Field(0, description="Another seed, another division.")

    @model_validator(mode="after")
    def _fit_together(self) -> "Splits":
        if self.validation + self.test >= 1:
            raise ValueError("validation + test must be below 1")
        if (self.by in ("group", "time")) != (self.column is not None):
            raise ValueError("column: goes with by: group and by: time, and with nothing else")
        return self


class CorpusSection(Section):
    """Which rows, how they are cleaned and divided, and how they are laid out on disk."""

    sources: list[Source] = Field(min_length=1)
    clean: Clean = Clean()
    duplicates: Duplicates = Duplicates()
    splits: Splits = Splits()
    min_chars: int = Field(1, ge=1, description="A shorter text is quarantined.")
    max_quarantine: Share = Field(0.05, description="The build fails when a larger share is quarantined.")
    keep_text: bool = Field(True, description="Keep the text beside its tokens, to look at.")
    lanes: int = Field(8, ge=1, le=65536, description="Parallel columns of shards; at least the most workers ever.")
    shard_rows: int = Field(4096, ge=1, description="Samples a shard.")
    window_shards: int = Field(4, ge=1, description="Shards of a lane among which an epoch shuffles rows.")
