"""The model as MLflow serves it: `mlflow.pyfunc.load_model` runs this file, it is never imported."""

from __future__ import annotations

from typing import Any

import mlflow
import pandas as pd

BATCH = 32


class GbModel(mlflow.pyfunc.PythonModel):
    """Answers a table with the column `text` by one with a row a text, of the columns that its signature names."""

    def load_context(self, context: Any) -> None:
        """Open the exported directory; it verifies itself."""
        from pathlib import Path

        from gb_ray.model.predictor import Predictor

        self.predictor = Predictor(Path(context.artifacts["model"]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """A row for each text, in the order of the texts."""
        encoded = self.predictor.encode(model_input["text"].tolist())
        batches = (encoded[start : start + BATCH] for start in range(0, len(encoded), BATCH))
        return pd.DataFrame([answer for batch in batches for answer in self.predictor.predict(batch)])


mlflow.models.set_model(GbModel())
