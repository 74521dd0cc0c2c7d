"""Which model a run may go on from: what does not fit is refused, with what to do."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gb_ray.continual.parent import Parent
from gb_ray.corpus.corpus import Corpus
from gb_ray.corpus.manifest import Manifest
from gb_ray.model import package
from gb_ray.model.ensemble import bind
from gb_ray.progress import Progress
from gb_ray.recipe import Recipe
from gb_ray.registry.versions import local
from gb_ray.section import UserError

sys.path.append(str(Path(__file__).parent.parent / "corpus"))

from synthetic import make_corpus


@pytest.fixture
def model(exported: dict[str, Path], tmp_path: Path) -> Path:
    """An exported model as a run leaves it."""
    path = tmp_path / "model"
    shutil.copytree(exported["topics"], path)
    described = package.read(path)["tasks"]["topics"] | {"type": "sequence-classification"}
    package.amend(path, name="topics", run_id="r", tasks={"topics": described}, corpus_digest="d" * 64)
    return path


def recipe(backbone: Path, task: dict[str, Any] | None = None, **train: Any) -> Recipe:
    task = task or {"type": "sequence-classification"}
    pooler = {} if task["type"] == "token-classification" else {"pooler": "identity"}
    return Recipe.model_validate(
        {
            "name": "later",
            "corpus": {"sources": [{"uri": "none.jsonl"}]},
            "tasks": {"topic": task},
            "model": {"path": str(backbone), "max_tokens": 32, **pooler},
            "train": train,
        }
    )


def parent(model: Path, backbone: Path, home: Path, **train: Any) -> Parent:
    return Parent.of(local(model), recipe(backbone, **train), backbone, home)


def test_a_model_of_the_backbone_fits_and_its_corpus_may_be_away(model: Path, backbone: Path, tmp_path: Path) -> None:
    found = parent(model, backbone, tmp_path)
    assert found.labels == {"topic": ["energy", "health", "water"]} and not found.corpora
    assert found.digests == [package.read(model)["weights_sha256"]]


@pytest.mark.parametrize(
    ("task", "told"),
    [
        ({"type": "token-classification"}, "type: sequence-classification"),
        ({"type": "sequence-classification", "multi_label": True}, "multi_label: False"),
        ({"type": "regression", "targets": ["load"]}, "type: sequence-classification"),
    ],
)
def test_another_task_is_refused(model: Path, backbone: Path, tmp_path: Path, task: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        Parent.of(local(model), recipe(backbone, task), backbone, tmp_path)


def of_two(backbone: Path, *names: str) -> Recipe:
    """A recipe of two tasks."""
    content = recipe(backbone).model_dump(mode="json")
    content["corpus"]["sources"] = [{"uri": f"{name}.jsonl", "task": name} for name in names]
    content["tasks"] = {name: {"type": "sequence-classification"} for name in names}
    return Recipe.model_validate(content)


def test_a_model_of_several_tasks_is_gone_on_from_with_all_of_them(model: Path, backbone: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has the tasks topics, the recipe topics, tone; a run goes on with all"):
        Parent.of(local(model), of_two(backbone, "topics", "tone"), backbone, tmp_path)
    described = package.read(model)["tasks"]["topics"]
    package.amend(model, tasks={"topics": described, "tone": described | {"labels": ["a", "b"]}})
    for names in (("topics", "mood"), ("topics", "tone", "mood")):
        with pytest.raises(UserError, match=f"has the tasks topics, tone, the recipe {', '.join(names)}; a run goes"):
            Parent.of(local(model), of_two(backbone, *names), backbone, tmp_path)
    with pytest.raises(UserError, match="has the tasks topics, tone, the recipe topic; a run goes on with all tasks"):
        parent(model, backbone, tmp_path)
    found = Parent.of(local(model), of_two(backbone, "tone", "topics"), backbone, tmp_path)
    assert found.labels == {"tone": ["a", "b"], "topics": ["energy", "health", "water"]}
    other = described | {"section": {"type": "token-classification"}}
    package.amend(model, tasks={"topics": described, "tone": other})
    with pytest.raises(UserError, match=r"its task has type: token-classification, tasks\.tone of the recipe"):
        Parent.of(local(model), of_two(backbone, "topics", "tone"), backbone, tmp_path)


def test_what_is_told_of_several_tasks_is_told_by_task(model: Path, backbone: Path, tmp_path: Path) -> None:
    described = package.read(model)["tasks"]["topics"]
    package.amend(model, tasks={"topics": described, "tone": described | {"labels": ["a", "b"]}})
    found = Parent.of(local(model), of_two(backbone, "topics", "tone"), backbone, tmp_path)
    corpora = {"topics": corpus(["energy", "health", "water"]), "tone": corpus(["a", "b", "c"])}
    told = found.account(corpora, 0.0, Progress())
    assert told["new_labels"] == {"topics": [], "tone": ["c"]}
    assert told["rows_in_both"] == {"topics": None, "tone": None}
    found.check_labels("tone", corpora["tone"])
    with pytest.raises(UserError, match="its label 'energy'"):
        found.check_labels("topics", corpora["tone"])


def test_an_adapter_by_itself_is_refused(model: Path, backbone: Path, tmp_path: Path) -> None:
    content = recipe(backbone).model_dump(mode="json")
    content["model"]["adapter"] = {"export": "adapter"}
    with pytest.raises(UserError, match="export=merged"):
        Parent.of(local(model), Recipe.model_validate(content), backbone, tmp_path)


def test_an_ensemble_is_refused(model: Path, backbone: Path, tmp_path: Path) -> None:
    bind([model, model], [{}, {}], {"name": "topics", "run_id": "both"}, tmp_path / "both")
    with pytest.raises(UserError, match="an ensemble; go on from one of its members"):
        parent(tmp_path / "both", backbone, tmp_path)


def test_numbers_keep_the_scale_that_the_outputs_were_learnt_in(model: Path, backbone: Path, tmp_path: Path) -> None:
    """What else a task learns of a corpus is learnt of the new one: weights of labels, for one."""
    package.amend(model, state={"topics": {"class_weights": [1.0, 2.0, 3.0], "temperature": 2.0}})
    assert parent(model, backbone, tmp_path).states == {}
    task = {"type": "regression", "targets": ["load"]}
    described = {"type": "regression", "labels": [], "section": task}
    package.amend(model, tasks={"topics": described}, state={"topics": {"mean": [3.0], "sd": [2.0]}})
    found = Parent.of(local(model), recipe(backbone, task), backbone, tmp_path)
    assert found.states == {"topic": {"mean": [3.0], "sd": [2.0]}}


def test_another_architecture_is_refused_by_its_size(model: Path, backbone: Path, tmp_path: Path) -> None:
    other = shutil.copytree(backbone, tmp_path / "other")
    config = json.loads((other / "config.json").read_text()) | {"num_hidden_layers": 3}
    (other / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"num_hidden_layers 2, model.path .* has 3; set model.path"):
        Parent.of(local(model), recipe(other), other, tmp_path)


def test_another_tokenizer_is_refused(model: Path, backbone: Path, tmp_path: Path) -> None:
    other = shutil.copytree(backbone, tmp_path / "cased")
    content = (other / "tokenizer.json").read_text()
    (other / "tokenizer.json").write_text(content.replace('"lowercase": true', '"lowercase": false'))
    with pytest.raises(UserError, match=r"its tokenizer is not that of model\.path"):
        Parent.of(local(model), recipe(other), other, tmp_path)


def test_replay_needs_the_corpus_in_the_home(model: Path, backbone: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"no corpus with digest {'d' * 64}.*train.replay=0"):
        parent(model, backbone, tmp_path, replay=0.2)


def test_labels_may_be_more_but_not_fewer(model: Path, backbone: Path, tmp_path: Path) -> None:
    found = parent(model, backbone, tmp_path)
    found.check_labels("topic", corpus(["air", "energy", "health", "water"]))
    with pytest.raises(UserError, match=r'label \'water\'.*labels: \["air", "energy", "health", "water"\]'):
        found.check_labels("topic", corpus(["air", "energy", "health"]))


def test_the_run_starts_from_the_model_itself_where_its_labels_are_the_corpus(
    model: Path, backbone: Path, tmp_path: Path
) -> None:
    found = parent(model, backbone, tmp_path)
    (task,) = package.tasks_of(model, package.read(model)).values()
    same = found.start(recipe(backbone), {"topic": corpus(["energy", "health", "water"])}, tmp_path, {"topic": task})
    assert same.model.path == str(model.resolve()) and same.model.pooler == "own"
    wider = {"topic": corpus(["air", "energy", "health", "water"])}
    more = found.start(recipe(backbone), wider, tmp_path, {"topic": task})
    assert more.model.path == str(tmp_path / "start") and (tmp_path / "start" / "model.safetensors").is_file()


def test_the_account_names_new_labels(model: Path, backbone: Path, tmp_path: Path) -> None:
    wider = {"topic": corpus(["air", "energy", "health", "water"])}
    told = parent(model, backbone, tmp_path).account(wider, 0.0, Progress())
    assert told["new_labels"] == ["air"] and told["rows_in_both"] is None
    assert told["weights_sha256"] == package.read(model)["weights_sha256"]


def test_rows_that_one_corpus_tests_and_the_other_trains_on_are_counted(
    model: Path, backbone: Path, tmp_path: Path
) -> None:
    new = make_corpus(tmp_path / "new", {"train": [(1.0, 30)], "test": [(1.0, 10)]}, lanes=2, shard_rows=8)
    splits = new.manifest.splits
    swapped = splits | {"train": splits["test"], "test": splits["train"]}
    old = Corpus(new.folder, new.manifest.model_copy(update={"splits": swapped}))
    known = replace(parent(model, backbone, tmp_path), corpora={"topic": old})
    told = known.account({"topic": new}, 0.0, Progress())
    assert told["rows_in_both"] == {"new_train_in_old_test": 30, "old_train_in_new_test": 10}


def corpus(labels: list[str]) -> Any:
    """As much of a corpus as a label set needs."""
    return Corpus(Path("none"), Manifest.model_construct(labels=labels))
