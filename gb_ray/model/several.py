"""One backbone with a head a task: the models of the tasks, whose own backbones are taken out for the one they share.

The backbone runs once over samples of all tasks. Then each head runs as its architecture wrote it, but finds in its
backbone's place a module that hands it what was computed already, of its own samples alone. Every head runs in every
pass, of no sample too, so that all workers take part in the same collectives and a task that a worker has not seen has
gradients of zero there, not none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from gb_ray.model import adapter, load, package, packing, trained
from gb_ray.model.hollow import Hollow, Place
from gb_ray.model.load import HEADS
from gb_ray.model.section import ModelSection
from gb_ray.section import UserError
from gb_ray.tasks.base import PerToken
from gb_ray.tasks.task import Task

Weights = Iterator[tuple[str, torch.Tensor]]
BACKBONE = "backbone."


@dataclass(frozen=True)
class Owners:
    """Whose the samples of a group are. For each task `rows`, the numbers of its samples (int64), in their order.

    Of a packed group `tokens` too: where in the row its tokens are (int64).
    """

    rows: tuple[torch.Tensor, ...]
    tokens: tuple[torch.Tensor, ...] | None = None

    @classmethod
    def of(cls, owned: list[list[int]], lengths: list[int] | None = None) -> Owners:
        """`owned[t]` are the numbers of task t's samples; `lengths` those of all samples, if they are packed."""
        rows = tuple(torch.tensor(numbers, dtype=torch.int64) for numbers in owned)
        if lengths is None:
            return cls(rows)
        parts = torch.arange(sum(lengths)).split(lengths)
        nothing = torch.empty(0, dtype=torch.int64)
        return cls(rows, tuple(torch.cat([nothing, *(parts[i] for i in numbers)]) for numbers in owned))

    def to(self, device: torch.device) -> Owners:
        """On a device."""
        tokens = self.tokens and tuple(part.to(device) for part in self.tokens)
        return Owners(tuple(part.to(device) for part in self.rows), tokens)


@dataclass(frozen=True)
class Outputs:
    """Logits of each task, of its own samples; and the log-variance of each, if these are learnt (float [tasks])."""

    logits: tuple[torch.Tensor, ...]
    log_variances: torch.Tensor | None


class Handed(torch.nn.Module):
    """Stands where a head's backbone stood, and gives what that would have given."""

    output: Any = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What was put here."""
        return self.output


class Several(torch.nn.Module):
    """The model of several tasks. With `learns_balance` it has a log-variance for each (see train/objective.py)."""

    base_model_prefix = BACKBONE.removesuffix(".")

    def __init__(self, models: list[Any], learns_balance: bool = False):
        """`models` are those of the tasks by themselves, over one folder; they cannot be used any more."""
        super().__init__()
        # Those whose heads read a pooler have one in their backbones, the others have not.
        self.backbone: Any = max((model.base_model for model in models), key=lambda base: len(list(base.parameters())))
        for model in models:
            setattr(model, model.base_model_prefix, Handed())
        self.heads = torch.nn.ModuleList(models)
        self.log_variances = torch.nn.Parameter(torch.zeros(len(models))) if learns_balance else None
        self.config = self.backbone.config

    def forward(self, owners: Owners, **inputs: Any) -> Outputs:
        """`inputs` are the backbone's. Of a whole text logits [samples, labels]; of tokens as the group is laid out."""
        output = self.backbone(**inputs)
        logits = tuple(self._answered(number, output, owners, inputs) for number in range(len(self.heads)))
        # A copy: under ZeRO 3 the parameter itself is gone when this module is done.
        return Outputs(logits, None if self.log_variances is None else self.log_variances.clone())

    def _answered(self, number: int, output: Any, owners: Owners, inputs: dict[str, Any]) -> torch.Tensor:
        from transformers.modeling_outputs import BaseModelOutputWithPoolingAndCrossAttentions

        head: Any = self.heads[number]
        rows, hidden, pooled = owners.rows[number], output.last_hidden_state, None
        read = {"input_ids": inputs["input_ids"]}
        if owners.tokens is None:
            mask = inputs["attention_mask"]
            read = {"input_ids": inputs["input_ids"][rows], "attention_mask": mask[rows]}
            hidden = hidden[rows]
            pooled = None if getattr(output, "pooler_output", None) is None else output.pooler_output[rows]
        elif packing.reads_whole_texts(head):
            hidden, pooled = packing.of_samples(self.backbone, hidden, inputs["segments"], rows)
        else:
            hidden = hidden[:, owners.tokens[number]]
        slot: Handed = getattr(head, head.base_model_prefix)
        slot.output = BaseModelOutputWithPoolingAndCrossAttentions(last_hidden_state=hidden, pooler_output=pooled)
        try:
            found: torch.Tensor = head(**read).logits
        finally:
            slot.output = None
        return found

    # What others ask of a model, asked of its backbone.

    @property
    def base_model(self) -> Any:
        """The backbone."""
        return self.backbone

    @property
    def device(self) -> torch.device:
        """Of the backbone."""
        device: torch.device = self.backbone.device
        return device

    @property
    def supports_gradient_checkpointing(self) -> bool:
        """Whether the backbone can compute its activations again."""
        return bool(self.backbone.supports_gradient_checkpointing)

    def gradient_checkpointing_enable(self, **options: Any) -> None:
        """Of the backbone's layers."""
        self.backbone.gradient_checkpointing_enable(**options)

    def gradient_checkpointing_disable(self) -> None:
        """Of the backbone's layers."""
        self.backbone.gradient_checkpointing_disable()

    def set_attn_implementation(self, name: str) -> None:
        """Of the backbone's layers."""
        self.backbone.set_attn_implementation(name)

    def get_input_embeddings(self) -> Any:
        """Of the backbone."""
        return self.backbone.get_input_embeddings()

    def can_generate(self) -> bool:
        """No head here gives words."""
        return False

    def get_output_embeddings(self) -> None:
        """None: no head here gives words."""
        return None


