"""The next token: of texts, of responses to prompts, or of the assistant's messages in chats."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gb_ray.corpus.encoder import Reject
from gb_ray.section import UserError
from gb_ray.tasks import chat
from gb_ray.tasks.base import IGNORED, PerToken
from gb_ray.tasks.section import CausalLmSection
from gb_ray.tasks.tokenizer import column, tokenizer

if TYPE_CHECKING:  # imported where it is used: workers that only tokenise start seconds sooner without it
    import torch

_CHAT = pa.list_(pa.struct({"role": pa.string(), "content": pa.string()}))


class CausalLm(PerToken):
    """The task `causal-lm`. `backbone` is the folder of the tokenizer.

    Raises UserError when the tokenizer has no chat template for chats, or no end-of-text token for the other forms.
    """

    architecture = "AutoModelForCausalLM"
    # Each has as many outputs as the vocabulary has tokens.
    tokens_at_once = 512
    samples = pa.schema({"input_ids": pa.list_(pa.int32()), "label": pa.list_(pa.int32())})

    def __init__(self, section: CausalLmSection, backbone: str, max_tokens: int, min_chars: int = 1):
        self.section, self.backbone, self.max_tokens, self.min_chars = section, backbone, max_tokens, min_chars
        named = {"text": section.text, "prompt": section.prompt, "response": section.response}
        self._texts = {field: name for field, name in named.items() if name is not None}
        self.columns = [section.messages] if section.messages else list(self._texts.values())
        self.text_columns = self.columns
        self.fields = pa.schema({"messages": _CHAT} if section.messages else dict.fromkeys(self._texts, pa.string()))
        loaded = tokenizer(backbone)
        if section.messages:
            chat.template(loaded, backbone)
        elif loaded.eos_token_id is None:
            raise UserError(f"{backbone}: its tokenizer has no end-of-text token: it is not of a generative model")

    def clean(self, row: dict[str, Any]) -> dict[str, Any]:
        """`text`, or `prompt` and `response`, or `messages`. Raises Reject.

        Lines and blanks inside a text stay as they are. A prompt that leaves its response no token is refused.
        """
        name = self.columns[-1]
        fields: dict[str, Any]
        if self.section.messages:
            fields = {"messages": chat.clean_messages(row[name], name)}
        else:
            fields = {field: chat.clean_content(row[name], name) for field, name in self._texts.items()}
        if len(self.text(fields)) < self.min_chars:
            raise Reject(f"{name} has under {self.min_chars} characters")
        if not self.section.text and not any(label != IGNORED for label in self._sample(fields)[1]):
            raise Reject(f"{name} has nothing to learn within max_tokens")
        return fields

    def text(self, fields: dict[str, Any]) -> str:
        """All contents, a line's end between them."""
        return "\n".join(self._contents(fields))

    def with_text(self, fields: dict[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
        """Every text and content changed; the roles of messages are as they are."""
        if self.section.messages:
            return {"messages": chat.with_contents(fields["messages"], change)}
        return {field: change(fields[field]) for field in self._texts}

    def identity(self, fields: dict[str, Any]) -> str:
        """Everything that is read and learnt."""
        roles = [message["role"] for message in fields["messages"]] if self.section.messages else []
        return "\x1f".join([*roles, *self._contents(fields)])

    def stratum(self, fields: dict[str, Any]) -> str:
        """All rows are alike."""
        return ""

    def labels_of(self, fields: dict[str, Any]) -> set[str]:
        """None."""
        return set()

    def encode(self, rows: list[dict[str, Any]], labels: list[str]) -> dict[str, Any]:
        """`input_ids`, cut at `max_tokens`, and as many labels: the token itself where it is learnt, else IGNORED.

        The label of a token is its own number: the model's output before it is what is compared with it.
        """
        samples = self._texts_alone(rows) if self.section.text else [self._sample(row) for row in rows]
        return {"input_ids": column([ids for ids, _ in samples]), "label": column([label for _, label in samples])}

    def read(self, texts: list[str]) -> list[tuple[list[int], list[tuple[int, int]]]]:
        """Tokens that an answer goes on from: a text, a prompt, or what the user of a chat says. No places.

        Of more than `max_tokens` the last ones.
        """
        loaded = tokenizer(self.backbone)
        found = []
        for text in texts:
            if self.section.messages:
                chat_so_far = [{"role": "user", "content": text}]
                ids = loaded.apply_chat_template(chat_so_far, add_generation_prompt=True, return_dict=True)["input_ids"]
            else:
                ids = loaded(f"{text}\n" if self.section.prompt else text)["input_ids"]
                if ids and ids[-1] == loaded.eos_token_id:
                    ids = ids[:-1]
            # What goes on from nothing begins a text.
            ids = ids[-self.max_tokens :] or [loaded.eos_token_id]
            found.append((ids, [(0, 0)] * len(ids)))
        return found

    def written(self, ids: list[int]) -> dict[str, Any]:
        """The answer of new tokens."""
        return {"text": tokenizer(self.backbone).decode(ids, skip_special_tokens=True)}

    def row(self, text: str, offsets: list[tuple[int, int]], answer: dict[str, Any]) -> dict[str, Any]:
        """The text gone on with; the prompt and its response; or what the user says and the assistant answers."""
        if self.section.messages:
            said = [{"role": "user", "content": text}, {"role": "assistant", "content": answer["text"]}]
            return {self.section.messages: said}
        if self.section.text:
            return {self.section.text: text + answer["text"]}
        return {self._texts["prompt"]: text, self._texts["response"]: answer["text"]}

    def fingerprint(self) -> dict[str, Any]:
        """See Encoder."""
        section = self.section.model_dump(mode="json", exclude={"weight", "new_tokens"})
        found = {**section, "max_tokens": self.max_tokens, "min_chars": self.min_chars}
        if self.section.messages:
            written = chat.template(tokenizer(self.backbone), self.backbone)
            found["chat_template_sha256"] = hashlib.sha256(written.encode()).hexdigest()
        return found

    def head(self, labels: list[str]) -> dict[str, Any]:
        """That of the backbone: its outputs are the tokens."""
        return {}

    def loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Cross entropy summed over the tokens that are learnt (scalar); the caller divides by their global count."""
        from gb_ray.tasks.entropy import SummedEntropy

        # The last output of the last row has nothing after it; shifting the targets leaves the logits where they are.
        asked = targets.roll(-1, dims=1)
        asked[:, -1] = IGNORED
        entropy: torch.Tensor = SummedEntropy.apply(logits.flatten(0, 1), asked.flatten(), IGNORED)
        return entropy

    def kept(self, logits: NDArray[np.float32], label: Any) -> NDArray[np.floating]:
        """float64 [3]: how many tokens are learnt, the sum of their cross entropies, and their bytes.

        Bytes are those of the text in UTF-8 that the learnt tokens stand for; tokens of control stand for none.
        """
        places = np.flatnonzero(np.asarray(label) != IGNORED)
        told = logits[places - 1].astype(np.float64)
        told -= told.max(axis=-1, keepdims=True)
        right = told[np.arange(len(places)), np.asarray(label)[places]]
        read = tokenizer(self.backbone).decode(np.asarray(label)[places].tolist(), skip_special_tokens=True)
        return np.array([len(places), (np.log(np.exp(told).sum(axis=-1)) - right).sum(), len(str(read).encode())])

    def statistics(
        self, logits: list[NDArray[np.floating]], targets: list[Any], labels: list[str]
    ) -> NDArray[np.float64]:
        """What was kept."""
        return np.stack(logits).astype(np.float64)

    def from_sums(self, sums: NDArray[np.float64], labels: list[str]) -> dict[str, NDArray[np.float64]]:
        """loss (mean cross entropy a token that is learnt, in nats), perplexity, its exponential, and bits_per_byte.

        The last is the summed cross entropy / ln 2 / bytes of the learnt text, which compares models whose tokenizers
        differ: https://arxiv.org/abs/2101.00027, section 3.1.
        """
        loss = sums[..., 1] / sums[..., 0]
        bits = sums[..., 1] / np.log(2) / np.maximum(1, sums[..., 2])
        return {"loss": loss, "perplexity": np.exp(loss), "bits_per_byte": bits}

    def _contents(self, fields: dict[str, Any]) -> list[str]:
        if self.section.messages:
            return [message["content"] for message in fields["messages"]]
        return [fields[field] for field in self._texts]

    def _sample(self, fields: dict[str, Any]) -> tuple[list[int], list[int]]:
        loaded = tokenizer(self.backbone)
        if self.section.messages:
            ids, asked = chat.tokens(loaded, fields["messages"])
        else:
            read = f"{fields['prompt']}\n"
            made = loaded(read + fields["response"], return_offsets_mapping=True)
            ids = made["input_ids"]
            asked = chat.within(made["offset_mapping"], [(len(read), len(read) + len(fields["response"]))])
            if ids[-1] != loaded.eos_token_id:
                ids, asked = [*ids, loaded.eos_token_id], [*asked, True]
            asked[-1] = True
        return self._cut(ids, asked)

    def _texts_alone(self, rows: list[dict[str, Any]]) -> list[tuple[list[int], list[int]]]:
        loaded = tokenizer(self.backbone)
        backend, end = loaded.backend_tokenizer, loaded.eos_token_id
        backend.no_truncation()
        backend.no_padding()
        samples = []
        for encoding in backend.encode_batch_fast([row["text"] for row in rows]):
            ids = encoding.ids
            if not ids or ids[-1] != end:
                ids = [*ids, end]
            samples.append(self._cut(ids, [True] * len(ids)))
        return samples

    def _cut(self, ids: list[int], asked: list[bool]) -> tuple[list[int], list[int]]:
        ids = ids[: self.max_tokens]
        label = [token if wanted else IGNORED for token, wanted in zip(ids, asked, strict=False)]
        # Nothing stands before the first token from which it could be told.
        label[0] = IGNORED
        return ids, label
