"""The `model:` section of a recipe."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from gb_ray.section import Section


class AdapterSection(Section):
    """A few new parameters that are trained in place of the backbone."""

    type: Literal["lora", "dora", "adalora", "ia3", "prefix"] = Field("lora")
    rank: int = Field(8, ge=1, description="Of the product that is added to a matrix; adalora: on average, at the end.")
    alpha: int | None = Field(None, ge=1, description="The product is scaled by alpha / rank. Absent: 2 x rank.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Of what goes into an adapter; lora, dora, adalora.")
    targets: list[str] = Field(["*"], min_length=1, description="Linear maps by name or its end; lora, dora, adalora.")
    tokens: int = Field(16, ge=1, description="Learnt keys and values that each layer sees before a text's; prefix.")
    base: Literal["full", "nf4"] = Field(
        "full", description="nf4: what lora and adalora are beside is held in four bits; needs bitsandbytes; zero 0."
    )
    export: Literal["merged", "adapter"] = Field(
        "merged", description="merged: a model like any other. adapter: what was trained alone; needs its base to load."
    )

    @property
    def first_rank(self) -> int:
        """What adalora begins with, of which it gives up a third: the paper's one and a half times the budget."""
        return self.rank + (self.rank + 1) // 2

    @model_validator(mode="after")
    def _agrees(self) -> "AdapterSection":
        # Values, not what was written: a recipe that was dumped names its defaults too.
        set = {name for name, field in type(self).model_fields.items() if getattr(self, name) != field.default}
        if self.type in ("ia3", "prefix") and set & {"rank", "alpha", "dropout", "targets"}:
            raise ValueError(f"{self.type} has no rank, alpha, dropout or targets: leave them out")
        if self.type != "prefix" and "tokens" in set:
            raise ValueError(f"{self.type} has no tokens: leave them out")
        if self.base == "nf4" and self.type not in ("lora", "adalora"):
            raise ValueError(f"{self.type} reads its base's weights: leave base: nf4 out, or use lora or adalora")
        if self.type == "prefix" and self.export == "merged":
            raise ValueError("a prefix is no part of any weight of its base: write export: adapter")
        return self


class ModelSection(Section):
    """The pretrained backbone."""

    path: str = Field(description="A folder or .gguf file, pypi:DIST/path inside an installed package, or a hub id.")
    revision: str | None = Field(None, description="Hub ids only: the commit, branch or tag.")
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$", description="Of model.safetensors or the .gguf file.")
    max_tokens: int = Field(512, ge=8, description="Longer texts are cut here, special tokens included.")
    attention: Literal["eager", "sdpa"] = Field("sdpa", description="On CPU in bf16 eager trained faster here.")
    dropout: float | None = Field(None, ge=0, lt=1, description="Absent: the backbone's own. Drawing it takes time.")
    pooler: Literal["own", "identity"] = Field(
        "own", description="identity: starts by handing on the first token; sentence encoders never trained theirs."
    )
    freeze_embeddings: bool = Field(False, description="Leave the embeddings as they are: half a small encoder.")
    trained: Literal["all", "head"] | Annotated[int, Field(ge=1)] | Annotated[list[str], Field(min_length=1)] = Field(
        "all", description="head, the last N layers and the head, or patterns of parameter names; the rest is frozen."
    )
    adapter: AdapterSection | None = Field(None, description="Absent: none, the backbone itself is trained.")

    @model_validator(mode="after")
    def _agrees(self) -> "ModelSection":
        if self.adapter and self.trained != "all":
            raise ValueError("trained: an adapter and the head are trained with `adapter`; leave one of the two out")
        return self