def hollow(
    section: ModelSection,
    tasks: Sequence[Task],
    labels: Sequence[list[str]],
    seed: int,
    learns_balance: bool = False,
    names: Sequence[str] = (),
) -> Hollow:
    """The model of several tasks, or of one that one's own, its pretrained tensors not yet read.

    Each head is the one that its task would begin with alone, or the folder's, where that has one for a task of this
    name (`names`). What is frozen and adapted is so in the model of all. Raises UserError for a head of other labels.
    """
    if len(tasks) == 1:
        return load.hollow(section, tasks[0], labels[0], seed)
    plain = section.model_copy(update={"trained": "all", "freeze_embeddings": False, "adapter": None})
    found = [
        load.hollow(suited(plain, task, tasks), task, names, seed) for task, names in zip(tasks, labels, strict=True)
    ]
    # With the parameter, which keeps its id from being that of another.
    places = {
        id(parameter): (one.places[name], parameter)
        for one in found
        for name, parameter in one.model.named_parameters()
        if name in one.places
    }
    model = Several([one.model for one in found], learns_balance)
    places |= {id(parameter): (place, parameter) for parameter, place in _heads(model, load.backbone(section), names)}
    drawn = trained.head(model)
    if places:
        drawn |= {name for name, parameter in model.named_parameters() if id(parameter) not in places}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        load.limit(model, section, drawn)
    named = {name: places.get(id(parameter)) for name, parameter in model.named_parameters()}
    whole = Hollow(model, {name: place[0] for name, place in named.items() if place})
    adapter.measure(model, whole.read)
    return whole


def _heads(model: Several, folder: Path, names: Sequence[str]) -> Iterator[tuple[torch.nn.Parameter, Place]]:
    """The parameters of the heads that a folder has, and where it has them."""
    places = {place.name: (place, shape) for place, shape in load.places(folder) if place.name.startswith(HEADS)}
    for task, head in zip(names, model.heads, strict=False):
        for name, parameter in head.named_parameters():
            if found := places.get(f"{HEADS}{task}.{name}"):
                if list(parameter.shape) != found[1]:
                    raise UserError(
                        f"{folder}: its head of {task} has {name} of the shape {found[1]}, the recipe's labels need "
                        f"{list(parameter.shape)}; go on from it with gb finetune --from, or give the task another name"
                    )
                yield parameter, found[0]


def new(
    section: ModelSection, name: str, task: Task, labels: list[str], seed: int, others: Iterable[Task]
) -> torch.nn.Module:
    """The model of one of a recipe's tasks as its training begins, in evaluation mode where it has learnt already."""
    folder = load.backbone(section)
    if any(place.name.startswith(f"{HEADS}{name}.") for place, _ in load.places(folder)):
        one: torch.nn.Module = _one(folder, name, task, labels, tensors_of(folder))
        return one
    return load.new(suited(section, task, others), task, labels, seed)


def suited(section: ModelSection, task: Task, tasks: Iterable[Task]) -> ModelSection:
    """The section for one of several tasks: a pooler is read by those about whole texts, and others have none."""
    if isinstance(task, PerToken) and not all(isinstance(other, PerToken) for other in tasks):
        return section.model_copy(update={"pooler": "own"})
    return section


def exported_names(weights: Weights, tasks: list[str]) -> Weights:
    """Tensors of a `Several` as its exported directory has them: the backbone's as its own, heads.TASK.NAME.

    What only training reads is left out.
    """
    for name, tensor in weights:
        if name.startswith(BACKBONE):
            yield name.removeprefix(BACKBONE), tensor
        elif name.startswith(HEADS):
            number, _, own = name.removeprefix(HEADS).partition(".")
            yield f"{HEADS}{tasks[int(number)]}.{own}", tensor


def exported(folder: Path, name: str, task: Task) -> Any:
    """The model of one task of an exported directory: backbone and head, in fp32, in evaluation mode."""
    described = package.read(folder)["tasks"]
    if len(described) == 1:
        return load.exported(folder, task.architecture)
    return _one(folder, name, task, described[name]["labels"], tensors_of(folder))


def _one(folder: Path, name: str, task: Task, labels: list[str], tensors: dict[str, torch.Tensor]) -> Any:
    """Models that are made of the same tensors share them. Raises UserError when some are not there."""
    import transformers

    load.check_safe(folder, str(folder))
    config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    prefix = getattr(transformers, task.architecture)._model_mapping[type(config)].base_model_prefix
    own = f"{HEADS}{name}."
    parts = {key.removeprefix(own): tensor for key, tensor in tensors.items() if key.startswith(own)}
    parts |= {f"{prefix}.{key}": tensor for key, tensor in tensors.items() if not key.startswith(HEADS)}
    model, lacking = load.opened(folder, task.architecture, "sdpa", task.head(labels), parts)
    if lacking:
        raise UserError(f"{folder}: its weights lack {len(lacking)} tensors of {name}, {min(lacking)} for one")
    return model.eval()


def together(folder: Path, tasks: Mapping[str, Task], labels: dict[str, list[str]]) -> Several:
    """The model of all tasks of an exported directory, in fp32, in evaluation mode."""
    tensors = tensors_of(folder)
    return Several([_one(folder, name, task, labels[name], tensors) for name, task in tasks.items()]).eval()


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a model directory by name."""
    found: dict[str, torch.Tensor] = {}
    for file in load.weight_files(folder):
        with safe_open(file, "pt") as tensors:
            found |= {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118 - it is no mapping
    return found
