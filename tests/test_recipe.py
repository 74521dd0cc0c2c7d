"""A recipe says what is wrong with it by file and key, and its digest covers what decides the weights."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gb_ray.recipe import Recipe, load, load_policy, parse
from gb_ray.section import UserError

RECIPES = Path(__file__).parent.parent / "jobs" / "recipes"
SMALL: dict[str, Any] = {
    "name": "small",
    "corpus": {"sources": [{"uri": "rows.csv"}]},
    "tasks": {"topic": {"type": "sequence-classification"}},
    "model": {"path": "model"},
}


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "r.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def with_key(path: list[Any], value: Any) -> dict[str, Any]:
    """SMALL with a value at a path."""
    content = copy.deepcopy(SMALL)
    node: Any = content
    for part in path[:-1]:
        node = node[part] if isinstance(part, int) else node.setdefault(part, {})
    node[path[-1]] = value
    return content


def refusal(content: dict[str, Any], overrides: list[str] | None = None) -> str:
    with pytest.raises(UserError) as caught:
        parse(copy.deepcopy(content), overrides or [], "r.yaml")
    return str(caught.value)


@pytest.mark.parametrize("recipe", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_that_comes_along_is_one_and_has_its_policy(recipe: Path) -> None:
    found = load(recipe)
    assert found.name == recipe.stem
    policy = load_policy(RECIPES / found.registry.policy)
    assert policy.floors or policy.ceilings


@pytest.mark.parametrize(
    ("path", "shown", "nearest"),
    [
        (["trian"], "trian", "train"),
        (["corpus", "lane"], "corpus.lane", "lanes"),
        (["corpus", "splits", "tset"], "corpus.splits.tset", "test"),
        (["corpus", "sources", 0, "fromat"], "corpus.sources.0.fromat", "format"),
        (["train", "checkpoint", "evry"], "train.checkpoint.evry", "every"),
        (["tasks", "topic", "txt"], "tasks.topic.txt", "text"),
        (["serve", "prot"], "serve.prot", "port"),
        (["registry", "polcy"], "registry.polcy", "policy"),
        (["model", "max_token"], "model.max_token", "max_tokens"),
    ],
)
def test_an_unknown_key_is_named_with_file_path_and_nearest_key(path: list[Any], shown: str, nearest: str) -> None:
    assert refusal(with_key(path, 1)) == f"r.yaml: {shown}: unknown key; did you mean {nearest!r}?"


def test_an_unknown_key_like_no_other_lists_the_known_ones() -> None:
    said = refusal(with_key(["train", "checkpoint", "zzz"], 1))
    assert said == "r.yaml: train.checkpoint.zzz: unknown key; known keys: every, keep, mirror"


def test_the_known_keys_of_a_task_are_those_of_its_type() -> None:
    said = refusal(with_key(["tasks", "topic", "zzz"], 1))
    assert (
        "known keys: balance, class_weights, focal, label, label_smoothing, labels, multi_label, separator, text, "
        "type, weight" in said
    )


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (["train", "lr"], "fast", "r.yaml: train.lr: Input should be a valid number"),
        (["train", "epochs"], 1.5, "r.yaml: train.epochs: Input should be a valid integer"),
        (["train", "epochs"], 0, "r.yaml: train.epochs: Input should be greater than or equal to 1"),
        (["train", "gpus"], "perhaps", "r.yaml: train.gpus: "),
        (["train"], None, "r.yaml: train: Input should be a valid dictionary"),
        (["corpus", "sources"], [], "r.yaml: corpus.sources: List should have at least 1 item"),
        (["corpus", "sources", 0], 3, "r.yaml: corpus.sources.0: Input should be a valid dictionary"),
        (["corpus", "splits"], {"validation": 0.5, "test": 0.5}, "r.yaml: corpus.splits: "),
        (["tasks", "topic", "type"], "ranking", "r.yaml: tasks.topic: Input tag 'ranking'"),
        (["tasks", "topic", "labels"], ["one"], "r.yaml: tasks.topic.labels: List should have at least 2"),
        (["name"], "Upper Case", "r.yaml: name: String should match"),
        ([1], 2, "r.yaml: 1: Keys should be strings"),
    ],
)
def test_a_wrong_value_is_named_with_file_and_path(path: list[Any], value: Any, expected: str) -> None:
    assert refusal(with_key(path, value)).startswith(expected)


def test_every_wrong_key_is_reported_at_once() -> None:
    content = with_key(["train", "lr"], -1) | {"sead": 1}
    del content["model"]
    said = refusal(content).splitlines()
    assert [line.split(": ")[1] for line in said] == ["model", "train.lr", "sead"]
    assert said[0] == "r.yaml: model: required, missing"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [1", "not YAML"),
        ("a: 2020-13-01", "not YAML"),
        ("[" * 5000, "not YAML"),
        ("a: \x00", "not YAML"),
        ("- 1", "expected a mapping of keys to values, got list"),
        ("", "expected a mapping of keys to values, got NoneType"),
        (b"name: \xff\xfe", "cannot be read as UTF-8 text"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused_by_name(text: str | bytes, expected: str, tmp_path: Path) -> None:
    path = written(tmp_path, text)
    with pytest.raises(UserError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: {expected}")


def test_a_missing_file_and_a_folder_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.yaml: no such file"):
        load(tmp_path / "absent.yaml")
    with pytest.raises(UserError, match="cannot be read"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("train.lr=1e-4", ["train", "lr"], 1e-4),
        ("train.lr=0.5", ["train", "lr"], 0.5),
        ("train.checkpoint.every=3", ["train", "checkpoint", "every"], 3),
        ("train.gpus=false", ["train", "gpus"], False),
        ("train.gpus=auto", ["train", "gpus"], "auto"),
        ("train.head_lr=", ["train", "head_lr"], None),
        ("tasks.topic.labels=[a, b]", ["tasks", "topic", "labels"], ["a", "b"]),
        ("tasks.topic.label=a=b", ["tasks", "topic", "label"], "a=b"),
        ("name='007'", ["name"], "007"),
    ],
)
def test_an_override_is_a_typed_value_at_any_depth(override: str, path: list[str], value: Any, tmp_path: Path) -> None:
    recipe = load(written(tmp_path, yaml.safe_dump(SMALL)), [override])
    node: Any = recipe.model_dump()
    for part in path:
        node = node[part]
    assert node == value
    assert type(node) is type(value)


def test_an_override_replaces_a_list_and_the_last_one_wins(tmp_path: Path) -> None:
    path = written(tmp_path, yaml.safe_dump(SMALL))
    recipe = load(path, ["corpus.sources=[{uri: a.csv}, {uri: b.csv, split: test}]", "seed=1", "seed=2"])
    assert [(source.uri, source.split) for source in recipe.corpus.sources] == [("a.csv", None), ("b.csv", "test")]
    assert recipe.seed == 2


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.lr", "override 'train.lr': expected section.key=value"),
        ("=3", "override '=3': expected section.key=value"),
        ("train.lr=[", "override 'train.lr=[': '[' is not a YAML value"),
        ("train.lr=2020-13-01", "override 'train.lr=2020-13-01': '2020-13-01' is not a YAML value"),
        ("name.x=3", "override 'name.x=3': 'name' is not a section"),
        ("corpus.sources.0.uri=z", "override 'corpus.sources.0.uri=z': 'sources' is not a section"),
        ("train.zero=4", "r.yaml: train.zero: Input should be 'auto', 0, 1, 2 or 3"),
        ("train.epoch=3", "r.yaml: train.epoch: unknown key; did you mean 'epochs'?"),
    ],
)
def test_a_wrong_override_is_refused_by_its_text(override: str, expected: str) -> None:
    assert refusal(SMALL, [override]).startswith(expected)


@given(st.floats(1e-12, 1e3), st.integers(1, 10**9), st.integers(-(2**63), 2**63))
def test_an_overridden_number_is_the_number_that_was_typed(lr: float, epochs: int, seed: int) -> None:
    recipe = parse(copy.deepcopy(SMALL), [f"train.lr={lr!r}", f"train.epochs={epochs}", f"seed={seed}"], "r")
    assert (recipe.train.lr, recipe.train.epochs, recipe.seed) == (lr, epochs, seed)


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_of_the_project_loads(path: Path) -> None:
    assert load(path).name


def property_names(node: Any) -> set[str]:
    if isinstance(node, list):
        return set().union(*map(property_names, node))
    if not isinstance(node, dict):
        return set()
    return set(node.get("properties", {})) | set().union(*map(property_names, node.values()))


def test_the_example_recipe_shows_every_key_there_is() -> None:
    text = (RECIPES / "sdg.yaml").read_text(encoding="utf-8")
    names = property_names(Recipe.model_json_schema())
    assert len(names) > 40
    assert [name for name in sorted(names) if f"{name}:" not in text] == []


DECIDES = [
    "name=other",
    "seed=1",
    "corpus.lanes=3",
    "corpus.sources=[{uri: x}]",
    "corpus.splits.seed=4",
    "tasks.topic.text=body",
    "model.path=other",
    "model.max_tokens=9",
    "train.lr=0.1",
    "train.batch=9",
    "train.zero=1",
    "train.precision=fp32",
]
DECIDES_NOTHING = [
    *("serve.port=9", "serve.max_texts=1", "registry.promote=true", "registry.policy=p"),
    *("train.workers=2", "train.gpus=false", "train.checkpoint.every=7"),
    *("train.max_failures=9", "train.hang_s=600"),
]


@pytest.mark.parametrize("override", DECIDES_NOTHING)
def test_serving_gating_and_who_computes_do_not_change_the_digest(override: str) -> None:
    assert parse(copy.deepcopy(SMALL), [override], "r").digest() == parse(copy.deepcopy(SMALL), [], "r").digest()


def test_everything_else_changes_the_digest() -> None:
    digests = {parse(copy.deepcopy(SMALL), [override], "r").digest() for override in DECIDES}
    assert len(digests | {parse(copy.deepcopy(SMALL), [], "r").digest()}) == len(DECIDES) + 1


def test_a_default_that_is_spelt_out_does_not_change_the_digest() -> None:
    spelt = parse(copy.deepcopy(SMALL), ["train.epochs=3", "train.lr=5.0e-5", "corpus.min_chars=1"], "r")
    assert spelt.digest() == parse(copy.deepcopy(SMALL), [], "r").digest()


def test_a_task_without_context_is_written_as_it_was_before_there_was_any() -> None:
    """Digests of corpora and runs cover what is written here."""
    plain = parse(with_key(["tasks", "topic"], {"type": "token-classification"}), [], "r")
    spelt = parse(with_key(["tasks", "topic"], {"type": "token-classification", "context": 0}), [], "r")
    wider = parse(with_key(["tasks", "topic"], {"type": "token-classification", "context": 32}), [], "r")
    assert not {"context", "document"} & plain.model_dump(mode="json")["tasks"]["topic"].keys()
    assert spelt.digest() == plain.digest() != wider.digest()
    assert parse(wider.model_dump(mode="json"), [], "r") == wider


def test_a_column_of_documents_goes_with_context() -> None:
    said = refusal(with_key(["tasks", "topic"], {"type": "token-classification", "document": "doc_id"}))
    assert said == "r.yaml: tasks.topic: document: goes with context above 0, and with nothing else"


def test_a_pooler_that_no_head_reads_is_refused() -> None:
    content = with_key(["tasks", "topic"], {"type": "token-classification"})
    content["model"]["pooler"] = "identity"
    assert refusal(content).startswith("r.yaml: model.pooler: identity is for heads that read a pooler")
    content["tasks"]["topic"] = {"type": "regression", "targets": ["load"]}
    assert parse(content, [], "r").model.pooler == "identity"


def two_tasks() -> dict[str, Any]:
    """SMALL with a second task, and a source for each."""
    content = copy.deepcopy(SMALL)
    content["tasks"]["entities"] = {"type": "token-classification"}
    content["corpus"]["sources"] = [{"uri": "a.csv", "task": "topic"}, {"uri": "b.jsonl", "task": "entities"}]
    return content


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (
            "corpus.sources=[{uri: a.csv, task: topic}, {uri: b.jsonl}]",
            "r.yaml: corpus.sources.1.task: required, missing: there are several tasks: topic, entities",
        ),
        (
            "corpus.sources=[{uri: a.csv, task: topik}]",
            "r.yaml: corpus.sources.0.task: 'topik' is no task of this recipe; it has topic, entities",
        ),
        ("corpus.sources=[{uri: a.csv, task: topic}]", "r.yaml: tasks.entities: no source is for it"),
        ("tasks.topic={type: causal-lm, text: text}", "r.yaml: tasks.topic: causal-lm goes with no other task"),
        ("tasks.topic={type: embedding}", "r.yaml: tasks.topic: embedding goes with no other task"),
        (
            "train.early_stop={metric: macro_f1}",
            "r.yaml: train.early_stop.metric: 'macro_f1' is of no task; of several it is TASK.METRIC, topic",
        ),
        (
            "model.adapter={export: adapter}",
            "r.yaml: model.adapter.export: adapter is of one task; several tasks are exported with it merged",
        ),
        ("tasks.Big={type: sequence-classification}", "r.yaml: tasks.Big: of several tasks each needs a name of a-z"),
    ],
)
def test_several_tasks_that_do_not_fit_together_are_refused_by_key(override: str, expected: str) -> None:
    assert refusal(two_tasks(), [override]).startswith(expected)


@pytest.mark.parametrize(("first", "named"), [("topic", "topic.loss"), ("entities", "entities.entity_f1")])
def test_a_metric_of_no_task_is_refused_with_one_that_there_is(first: str, named: str) -> None:
    content = two_tasks()
    content["tasks"] = {first: content["tasks"].pop(first), **content["tasks"]}
    assert refusal(content, ["train.early_stop={metric: loss}"]).endswith(f"TASK.METRIC, {named} for one")


def test_an_error_in_a_key_of_several_kinds_of_value_names_the_key_alone() -> None:
    said = refusal(SMALL, ["tasks.topic.class_weights={a: -1}"])
    assert "r.yaml: tasks.topic.class_weights.a: Input should be greater than 0" in said
    assert "r.yaml: model.trained.0: Input should be a valid string" in refusal(SMALL, ["model.trained=[1]"])


def test_a_balance_of_one_task_is_refused() -> None:
    assert refusal(SMALL, ["train.balance=uncertainty"]).startswith("r.yaml: train.balance: uncertainty weighs several")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.batch=1", "r.yaml: train.batch: embedding tells pairs from each other; expected 2 or more"),
        ("model.trained=head", "r.yaml: model.trained: embedding has no head"),
        ("tasks.topic.temperature=0", "r.yaml: tasks.topic.temperature: Input should be greater than 0"),
    ],
)
def test_what_an_embedding_cannot_be_trained_with_is_refused(override: str, expected: str) -> None:
    pairs = with_key(["tasks", "topic"], {"type": "embedding"})
    assert parse(copy.deepcopy(pairs), [], "r").train.batch == 32
    assert refusal(pairs, [override]).startswith(expected)


def test_each_task_has_the_corpus_of_its_own_sources() -> None:
    recipe = parse(two_tasks(), [], "r")
    assert [source.uri for source in recipe.sources_of("entities").sources] == ["b.jsonl"]
    assert [recipe.corpus_name(task) for task in recipe.tasks] == ["small-topic", "small-entities"]


def test_the_corpus_of_one_task_is_written_as_it_was_before_there_were_several() -> None:
    """Its key and digest cover what is written here."""
    plain, named = parse(copy.deepcopy(SMALL), [], "r"), with_key(["corpus", "sources", 0, "task"], "topic")
    written = plain.sources_of("topic").model_dump(mode="json")
    assert "task" not in written["sources"][0]
    assert parse(named, [], "r").sources_of("topic").model_dump(mode="json") == written
    assert plain.corpus_name("topic") == "small"


def test_a_policy_names_the_metrics_of_a_task(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("floors: {topic.macro_f1: 0.5}")
    assert load_policy(tmp_path / "p.yaml").floors == {"topic.macro_f1": 0.5}
