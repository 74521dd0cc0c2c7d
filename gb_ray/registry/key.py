"""The key that signs a home's ledgers."""

from __future__ import annotations

import contextlib
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gb_ray.files import write_new
from gb_ray.section import UserError


class Key:
    """An Ed25519 key: `keys/ledger.pem` (private, only its owner reads it) and `keys/ledger.pub` (public, hex)."""

    def __init__(self, home: Path) -> None:
        self.private_path = home / "keys" / "ledger.pem"
        self.public_path = home / "keys" / "ledger.pub"

    def make(self) -> None:
        """Make the key where there is none yet. Of several makers one wins and all use its key."""
        pem = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        with contextlib.suppress(FileExistsError):
            write_new(self.private_path, pem, mode=0o600)
        with contextlib.suppress(FileExistsError):
            write_new(self.public_path, _public_hex(self._private()).encode() + b"\n")

    def exists(self) -> bool:
        """Whether both halves are there."""
        return self.private_path.exists() and self.public_path.exists()

    def public(self) -> str:
        """The public half (64 hex characters). Raises UserError when its file is missing or is not a key."""
        try:
            text = self.public_path.read_text(encoding="ascii").strip()
            Ed25519PublicKey.from_public_bytes(bytes.fromhex(text))
        except FileNotFoundError:
            raise UserError(f"{self.public_path}: no such file; restore it from a backup of the home") from None
        except ValueError:
            raise UserError(f"{self.public_path}: expected 64 hex characters; restore it from a backup") from None
        return text

    def sign(self, message: bytes) -> str:
        """The signature of `message` (hex).

        Raises UserError when the private half is missing, readable by others, or not the public one's.
        """
        private = self._private()
        if _public_hex(private) != self.public():
            raise UserError(f"{self.private_path}: not the private half of {self.public_path.name}; restore the pair")
        return private.sign(message).hex()

    def _private(self) -> Ed25519PrivateKey:
        path = self.private_path
        try:
            if path.stat().st_mode & 0o077:
                raise UserError(f"{path}: other users can read this private key; run: chmod 600 {path}")
            key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}); restore it from a backup") from None
        except ValueError:
            raise UserError(f"{path}: not a private key in PEM; restore it from a backup") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise UserError(f"{path}: expected an Ed25519 key, got {type(key).__name__}")
        return key


def signed(public: str, signature: str, message: bytes) -> bool:
    """Whether `signature` (hex) is that of `message` by the owner of `public` (hex)."""
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(bytes.fromhex(signature), message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _public_hex(private: Ed25519PrivateKey) -> str:
    return private.public_key().public_bytes_raw().hex()
