"""What is to be built, with every input found and checked before any work."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gb_ray.corpus.encoder import Encoder
from gb_ray.corpus.section import CorpusSection, Splits
from gb_ray.corpus.sources.source import OpenSource, open_source
from gb_ray.files import sha256
from gb_ray.section import UserError

TOKENIZER_FILES = (
    "tokenizer*",
    "vocab*",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template*",
    "*.model",
)
DECIDES = ("corpus/clean", "corpus/near", "corpus/sources", "corpus/stages", "tasks")


@dataclass(frozen=True)
class Plan:
    """What is to be built, its inputs checked."""

    name: str
    task: str
    section: CorpusSection
    encoder: Encoder
    sources: list[OpenSource]
    tokenizer_sha256: str
    code: str

    @property
    def key(self) -> str:
        """sha256 (hex) of everything that decides the corpus; the same key, the same corpus."""
        content = {
            "sources": [source.fingerprint() for source in self.sources],
            "section": self.section.model_dump(mode="json"),
            "task": [self.task, self.encoding],
            "tokenizer": self.tokenizer_sha256,
            "code": self.code,
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def encoding(self) -> dict[str, Any]:
        """What decides the samples, and how often an epoch has them if not all alike."""
        balance = self.encoder.balance
        return self.encoder.fingerprint() | ({"balance": balance} if balance else {})

    def path(self, home: Path) -> Path:
        """Where its corpus is, or will be."""
        return home / "corpora" / f"{self.name}-{self.key[:12]}"


def prepare(name: str, task: str, section: CorpusSection, encoder: Encoder, backbone: Path) -> Plan:
    """Check every source before any work. Raises UserError."""
    sources = [open_source(source, encoder.columns, section.splits.column) for source in section.sources]
    if encoder.context:
        for source in sources:
            _check_documents(source, task, section.splits, encoder.document)
    return Plan(name, task, section, encoder, sources, _tokenizer_sha256(backbone), _code_sha256())


def _check_documents(source: OpenSource, task: str, splits: Splits, document: str | None) -> None:
    """Raises UserError where rows of one document may come into several splits: they read each other's words."""
    section = source.section
    if section.split or all(file.input.split for file in source.files):
        return
    name = document or "COLUMN"
    column = section.columns.get(name, name)  # a group is called as the source calls it
    if splits.by != "group" or splits.column != column or not document or document in section.compose:
        raise UserError(
            f"{section.uri}: tasks.{task}.context: rows of one document may be divided between splits, and training "
            f"samples would have words of test rows around them. Say the source's `split`, or keep documents whole: "
            f"corpus.splits: {{by: group, column: {column}}} with tasks.{task}.document: {name}, not composed"
        )


def _tokenizer_sha256(backbone: Path) -> str:
    """sha256 (hex) of all the files that decide what a tokenizer does, whichever of them it has."""
    found = {path for pattern in TOKENIZER_FILES for path in backbone.glob(pattern)}
    return hashlib.sha256(json.dumps([[path.name, sha256(path)] for path in sorted(found)]).encode()).hexdigest()


def _code_sha256() -> str:
    """sha256 (hex) of the source that decides what a row becomes."""
    folder = Path(__file__).parent.parent
    files = sorted(file for part in DECIDES for file in (folder / part).rglob("*.py"))
    return hashlib.sha256(
        "".join(f"{file.relative_to(folder)} {sha256(file)}\n" for file in files).encode()
    ).hexdigest()
