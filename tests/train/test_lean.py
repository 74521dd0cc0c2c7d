"""DeepSpeed is there without MLflow, and MLflow is there afterwards."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys
from gb_ray.train import lean
assert lean.deepspeed().initialize and "mlflow" not in sys.modules
import deepspeed, mlflow.tracking
assert lean.deepspeed() is deepspeed
"""


def test_deepspeed_is_imported_without_mlflow_which_can_be_imported_later() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
