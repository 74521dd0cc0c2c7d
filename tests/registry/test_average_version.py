"""What `gb average` wrote becomes a version: it says of what it is the mean, and goes through the gate as any other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from registry_support import LABELS, export_model

from gb_ray.cli.command import main
from gb_ray.model import package
from gb_ray.model.predictor import Predictor
from gb_ray.registry.promote import promote, rollback
from gb_ray.registry.section import Policy
from gb_ray.registry.versions import register, resolve

TEXTS = ["rain", "sun wind", "wind wind rain sun"]


@pytest.fixture
def parents(tracking, new_export):
    """Two registered versions; the second has a temperature."""
    exports = [new_export(seed) for seed in range(2)]
    package.calibrate(exports[1][0], "tone", 2.0)
    return [register(tracking, *one) for one in exports]


@pytest.fixture
def average(home, parents, capsys):
    """Its directory."""
    names = [one.uri for one in parents]
    assert main(["average", *names, "--out", str(home / "mean"), "--home", str(home)]) == 0
    said = capsys.readouterr().out
    assert f"gb register {home / 'mean'}" in said and "calibrated no" in said
    return home / "mean"


def registered(average: Path, home: Path, capsys) -> dict:
    assert main(["register", str(average), "--home", str(home), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def measured(path: Path) -> dict[str, float]:
    """How good it finds the texts, as a metric: other weights, another figure."""
    predictor = Predictor(path)
    answers = predictor.predict(predictor.encode(TEXTS))
    return {"accuracy": sum(answer["probabilities"][LABELS[1]] for answer in answers) / len(TEXTS)}


def test_it_is_a_version_that_says_of_which_it_is_the_mean(home, tracking, parents, average, capsys):
    account = registered(average, home, capsys)
    version = resolve(tracking, home, "models:/weather@candidate")
    assert account["model"]["uri"] == version.uri == "models:/weather/3"
    manifest = package.verify(version.path)
    assert [one["uri"] for one in manifest["parents"]] == ["models:/weather/1", "models:/weather/2"]
    assert [one["run_id"] for one in account["parents"]] == [one.run_id for one in parents]
    assert version.run_id == manifest["run_id"] == account["run_id"]
    run = tracking.run(version.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["parent_2"] == f"{parents[1].uri} {parents[1].weights_sha256}"
    card = (version.path / "README.md").read_text()
    assert version.run_id in card and all(one.weights_sha256 in card for one in parents)


def test_it_is_measured_promoted_and_rolled_back_as_any_version(home, tracking, parents, average, capsys):
    registered(average, home, capsys)
    version = resolve(tracking, home, "models:/weather/3")
    assert measured(version.path) == measured(average) != measured(parents[0].path)
    policy = Policy(floors={"accuracy": 0.0})
    assert promote(tracking, home, parents[0], policy, measured).moved
    moved = promote(tracking, home, version, policy, measured)
    assert moved.moved and moved.entry.evidence["candidate"]["metrics"] == measured(version.path)
    assert resolve(tracking, home, "models:/weather@champion") == version
    assert rollback(tracking, home, "weather").version == "1"


def test_registered_again_it_is_the_version_it_was(home, average, capsys):
    first, second = (registered(average, home, capsys) for _ in range(2))
    assert first == second


def test_a_tracking_server_that_does_not_know_its_run_is_named_as_the_fault(home, average, capsys):
    registered(average, home, capsys)
    package.amend(average, run_id="0" * 32)
    assert main(["register", str(average), "--home", str(home)]) == 2
    assert "0" * 32 in capsys.readouterr().err


def test_no_average_and_one_of_two_corpora_are_bad_input(home, tracking, parents, average, capsys):
    alone = export_model(home / "alone", "run", 5)
    package.amend(export_model(home / "other", "run", 6), corpus_digest="d" * 64)
    words = [str(home / "alone"), str(home / "other"), "--out", str(home / "two"), "--home", str(home)]
    assert main(["average", *words]) == 0
    for folder, said in (
        (alone, "neither a run nor what gb average wrote"),
        (home / "two", "its parents are not of one corpus"),
        (home / "artifacts", "neither a run (no run.json) nor a model"),
    ):
        assert main(["register", str(folder), "--home", str(home)]) == 2
        assert said in capsys.readouterr().err
    (average / "model.safetensors").write_bytes(b"x")
    assert main(["register", str(average), "--home", str(home)]) == 2
    assert len(tracking.client.search_model_versions("name = 'weather'")) == 2
