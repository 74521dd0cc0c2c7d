"""An exported model in MLflow's own form: a logged model that `mlflow.pyfunc.load_model` opens."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gb_ray import __version__
from gb_ray.files import link
from gb_ray.registry.export import Export
from gb_ray.registry.tracking import Tracking
from gb_ray.section import UserError

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel
    from mlflow.models import ModelSignature

CODE = Path(__file__).parent.parent / "model" / "pyfunc.py"
WEIGHTS = "*.safetensors"
FOLDER = "artifacts/model"
"""Where the exported directory lies inside the logged model."""
REQUIREMENTS = ["mlflow", "torch", "transformers", "safetensors", "pandas"]


def log(tracking: Tracking, export: Export, run_id: str) -> LoggedModel:
    """Log the model to the run and return it, READY. Its folder is complete before it is READY."""
    client = tracking.client
    experiment = client.get_run(run_id).info.experiment_id
    logged = client.create_logged_model(
        experiment, name=export.manifest.name, source_run_id=run_id, model_type=export.manifest.type
    )
    from mlflow.entities import LoggedModelOutput

    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    if local := local_path(logged.artifact_location):
        _save(export, logged, local)
    else:
        with tempfile.TemporaryDirectory(dir=export.path.parent, prefix=".mlflow-") as scratch:
            _save(export, logged, Path(scratch) / "model")
            client.log_model_artifacts(logged.model_id, str(Path(scratch) / "model"))
    return client.finalize_logged_model(logged.model_id, "READY")


def local_path(uri: str) -> Path | None:
    """The path of an artifact address on this machine; None when it is elsewhere."""
    from mlflow.utils.file_utils import local_file_uri_to_path
    from mlflow.utils.uri import is_local_uri

    return Path(local_file_uri_to_path(uri)) if is_local_uri(uri) else None


def signature(kinds: dict[str, str]) -> ModelSignature:
    """Text in, and what the task answers out; of several tasks (name: kind) a column each with what it answers.

    Raises UserError for a task that has no signature.
    """
    from mlflow.models import ModelSignature
    from mlflow.types.schema import Array, ColSpec, DataType, Map, Object, Property, Schema

    text, number, whole = DataType.string, DataType.double, DataType.long
    entity = Object([
        Property("text", text),
        Property("label", text),
        Property("start", whole),
        Property("end", whole),
        Property("score", number),
    ])  # fmt: skip
    outputs: dict[str, dict[str, Any]] = {
        "sequence-classification": {"label": text, "probabilities": Map(number)},
        "multi-label": {"labels": Array(text), "probabilities": Map(number)},
        "token-classification": {"entities": Array(entity)},
        "regression": {"values": Map(number)},
        "embedding": {"embedding": Array(number)},
        "causal-lm": {"text": text},
    }
    for kind in kinds.values():
        if kind not in outputs:
            raise UserError(f"task type {kind!r}: no signature is known; known: {', '.join(sorted(outputs))}")
    answers = {name: outputs[kind] for name, kind in kinds.items()}
    if len(answers) == 1:
        columns = [ColSpec(what, column) for answer in answers.values() for column, what in answer.items()]
    else:
        columns = [
            ColSpec(Object([Property(key, what) for key, what in answer.items()]), name)
            for name, answer in answers.items()
        ]
    return ModelSignature(inputs=Schema([ColSpec(text, "text")]), outputs=Schema(columns))


def _save(export: Export, logged: LoggedModel, target: Path) -> None:
    import mlflow.pyfunc
    from mlflow.models import Model

    form = Model(
        artifact_path=logged.artifact_location,
        run_id=logged.source_run_id,
        model_uuid=logged.model_id,
        model_id=logged.model_id,
    )
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # MLflow's advice on type hints and input examples
        # MLflow copies artifacts twice over, so it is given everything but the weights; they are linked.
        light = Path(scratch) / "model"
        shutil.copytree(export.path, light, ignore=shutil.ignore_patterns(WEIGHTS))
        mlflow.pyfunc.save_model(
            target,
            python_model=str(CODE),
            artifacts={"model": str(light)},
            signature=signature({name: task.kind for name, task in export.manifest.tasks.items()}),
            pip_requirements=_requirements(),
            mlflow_model=form,
        )
    for file in export.path.rglob(WEIGHTS):
        link(file, target / FOLDER / file.relative_to(export.path))
    form.model_size_bytes = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    form.save(str(target / "MLmodel"))


def _requirements() -> list[str]:
    # The part after "+" names a build, such as +cpu, that an index need not have.
    found = {name: version(name).partition("+")[0] for name in REQUIREMENTS}
    return [f"{name}=={number}" for name, number in {"gb_ray": __version__, **found}.items()]
