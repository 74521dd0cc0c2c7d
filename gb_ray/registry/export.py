"""An exported model directory as the registry sees it: verified, with the keys that the registry needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gb_ray.files import sha256
from gb_ray.model.digest import weights_digest
from gb_ray.section import UserError

MANIFEST = "gb_model.json"


class ExportTask(BaseModel):
    """What the model was taught."""

    type: str
    section: dict[str, Any] = {}

    @property
    def kind(self) -> str:
        """Its type; of a classification with several labels a text, multi-label."""
        return "multi-label" if self.section.get("multi_label") else self.type


class Manifest(BaseModel):
    """What the registry reads of `gb_model.json`."""

    model_config = ConfigDict(frozen=True)

    name: str
    run_id: str
    corpus_digest: str | None = None
    weights_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    tasks: dict[str, ExportTask] = Field(min_length=1)
    files: dict[str, str]

    @property
    def type(self) -> str:
        """That of its task; of several tasks, all of them."""
        return " + ".join(task.type for task in self.tasks.values())


class Export(BaseModel):
    """A directory whose files all are what its manifest says. `digest` is the manifest's own sha256 (hex)."""

    model_config = ConfigDict(frozen=True)

    path: Path
    manifest: Manifest
    digest: str

    @classmethod
    def open(cls, path: Path) -> Export:
        """Read and check a directory. Raises UserError naming the file that is missing or differs."""
        # It imports torch, which the ledger and the gate do without.
        from gb_ray.model import package

        path = path.resolve()
        manifest = _manifest(path, package.read(path))
        package.verify(path)
        return cls(path=path, manifest=manifest, digest=sha256(path / MANIFEST))


def _manifest(path: Path, content: dict[str, Any]) -> Manifest:
    where = path / MANIFEST
    try:
        manifest = Manifest.model_validate(content)
    except ValidationError as error:
        key = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise UserError(f"{where}: {key}: {error.errors()[0]['msg']}; export the model again") from None
    if weights_digest(manifest.files) != manifest.weights_sha256:
        raise UserError(f"{where}: weights_sha256 is not the digest of the weights in files; export the model again")
    return manifest
