"""A loss that is not a number, or a spike, does not reach the weights: the run ends, or the step is left out."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import WorkerFailed, run
from safetensors.torch import load_file, save_file
from small_job import small_job

from gb_ray.corpus.corpus import Corpus
from gb_ray.corpus.reading.reader import Reader, Sample
from gb_ray.train import skips
from gb_ray.train.account.journal import Journal, newest
from gb_ray.train.checkpoints import checkpoint
from gb_ray.train.guard import BadLoss, Guard, StepSkipped
from gb_ray.train.job import Job
from gb_ray.train.loop import train
from gb_ray.train.run import read_json
from gb_ray.train.schedule import Step
from gb_ray.train.worker import Worker

STEPS_AN_EPOCH = 8


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, backbone: Path) -> Path:
    """A corpus one of whose samples makes the loss of its step a nan: a word of it has a damaged embedding."""
    folder = tmp_path_factory.mktemp("guard")
    small_job(folder, backbone)
    counts = Counter(token for sample in samples(folder) for token in set(sample.input_ids.tolist()))
    weights = load_file(folder / "model" / "model.safetensors")
    name = next(name for name in weights if name.endswith("word_embeddings.weight"))
    damaged = min(token for token in samples(folder)[20].input_ids.tolist() if counts[token] == 1)
    weights[name][damaged] = math.nan
    save_file(weights, folder / "model" / "model.safetensors", {"format": "pt"})
    return folder


def samples(folder: Path, epoch: int = 0) -> list[Sample]:
    with Reader(Corpus.open(folder / "corpus"), "train", 0) as reader:
        return reader.step(epoch, 0, reader.samples_per_epoch)


def bad_step(folder: Path, epoch: int) -> tuple[int, list[str]]:
    """The step of the sample with the damaged word, and the ids of all samples in it."""
    bad = samples(folder)[20].id
    ids = [sample.id for sample in samples(folder, epoch)]
    first = ids.index(bad) // 8 * 8
    return epoch * STEPS_AN_EPOCH + first // 8, ids[first : first + 8]


def test_stop_ends_the_run_and_names_step_and_samples(place: Path, backbone: Path) -> None:
    job = small_job(place, backbone)
    with pytest.raises(WorkerFailed) as caught:
        run(2, train, job)
    step, ids = bad_step(place, 0)
    said = str(caught.value).strip().splitlines()[-1]
    assert said.startswith(f"gb_ray.train.guard.BadLoss: step {step}: its loss is nan; its samples are {ids[0]} ")
    about = read_json(job.run / "bad-loss.json")
    assert [sample["id"] for sample in about["samples"]] == ids
    assert [entry["step"] for entry in newest(job.run / "metrics.jsonl", 99)] == list(range(step))


def test_skip_goes_back_to_a_checkpoint_and_leaves_the_step_out_by_name(place: Path, backbone: Path) -> None:
    job = small_job(place, backbone, bad_loss={"policy": "skip"}, checkpoint={"every": 2, "keep": 2})
    bad = [bad_step(place, epoch) for epoch in (0, 1)]
    for step, _ in bad:
        with pytest.raises(WorkerFailed, match=f"StepSkipped: step {step} is left out, with its 8 samples"):
            run(2, train, job)
    run(2, train, job)
    steps = [entry["step"] for entry in newest(job.run / "metrics.jsonl", 999)]
    assert set(steps) == set(range(16)) - {step for step, _ in bad}
    assert all(math.isfinite(entry["metrics"]["loss"]) for entry in newest(job.run / "metrics.jsonl", 999))
    found = skips.of(job.run)
    assert [(one["step"], [sample["id"] for sample in one["samples"]]) for one in found] == bad
    # Seen and left out are all there is.
    left_out = skips.account(job.run)
    assert read_json(job.run / "result.json")["samples_seen"] + left_out["samples"] == 2 * 64
    assert checkpoint.newest(job.run / "checkpoints", job.key) is not None


def judged(job: Job, series: list[list[float]]) -> list[list[str]]:
    """What the guard of each worker says to the losses of several runs."""
    worker, answers = Worker(job), []
    for losses in series:
        guard = Guard(job, worker)
        answers.append([_judgement(guard, number, loss) for number, loss in enumerate(losses)])
    return answers


def _judgement(guard: Guard, number: int, loss: float) -> str:
    try:
        guard.judge(Step(number, 0, 0, 8), loss)
    except (BadLoss, StepSkipped) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def test_a_spike_is_far_above_the_median_and_above_all_the_losses_of_the_window(place: Path, backbone: Path) -> None:
    job = small_job(place, backbone, bad_loss={"policy": "stop", "spike": 5.0, "window": 10})
    series: dict[str, tuple[list[float], list[int]]] = {
        "a spike": ([1.0] * 10 + [5.1], [10]),
        "one does not count among the losses that were": ([1.0] * 10 + [6.0, 5.5, 1.0], [10, 11]),
        "not so far": ([1.0] * 10 + [4.9], []),
        "too early to tell": ([1.0] * 9 + [50.0], []),
        "infinite at once": ([math.inf], [0]),
        "an outlier of a model that knows its texts": ([0.01] * 8 + [0.2, 0.01, 0.3], []),
        "a hard text for a model that knows all others": ([1.1] + [0.009] * 20 + [0.3], []),
        "a window that forgets": ([9.0] + [1.0] * 10 + [8.0], [11]),
        "after zeros": ([0.0] * 10 + [0.1], [10]),
    }
    (said,) = run(1, judged, job, [losses for losses, _ in series.values()])
    for (name, (_, bad)), texts in zip(series.items(), said, strict=True):
        assert [number for number, text in enumerate(texts) if text] == bad, name
    assert said[0][10].startswith("BadLoss: step 10: its loss 5.1 is 5.1 times the median of the last 10 steps, 1; ")


def judged_after(job: Job, steps: int, losses: list[float]) -> list[str]:
    """What a worker's guard says to each of these as the first loss after its run was started again."""
    worker = Worker(job)
    worker.progress = replace(worker.progress, steps=steps, first=1.0)
    return [_judgement(Guard(job, worker), steps, loss) for loss in losses]


