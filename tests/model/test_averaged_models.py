"""The mean of several models' weights: a model like any other, that says of which it was made."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from gb_ray.cli.command import main
from gb_ray.files import sha256
from gb_ray.model import package
from gb_ray.model.average import average
from gb_ray.model.digest import ADAPTER, WEIGHTS
from gb_ray.model.predictor import Predictor
from gb_ray.section import UserError

sys.path.append(str(Path(__file__).parent.parent / "registry"))

from registry_support import export_model

TEXT = "rain and sun"


@pytest.fixture(scope="module")
def parents(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three models of one architecture, each calibrated."""
    folder = tmp_path_factory.mktemp("parents")
    paths = [export_model(folder / str(seed), f"run-{seed}", seed) for seed in range(3)]
    for path in paths:
        package.calibrate(path, "tone", 2.0)
    return paths


def test_its_weights_are_the_mean_and_it_answers(parents: list[Path], tmp_path: Path) -> None:
    found = average(parents, tmp_path / "mean", [])
    assert package.verify(tmp_path / "mean") == found
    own, *others = (load_file(path / WEIGHTS) for path in [tmp_path / "mean", *parents])
    assert len(own) > 10
    for name, tensor in own.items():
        exact = sum(other[name].double() for other in others) / 3
        assert torch.equal(tensor, exact.float()), name
    assert not torch.equal(own["classifier.weight"], others[0]["classifier.weight"])
    predictor = Predictor(tmp_path / "mean")
    assert set(predictor.predict(predictor.encode([TEXT]))[0]["probabilities"]) == {"bad", "good"}


def test_it_says_of_what_it_was_made_and_nothing_of_how_good_it_is(
    parents: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mean"
    assert main(["average", *map(str, parents), "--out", str(out), "--home", str(tmp_path), "--json"]) == 0
    account = json.loads(capsys.readouterr().out)
    manifest, told = package.verify(out), [package.read(path) for path in parents]
    assert account["weights_sha256"] == manifest["weights_sha256"]
    assert [one["weights_sha256"] for one in manifest["parents"]] == [one["weights_sha256"] for one in told]
    assert [one["run_id"] for one in manifest["parents"]] == ["run-0", "run-1", "run-2"]
    assert manifest["run_id"] == "average of run-0, run-1, run-2"
    assert not manifest.keys() & {"metrics", "calibration"}
    assert package.temperature(manifest, "tone") == 1.0
    card = (out / "README.md").read_text()
    assert all(one["weights_sha256"] in card and one["run_id"] in card for one in told)
    assert "0.9" not in card and "not calibrated" in card


def test_a_refusal_is_bad_input_and_leaves_nothing(parents: list[Path], tmp_path: Path) -> None:
    other = changed(parents[1], tmp_path / "other", labels=["bad", "fine"])
    words = ["average", str(parents[0]), str(other), "--out", str(tmp_path / "mean"), "--home", str(tmp_path)]
    assert main(words) == 2
    assert not (tmp_path / "mean").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"labels": ["bad", "fine"]}, r"its label set is not that of .*: tone is \['bad', 'fine'\]"),
        ({"type": "regression"}, "its kind of task is not that of"),
        ({"max_tokens": 16}, "its longest input is not that of .*: 16, expected 32"),
        ({"base": {"sha256": "b" * 64}}, "its base is not that of"),
        ({"state": {"tone": {"mean": [1.0]}}}, "its scale of targets is not that of"),
        ({"config": {"hidden_act": "relu"}}, "its architecture is not that of .*: hidden_act is 'relu'"),
        ({"tensors": lambda held: held.pop("classifier.bias")}, "classifier.bias is in one of them alone"),
    ],
)
def test_a_model_of_another_kind_is_refused(
    parents: list[Path], tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    other = changed(parents[1], tmp_path / "other", **change)
    with pytest.raises(UserError, match=said):
        average([parents[0], other], tmp_path / "mean", [])
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_dropout_and_label_smoothing_may_differ(parents: list[Path], tmp_path: Path) -> None:
    section = {"type": "sequence-classification", "label_smoothing": 0.1}
    other = changed(parents[1], tmp_path / "other", config={"hidden_dropout_prob": 0.3}, section=section)
    average([parents[0], other], tmp_path / "mean", [])
    assert list(Predictor(tmp_path / "mean").labels) == ["tone"]


def test_one_model_one_twice_an_adapter_and_a_directory_that_is_there_are_refused(
    parents: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="expected two models or more, got 1"):
        average(parents[:1], tmp_path / "mean", [])
    with pytest.raises(UserError, match="the same weights as a model before it"):
        average([*parents, parents[1]], tmp_path / "mean", [])
    with pytest.raises(UserError, match="exists already"):
        average(parents, parents[0], [])
    adapter = changed(parents[1], tmp_path / "adapter")
    (adapter / WEIGHTS).rename(adapter / ADAPTER)
    sealed(adapter)
    with pytest.raises(UserError, match="an adapter alone"):
        average([parents[0], adapter], tmp_path / "mean", [])


def changed(parent: Path, path: Path, config: dict[str, Any] | None = None, tensors: Any = None, **known: Any) -> Path:
    """A copy of an exported model that says and is something else."""
    shutil.copytree(parent, path)
    if config:
        content = json.loads((path / "config.json").read_text()) | config
        (path / "config.json").write_text(json.dumps(content))
    if tensors:
        held = load_file(path / WEIGHTS)
        tensors(held)
        save_file(held, path / WEIGHTS, metadata={"format": "pt"})
    tasks = package.read(path)["tasks"]
    tasks["tone"] |= {key: known.pop(key) for key in ("labels", "type", "section") if key in known}
    package.amend(path, tasks=tasks, **known)
    return sealed(path)


def sealed(path: Path) -> Path:
    """With the digests of its files as they are now."""
    files = {file.name: sha256(file) for file in path.iterdir() if file.name != package.MANIFEST}
    weights = files.get(WEIGHTS) or files[ADAPTER]
    package.amend(path, files=files, weights_sha256=weights)
    return path
