"""What a command that failed says: one line on what was wrong, and an exit status that tells whose turn it is."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from helpers import write_recipe

sys.path.append(str(Path(__file__).parent / "corpus"))

from builds import jsonl

from gb_ray import machine
from gb_ray.cli import corpus, main
from gb_ray.cli.call import Call
from gb_ray.corpus.reading.fetch import DamagedCorpus
from gb_ray.corpus.sources.remote import Unreachable
from gb_ray.section import UserError

Refusal = Callable[..., str]
REGRESSION = {"type": "regression", "targets": ["load"]}


@pytest.fixture
def refusal(
    content: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Refusal:
    """What a verb says that finds fault with the recipe, its task or its sources; its Ray is the test's own."""
    monkeypatch.setattr(machine, "ray_up", lambda where: nullcontext())
    monkeypatch.setattr(Call, "tracking", lambda call: None)  # what is refused is not recorded

    def run(*words: str, task: dict[str, Any] | None = None, sources: list[dict[str, Any]] | None = None) -> str:
        content["tasks"] = {"topic": task or content["tasks"]["topic"]}
        content["corpus"]["sources"] = sources or content["corpus"]["sources"]
        found = [str(write_recipe(content, tmp_path)) if word == "RECIPE" else word for word in words]
        assert main([*found, "--home", str(tmp_path / "home")]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        return captured.err[captured.err.rindex("gb: ") :]

    return run


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (UserError("rows.csv: no column 'label'"), 2, "gb: rows.csv: no column 'label'\n"),
        (Unreachable("s3://b/rows: gave up"), 1, "gb: Unreachable: s3://b/rows: gave up\n"),
        (DamagedCorpus("shard-00000.parquet: damaged"), 1, "gb: DamagedCorpus: shard-00000.parquet: damaged\n"),
    ],
)
def test_what_goes_wrong_in_a_task_of_ray_is_told_in_a_line(
    ray_up: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    status: int,
    said: str,
) -> None:
    import ray

    @ray.remote
    def work() -> None:
        raise error

    def verb(call: Any) -> None:
        ray.get(work.remote())

    monkeypatch.setattr(corpus, "corpus_list", verb)
    assert main(["corpus", "list"]) == status
    assert capsys.readouterr().err == said


def test_a_task_without_its_column_is_told_the_files_and_where_to_name_it(
    refusal: Refusal, rows_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "rows.csv").write_text("text,topic\nwind,energy\n")
    said = refusal("finetune", "RECIPE", sources=[{"uri": str(tmp_path / "rows.csv")}])
    assert said.startswith(f"gb: {tmp_path / 'rows.csv'}: no column 'label'; the file has text, topic; ")
    assert "columns: {label: ...}" in said
    said = refusal("finetune", "RECIPE", sources=[{"uri": str(rows_file), "columns": {"label": "topic"}}])
    assert said == f"gb: {rows_file}: no column 'topic'; the file has label, text\n"


def test_a_target_that_is_no_number_is_told_with_its_row_file_and_value(
    refusal: Refusal, ray_up: str, tmp_path: Path
) -> None:
    rows = [{"text": f"calm and warm {i}", "load": "a lot"} for i in range(20)]
    file = jsonl(tmp_path / "rows.jsonl", rows)
    said = refusal("corpus", "build", "RECIPE", task=REGRESSION, sources=[{"uri": str(file)}])
    assert "100.0% of 20 rows were quarantined (20 x load is text that is not a number)" in said
    assert f'row 0 of {file} for one: {{"text": "calm and warm 0", "load": "a lot"}}' in said


