"""A worker imports what it needs, and no more: that is most of what its restart takes."""

from __future__ import annotations

import subprocess
import sys

DEEPSPEED = """
import sys
from gb_ray.train import lean
assert lean.deepspeed().initialize and "mlflow" not in sys.modules
assert "torch._inductor" not in sys.modules
import deepspeed, mlflow.tracking
assert lean.deepspeed() is deepspeed
"""
WORKER = """
import sys
import gb_ray.train.loop
print(*{"mlflow", "scipy", "sklearn", "seqeval", "pandas", "ray.serve", "optuna"} & sys.modules.keys())
"""


def output(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_deepspeed_is_imported_without_mlflow_which_can_be_imported_later_and_without_a_compiler() -> None:
    output(DEEPSPEED)


def test_the_loop_imports_nothing_that_only_measuring_serving_or_tracking_needs() -> None:
    assert output(WORKER) == ""
