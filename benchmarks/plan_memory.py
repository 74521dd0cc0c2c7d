"""Whether a worker's memory is what `gb plan` says it will be, on CPU.

    python benchmarks/plan_memory.py [--only TEXT] [--json FILE]

Each line trains a few steps on synthetic samples with a random encoder, in fresh processes that share a gloo group, and
compares the largest resident set any worker had from its birth to the end (VmHWM of /proc/self/status, which counts the
libraries and what malloc keeps) with the total of the plan. Goal: within 10 %. `start`, `steps` and `export` are the
peaks of these phases: reading the model, training, writing the model.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests" / "corpus"))

SIZES = {
    "23M": {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536},
    "109M": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
    "184M": {"hidden_size": 1024, "num_hidden_layers": 12, "num_attention_heads": 16, "intermediate_size": 4096},
}
CASES: list[dict[str, Any]] = [
    {"size": "23M", "zero": 2},
    {"size": "23M", "zero": 0, "workers": 2, "precision": "fp32"},
    {"size": "23M", "zero": 2, "workers": 2, "micro_tokens": 512, "freeze_embeddings": True},
    {"size": "109M", "zero": 0},
    {"size": "109M", "zero": 1, "workers": 2},
    {"size": "109M", "zero": 2, "workers": 2},
    {"size": "109M", "zero": 2, "workers": 2, "precision": "fp32", "micro_tokens": 1024},
    {"size": "109M", "zero": 2, "micro_tokens": 512},
    {"size": "109M", "zero": 2, "recompute": True},
    {"size": "109M", "zero": 2, "workers": 2, "checkpoint": {"every": 1}},
    {"size": "109M", "zero": 3, "workers": 2},
    {"size": "109M", "zero": 2, "workers": 2, "offload": {"optimizer": "cpu"}},
    {"size": "184M", "zero": 2, "workers": 2, "micro_tokens": 1024},
    {"size": "184M", "zero": 3, "workers": 2, "micro_tokens": 1024},
]
SAMPLES, BATCH, LENGTHS = 32, 16, (250, 256)
LIMIT_S = 400


def make_backbone(folder: Path, size: str) -> Path:
    """A random BERT with a tokenizer of five words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    if not folder.exists():
        words = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a"])}
        tokens = Tokenizer(models.WordPiece(words, unk_token="[UNK]"))
        tokens.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
        PreTrainedTokenizerFast(tokenizer_object=tokens, **special).save_pretrained(folder)
        BertModel(BertConfig(vocab_size=30522, **SIZES[size])).save_pretrained(folder)
    return folder


def recipe_of(case: dict[str, Any], backbone: Path) -> Any:
    """The recipe of a case: what it does not say is as here."""
    from gb_ray.recipe import Recipe

    train = {key: value for key, value in case.items() if key not in ("size", "freeze_embeddings")}
    defaults = {"epochs": 1, "batch": BATCH, "precision": "auto", "workers": 1, "checkpoint": {"every": 1000}}
    freeze = {"freeze_embeddings": case.get("freeze_embeddings", False)}
    return Recipe.model_validate(
        {
            "name": "memory",
            "corpus": {"sources": [{"uri": "synthetic"}]},
            "tasks": {"topic": {"type": "sequence-classification"}},
            "model": {"path": str(backbone), "max_tokens": 512, "attention": "eager", **freeze},
            "train": defaults | train,
        }
    )


def work(folder: Path, rank: int, world: int) -> None:
    """What a process does: train, and say what it held. Its memory is its own from the first line on."""
    import torch
    import torch.distributed as dist

    from gb_ray.recipe import Recipe
    from gb_ray.train import loop
    from gb_ray.train.job import Job

    torch.set_num_threads(1)
    peaks: dict[str, int] = {}

    class Measured(loop.Worker):
        """Notes the peak of each phase."""

        def __init__(self, job: Job):
            super().__init__(job)
            peaks["start"] = peak()

        def export(self, progress: Any) -> None:
            """After training."""
            peaks["steps"] = peak()
            super().export(progress)
            peaks["export"] = peak()

    loop.Worker = Measured
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world)
    recipe = Recipe.model_validate_json((folder / "recipe.json").read_text())
    zero = recipe.train.zero
    assert zero != "auto"
    loop.train(
        Job(
            recipe,
            dict.fromkeys(recipe.tasks, folder.parent / "corpus"),
            folder,
            "key",
            time.time(),
            False,
            zero,
            {"tasks": {}},
            {},
        )
    )
    (folder / f"peaks-{rank}.json").write_text(json.dumps(peaks))


