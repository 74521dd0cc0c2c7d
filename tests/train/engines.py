"""What tests see of an engine, whichever it is."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from gb_ray.train.engine import Engine
from gb_ray.train.sharded import Sharded
from gb_ray.train.whole import Whole
from gb_ray.train.worker import Worker


def held(engine: Engine) -> Iterator[tuple[str, torch.Tensor]]:
    """(name, gradient of the global batch) of each trained parameter."""
    if isinstance(engine, Whole):
        gradients = dict(zip(map(id, engine._owners), engine._gradients.of(), strict=True))
        yield from ((name, gradients[id(one)]) for name, one in engine._trained.items())
    elif isinstance(engine, Sharded):
        from deepspeed.utils import safe_get_full_grad

        for name, parameter in engine.module.named_parameters():
            if parameter.requires_grad:
                yield name, safe_get_full_grad(parameter)


def moments(engine: Engine) -> dict[str, list[torch.Tensor]]:
    """AdamW's two moments of each trained parameter, in its shape."""
    keys = ("exp_avg", "exp_avg_sq")
    if isinstance(engine, Whole):
        return {name: [engine._optimizer.state[one][key] for key in keys] for name, one in engine._trained.items()}
    from deepspeed.utils import safe_get_full_optimizer_state

    assert isinstance(engine, Sharded)
    if hasattr(engine._wrapped, "_hp_optimizer_states_linked"):
        # DeepSpeed links the moments of the first group alone.
        engine._wrapped._hp_optimizer_states_linked = False
        engine._wrapped._lazy_init_hp_params_optimizer_state()
    return {
        name: [safe_get_full_optimizer_state(one, key).view(getattr(one, "ds_shape", one.shape)) for key in keys]
        for name, one in engine.module.named_parameters()
        if one.requires_grad
    }


def end(worker: Worker) -> None:
    """Let go of its threads and of DeepSpeed's hooks."""
    worker.feeder.close()
    worker.reader.close()
    if isinstance(worker.engine, Sharded):
        worker.engine._engine.destroy()
