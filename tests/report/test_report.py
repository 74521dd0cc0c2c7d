"""The page about a run: it has the run's figures, and needs nothing but itself."""

from __future__ import annotations

import re
import shutil
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from helpers import gb_json

import gb_ray
from gb_ray.finetune import finish
from gb_ray.measure.table import after_lines
from gb_ray.model import package
from gb_ray.progress import Progress
from gb_ray.quickstart import summary, told
from gb_ray.registry.shipper import Shipper
from gb_ray.registry.tracking import Tracking
from gb_ray.report import charts, energy, report, speed
from gb_ray.report import page as page_module
from gb_ray.report.energy import WATTS_A_CORE
from gb_ray.report.facts import facts
from gb_ray.report.page import page as page_of
from gb_ray.section import UserError
from gb_ray.train.account import gpu_meter
from gb_ray.train.run import Run, create, read_json, write_json

ALONE = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """Its elements, checked to be closed in order; its attributes, and its text."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.feed(content)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attributes: list[Any]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attributes]
        if tag not in ALONE:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "


@pytest.fixture
def page(run: Run) -> Page:
    return Page(report.write(run).read_text(encoding="utf-8"))


def test_it_asks_nobody_for_anything(run: Run) -> None:
    content = report.write(run).read_text(encoding="utf-8")
    found = Page(content)
    assert {tag for tag, _, _ in found.attributes}.isdisjoint({"script", "link", "img", "iframe", "object", "base"})
    assert not [name for _, name, _ in found.attributes if name in ("src", "href", "srcset", "data", "action")]
    assert not [name for _, name, _ in found.attributes if name.startswith("on")]
    assert not re.search(r"https?:|//|url\(|@import|<script", content.replace("&quot;", ""))


def test_it_has_the_figures_of_the_run(page: Page, run: Run) -> None:
    account = run.state["account"]
    for value in account["metrics"]["test"]["topic"].values():
        assert f"{value:.3f}" in page.text
    low, high = account["intervals"]["test"]["topic"]["accuracy"]
    assert f"{low:.3f} to {high:.3f}" in page.text
    for fact in ("10 steps", "262 samples", "4,567 tokens", "321", "models:/topics/4", "started 2 times"):
        assert fact in page.text
    assert f"{account['calibration']['topic']['temperature']:.3f}" in page.text
    for digest in ("c" * 64, "d" * 64, "e" * 64, "r1"):
        assert digest in page.text
    verdict = page.text.index(f"accuracy is {account['metrics']['test']['topic']['accuracy']:.3f}")
    assert verdict < page.text.index("Results on test") < page.text.index("Results on validation")
    assert "better than before training" in page.text


@pytest.mark.parametrize(
    ("name", "points"),
    [("loss", 10), ("learning rate", 10), ("share of the devices' peak", 10), ("macro_f1 of the validation split", 3)],
)
def test_a_curve_has_a_point_for_each_measurement(run: Run, name: str, points: int) -> None:
    content = report.write(run).read_text(encoding="utf-8")
    caption = f"<figcaption>{escape(name)}<"
    figure = next(part for part in content.split("<figure>") if part.startswith(caption))
    line = re.search(r'<polyline points="([^"]*)"', figure)
    assert line and len(line[1].split()) == points == figure.count("<circle ")


def test_its_speed_is_beside_what_its_devices_could_do_at_most(run: Run) -> None:
    found = facts(run)
    # Five steps of 1 s at 0.4, five of 3 s at 0.2.
    said = speed.told(found)
    assert "25.0% went into the model (30.0% with attention)" in said and "95.4 GFLOP/s" in said
    assert "fp32 were measured to reach on its processors" in said
    assert "the makers' rate of its GPUs in fp32" in speed.told(replace(found, gpus=True))
    for known in ({"mfu", "mfu_attention"}, set()):  # a journal of before, and one of devices that nobody knows
        gone = {"mfu", "mfu_attention", "peak_flops"} - known
        unknown = [{name: value for name, value in step.items() if name not in gone} for step in found.journal]
        assert "is not known" in speed.told(replace(found, journal=unknown))
    assert said in Page(report.write(run).read_text(encoding="utf-8")).text


def test_what_others_wrote_is_text(page: Page) -> None:
    """The name of this model has a tag in it."""
    assert "topics <i>" in page.text


def test_texts_that_are_not_there_are_said_to_be_missing(page: Page) -> None:
    assert "The texts are not here" in page.text


def test_a_step_that_was_done_twice_counts_once_and_half_a_line_is_none(run: Run) -> None:
    found = facts(run)
    assert [step["loss"] for step in found.journal] == pytest.approx([3 - step / 5 for step in range(10)])
    assert [ended for _, _, ended in found.attempts] == [False, True]


def test_the_worst_come_first_and_all_answers_are_counted(run: Run) -> None:
    found = facts(run).answers["topic"]
    losses = [one["loss"] for one in found.worst]
    assert losses == sorted(losses, reverse=True) and losses[0] > 1
    assert all(one["truth"] != one["answer"] for one in found.worst[:5])
    assert found.confusion is not None
    assert sum(map(sum, found.confusion)) == 90
    right = sum(found.confusion[i][i] for i in range(3)) / 90
    assert right == pytest.approx(run.state["account"]["metrics"]["test"]["topic"]["accuracy"], abs=1e-6)


def test_of_many_labels_it_shows_those_that_are_most_confused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "What it confuses" in page_of(facts(run)) and "taken for what" not in page_of(facts(run))
    monkeypatch.setattr(page_module, "LABELS_SHOWN", 2)
    found = facts(run)
    answers = found.answers["topic"]
    assert answers.pairs and answers.confusion
    text = Page(page_of(found)).text
    assert text.index("What it confuses") < text.index("taken for what") < text.index("most wrong about")
    wrong = sum(map(sum, answers.confusion)) - sum(answers.confusion[i][i] for i in range(3))
    assert sum(one["count"] for one in answers.pairs) == wrong > 0
    unkept = replace(found, answers={"topic": replace(answers, pairs=None)})
    assert "too large to be kept" in page_of(unkept)


def test_steps_done_again_are_energy_wasted() -> None:
    spent = {"compute": 300.0, "lost": 60.0, "restart": 999.0, "away": 999.0, "paused": 999.0}
    found = energy.energy(spent, 2, [None])
    assert found["core_seconds"] == 720 and not found["measured"]
    assert found["wh"] == pytest.approx(720 * WATTS_A_CORE / 3600)
    assert found["wasted"] == pytest.approx(found["wh"] / 6, abs=1e-3)
    assert "estimate" in energy.told(found)


def test_energy_is_what_was_measured_if_every_life_was() -> None:
    spent = {"compute": 30.0, "lost": 10.0}
    found = energy.energy(spent, 2, [3600.0, 7200.0])
    assert (found["measured"], found["wh"], found["wasted"]) == (True, 3, 0.75)
    assert "estimate" not in energy.told(found)
    assert not energy.energy(spent, 2, [3600.0, None])["measured"]


def test_the_energy_of_gpus_that_nobody_counted_is_an_estimate_and_called_so() -> None:
    spent = {"compute": 30.0, "lost": 6.0}
    found = energy.energy(spent, 2, [3600.0], 700.0)
    assert not found["measured"] and found["wh"] == pytest.approx(1 + 72 * 700 / 3600)
    assert found["wasted"] == pytest.approx(found["wh"] / 6, abs=1e-3)
    said = energy.told(found)
    assert "an estimate" in said and "1.00 Wh by the processors' counters" in said and "at the 700 W" in said
    assert "not known" in energy.told(None)


def test_the_energy_of_gpus_is_that_of_their_counters() -> None:
    spent = {"compute": 30.0, "lost": 6.0}
    found = energy.energy(spent, 2, [3600.0], None, 7200.0)
    assert (found["measured"], found["wh"], found["wasted"]) == (True, 3, 0.5)
    assert "2.00 Wh by the GPUs' own counters" in energy.told(found)
    # What the GPUs counted is not what the processors took.
    found = energy.energy(spent, 2, [None], None, 7200.0)
    assert not found["measured"] and found["wh"] == pytest.approx(2 + 72 * WATTS_A_CORE / 3600)
    assert "an estimate" in energy.told(found) and "at an assumed 10 W" in energy.told(found)


@pytest.mark.parametrize(("gpu", "watts"), [("NVIDIA H100 80GB HBM3", 700), ("NVIDIA L4", 72), ("another", None)])
def test_the_power_of_gpus_is_that_of_the_catalogue(run: Run, gpu: str, watts: float | None) -> None:
    assert not facts(run).gpus
    last = run.path / "attempts" / "0002.json"
    write_json(last, read_json(last) | {"gpu": gpu})
    found = facts(run)
    assert found.gpus and (found.energy and found.energy["gpu_watts"]) == watts
    assert energy.told(found.energy) in Page(report.write(run).read_text(encoding="utf-8")).text


def test_a_report_counts_each_gpu_once_an_attempt(run: Run) -> None:
    (run.path / gpu_meter.FOLDER).mkdir()
    for name, gpu, joules in (("0001-0000", "a", 36e3), ("0002-0000", "a", 72e3), ("0002-0001", "a", 71e3)):
        write_json(run.path / gpu_meter.FOLDER / f"{name}.json", {"gpu": gpu, "joules": joules})
    last = run.path / "attempts" / "0002.json"
    write_json(last, read_json(last) | {"gpu": "another"})
    found = facts(run).energy
    assert found and (found["gpu_wh"], found["gpus_counted"]) == (30, True)
    write_json(run.path / gpu_meter.FOLDER / "0002-0002.json", {"gpu": "b", "joules": None})
    assert facts(run).energy is None


def test_a_run_that_is_not_done_has_no_report(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing was measured"):
        report.write(create(tmp_path, "topics", "1" * 64))


def test_the_verb_writes_it_where_it_is_told(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    assert gb_json("report", run.path, "--home", tmp_path, "--out", out) == {"report": str(out)}
    assert out.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_the_page_says_which_code_wrote_it_where_that_is_not_installed(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gb_ray, "__version__", "7.8.9")
    assert "gb_ray 7.8.9" in Page(report.write(run).read_text(encoding="utf-8")).text


def test_a_run_stays_registered_where_its_page_cannot_be_written(
    run: Run, tmp_path: Path, store_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(store_file, tmp_path / "mlflow.db")
    tracking = Tracking.open(tmp_path, None)
    run_id = tracking.start_run("topics", "topics", {}, {})
    package.amend(run.model, run_id=run_id, name="topics")
    run.update(status="running", run_id=run_id)
    (run.path / report.FILE).mkdir()
    account = finish(run, tracking, Shipper(run.journal, tracking, run_id), Progress())
    assert run.state["status"] == "finished" and account["model"]["uri"] == "models:/topics/1"
    assert tracking.run(run_id).info.status == "FINISHED"
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "report" in line]
    assert "could not be written" in line and f"gb report {run.path}" in line


def test_the_table_on_the_terminal_has_the_same_figures(run: Run) -> None:
    report.write(run)
    account = run.state["account"]
    lines = after_lines(account)
    assert lines[0] == "topic on test, 90 samples"
    row = next(line for line in lines if line.startswith("  accuracy")).split()
    assert row[1] == f"{account['before']['test']['topic']['accuracy']:.3f}"
    assert row[2] == f"{account['metrics']['test']['topic']['accuracy']:.3f}"
    assert row[3:6] == "{:.3f} to {:.3f}".format(*account["intervals"]["test"]["topic"]["accuracy"]).split()
    assert any("calibration error" in line for line in lines)
    assert "  answers 180 texts/s, 1,800 tokens/s a core; 0.056 J a text, an estimate" in lines
    assert "answered 180 texts/s" in (run.path / "report.html").read_text(encoding="utf-8")


def test_the_quickstart_shows_the_same_figures(run: Run, tmp_path: Path) -> None:
    account = run.state["account"] | {"page": "sqlite:///runs"}
    account["model"] |= {"weights_sha256": "f" * 64}
    outcome = {"gate": {"passed": False, "checks": []}, "ledger": {"size": 1, "head": "0" * 64}}
    screen = summary(told(account, outcome) | {"seconds": {"train": 9.0}}, "topics", tmp_path / "r.yaml", tmp_path)
    assert set(after_lines(account)) <= set(screen)


@pytest.mark.parametrize(
    "chart",
    [
        charts.curve("loss", [2.0]),
        charts.curve("loss", [float(i % 7) for i in range(2000)]),
        charts.curve("rate", [0.0, 0.0]),
        charts.curve("below", [-2.0, -2.0]),
        charts.curve("broken", [1.0, float("nan"), 2.0]),
        charts.span(None, 0.0, None),
        charts.span(-3.0, -2.0, (-2.5, 0.5)),
        charts.share(0, 0),
        charts.timeline(5.0, 5.0, [(5.0, 5.0, True)]),
        charts.confusion([[0, 0], [0, 3]], ["a & b", "<c>"]),
    ],
)
def test_a_chart_is_whole_whatever_it_shows(chart: str) -> None:
    ElementTree.fromstring(chart)
    assert not re.search(r"[\s\",](nan|-?inf)[\s\",]", chart)


def test_a_count_on_a_dark_cell_is_light() -> None:
    drawn = charts.confusion([[0, 9], [1, 0]], ["a", "b"])
    assert drawn.count('class="on"') == 2
    assert 'class="on"' not in charts.confusion([[1, 1, 1]] * 3, ["a", "b", "c"])
