import json

import pandas as pd
import pytest
from registry_support import LABELS, export_model

from gb_ray.model.predictor import Predictor
from gb_ray.registry import pyfunc_model, records
from gb_ray.registry.tracking import Tracking
from gb_ray.registry.versions import register, resolve
from gb_ray.section import UserError


def test_a_registered_model_is_found_by_alias_and_number(home, tracking, new_export):
    export, run_id = new_export(1)
    version = register(tracking, export, run_id)
    assert (version.name, version.version, version.run_id) == ("weather", "1", run_id)
    assert version.corpus_digest == "c" * 64
    assert version.path != export and version.path.is_dir()
    assert resolve(tracking, home, "models:/weather@candidate") == version
    assert resolve(tracking, home, "models:/weather/1") == version
    by_path = resolve(tracking, home, str(export))
    assert by_path.version is None and by_path.weights_sha256 == version.weights_sha256


def test_registering_again_changes_nothing(tracking, new_export):
    export, run_id = new_export(1)
    first = register(tracking, export, run_id)
    assert register(tracking, export, run_id) == first
    assert len(records.versions(tracking, "weather")) == 1
    assert register(tracking, *new_export(2)).version == "2"


def test_mlflow_itself_opens_it(tracking, new_export):
    import mlflow

    version = register(tracking, *new_export(1))
    model = mlflow.pyfunc.load_model(str(version.path.parent.parent))
    answers = model.predict(pd.DataFrame({"text": ["rain", "sun wind"] * 20}))
    assert list(answers.columns) == ["label", "probabilities"]
    assert len(answers) == 40 and set(answers["label"]) <= set(LABELS)
    assert sum(answers["probabilities"][0].values()) == pytest.approx(1)
    assert model.predict({"text": "rain"})["label"][0] == answers["label"][0]
    assert model.metadata.signature == pyfunc_model.signature({"goal": "sequence-classification"})


def test_mlflow_answers_with_vectors(home, tracking):
    import mlflow

    run_id = tracking.start_run("near", "run", {}, {})
    version = register(tracking, export_model(home / "near", run_id, name="near", embeds=True), run_id)
    model = mlflow.pyfunc.load_model(str(version.path.parent.parent))
    answers = model.predict(pd.DataFrame({"text": ["rain", "sun wind"]}))
    predictor = Predictor(version.path)
    assert list(answers.columns) == ["embedding"]
    expected = [answer["embedding"] for answer in predictor.predict(predictor.encode(["rain", "sun wind"]))]
    assert answers["embedding"].tolist() == expected and sum(x * x for x in expected[0]) == pytest.approx(1)
    assert model.metadata.signature == pyfunc_model.signature({"near": "embedding"})


def test_the_weights_are_linked_and_nothing_is_left_in_the_working_directory(home, tracking, new_export, monkeypatch):
    (home / "cwd").mkdir()
    monkeypatch.chdir(home / "cwd")
    export, run_id = new_export(1)
    version = register(tracking, export, run_id)
    assert (version.path / "model.safetensors").samefile(export / "model.safetensors")
    assert not (version.path / "gb_model.json").samefile(export / "gb_model.json")
    assert not list((home / "cwd").iterdir())


def test_altered_weights_are_refused(home, tracking, new_export):
    version = register(tracking, *new_export(1))
    weights = version.path / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(UserError, match=r"model\.safetensors: altered"):
        resolve(tracking, home, "models:/weather/1")


def test_weights_with_a_manifest_to_match_are_refused_too(home, tracking, new_export):
    first, second = register(tracking, *new_export(1)), register(tracking, *new_export(2))
    first.path.rename(home / "away")
    second.path.rename(first.path)
    with pytest.raises(UserError, match=f"MLflow says {first.weights_sha256}"):
        resolve(tracking, home, "models:/weather/1")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("models:/nope@candidate", "registered: weather"),
        ("models:/weather@best", "no such alias; versions: 1; aliases: candidate -> 1"),
        ("models:/weather/7", "no such version; versions: 1"),
        ("models:/weather@champion", "no version was promoted to it so far; versions: 1"),
        ("models:/weather", "expected models:/NAME@ALIAS"),
        ("models:/../x@champion", "expected models:/NAME@ALIAS"),
        ("/no/such/folder", "not an exported model"),
    ],
)
def test_what_is_not_there_is_said_with_what_is(home, tracking, new_export, model, message):
    register(tracking, *new_export(1))
    with pytest.raises(UserError, match=message):
        resolve(tracking, home, model)


def test_wrong_exports_are_refused(home, tracking, new_export):
    export, run_id = new_export(1)
    with pytest.raises(UserError, match="not by run other"):
        register(tracking, export, "other")
    with pytest.raises(UserError, match="run strange: not known"):
        register(tracking, export_model(home / "strange", "strange"), "strange")
    manifest = json.loads((export / "gb_model.json").read_text())
    for change in ({"weights_sha256": "0" * 64}, {"files": {}}, {"tasks": {}}, {"name": "../x"}):
        (export / "gb_model.json").write_text(json.dumps(manifest | change))
        with pytest.raises(UserError, match=r"weights_sha256|tasks|model name"):
            register(tracking, export, run_id)


def test_through_a_server_files_travel_and_come_back(home, server):
    server.start()
    tracking = Tracking.open(home, server.uri)
    run_id = tracking.start_run("weather", "n", {}, {})
    export = export_model(home / "export", run_id)
    version = register(tracking, export, run_id)
    assert register(tracking, export, run_id) == version
    found = resolve(tracking, home, "models:/weather@candidate")
    assert found.path.is_relative_to(home / "models" / version.weights_sha256)
    assert found.model_dump(exclude={"path"}) == version.model_dump(exclude={"path"})
    assert resolve(tracking, home, "models:/weather/1") == found
    assert tracking.page(run_id).startswith(server.uri + "/#/experiments/")
