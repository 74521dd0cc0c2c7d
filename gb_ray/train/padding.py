"""A worker whose part of a parameter group is nothing but padding can load a universal checkpoint too.

A head's biases are few: shared out among more workers than they have values, some get none. DeepSpeed 0.19 then looks
at the first of no steps and raises IndexError (base_optimizer.py, load_hp_checkpoint_state_from_checkpoint_dir).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class _Nothing:
    """Stands where a parameter's mapping to this worker's part would be: it has no state."""

    def get_optim_state_keys(self) -> list[str]:
        return []


@contextmanager
def loadable(optimizer: Any) -> Iterator[None]:
    """While a universal checkpoint is loaded into a ZeRO stage 1 or 2 optimizer; others have no such groups."""
    stand_ins = []
    for group in getattr(optimizer, "bit16_groups", []):
        if all(parameter._hp_mapping is None for parameter in group):
            group[0]._hp_mapping = _Nothing()
            stand_ins.append((group[0], group[0].load_hp_checkpoint_state))
            group[0].load_hp_checkpoint_state = lambda *_, **__: None
    yield
    for parameter, load in stand_ins:
        parameter._hp_mapping, parameter.load_hp_checkpoint_state = None, load
