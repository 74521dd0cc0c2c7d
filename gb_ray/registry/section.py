"""The `registry:` section of a recipe, and the policy file it names."""

from pydantic import Field

from gb_ray.corpus.section import Split
from gb_ray.section import Section
from gb_ray.tasks.section import Target

# It may end with a target's name, and of a model of several tasks it is TASK.metric.
Metric = Target


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
