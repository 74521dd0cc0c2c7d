"""DeepSpeed, imported in half the time: what a worker imports is most of what its restart takes."""

from __future__ import annotations

import sys
from types import ModuleType


def deepspeed() -> ModuleType:
    """DeepSpeed without what it imports and nothing here uses: MLflow for its autotuner, a compiler for its Muon."""
    if "mlflow" not in sys.modules:
        sys.modules["mlflow"] = None  # type: ignore[assignment] # importing it fails, which the autotuner allows for
        try:
            import deepspeed
        finally:
            del sys.modules["mlflow"]
    import deepspeed

    _muon()
    return deepspeed


def _muon() -> None:
    """Its engine asks whether an optimizer is this one, and making it ready to be compiled takes over a second."""
    from deepspeed.runtime import compiler

    compiles = compiler.compile
    compiler.compile = lambda: lambda function: function
    try:
        import deepspeed.runtime.zero.muon.muon_optimizer  # noqa: F401
    finally:
        compiler.compile = compiles
