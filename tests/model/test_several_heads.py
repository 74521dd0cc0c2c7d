"""One pass of a shared backbone gives what each task's model gives by itself, for every architecture that is packed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from test_packing import LOCAL, SIZE, TEXTS, TOKENS, WITHOUT_DROPOUT, worst
from transformers import AutoConfig, AutoModel

from gb_ray.model import adapter, load, package, packing, several
from gb_ray.model.attention import Segments
from gb_ray.model.grow import grow
from gb_ray.model.hollow import Hollow
from gb_ray.model.predictor import Predictor
from gb_ray.model.section import AdapterSection, ModelSection
from gb_ray.model.several import Owners, Several
from gb_ray.section import UserError
from gb_ray.tasks.section import SequenceClassificationSection, TaskSection, TokenClassificationSection
from gb_ray.tasks.sequence_classification import SequenceClassification
from gb_ray.tasks.task import make
from gb_ray.tasks.tokenizer import tokenizer

NO_DROPOUT = {"dropout": 0.0, "attention_dropout": 0.0, "seq_classif_dropout": 0.0}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "BERT": ("bert", WITHOUT_DROPOUT),
    "RoBERTa": ("roberta", WITHOUT_DROPOUT),
    "DistilBERT": ("distilbert", NO_DROPOUT),
    "ModernBERT, first token": ("modernbert", LOCAL | {"classifier_pooling": "cls"}),
    "ModernBERT, mean": ("modernbert", LOCAL | {"classifier_pooling": "mean"}),
    "Llama": ("llama", {"num_key_value_heads": 2}),
}
WAYS = [(case, packed) for case in CASES for packed in (False, True) if case != "Llama" or not packed]
HEADS = [TEXTS, TOKENS, TEXTS]
LENGTHS = [3, 5, 5, 9]
OWNED = {"mixed": [[1, 3], [0], [2]], "one task is absent": [[0, 2, 3], [1], []], "two are": [[], [0, 1, 2, 3], []]}
SECTIONS: dict[str, tuple[TaskSection, list[str]]] = {
    "entities": (TokenClassificationSection(type="token-classification"), ["O", "B-LOC", "I-LOC"]),
    "topics": (SequenceClassificationSection(type="sequence-classification"), ["energy", "health", "water"]),
    "yes-or-no": (SequenceClassificationSection(type="sequence-classification"), ["no", "yes"]),
}
TEXT = ["wind and flood", "the clinic's nurse isn't in 2.5 rooms", "x"]


def apart(kind: str, changes: dict[str, Any]) -> list[Any]:
    """A model for each of HEADS, without dropout, all with one backbone's weights."""
    found: list[Any] = []
    for number, head in enumerate(HEADS):
        config = AutoConfig.for_model(kind, **(SIZE | changes | {"num_labels": 2 + number}))
        torch.manual_seed(number)
        model = getattr(transformers, f"AutoModelFor{head}").from_config(config, attn_implementation="eager")
        if found:
            model.base_model.load_state_dict(found[0].base_model.state_dict(), strict=False)
        found.append(model.eval())
    return found


