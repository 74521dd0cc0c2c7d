"""DeepSpeed, imported in half the time: what a worker imports is most of what its restart takes."""

from __future__ import annotations

import sys
from types import ModuleType


def deepspeed() -> ModuleType:
    """DeepSpeed without the MLflow that its autotuner would log to, whose import takes as long as its own."""
    if "mlflow" not in sys.modules:
        sys.modules["mlflow"] = None  # type: ignore[assignment] # importing it fails, which the autotuner allows for
        try:
            import deepspeed
        finally:
            del sys.modules["mlflow"]
    import deepspeed

    return deepspeed
