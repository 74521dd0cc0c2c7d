"""Several versions as one: packaged, registered, and answering with the mean of what each answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from registry_support import LABELS, export_model

from gb_ray.cli.command import main
from gb_ray.model import package
from gb_ray.model.predictor import Predictor
from gb_ray.registry.ensemble import ensemble
from gb_ray.registry.export import Export
from gb_ray.registry.promote import promote, rollback
from gb_ray.registry.section import Policy
from gb_ray.registry.versions import local, register, resolve
from gb_ray.section import UserError

TEXTS = ["rain", "sun wind", "wind wind rain sun"]
HEAT = [1.0, 0.02]


@pytest.fixture
def members(home, tracking, new_export):
    """Two registered versions whose answers differ; the second has a temperature."""
    exports = [new_export(seed) for seed in range(2)]
    for (path, _), heat in zip(exports, HEAT, strict=True):
        package.calibrate(path, "tone", heat)
    return [register(tracking, *one) for one in exports]


def told(answers: Any) -> np.ndarray:
    return np.array([[answer["probabilities"][label] for label in LABELS] for answer in answers])


def answers(path: Path) -> np.ndarray:
    predictor = Predictor(path)
    return told(predictor.predict(predictor.encode(TEXTS)))


def test_it_answers_with_the_mean_of_what_its_members_answer(home, tracking, members):
    import mlflow

    version = ensemble(tracking, home, "weather", members)
    each = [answers(member.path) for member in members]
    assert np.abs(each[0] - each[1]).max() > 0.05
    np.testing.assert_allclose(answers(version.path), np.mean(each, axis=0), atol=1e-6)
    frame = mlflow.pyfunc.load_model(str(version.path.parent.parent)).predict(pd.DataFrame({"text": TEXTS}))
    np.testing.assert_allclose(told(frame.to_dict("records")), np.mean(each, axis=0), atol=1e-6)


def test_it_is_a_version_that_says_what_its_members_are(home, tracking, members):
    version = ensemble(tracking, home, "weather", members)
    assert (version.version, version.uri) == ("3", "models:/weather/3")
    assert resolve(tracking, home, "models:/weather@candidate") == version
    said = package.read(version.path)["members"]
    for one, member in zip(said, members, strict=True):
        keys = {"name", "version", "uri", "run_id", "weights_sha256", "manifest_sha256", "corpus_digest"}
        assert one == member.model_dump(include=keys)
    card = (version.path / "README.md").read_text()
    assert all(one[key] in card for one in said for key in ("uri", "run_id", "weights_sha256"))
    assert "ensemble of 2" in card and "0.9" not in card and "from_pretrained" not in card
    run = tracking.run(version.run_id)
    assert run.info.status == "FINISHED" and run.data.tags["member_2"].startswith("models:/weather/2 ")
    weights = [path / "model.safetensors" for path in (members[0].path, version.path / "members" / "1")]
    assert weights[0].samefile(weights[1])


def test_the_gate_and_aliases_take_it_as_any_version(home, tracking, members):
    policy = Policy(floors={"accuracy": 0.5}, not_worse={"accuracy": 0.0})
    version = ensemble(tracking, home, "weather", members)
    assert promote(tracking, home, members[0], policy, lambda path: {"accuracy": 0.7}).moved
    assert promote(tracking, home, version, policy, lambda path: {"accuracy": 0.8}).moved
    assert resolve(tracking, home, "models:/weather@champion") == version
    assert rollback(tracking, home, "weather").version == "1"


def test_an_ensemble_among_the_members_stands_for_its_own(home, tracking, members, new_export):
    third = register(tracking, *new_export(2))
    version = ensemble(tracking, home, "weather", [ensemble(tracking, home, "weather", members), third])
    assert [one["version"] for one in package.read(version.path)["members"]] == ["1", "2", "3"]
    expected = np.mean([answers(member.path) for member in [*members, third]], axis=0)
    np.testing.assert_allclose(answers(version.path), expected, atol=1e-6)


@pytest.mark.parametrize("damaged", ["model.safetensors", "gb_model.json", "tokenizer.json"])
def test_a_damaged_member_is_refused(home, tracking, members, damaged):
    version = ensemble(tracking, home, "weather", members)
    file = version.path / "members" / "2" / damaged
    content = file.read_bytes()
    file.unlink()  # weights are shared with the member
    file.write_bytes(content[:-2] + b"x" + content[-1:])
    with pytest.raises(UserError, match=f"members/2/{damaged}: altered"):
        package.verify(version.path)
    with pytest.raises(UserError, match="altered"):
        resolve(tracking, home, "models:/weather/3")


def test_what_cannot_answer_as_one_is_bad_input_and_leaves_nothing(home, tracking, members, capsys):
    other = export_model(home / "other", "run", 5)
    tasks = package.read(other)["tasks"]
    for change, said in (
        ({"tasks": {"tone": tasks["tone"] | {"labels": ["bad", "fine"]}}}, "its tasks and labels are not those of"),
        ({"tasks": tasks, "max_tokens": 16}, "its tokenizer or longest input is not that of"),
        ({"max_tokens": 32, "corpus_digest": "d" * 64}, "its corpus is not that of"),
    ):
        package.amend(other, **change)
        assert main(["ensemble", "weather", "models:/weather/1", str(other), "--home", str(home)]) == 2
        assert said in capsys.readouterr().err
    vectors = [export_model(home / f"near-{seed}", "run", seed, "near", embeds=True) for seed in range(2)]
    assert main(["ensemble", "near", *map(str, vectors), "--home", str(home)]) == 2
    assert "do not answer as one" in capsys.readouterr().err
    assert main(["ensemble", "weather", "models:/weather/1", "--home", str(home)]) == 2
    assert main(["ensemble", "weather", "models:/weather/1", "models:/weather/1", "--home", str(home)]) == 2
    assert main(["ensemble", "../x", "models:/weather/1", "models:/weather/2", "--home", str(home)]) == 2
    assert not (home / "ensembles").exists()
    assert {run.info.run_name for run in tracking.client.search_runs(["1"])} == {"run-0", "run-1"}


def test_the_command_names_the_members_and_what_comes_next(home, members, capsys):
    words = ["ensemble", "both", "models:/weather/1", str(members[1].path), "--home", str(home)]
    assert main([*words, "--json"]) == 0
    account = json.loads(capsys.readouterr().out)
    assert account["model"]["uri"] == "models:/both/1"
    assert [one["version"] for one in account["members"]] == ["1", None]
    path = Path(account["model"]["path"])
    assert Export.open(path).manifest.weights_sha256 == account["model"]["weights_sha256"]
    assert main(["average", str(path), str(members[0].path), "--out", str(home / "mean"), "--home", str(home)]) == 2
    assert "an ensemble; average its members" in capsys.readouterr().err
    assert local(path).run_id == account["run_id"]