def peak() -> int:
    """The largest resident set since the last call, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    Path("/proc/self/clear_refs").write_text("5")
    return found


def measure(folder: Path, recipe: Any) -> dict[str, int]:
    """The peaks of the worker that held most. Raises RuntimeError when a process fails."""
    folder.mkdir()
    (folder / "recipe.json").write_text(recipe.model_dump_json())
    world = recipe.train.most
    processes = []
    for rank in range(world):
        env = os.environ | {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
        command = [sys.executable, __file__, "--work", str(folder), str(rank), str(world)]
        log = (folder / f"log-{rank}").open("w")
        processes.append(subprocess.Popen(command, stdout=log, stderr=log, env=env | {"OMP_NUM_THREADS": "1"}))
    try:
        if any(process.wait(LIMIT_S) for process in processes):
            raise RuntimeError((folder / "log-0").read_text().strip().splitlines()[-1])
    finally:
        for process in processes:
            process.kill()
            process.wait()
    peaks = [json.loads((folder / f"peaks-{rank}.json").read_text()) for rank in range(world)]
    return {str(k): int(v) for k, v in max(peaks, key=lambda each: max(each.values())).items()}


def compare(folder: Path, case: dict[str, Any], number: int) -> dict[str, Any]:
    """A case's prediction beside what was measured."""
    from gb_ray.corpus.corpus import Corpus
    from gb_ray.train.planning.plan import plan

    recipe = recipe_of(case, make_backbone(folder / case["size"], case["size"]))
    found = plan(recipe, dict.fromkeys(recipe.tasks, Corpus.open(folder / "corpus")), folder / case["size"])
    line: dict[str, Any] = {"case": case, "predicted": found.total, "parts": found.memory.model_dump()}
    try:
        peaks = measure(folder / f"run-{number}", recipe)
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        return line | {"failed": str(error)}
    measured = max(peaks.values())
    return line | {"peaks": peaks, "measured": measured, "ratio": found.total / measured}


def name_of(case: dict[str, Any]) -> str:
    """A case in a few words."""
    return " ".join(value if key == "size" else f"{key}={value}" for key, value in case.items()).replace("'", "")


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="cases whose name has this text")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    from synthetic import make_corpus

    done: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_corpus(folder / "corpus", {"train": [(1.0, SAMPLES)]}, lanes=4, tokens=LENGTHS)
        print(f"{'MB of a worker':66}{'plan':>7}{'peak':>7}{'ratio':>7}{'start':>8}{'steps':>7}{'export':>7}")
        for number, case in enumerate(case for case in CASES if args.only in name_of(case)):
            line = compare(folder, case, number)
            done.append(line)
            if "failed" in line:
                print(f"{name_of(case):66}{line['predicted'] / 1e6:7.0f}  {line['failed'][:60]}", flush=True)
                continue
            numbers = [line["predicted"] / 1e6, line["measured"] / 1e6, *(p / 1e6 for p in line["peaks"].values())]
            texts = [f"{number:7.0f}" for number in numbers]
            texts.insert(2, f"{line['ratio']:7.2f} ")
            print(f"{name_of(case):66}{''.join(texts)}", flush=True)
    ratios = [line["ratio"] for line in done if "ratio" in line]
    within = sum(abs(ratio - 1) <= 0.1 for ratio in ratios)
    if ratios:
        off = statistics.median(abs(ratio - 1) for ratio in ratios)
        print(f"{within} of {len(ratios)} within 10 %; median {off:.1%} off  (goal: all)")
    if args.json:
        args.json.write_text(json.dumps(done, indent=1))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