def test_a_label_that_only_the_test_split_has_is_refused_before_training_and_told_where_a_model_is_measured(
    refusal: Refusal, ray_up: str, backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"text": f"wind and sun {i}", "label": "ab"[i % 2]} for i in range(40)]
    test = [{"text": "a well", "label": "water"}, {"text": "wind", "label": "a"}]
    sources = [{"uri": str(jsonl(tmp_path / "rows.jsonl", rows))}]
    sources += [{"uri": str(jsonl(tmp_path / "test.jsonl", test)), "split": "test"}]
    said = refusal("finetune", "RECIPE", sources=sources)
    assert "gb: tasks.topic: test asks for labels that train has no row of, once: 'water' (1); put rows of" in said
    words = ["evaluate", exported(backbone, tmp_path / "model", False), "--recipe", str(tmp_path / "recipe.yaml")]
    assert main([*words, "--home", str(tmp_path / "home"), "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["unknown_labels"] == {"topic": {"water": 1}}
    assert "topic: test asks for labels that the model does not have, once: 'water' (1)\n" in captured.err


def exported(backbone: Path, path: Path, adapter: bool, **known: Any) -> str:
    """A classifier on the backbone, as a run exports it."""
    from gb_ray.model import load, package
    from gb_ray.model.section import ModelSection
    from gb_ray.tasks.section import SequenceClassificationSection
    from gb_ray.tasks.task import make
    from gb_ray.tasks.tokenizer import tokenizer

    section = SequenceClassificationSection(type="sequence-classification")
    model = load.new(ModelSection(path=str(backbone)), make(section, str(backbone), 32), ["a", "b"], 0)
    described = {"type": section.type, "section": section.model_dump(mode="json"), "labels": ["a", "b"]}
    manifest = {"name": "topics", "run_id": "r", "tasks": {"topic": described}, "max_tokens": 32} | known
    package.export(model, tokenizer(str(backbone)), manifest, path, adapter=adapter)
    return str(path)


def test_an_adapter_answers_on_no_other_base(refusal: Refusal, backbone: Path, tmp_path: Path) -> None:
    known = {"recipe": {"model": {"path": str(backbone), "adapter": {}}}, "base": {"sha256": "0" * 64}}
    said = refusal("predict", exported(backbone, tmp_path / "alone", True, **known), "--text", "wind")
    assert f"an adapter of other weights than {backbone} has" in said and "put the base of that digest there" in said


def test_a_run_does_not_go_on_from_a_model_of_another_task(refusal: Refusal, backbone: Path, tmp_path: Path) -> None:
    sources = [{"uri": str(jsonl(tmp_path / "rows.jsonl", [{"text": "wind", "load": 1}]))}]
    model = exported(backbone, tmp_path / "model", False)
    said = refusal("finetune", "RECIPE", "--from", model, task=REGRESSION, sources=sources)
    assert "its task has type: sequence-classification, tasks.topic of the recipe type: regression; go on from" in said


def test_a_files_rows_are_answered_in_a_new_file(
    refusal: Refusal, backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"text": f"wind {i}", "lang": "fr" if i % 2 else "en"} for i in range(6)] + [{"text": None, "lang": "en"}]
    model, file = exported(backbone, tmp_path / "model", False), jsonl(tmp_path / "rows.jsonl", rows)
    words, out = ["predict", model, "--rows", str(file)], tmp_path / "out.jsonl"
    assert "name a file for the rows with their answers, --out FILE.jsonl" in refusal(*words)
    assert "no folder; make it first" in refusal(*words, "--out", str(tmp_path / "nowhere" / "out.jsonl"))
    assert "no column 'speech'; the file has lang, text" in refusal(*words, "--column", "speech", "--out", str(out))
    assert "--where lang: expected KEY=VALUE" in refusal(*words, "--where", "lang", "--out", str(out))
    assert "--out and --where go with --rows" in refusal("predict", model, "--text", "wind", "--out", str(out))
    assert not out.exists()
    assert main([*words, "--where", "lang=en", "--out", str(out), "--home", str(tmp_path / "home")]) == 0
    counted, left_out, _ = capsys.readouterr().out.splitlines()
    assert counted == "rows       7 read = 3 filtered + 1 left out + 3 answered"
    assert left_out == f"{file}: row 6: text is null"
    answers = [json.loads(line) for line in out.read_text().splitlines()]
    assert [answer["text"] for answer in answers] == ["wind 0", "wind 2", "wind 4"]
    assert {answer["label"] for answer in answers} <= {"a", "b"}
    assert f"--out: {out} is there already; name a new file" in refusal(*words, "--out", str(out))
