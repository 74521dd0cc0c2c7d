"""What a recipe needs of memory at a place, and what it would need if something were changed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from gb_ray.corpus.corpus import Corpus
from gb_ray.corpus.manifest import SplitEntry
from gb_ray.recipe import Recipe
from gb_ray.tasks.task import make
from gb_ray.train.planning import lengths
from gb_ray.train.planning.flops import Flops, flops_per_token
from gb_ray.train.planning.memory import Memory, Setting, memory
from gb_ray.train.planning.place import Place
from gb_ray.train.planning.rehearsal import Rehearsal, Size
from gb_ray.train.samples import per_epoch
from gb_ray.train.schedule import steps_per_epoch


@dataclass(frozen=True)
class Needs:
    """A recipe with an empty model of it. `changes` are settings of train that differ from the recipe's."""

    recipe: Recipe
    place: Place
    split: SplitEntry
    rehearsal: Rehearsal
    precision: str
    changes: dict[str, Any] = field(default_factory=dict)
    known: dict[tuple[Any, ...], int] = field(default_factory=dict)
    """Activations that were counted already, of all that share this rehearsal."""

    @classmethod
    def of(cls, recipe: Recipe, corpora: dict[str, Corpus], backbone: Path, place: Place) -> Needs:
        """Those of a recipe as it is, with the corpus of each of its tasks."""
        tasks = [
            make(section, str(backbone), recipe.model.max_tokens, recipe.corpus.min_chars)
            for section in recipe.tasks.values()
        ]
        manifests = [corpora[name].manifest for name in recipe.tasks]
        precision = place.precision(recipe.train.precision)
        rehearsal = Rehearsal(recipe.model, backbone, tasks, [manifest.labels for manifest in manifests], precision)
        split = SplitEntry.joined([manifest.splits["train"] for manifest in manifests])
        return cls(recipe, place, split, rehearsal, precision)

    def but(self, place: Place | None = None, **changes: Any) -> Needs:
        """The same with changes: zero, recompute, offload_optimizer, micro_tokens; or elsewhere."""
        return replace(self, place=place or self.place, changes={**self.changes, **changes})

    @property
    def packed(self) -> bool:
        """Whether the model takes packed rows."""
        return self.rehearsal.packed

    @cached_property
    def size(self) -> Size:
        """Of the model."""
        return self.rehearsal.size

    def flops(self, attended: float) -> Flops:
        """Of a token."""
        return flops_per_token(self.rehearsal.model, attended)

    @property
    def stages(self) -> list[int]:
        """The ZeRO stages that the rest of the recipe allows, lowest first."""
        train = self.recipe.train
        lowest = 3 if train.offload.parameters != "none" else 1 if self._get("offload_optimizer") != "none" else 0
        highest = 0 if train.optimizer == "muon" or train.ema or self.recipe.prunes or self.recipe.in_four_bits else 3
        return list(range(lowest, highest + 1))

    @property
    def lengths(self) -> list[int]:
        """Of the samples in the fullest micro-batch."""
        samples = -(-self.recipe.train.batch // self.place.workers)
        return lengths.fullest(self.split, samples, self._get("micro_tokens"))

    @property
    def tokens(self) -> int:
        """Of the fullest micro-batch."""
        return sum(self.lengths)

    @property
    def fits(self) -> bool:
        """Whether a worker's memory, which must be known, is enough."""
        return self.place.memory is not None and self.memory().total <= self.place.memory

    def memory(self) -> Memory:
        """Bytes of a worker."""
        return memory(self.size, self._setting, self._activations(self.lengths))

    def largest_micro_tokens(self) -> int:
        """The tokens of a micro-batch that fit where memory is known, 0 if none do: activations grow with tokens."""
        mine, size, setting, room = self.lengths, self.size, self._setting, self.place.memory or 0
        less = mine[: len(mine) // 2] or [mine[0] // 2]
        held = self._activations(mine)
        slope = (held - self._activations(less)) / (sum(mine) - sum(less))
        low, high = 0, room
        while high - low > 1_000_000:
            middle = (low + high) // 2
            low, high = (middle, high) if memory(size, setting, middle).total <= room else (low, middle)
        return max(0, int(sum(mine) + (low - held) / slope)) if low else 0

    @property
    def _setting(self) -> Setting:
        train = self.recipe.train
        mean = self.split.tokens / max(1, self.split.samples) * train.batch / self.place.workers
        return Setting(
            zero=self._get("zero"),
            precision=self.precision,
            optimizer=train.optimizer,
            workers=self.place.workers,
            gpu=self.place.gpu,
            offload_optimizer=self._get("offload_optimizer"),
            offload_parameters=train.offload.parameters,
            # Of two micro-batches that hold less than one and a half, the second is not full.
            accumulates=mean > 1.5 * self._get("micro_tokens"),
            saves=self.steps >= train.checkpoint.every or train.early_stop is not None,
            averages=train.ema is not None,
        )

    @property
    def steps(self) -> int:
        """Of the whole run."""
        train = self.recipe.train
        return steps_per_epoch(per_epoch(self.split.epoch, train.replay), train.batch) * train.epochs

    def _activations(self, sizes: list[int]) -> int:
        key = (tuple(sizes), self._get("recompute"))
        if key not in self.known:
            self.known[key] = self.rehearsal.activations(sizes, self._get("recompute")) * self.recipe.train.draws
        return self.known[key]

    def _get(self, name: str) -> Any:
        if name in self.changes:
            return self.changes[name]
        train = self.recipe.train
        return train.offload.optimizer if name == "offload_optimizer" else getattr(train, name)
