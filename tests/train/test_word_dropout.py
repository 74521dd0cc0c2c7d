"""Which words are hidden or left out follows from seed, step and sample: not from workers, micro-batches or layout."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import processes
import pytest
import torch
from small_job import small_job

from gb_ray.corpus.corpus import Corpus
from gb_ray.corpus.reading.reader import Reader, Sample
from gb_ray.recipe import parse
from gb_ray.section import UserError
from gb_ray.tasks.section import SequenceClassificationSection
from gb_ray.tasks.task import make
from gb_ray.tasks.tokenizer import tokenizer
from gb_ray.train.batch import Group, Layout
from gb_ray.train.feeder import Feeder
from gb_ray.train.job import Job
from gb_ray.train.schedule import Step
from gb_ray.train.word_dropout import WordDeletion, WordDropout
from gb_ray.train.worker import Worker

STEP, LATER, NEXT_EPOCH = Step(0, 0, 0, 24), Step(1, 0, 24, 48), Step(3, 1, 0, 24)
UNKNOWN, CLS, SEP = 1, 2, 3
LONG = Sample("a", np.array([CLS, *range(10, 10_010), SEP], np.int32), 0)
Tokens = Counter[tuple[int, ...]]


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, backbone: Path) -> Job:
    return small_job(tmp_path_factory.mktemp("words"), backbone, zero=0, batch=24, word_dropout=0.3, word_deletion=0.2)


def test_the_share_is_hidden_and_special_tokens_stay(backbone: Path) -> None:
    found = WordDropout(0.3, tokenizer(str(backbone)), 0)(STEP, LONG).input_ids
    hidden = found == UNKNOWN
    assert 0.28 < hidden.mean() < 0.32
    assert (found[~hidden] == LONG.input_ids[~hidden]).all()
    assert (found[0], found[-1]) == (CLS, SEP)
    assert found.dtype == np.int32
    all_special = LONG._replace(input_ids=np.full(1000, SEP, np.int32))
    assert (WordDropout(0.9, tokenizer(str(backbone)), 0)(STEP, all_special).input_ids == SEP).all()


def test_the_share_is_left_out_and_the_rest_stays_in_order(backbone: Path) -> None:
    leave_out = WordDeletion(0.3, tokenizer(str(backbone)), 0)
    found = leave_out(STEP, LONG).input_ids
    assert 0.68 < len(found) / len(LONG.input_ids) < 0.72
    assert (found[0], found[-1]) == (CLS, SEP)
    assert (np.diff(found[1:-1]) > 0).all() and set(found.tolist()) <= set(LONG.input_ids.tolist())
    assert len(leave_out(LATER, LONG).input_ids) != len(found)
    hidden = WordDropout(0.3, tokenizer(str(backbone)), 0)(STEP, LONG).input_ids != LONG.input_ids
    assert set(LONG.input_ids[~hidden].tolist()) != set(found.tolist())


def test_a_text_is_never_left_without_a_word(backbone: Path) -> None:
    leave_out = WordDeletion(0.9, tokenizer(str(backbone)), 0)
    for number in range(50):
        word = Sample(str(number), np.array([CLS, 10, 11, SEP], np.int32), 0)
        assert len(leave_out(STEP, word).input_ids) > 2


@pytest.mark.parametrize("task", ["{type: token-classification}", "{type: causal-lm, text: text}"])
def test_words_that_something_is_asked_of_are_not_left_out(content: dict[str, Any], task: str) -> None:
    with pytest.raises(UserError, match=r"train\.word_deletion: tasks\.topic, .*, asks for words where they stand"):
        parse(content, ["train.word_deletion=0.1", f"tasks.topic={task}"], "r.yaml")


def test_other_words_are_hidden_in_another_step_epoch_sample_and_run(backbone: Path) -> None:
    hide, other_run = (WordDropout(0.5, tokenizer(str(backbone)), seed) for seed in (0, 1))
    first = hide(STEP, LONG).input_ids
    assert (hide(STEP, LONG).input_ids == first).all()
    for other in (hide(LATER, LONG), hide(NEXT_EPOCH, LONG), hide(STEP, LONG._replace(id="b")), other_run(STEP, LONG)):
        assert 0.4 < (other.input_ids == first).mean() < 0.6


def test_a_mask_is_taken_before_the_unknown_token(backbone: Path) -> None:
    import transformers

    loaded = transformers.AutoTokenizer.from_pretrained(backbone, mask_token="w")
    hidden = set(WordDropout(0.5, loaded, 0)(STEP, LONG).input_ids.tolist()) - set(LONG.input_ids.tolist())
    assert hidden | {loaded.mask_token_id} == {loaded.mask_token_id}
    assert (WordDropout(0.5, loaded, 0)(STEP, LONG).input_ids == loaded.mask_token_id).mean() > 0.4
    loaded.mask_token = loaded.unk_token = None
    with pytest.raises(UserError, match=r"train\.word_dropout: the tokenizer has no mask and no unknown token"):
        WordDropout(0.5, loaded, 0)


@pytest.mark.parametrize("step", [STEP, NEXT_EPOCH])
def test_workers_micro_batches_and_layouts_read_the_same(job: Job, step: Step) -> None:
    expected = read(job, step, workers=1, micro_tokens=10_000, packed=True)
    assert sum(expected.values()) == 24
    assert all(UNKNOWN in tokens for tokens in expected if len(tokens) > 25)
    for workers, micro_tokens, packed in [(1, 64, False), (2, 64, True), (3, 200, False)]:
        assert read(job, step, workers, micro_tokens, packed) == expected


def test_a_run_hides_what_the_recipe_says(job: Job) -> None:
    ((first, found),) = processes.run(1, begun, job)
    assert found == read(job, first, workers=1, micro_tokens=10_000, packed=True)
    assert any(UNKNOWN in tokens for tokens in found)


def begun(job: Job) -> tuple[Step, Tokens]:
    """The first step of a run, and its samples' tokens."""
    worker = Worker(job)
    step = next(worker.steps())
    micro, _ = worker.lay_out(step)
    return step, Counter(tokens for one in micro for group in one.groups for tokens in tokens_of(group))


def read(job: Job, step: Step, workers: int, micro_tokens: int, packed: bool) -> Tokens:
    """The tokens of a step's samples, as all workers together lay them out."""
    task = make(SequenceClassificationSection(type="sequence-classification"), "unused", 64)
    loaded, seed = tokenizer(job.recipe.model.path), job.recipe.seed
    changes = [WordDeletion(0.2, loaded, seed), WordDropout(0.3, loaded, seed)]
    found: Tokens = Counter()
    for worker in range(workers):
        reader = Reader(Corpus.open(job.corpora["topic"]), "train", job.recipe.seed, worker, workers)
        layout = Layout((task,), 0, packed, 0, torch.device("cpu"), together=True)
        feeder = Feeder(reader, layout, micro_tokens, changes)
        micro = feeder.take(step, None).micro
        found.update(tokens for one in micro for group in one.groups for tokens in tokens_of(group))
        feeder.close()
        reader.close()
    return found


def tokens_of(group: Group) -> list[tuple[int, ...]]:
    if group.segments:
        return [tuple(part.tolist()) for part in group.input_ids[0].split(group.segments.lengths)]
    assert group.attention_mask is not None
    return [tuple(row[kept].tolist()) for row, kept in zip(group.input_ids, group.attention_mask > 0, strict=True)]
