"""A vector a text: texts that belong together lie close, so that a query finds its documents."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gb_ray.corpus.clean.text import clean_text
from gb_ray.corpus.reading.reader import Sample
from gb_ray.tasks import ranking
from gb_ray.tasks.base import WholeText
from gb_ray.tasks.label import label_name
from gb_ray.tasks.section import EmbeddingSection

if TYPE_CHECKING:  # imported where it is used: workers that only tokenise start seconds sooner without it
    import torch

Array = NDArray[np.floating]


class Embedding(WholeText):
    """The task `embedding`. `backbone` is the folder of the tokenizer.

    A sample is a pair, its texts one after the other: `input_ids` are the query's tokens and then the document's. Its
    label is int64 [3]: how many of the tokens are the query's, and two numbers that stand for the group and for the
    document, equal where these are. Without a column of groups the rows of one query are a group.

    A query is compared with all documents of the global batch, whichever worker has them, but for those of its own
    group and those that are its own document once more (train/contrast.py says how). So the gradient is that of the
    whole global batch, as for the other tasks, and `train.batch` is the number of documents a query is told from.
    """

    texts_a_sample = 2
    headline = "ndcg_at_10"
    architecture = "AutoModel"
    samples = pa.schema({"input_ids": pa.list_(pa.int32()), "label": pa.list_(pa.int64())})

    def __init__(self, section: EmbeddingSection, backbone: str, max_tokens: int, min_chars: int = 1):
        self.section, self.backbone, self.max_tokens, self.min_chars = section, backbone, max_tokens, min_chars
        grouped = [section.group] if section.group else []
        self.columns = [section.query, section.document, *grouped]
        self.fields = pa.schema(dict.fromkeys(["query", "document", *(["group"] if grouped else [])], pa.string()))

    @property
    def text_columns(self) -> list[str]:
        """Query and document."""
        return [self.section.query, self.section.document]

    def clean(self, row: dict[str, Any]) -> dict[str, Any]:
        """`query`, `document` and, where there are groups, `group`. Raises Reject."""
        section = self.section
        fields = {
            "query": clean_text(row[section.query], section.query, self.min_chars),
            "document": clean_text(row[section.document], section.document, self.min_chars),
        }
        return fields if section.group is None else fields | {"group": label_name(row[section.group], section.group)}

    def text(self, fields: dict[str, Any]) -> str:
        """Both texts, a line's end between them."""
        return f"{fields['query']}\n{fields['document']}"

    def with_text(self, fields: dict[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
        """Both texts changed, the group as it is."""
        return {**fields, "query": change(fields["query"]), "document": change(fields["document"])}

    def identity(self, fields: dict[str, Any]) -> str:
        """Both texts: one pair in two groups is a duplicate."""
        return f"{fields['query']}\x1f{fields['document']}"

    def stratum(self, fields: dict[str, Any]) -> str:
        """All rows are alike."""
        return ""

    def labels_of(self, fields: dict[str, Any]) -> set[str]:
        """None."""
        return set()

    def encode(self, rows: list[dict[str, Any]], labels: list[str]) -> dict[str, Any]:
        """`input_ids`, each text cut at `max_tokens`, and what the class says of a label."""
        texts = self.tokens([text for row in rows for text in (row["query"], row["document"])])
        edges = texts.offsets.to_numpy()
        pairs = pa.ListArray.from_arrays(pa.array(edges[::2]), texts.values)
        of_query = np.diff(edges)[::2].tolist()
        keys = [(_key(row.get("group", row["query"])), _key(row["document"])) for row in rows]
        return {"input_ids": pairs, "label": [[tokens, *both] for tokens, both in zip(of_query, keys, strict=True)]}

    def fingerprint(self) -> dict[str, Any]:
        """See Encoder. How it is learnt decides nothing of the samples."""
        section = self.section.model_dump(mode="json", exclude={"temperature", "weight"})
        return {**section, "max_tokens": self.max_tokens, "min_chars": self.min_chars}

    def head(self, labels: list[str]) -> dict[str, Any]:
        """None: the vectors are made of the backbone's own outputs, see model/pooling.py."""
        return {}

    def rows(self, samples: list[Sample]) -> list[Sample]:
        """Two of each sample, in order: its query and its document.

        Their label is int64 [4]: the number of the sample, 0 for the query or 1 for the document, and the two numbers
        of group and document.
        """
        found = []
        for number, sample in enumerate(samples):
            tokens, group, document = np.asarray(sample.label).tolist()
            for which, ids in enumerate((sample.input_ids[:tokens], sample.input_ids[tokens:])):
                found.append(sample._replace(input_ids=ids, label=np.array([number, which, group, document])))
        return found

    def joined(self, scored: list[tuple[str, Array, Any]]) -> list[tuple[str, Array, Any]]:
        """Of each sample the two vectors that were kept of its rows, float [2, size], and int64 [2], its numbers."""
        ordered = sorted(scored, key=lambda entry: tuple(entry[2][:2]))
        return [
            (id, np.stack([query, document]), label[2:])
            for (id, query, label), (_, document, _) in zip(ordered[::2], ordered[1::2], strict=True)
        ]

    def targets(self, labels: list[Any], width: int) -> torch.Tensor:
        """int64 [texts, 4]."""
        import torch

        return torch.from_numpy(np.stack(labels))

    def blank(self, tokens: int) -> NDArray[np.int64]:
        """The label of a text that only fills a place."""
        return np.array([-1, 0, 0, 0])

    def compare(self, vectors: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        """The loss of each pair (float [pairs]): the negative logarithm of the share that its own document has.

        `vectors` are float [pairs, 2, size], query and document; `numbers` int64 [pairs, 2], group and document. The
        shares are the softmax of cosines over `temperature`, over the documents of all pairs, without those of other
        pairs of the group and without the same document again: van den Oord, Li and Vinyals, Representation Learning
        with Contrastive Predictive Coding (https://arxiv.org/abs/1807.03748, equation 4), with the other pairs of the
        batch as negatives: Henderson et al., Efficient Natural Language Response Suggestion for Smart Reply
        (https://arxiv.org/abs/1705.00652, section 4.4).
        """
        scores = vectors[:, 0] @ vectors[:, 1].T / self.section.temperature
        alike = (numbers[:, None] == numbers[None]).any(dim=-1).fill_diagonal_(False)
        shares = scores.masked_fill(alike, float("-inf")).log_softmax(dim=-1)
        return -shares.diagonal()

    def loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """What texts add to the sum of the losses of all pairs (scalar), with its gradient.

        `targets` are float32 [texts, 1 + size]: what `compare` gave for the text's pair, at its query and 0 at its
        document; and the gradient of all losses with respect to the text's vector.
        """
        vectors = logits.float()
        return targets[:, 0].sum() + ((vectors - vectors.detach()) * targets[:, 1:]).sum()

    def statistics(self, logits: list[Array], targets: list[Any], labels: list[str]) -> NDArray[np.float64]:
        """[1, loss, recall at 1, recall at 10, reciprocal rank, gain] of each sample's query; see ranking.py."""
        vectors = np.stack(logits)
        found = ranking.rank(vectors[:, 0], vectors[:, 1], np.stack(targets), self.section.temperature)
        return np.column_stack([np.ones(len(found)), found])

    def from_sums(self, sums: NDArray[np.float64], labels: list[str]) -> dict[str, NDArray[np.float64]]:
        """ndcg_at_10, recall_at_1, recall_at_10, mrr_at_10 and loss, of each query among all documents of the split.

        The loss is that of training, but among all documents of the split: the more there are, the larger.
        """
        places = {"ndcg_at_10": 5, "recall_at_1": 2, "recall_at_10": 3, "mrr_at_10": 4, "loss": 1}
        return {name: sums[..., place] / sums[..., 0] for name, place in places.items()}

    def answer(self, text: str, offsets: list[tuple[int, int]], logits: NDArray[np.float32], labels: list[str]) -> Any:
        """The vector of a text: numbers whose squares add up to 1."""
        return {"embedding": [float(value) for value in logits]}

    def row(self, text: str, offsets: list[tuple[int, int]], answer: dict[str, Any]) -> dict[str, Any]:
        """The text as a query, and its vector; nothing of the task is taught by it."""
        return {self.section.query: text, **answer}


def _key(text: str) -> int:
    """63 bits that stand for a text; two texts of a billion have the same with a chance of 5 %."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
