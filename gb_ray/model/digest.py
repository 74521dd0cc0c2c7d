"""What names the weights of an exported model."""

from __future__ import annotations

import hashlib

WEIGHTS = "model.safetensors"
ADAPTER = "adapter_model.safetensors"
"""Where there is no other: the weights that were trained beside those of a base."""


def weights_digest(files: dict[str, str]) -> str | None:
    """Of `files` (name: sha256), the digest of the weights' file or, of several, that of the lines "NAME SHA256".

    None when there is no weights' file among them.
    """
    if WEIGHTS in files:
        return files[WEIGHTS]
    lines = [f"{name} {digest}\n" for name, digest in sorted(files.items()) if name.endswith(".safetensors")]
    return hashlib.sha256("".join(lines).encode()).hexdigest() if lines else None
