"""Two models on the same samples."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gb_ray.measure.paired import PERMUTATIONS, compare
from gb_ray.tasks.section import RegressionSection, SequenceClassificationSection
from gb_ray.tasks.task import make

LABELS = ["a", "b", "c"]
TASK = make(SequenceClassificationSection(type="sequence-classification"), "unused", 32)
NUMBERS = make(RegressionSection(type="regression", targets=["x"]), "u", 32, state={"mean": [3.0], "sd": [2.0]})


def summary(sums: np.ndarray) -> dict[str, np.ndarray]:
    return TASK.from_sums(sums, LABELS)


def statistics(random: np.random.Generator, truth: np.ndarray, skill: float) -> np.ndarray:
    logits = random.normal(size=(len(truth), 3))
    logits[np.arange(len(truth)), truth] += skill
    return TASK.statistics(list(logits), list(truth), LABELS)


@given(st.integers(2, 80), st.integers(0, 99))
def test_a_model_does_not_differ_from_itself(samples: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    one = statistics(random, random.integers(0, 3, samples), 1.0)
    for found in compare(one, one.copy(), summary).values():
        assert (found["difference"], found["interval"], found["p"], found["better"]) == (0, [0, 0], 1, None)


def test_a_clear_winner_wins_and_the_other_way_round_as_much() -> None:
    random = np.random.default_rng(0)
    truth = random.integers(0, 3, 300)
    weak, strong = statistics(random, truth, 0.3), statistics(random, truth, 3.0)
    for name in ("accuracy", "macro_f1", "loss", "roc_auc"):
        there, back = compare(weak, strong, summary)[name], compare(strong, weak, summary)[name]
        assert (there["better"], back["better"]) == ("b", "a")
        assert there["p"] == back["p"] == round(1 / (PERMUTATIONS + 1), 6)
        assert there["difference"] == -back["difference"]
        low, high = there["interval"]
        assert low < there["difference"] < high


def test_less_of_an_error_is_better() -> None:
    random = np.random.default_rng(0)
    truth = random.normal(3, 2, (200, 1))
    near, far = ((truth - 3) / 2 + random.normal(0, off, (200, 1)) for off in (0.1, 1.0))
    a, b = (NUMBERS.statistics(list(answers), list(truth), []) for answers in (far, near))
    found = compare(a, b, lambda sums: NUMBERS.from_sums(sums, []))
    assert {name: one["better"] for name, one in found.items()} == dict.fromkeys(found, "b")
    assert found["mae_x"]["difference"] < 0 < found["r2_x"]["difference"]


def test_pairing_finds_what_two_intervals_would_not() -> None:
    """Both fail on the same hard samples; one of them fails on a few more."""
    truth = np.zeros(400, int)
    right = np.random.default_rng(0).random(400) < 0.6
    also_wrong = right & (np.arange(400) < 30)
    a, b = (np.where(mask[:, None], [9.0, 0, 0], [0.0, 9, 0]) for mask in (right & ~also_wrong, right))
    one, other = (TASK.statistics(list(logits), list(truth), LABELS) for logits in (a, b))
    found = compare(one, other, summary)["accuracy"]
    assert found["better"] == "b" and found["p"] < 0.001
    assert found["interval"][0] > 0.01


def test_luck_is_called_a_difference_in_about_one_of_twenty() -> None:
    """Two models of the same skill, 300 times."""
    interval = swaps = 0
    for seed in range(300):
        random = np.random.default_rng(seed)
        truth = random.integers(0, 3, 100)
        found = compare(statistics(random, truth, 1.0), statistics(random, truth, 1.0), summary)["loss"]
        interval += found["better"] is not None
        swaps += found["p"] < 0.05
    assert 0.02 <= swaps / 300 <= 0.09 and 0.02 <= interval / 300 <= 0.09
