"""One entry of a ledger: who moved which alias where, when, and on what evidence."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import socket
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from gb_ray.registry.key import Key, signed

Digest = Field(pattern="^[0-9a-f]{64}$")


class Move(BaseModel):
    """What an entry says happened. A "refuse" moves nothing: it keeps the evidence of a gate that said no."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    action: Literal["promote", "rollback", "refuse"]
    alias: str
    version: str = Field(min_length=1, description="The version that the alias goes to, or was refused to.")
    previous_version: str | None = Field(description="The version that a rollback from here goes to.")
    weights_sha256: str = Digest
    evidence: dict[str, Any] = Field(description="Metrics, policy, split, digests: JSON, finite numbers only.")


class Entry(Move):
    """A move in its place in the chain, hashed and signed."""

    number: int = Field(ge=1)
    name: str = Field(description="The model's: an entry of one ledger is worth nothing in another.")
    time: str = Field(description="UTC, ISO 8601.")
    who: str = Field(description="user@host")
    previous_hash: str | None
    key: str = Field(description="The public key of the signature, hex.")
    hash: str = Digest
    signature: str

    @classmethod
    def make(cls, move: Move, name: str, number: int, previous_hash: str | None, key: Key) -> Entry:
        """The entry of `move`, now, signed. Raises ValueError when the evidence is not JSON of finite numbers."""
        fields = move.model_dump() | {
            "number": number,
            "name": name,
            "time": datetime.now(UTC).isoformat(timespec="microseconds"),
            "who": _who(),
            "previous_hash": previous_hash,
            "key": key.public(),
        }
        digest = _digest(fields)
        return cls(**fields, hash=digest, signature=key.sign(_message(digest)))

    @classmethod
    def read(cls, content: bytes) -> Entry:
        """The entry that a file holds. Raises ValueError when it is not exactly what `content` writes."""
        entry = cls.model_validate_json(content)
        if entry.content() != content:
            raise ValueError("not written as a ledger writes its entries")
        return entry

    def content(self) -> bytes:
        """What its file holds, to the byte."""
        return (json.dumps(self.model_dump(), indent=1, allow_nan=False) + "\n").encode()

    def faults(self, key: str) -> list[str]:
        """What is wrong with it on its own, `key` being the only public key (hex) that may sign."""
        found = []
        if self.hash != _digest(self.model_dump(exclude={"hash", "signature"})):
            found.append("its hash is not that of its content")
        if self.key != key:
            found.append("it is signed with another key than this home's")
        if not signed(self.key, self.signature, _message(self.hash)):
            found.append("its signature is wrong")
        return found


def _digest(fields: dict[str, Any]) -> str:
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _message(digest: str) -> bytes:
    return f"gb_ray ledger entry\n{digest}\n".encode()


def _who() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        # A container may run as a user that has no name.
        user = f"uid-{os.getuid()}"
    return f"{user}@{socket.gethostname()}"