def test_after_a_restart_the_guard_knows_the_losses_that_were(place: Path, backbone: Path) -> None:
    job = small_job(place, backbone, bad_loss={"policy": "stop", "spike": 5.0, "window": 10})
    before = Journal(job.run / "metrics.jsonl")
    for step, loss in enumerate([9.0, 9.0] + [1.0] * 10 + [7.0]):
        before.write(step, {"loss": loss})
    (one, other) = run(2, judged_after, job, 12, [4.9, 5.1])
    assert one == other and one[0] == ""
    assert one[1].startswith("BadLoss: step 12: its loss 5.1 is 5.1 times the median of the last 10 steps, 1; ")


def test_a_run_does_not_leave_out_step_after_step(place: Path, backbone: Path) -> None:
    job = small_job(place, backbone, bad_loss={"policy": "skip"})
    (one,), (other,) = run(2, judged, job, [[math.nan] * 11])
    assert one == other
    assert all(text.startswith("StepSkipped: ") for text in one[:10])
    assert one[10].startswith("BadLoss: step 10: its loss is nan; 10 steps were left out already; its samples are ")


def trains_with_a_bad_gradient(job: Job, at: int, value: float) -> None:
    """Train; at step `at` one weight's gradient of worker 1 is `value`, and the loss is what it was."""
    gradients = Worker.gradients

    def damaged(gradient: torch.Tensor) -> torch.Tensor:
        gradient = gradient.clone()
        gradient.view(-1)[0] = value
        return gradient

    def watched(self: Worker, step: Step, *laid_out: Any) -> float:
        bias = next(p for name, p in self.engine.module.named_parameters() if name == "classifier.bias")
        bad = step.number == at and self.rank == 1
        hook = bias.register_hook(damaged) if bad else None
        try:
            return gradients(self, step, *laid_out)
        finally:
            if hook:
                hook.remove()

    Worker.gradients = watched  # type: ignore[method-assign]
    train(job)


@pytest.mark.parametrize("zero", [0, 2])
def test_a_gradient_that_is_not_finite_is_noticed_in_its_own_step(zero: int, tmp_path: Path, backbone: Path) -> None:
    job = small_job(tmp_path, backbone, zero=zero, checkpoint={"every": 1, "keep": 9})
    with pytest.raises(WorkerFailed, match=r"BadLoss: step 5: the norm of its gradient is (nan|inf); its samples are "):
        run(2, trains_with_a_bad_gradient, job, 5, math.nan)
    assert [entry["step"] for entry in newest(job.run / "metrics.jsonl", 99)] == list(range(5))
    about = read_json(job.run / "bad-loss.json")
    assert about["step"] == 5 and len(about["samples"]) == 8 and about["grad_norm"] in ("nan", "inf")
    saved = checkpoint.newest(job.run / "checkpoints", job.key)
    assert saved and saved.progress.steps <= 5


@pytest.mark.chaos
@pytest.mark.parametrize("zero", [0, 1, 2, 3])
def test_left_out_a_step_with_a_bad_gradient_leaves_nothing_behind(zero: int, tmp_path: Path, backbone: Path) -> None:
    for precision in ("fp32", "bf16"):
        settings = {"zero": zero, "precision": precision, "bad_loss": {"policy": "skip"}}
        job = small_job(tmp_path, backbone, checkpoint={"every": 2, "keep": 2}, **settings)
        with pytest.raises(WorkerFailed, match="StepSkipped: step 5 is left out"):
            run(2, trains_with_a_bad_gradient, job, 5, math.nan)
        run(2, train, job)
        losses = {entry["step"]: entry["metrics"]["loss"] for entry in newest(job.run / "metrics.jsonl", 99)}
        assert losses.keys() == set(range(16)) - {5} and all(map(math.isfinite, losses.values()))