def padded(ids: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    table = torch.ones(mask.shape, dtype=torch.int64)
    table[mask] = torch.cat(ids)
    return {"input_ids": table, "attention_mask": mask.long()}


@pytest.mark.parametrize("owned", OWNED.values(), ids=OWNED)
@pytest.mark.parametrize(
    ("case", "packed"), [(case, False) for case in CASES] + [(c, True) for c in CASES if c != "Llama"]
)
def test_each_head_gives_what_its_own_model_gives(case: str, packed: bool, owned: list[list[int]]) -> None:
    models = apart(*CASES[case])
    torch.manual_seed(7)
    ids = [torch.randint(2, 50, (length,)) for length in LENGTHS]
    rows = padded(ids)
    expected = [model(**rows).logits.detach() for model in models]
    shared = Several(models)
    if packed:
        packing.pack(shared)
        first = packing.first_position(shared)
        places = torch.cat([torch.arange(first, first + length) for length in LENGTHS])
        row = {"input_ids": torch.cat(ids)[None], "position_ids": places[None], "segments": Segments.of(LENGTHS)}
        found = shared(owners=Owners.of(owned, LENGTHS), **row).logits
    else:
        found = shared(owners=Owners.of(owned), **rows).logits
    for head, mine, logits, wanted in zip(HEADS, owned, found, expected, strict=True):
        own = wanted[mine]
        if head == TOKENS:
            mask = rows["attention_mask"][mine].bool()
            own, logits = own[mask], logits[0] if packed else logits[mask]
        assert logits.shape == own.shape
        assert not own.numel() or worst(logits, own) < 1e-5
    sum(logits.sum() for logits in found).backward()
    # Also of a task without a sample: workers add up what they have.
    assert all(parameter.grad is not None for parameter in shared.heads.parameters())


@pytest.fixture(scope="module")
def directory(backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported model of three tasks, with heads far from zero."""
    tasks = [make(section, str(backbone), 32) for section, _ in SECTIONS.values()]
    labels = [names for _, names in SECTIONS.values()]
    model = several.hollow(ModelSection(path=str(backbone), pooler="identity"), tasks, labels, 3).filled()
    with torch.no_grad():
        for head in model.heads:
            head.classifier.weight.mul_(50)
    described = {
        name: {"section": section.model_dump(mode="json"), "labels": labels}
        for name, (section, labels) in SECTIONS.items()
    }
    path = tmp_path_factory.mktemp("exported") / "three"
    weights = several.exported_names(model.named_parameters(), list(SECTIONS))
    package.export(model.backbone, tokenizer(str(backbone)), {"tasks": described, "max_tokens": 32}, path, weights)
    return path


def test_answers_of_one_pass_are_those_of_each_tasks_model(directory: Path) -> None:
    predictor = Predictor(directory)
    passes = []
    predictor.members[0].model.backbone.register_forward_hook(lambda *args: passes.append(1))
    answers = predictor.predict(predictor.encode(TEXT))
    assert len(passes) == 1
    assert [list(answer) for answer in answers] == [list(SECTIONS)] * len(TEXT)
    for name, (_, labels) in SECTIONS.items():
        task: Any = predictor.tasks[name]
        alone = several.exported(directory, name, task)
        for text, answer in zip(TEXT, answers, strict=True):
            ((ids, places),) = task.read([text])
            logits = alone(input_ids=torch.tensor([ids])).logits[0].detach().numpy()
            wanted = task.answer(text, places, logits, labels)
            assert flat(answer[name]) == pytest.approx(flat(wanted), abs=1e-4)


def flat(answer: Any, key: str = "") -> dict[str, Any]:
    """The numbers of an answer by where they are; texts as keys."""
    if isinstance(answer, dict | list):
        pairs = answer.items() if isinstance(answer, dict) else enumerate(answer)
        return {k: v for name, one in pairs for k, v in flat(one, f"{key}/{name}").items()}
    return {key: answer} if isinstance(answer, float | int) else {f"{key}={answer}": 1}


def test_a_text_that_tasks_read_differently_stands_twice_in_the_batch(directory: Path) -> None:
    predictor = Predictor(directory)
    alike, other = predictor.encode(["wind and flood", "wind\u200b and\u00adflood"])
    assert len(alike.rows) == 1
    read = {tuple(task.read([other.text])[0][0]) for task in predictor.tasks.values()}
    assert {tuple(row) for row in other.rows} == read
    assert len(other.input_ids) == sum(map(len, read))
    both = predictor.predict([alike, other])
    assert flat(both[1]) == pytest.approx(flat(predictor.predict([other])[0]), abs=1e-4)


def test_the_directory_opens_as_its_backbone(directory: Path, backbone: Path) -> None:
    opened, original = AutoModel.from_pretrained(directory), AutoModel.from_pretrained(backbone)
    for name, tensor in original.state_dict().items():
        if "pooler" not in name:
            assert torch.equal(opened.state_dict()[name], tensor), name


def test_heads_begin_as_they_would_alone(backbone: Path) -> None:
    section = ModelSection(path=str(backbone))
    tasks = [make(section, str(backbone), 32) for section, _ in SECTIONS.values()]
    labels = [names for _, names in SECTIONS.values()]
    model = several.hollow(section, tasks, labels, 3).filled()
    for head, task, names in zip(model.heads, tasks, labels, strict=True):
        alone: Any = load.new(section, task, names, 3)
        assert torch.equal(head.classifier.weight, alone.classifier.weight)


def begun(folder: Path, names: dict[str, str], labels: list[list[str]] | None = None) -> Any:
    """The model that training would begin with on a folder, its tasks called by other names."""
    tasks = [make(section, str(folder), 32) for section, _ in SECTIONS.values()]
    labels = labels or [own for _, own in SECTIONS.values()]
    section = ModelSection(path=str(folder))
    return several.hollow(section, tasks, labels, 3, names=[names.get(name, name) for name in SECTIONS]).filled()


def test_heads_that_a_folder_has_are_gone_on_from_by_the_names_of_their_tasks(directory: Path) -> None:
    kept = several.tensors_of(directory)
    same = dict(several.exported_names(begun(directory, {}).named_parameters(), list(SECTIONS)))
    assert {*same} == {*kept}
    assert all(torch.equal(same[name].detach(), kept[name]) for name in kept)
    first = next(iter(SECTIONS))
    renamed = dict(several.exported_names(begun(directory, {first: "new"}).named_parameters(), list(SECTIONS)))
    changed = {name for name in kept if not torch.equal(renamed[name].detach(), kept[name])}
    assert changed and all(name.startswith(f"heads.{first}.") for name in changed)


def test_a_head_of_other_labels_is_refused(directory: Path) -> None:
    labels = [[*own, "more"] for _, own in SECTIONS.values()]
    with pytest.raises(UserError, match=r"its head of .* of the shape .* go on from it with gb finetune --from"):
        begun(directory, {}, labels)


def test_what_training_begins_with_answers_as_the_model_that_is_gone_on_from(directory: Path, backbone: Path) -> None:
    tasks = Predictor(directory).tasks
    read: dict[str, Any] = {"input_ids": torch.tensor([[2, 7, 9, 3]]), "attention_mask": torch.ones(1, 4)}
    for name, (_, labels) in SECTIONS.items():
        wanted = several.exported(directory, name, tasks[name])(**read).logits
        begins = several.new(ModelSection(path=str(directory)), name, tasks[name], labels, 0, list(tasks.values()))
        torch.testing.assert_close(begins.eval()(**read).logits, wanted)
        section = ModelSection(path=str(backbone))
        fresh = several.new(section, name, tasks[name], labels, 0, list(tasks.values()))
        assert not torch.allclose(fresh.eval()(**read).logits, wanted)


def test_heads_of_several_tasks_grow_each_by_its_own_labels(directory: Path, tmp_path: Path) -> None:
    old = {name: labels for name, (_, labels) in SECTIONS.items()}
    tasks = package.tasks_of(directory, package.read(directory))
    grown = next(name for name, labels in old.items() if "O" not in labels and labels)
    new = old | {grown: ["more", *old[grown]]}
    grow(directory, tmp_path / "start", tasks, old, new, 0)
    model = begun(tmp_path / "start", {}, list(new.values()))
    kept = several.tensors_of(directory)
    found = dict(several.exported_names(model.named_parameters(), list(SECTIONS)))
    for name, tensor in kept.items():
        rows = found[name].detach()
        assert torch.equal(rows[1:] if len(rows) > len(tensor) else rows, tensor), name
    assert {name for name in kept if len(found[name]) > len(kept[name])} == {
        f"heads.{grown}.classifier.weight",
        f"heads.{grown}.classifier.bias",
    }


def shared(backbone: Path, **what: Any) -> Hollow:
    """The model of three tasks, of which only some is trained."""
    section = ModelSection(path=str(backbone), dropout=0.0, **what)
    tasks = [make(section, str(backbone), 32) for section, _ in SECTIONS.values()]
    return several.hollow(section, tasks, [names for _, names in SECTIONS.values()], 3)


def learnt(model: torch.nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_what_is_frozen_is_so_for_all_tasks(backbone: Path) -> None:
    heads = {f"heads.{number}.classifier.{part}" for number in range(3) for part in ("weight", "bias")}
    heads |= {"backbone.pooler.dense.weight", "backbone.pooler.dense.bias"}
    assert learnt(shared(backbone, trained="head").model) == heads
    last = learnt(shared(backbone, trained=1).model)
    assert heads < last and {name.split(".")[3] for name in last - heads if ".layer." in name} == {"1"}
    assert learnt(shared(backbone, trained=["backbone.encoder.layer.0.*"]).model).isdisjoint(heads)
    everything = {name for name, _ in shared(backbone).model.named_parameters()}
    assert everything - learnt(shared(backbone, freeze_embeddings=True).model) == {
        "backbone.embeddings.word_embeddings.weight"
    }


@pytest.mark.parametrize("kind", ["lora", "dora", "ia3"])
def test_an_adapter_is_beside_the_backbone_that_tasks_share(backbone: Path, kind: str) -> None:
    hollow = shared(backbone, adapter=AdapterSection(type=kind))
    model = hollow.filled()
    names = learnt(model)
    mark = "ia3_" if kind == "ia3" else "lora_"
    assert {name.split(".")[0] for name in names} == {"backbone", "heads"}
    # The pooler of this backbone is in no file: it is as new as a head.
    assert all(mark in name or ".pooler." in name for name in names if name.startswith("backbone."))
    rows, owners = padded([torch.arange(2, 2 + length) for length in LENGTHS]), Owners.of([[1, 3], [0], [2]])
    plain = shared(backbone).filled().eval()
    before = plain(owners=owners, **rows).logits
    for logits, wanted in zip(model.eval()(owners=owners, **rows).logits, before, strict=True):
        assert worst(logits, wanted) < 1e-5
    torch.manual_seed(3)
    with torch.no_grad():
        for name in names:
            parameter = model.get_parameter(name)
            parameter.add_(torch.randn_like(parameter) / 10)
    expected = model(owners=owners, **rows).logits
    assert all(worst(logits, old) > 1e-3 for logits, old in zip(expected, before, strict=True))
    weights = ((name, parameter.detach()) for name, parameter in model.named_parameters())
    merged = dict(adapter.merged(weights, shared(backbone, adapter=AdapterSection(type=kind)).model))
    plain.load_state_dict(merged)
    for logits, wanted in zip(plain(owners=owners, **rows).logits, expected, strict=True):
        assert worst(logits, wanted) < 1e-4


def test_a_directory_without_a_head_is_refused(directory: Path, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    shutil.copytree(directory, broken)
    tensors = {n: t for n, t in load_file(broken / "model.safetensors").items() if n != "heads.topics.classifier.bias"}
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    task = make(SECTIONS["topics"][0], str(broken), 32)
    with pytest.raises(UserError, match=r"lack 1 tensors of topics, classifier\.bias for one"):
        several.exported(broken, "topics", task)


def test_a_text_is_tokenised_once_for_tasks_that_read_it_alike(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor, calls = Predictor(directory), []
    read = SequenceClassification.read
    monkeypatch.setattr(SequenceClassification, "read", lambda task, texts: calls.append(1) or read(task, texts))
    (encoded,) = predictor.encode(["wind\u200b and\u00adflood"])
    assert len(calls) == 1
    assert [encoded.rows[which] for which in encoded.which] == [
        task.read([encoded.text])[0][0] for task in predictor.tasks.values()
    ]
