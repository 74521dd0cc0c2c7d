"""A backbone from a GGUF file: made a Hugging Face folder once, which is what everything else opens."""

from __future__ import annotations

import json
import shutil
import struct
import tempfile
from pathlib import Path
from typing import Any

from gb_ray.files import sha256
from gb_ray.section import UserError

MADE = "gguf.json"


def inside(path: Path) -> Path | None:
    """The GGUF file that `path` is, or the one of a folder that holds no other model; None when there is none."""
    if path.is_file():
        return path if path.suffix == ".gguf" else None
    found = [] if (path / "config.json").exists() else sorted(path.glob("*.gguf"))
    if len(found) > 1:
        raise UserError(f"{path}: {len(found)} GGUF files; name one: {', '.join(file.name for file in found)}")
    return found[0] if found else None


def folder(file: Path, cache: Path | None = None) -> Path:
    """The folder with its weights in fp32 and its tokenizer, made unless it is there: whole or not at all.

    It lies in `cache`, by default beside what the Hugging Face hub gave, under the file's digest; the digests of the
    file and of its weights are recorded in it. Raises UserError for what `transformers` does not read.
    """
    import transformers
    from huggingface_hub import cached_assets_path

    digest = sha256(file)
    name = f"{digest}-{transformers.__version__}"
    made = (cache or cached_assets_path("gb_ray", "gguf", "models")) / name
    if (made / MADE).is_file():
        return made
    made.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=made.parent))
    try:
        _convert(file, beside)
        digests = {"source": file.name, "source_sha256": digest, "sha256": sha256(beside / "model.safetensors")}
        (beside / MADE).write_text(json.dumps(digests, indent=1), encoding="utf-8")
        beside.chmod(0o755)
        if not (made / MADE).is_file():
            beside.rename(made)
    except OSError:
        if not (made / MADE).is_file():  # else another process was faster
            raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return made


def _convert(file: Path, into: Path) -> None:
    import torch
    import transformers
    from safetensors.torch import save_file

    transformers.utils.logging.disable_progress_bar()
    options: dict[str, Any] = {"gguf_file": file.name, "trust_remote_code": False}
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(file.parent, **options)
        model = transformers.AutoModelForCausalLM.from_pretrained(file.parent, dtype=torch.float32, **options)
    except ImportError as error:
        raise UserError(f"{file}: {str(error).strip().splitlines()[0]} (pip install gguf)") from None
    except (OSError, ValueError, KeyError, RuntimeError, struct.error) as error:
        raise UserError(f"{file}: not a GGUF file that transformers reads: {str(error).splitlines()[0]}") from None
    tokenizer.save_pretrained(into)
    # Its own `save_pretrained` refuses a model that was read from such a file.
    weights = {name: parameter.detach().contiguous() for name, parameter in model.named_parameters()}
    save_file(weights, into / "model.safetensors", metadata={"format": "pt"})
    config = model.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.architectures, config.dtype = [type(model).__name__], "float32"
    config.save_pretrained(into)
    model.generation_config.save_pretrained(into)
