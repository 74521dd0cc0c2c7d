"""The `registry:` section of a recipe, and the policy file it names."""

from typing import Annotated

from pydantic import Field

from gb_ray.corpus.section import Split
from gb_ray.section import Section

# Of a model of several tasks, TASK.metric.
Metric = Annotated[str, Field(pattern=r"^([a-z0-9][a-z0-9_-]{0,63}\.)?[a-z0-9_]+$")]


class RegistrySection(Section):
    """What happens to the model a run leaves."""

    policy: str = Field("policy.yaml", description="The gate's policy file, relative to the recipe's folder.")
    promote: bool = Field(False, description="Try to move `champion` to the new version when the run ends.")


class Policy(Section):
    """What a version must show before `champion` moves to it."""

    split: Split = Field("test", description="The split both models are measured on.")
    floors: dict[Metric, float] = Field({}, description="metric: the least value.")
    ceilings: dict[Metric, float] = Field({}, description="metric: the most, where less is better.")
    not_worse: dict[Metric, float] = Field({}, description="metric: how much worse than the champion's is accepted.")
