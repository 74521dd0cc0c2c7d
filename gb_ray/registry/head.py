"""The HEAD file of a ledger: how far it goes, so that missing last entries are noticed."""

from __future__ import annotations

import contextlib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from gb_ray.registry.key import Key, signed


class Head(BaseModel):
    """The number and hash of the newest entry, signed. Number 0 is the ledger before its first entry."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    number: int = Field(ge=0)
    hash: str
    signature: str

    @classmethod
    def make(cls, name: str, number: int, digest: str, key: Key) -> Head:
        """The signed head of the ledger `name`."""
        return cls(number=number, hash=digest, signature=key.sign(_message(name, number, digest)))

    @classmethod
    def read(cls, path: Path) -> Head | None:
        """The head in a file, None when there is no file. Raises ValueError when it holds something else."""
        with contextlib.suppress(FileNotFoundError):
            return cls.model_validate_json(path.read_bytes())
        return None

    def content(self) -> bytes:
        """What its file holds."""
        return self.model_dump_json().encode() + b"\n"

    def fault(self, name: str, key: str, hashes: list[str]) -> str | None:
        """What is wrong when the ledger's entries have these hashes, in order; None when nothing is.

        A head that is behind is right: the process that wrote the last entry may have died before this file.
        """
        if not signed(key, self.signature, _message(name, self.number, self.hash)):
            return "its signature is wrong"
        if self.number > len(hashes):
            return f"it counts {self.number} entries and there are {len(hashes)}: the last were removed"
        if self.number and hashes[self.number - 1] != self.hash:
            return f"entry {self.number} has another hash"
        return None


def _message(name: str, number: int, digest: str) -> bytes:
    return f"gb_ray ledger head\n{name}\n{number}\n{digest}\n".encode()
