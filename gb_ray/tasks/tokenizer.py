"""The tokenizer of a backbone, loaded once a process."""

from __future__ import annotations

import json
import os
from functools import lru_cache
from typing import Any

from gb_ray.section import UserError


@lru_cache(maxsize=4)
def tokenizer(path: str, revision: str | None = None) -> Any:
    """A fast `PreTrainedTokenizer`. Raises UserError when there is none at `path`."""
    # Forked after use, the library's own threads would dead-lock; processes are our parallelism.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    from transformers import AutoTokenizer

    try:
        loaded = AutoTokenizer.from_pretrained(path, revision=revision, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: no tokenizer there that can be loaded: {str(error).splitlines()[0]}") from None
    if not loaded.is_fast:
        raise UserError(f"{path}: its tokenizer has no fast version, which this project needs for offsets")
    return loaded


def needs_blank(loaded: Any) -> bool:
    """Whether words given one by one need a blank before them: a byte-level BPE has other tokens for words without."""
    first = loaded.backend_tokenizer.pre_tokenizer
    if first is None:
        return False
    state = json.loads(first.__getstate__())
    steps = state.get("pretokenizers", [state])
    return any(step["type"] == "ByteLevel" and not step["add_prefix_space"] for step in steps)
