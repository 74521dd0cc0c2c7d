"""One IOB2 tag a word: named entities."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gb_ray.corpus.clean.text import clean_text, fold
from gb_ray.corpus.encoder import Reject
from gb_ray.tasks.base import HOW, IGNORED, PerToken, share
from gb_ray.tasks.context import fitting
from gb_ray.tasks.imbalance import Imbalanced
from gb_ray.tasks.section import TokenClassificationSection
from gb_ray.tasks.sequence_classification import mean_choice, probabilities
from gb_ray.tasks.tokenizer import column, needs_blank, tokenizer

_TAG = re.compile(r"O|[BI]-.+", re.DOTALL)
# Vowel signs, accents and joiners are parts of words, though \w leaves them out.
_MARKS = "\u200c\u200d" + "".join(chr(c) for c in range(0x300, 0x1F000) if unicodedata.category(chr(c))[0] == "M")
_WORD = re.compile(rf"[\w{_MARKS}]+(?:['’][\w{_MARKS}]+)*|[^\w\s]")


if TYPE_CHECKING:  # imported where it is used: workers that only tokenise start seconds sooner without it
    import torch


class TokenClassification(Imbalanced, PerToken):
    """The task `token-classification`. `backbone` is the folder of the tokenizer."""

    chooses_one = True
    headline = "entity_f1"
    architecture = "AutoModelForTokenClassification"
    fields = pa.schema({"tokens": pa.list_(pa.string()), "tags": pa.list_(pa.string())})
    samples = pa.schema({"input_ids": pa.list_(pa.int32()), "label": pa.list_(pa.int32())})

    def __init__(
        self,
        section: TokenClassificationSection,
        backbone: str,
        max_tokens: int,
        min_chars: int = 1,
        state: dict[str, Any] | None = None,
    ):
        self.section, self.backbone, self.max_tokens, self.min_chars = section, backbone, max_tokens, min_chars
        self._state = state or {}
        self.columns, self.text_columns = [section.tokens, section.tags], [section.tokens]
        if section.document is not None:
            self.columns.append(section.document)
        self._around = ("before", "after") if section.context else ()
        self.fields = pa.schema([*self.fields, *((name, pa.list_(pa.string())) for name in self._around)])

    @property
    def context(self) -> int:
        """See Encoder."""
        return self.section.context

    @property
    def document(self) -> str | None:
        """See Encoder."""
        return self.section.document

    def clean(self, row: dict[str, Any]) -> dict[str, Any]:
        """`tokens` and `tags`, as many of each; with context `before` and `after`, still empty. Raises Reject."""
        words, tags = row[self.section.tokens], row[self.section.tags]
        if not isinstance(words, list) or not isinstance(tags, list):
            raise Reject(f"{self.section.tokens} or {self.section.tags} is not a list")
        if len(words) != len(tags):
            raise Reject(f"{self.section.tags} has not as many tags as {self.section.tokens} has words")
        if not words:
            raise Reject(f"{self.section.tokens} is empty")
        if any(not isinstance(tag, str) or not _TAG.fullmatch(tag) for tag in tags):
            raise Reject(f"{self.section.tags} has a tag that is not IOB2")
        if self.section.labels and not set(tags) <= set(self.section.labels):
            raise Reject(f"{self.section.tags} has a tag outside the label set")
        if self.document is not None and row[self.document] in (None, ""):
            raise Reject(f"{self.document} is missing")
        tags = [clean_text(tag, self.section.tags, 1) for tag in tags]
        words = [clean_text(word, self.section.tokens, 1) for word in words]
        return {"tokens": words, "tags": tags, **{name: [] for name in self._around}}

    def text(self, fields: dict[str, Any]) -> str:
        """Its own words, blanks between them."""
        return " ".join(fields["tokens"])

    def with_text(self, fields: dict[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
        """Each word changed by itself; one of which nothing would be left stays, as its tag does."""
        return fields | {name: _changed(fields[name], change) for name in ("tokens", *self._around)}

    def identity(self, fields: dict[str, Any]) -> str:
        """Its own words: a sentence that comes again in another document is a duplicate."""
        return "\x1f".join(fields["tokens"])

    def stratum(self, fields: dict[str, Any]) -> str:
        """Whether there is an entity at all."""
        return "entities" if any(tag != "O" for tag in fields["tags"]) else "none"

    def labels_of(self, fields: dict[str, Any]) -> set[str]:
        """Its tags and those that the recipe names, with the I- of every B- so that any entity can be continued."""
        tags = {*fields["tags"], *(self.section.labels or ())} - {"O"}
        return {"O"} | {prefix + tag[2:] for tag in tags for prefix in ("B-", "I-")}

    def encode(self, rows: list[dict[str, Any]], labels: list[str]) -> dict[str, Any]:
        """`input_ids`, and as many labels: the tag's number on an own word's first token, IGNORED elsewhere."""
        number = {name: i for i, name in enumerate(labels)}
        around = self._contexts(rows)
        words = [[*before, *row["tokens"], *after] for row, (before, after) in zip(rows, around, strict=True)]
        asked = [
            [*[IGNORED] * len(before), *(number[tag] for tag in row["tags"]), *[IGNORED] * len(after)]
            for row, (before, after) in zip(rows, around, strict=True)
        ]
        encoded = self._tokenise(words)
        aligned = [_align(encoded.word_ids(i), numbers) for i, numbers in enumerate(asked)]
        return {"input_ids": column(encoded["input_ids"]), "label": column(aligned)}

    def _contexts(self, rows: list[dict[str, Any]]) -> list[tuple[list[str], list[str]]]:
        """What fits of the words before and after each row."""
        if not self.context:
            return [([], [])] * len(rows)
        # Words that are given one by one are tokenised one by one: a word takes the same tokens wherever it stands.
        words = list({word for row in rows for name in ("tokens", *self._around) for word in row[name]})
        alone = self._tokenise([[word] for word in words], whole=True)["input_ids"]
        sizes = {word: len(ids) for word, ids in zip(words, alone, strict=True)}
        room = self.max_tokens - tokenizer(self.backbone).num_special_tokens_to_add()
        return [fitting(row, sizes, room) for row in rows]

    def read(self, texts: list[str]) -> list[tuple[list[int], list[tuple[int, int]]]]:
        """Tokens of texts to be answered, each with the characters [start, end) of its word; (0, 0) if special.

        Words are runs of letters and digits, and each sign on its own, as annotated corpora split them; they are
        tokenised as the words of a sample are.
        """
        spans = [[match.span() for match in _WORD.finditer(text)] for text in texts]
        encoded = self._tokenise(
            [[fold(text[start:end]) for start, end in found] for text, found in zip(texts, spans, strict=True)]
        )
        places = [
            [(0, 0) if word is None else found[word] for word in encoded.word_ids(i)] for i, found in enumerate(spans)
        ]
        return list(zip(encoded["input_ids"], places, strict=True))

    def _tokenise(self, sentences: list[list[str]], whole: bool = False) -> Any:
        """Cut at `max_tokens`, with special tokens; or `whole`, and without them."""
        loaded = tokenizer(self.backbone)
        if needs_blank(loaded):
            sentences = [[f" {word}" for word in words] for words in sentences]
        if whole:
            return loaded(sentences, is_split_into_words=True, add_special_tokens=False, verbose=False)
        return loaded(sentences, is_split_into_words=True, truncation=True, max_length=self.max_tokens)

    def fingerprint(self) -> dict[str, Any]:
        """See Encoder."""
        return {**self.section.model_dump(mode="json", exclude=HOW), "max_tokens": self.max_tokens}

    def kept(self, logits: NDArray[np.float32], label: Any) -> NDArray[np.floating]:
        """Without the padding."""
        return logits[: len(label)]

    def loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Cross entropy as the section has it count (see Imbalanced.weighed), summed over words (scalar).

        The caller divides by the global count of words.
        """
        import torch

        flat, tags = logits.float().flatten(0, 1), targets.flatten()
        return self.weighed(torch.nn.functional.cross_entropy(flat, tags, ignore_index=IGNORED, reduction="none"), tags)

    def statistics(
        self, logits: list[NDArray[np.floating]], targets: list[Any], labels: list[str]
    ) -> NDArray[np.float64]:
        """[words, loss, words that are right, entities that are right, found, there] of logits [tokens, labels]."""
        from seqeval.metrics.sequence_labeling import get_entities

        rows = []
        for table, target in zip(logits, targets, strict=True):
            asked = np.asarray(target) != IGNORED
            truth, told = np.asarray(target)[asked], table[: len(asked)][asked].astype(np.float64)
            answers = told.argmax(axis=-1)
            there, found = (set(get_entities([labels[i] for i in tags])) for tags in (truth, answers))
            loss = -np.log(np.clip(probabilities(told)[np.arange(len(truth)), truth], 1e-12, 1)).sum()
            entities = len(there & found), len(found), len(there)
            rows.append((len(truth), loss, int((truth == answers).sum()), *entities))
        return np.array(rows, np.float64)

    def from_sums(self, sums: NDArray[np.float64], labels: list[str]) -> dict[str, NDArray[np.float64]]:
        """entity_f1, entity_precision, entity_recall (as seqeval: span and type must agree), and accuracy of words."""
        words, _, right_words, right, found, there = np.moveaxis(sums, -1, 0)
        return {
            "entity_f1": share(2 * right, found + there),
            "entity_precision": share(right, found),
            "entity_recall": share(right, there),
            "accuracy": share(right_words, words),
        }

    def of_part(self, sums: NDArray[np.float64], labels: list[str]) -> dict[str, NDArray[np.float64]]:
        """Without an entity that is there or was found, accuracy alone."""
        metrics, (found, there) = self.from_sums(sums, labels), np.moveaxis(sums[..., 4:], -1, 0)
        return {
            name: value if name == "accuracy" else np.where(found + there > 0, value, np.nan)
            for name, value in metrics.items()
        }

    def mean(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Logits [tokens, labels] of the mean of the models' probabilities."""
        return mean_choice(logits)

    def decisions(
        self, logits: list[NDArray[np.floating]], targets: list[Any]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]] | None:
        """One a word."""
        flat = np.concatenate([np.asarray(target) for target in targets])
        told = np.concatenate([table[: len(target)] for table, target in zip(logits, targets, strict=True)])
        return told[flat != IGNORED].astype(np.float64), flat[flat != IGNORED].astype(np.int64)

    def names(self, target: Any, labels: list[str]) -> set[str]:
        """The kinds of its entities."""
        return {labels[i][2:] for i in target if i != IGNORED and labels[i] != "O"}

    def answer(self, text: str, offsets: list[tuple[int, int]], logits: NDArray[np.float32], labels: list[str]) -> Any:
        """The entities of a text: characters [start, end), label, and the least probability among their words.

        `offsets` are those of `read`. A word's tag is that of its first token; words cut off by max_tokens have none.
        An I- that continues nothing opens an entity, as seqeval reads it.
        """
        scores = probabilities(logits.astype(np.float64))
        entities: list[dict[str, Any]] = []
        open_label = ""
        previous = (0, 0)
        for token, (start, end) in enumerate(offsets):
            if start == end or (start, end) == previous:
                continue
            previous = (start, end)
            tag = labels[int(scores[token].argmax())]
            if tag.startswith("I-") and tag[2:] == open_label:
                entities[-1]["end"] = end
                entities[-1]["score"] = min(entities[-1]["score"], float(scores[token].max()))
            elif tag != "O":
                entities.append({"start": start, "end": end, "label": tag[2:], "score": float(scores[token].max())})
            open_label = tag[2:] if tag != "O" else ""
        return {"entities": [{"text": text[e["start"] : e["end"]], **e} for e in entities]}

    def row(self, text: str, offsets: list[tuple[int, int]], answer: dict[str, Any]) -> dict[str, Any]:
        """The words of a text and their tags; words cut off by max_tokens, of which nothing is said, are left out."""
        places = [match.span() for match in _WORD.finditer(text)]
        places = places[: bisect_right(places, max(offsets))]
        tags = ["O"] * len(places)
        for entity in answer["entities"]:
            first = bisect_left(places, (entity["start"], 0))
            for number in range(first, bisect_left(places, (entity["end"], 0))):
                tags[number] = ("B-" if number == first else "I-") + entity["label"]
        return {self.section.tokens: [text[start:end] for start, end in places], self.section.tags: tags}


def _changed(words: list[str], change: Callable[[str], str]) -> list[str]:
    return [new if new.strip() else old for old, new in zip(words, map(change, words), strict=True)]


def _align(word_ids: list[int | None], numbers: list[int]) -> list[int]:
    previous = None
    aligned = []
    for word in word_ids:
        aligned.append(IGNORED if word is None or word == previous else numbers[word])
        previous = word
    return aligned
