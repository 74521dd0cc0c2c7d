"""The model card: what an exported directory is, in the README.md that goes with it."""

from __future__ import annotations

from typing import Any

import yaml

UNKNOWN = "not recorded"
_CLASSES = {
    "sequence-classification": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
    "regression": "AutoModelForSequenceClassification",
    "causal-lm": "AutoModelForCausalLM",
}
_TAGS = {
    "sequence-classification": "text-classification",
    "embedding": "sentence-similarity",
    "causal-lm": "text-generation",
}
_SHOWN_LABELS = 50
_MADE_OF = {
    "parents": "## Averaged\n\nThe weights are the mean of those of these models:",
    "members": "## Members\n\nAnswers are the mean of these models' probabilities, or of the numbers they answer:",
}
_LOADING_MEMBERS = """## How to load it

Each folder in `members` is a model by itself. As one they answer so:

```python
from pathlib import Path

from gb_ray.model.predictor import Predictor

predictor = Predictor(Path("PATH"))  # this directory
predictor.predict(predictor.encode(["a text"]))
```

```python
import mlflow

mlflow.pyfunc.load_model("models:/{name}@champion").predict({{"text": "a text"}})
```

```bash
gb predict models:/{name}@champion --text "a text"
```"""
_POOLED = """The vector of a text is the mean of `last_hidden_state` over its tokens, special ones included, scaled to
length 1. `modules.json` says so to sentence-transformers:

```python
from sentence_transformers import SentenceTransformer

vectors = SentenceTransformer("PATH").encode(["a text"])
```"""


def card(manifest: dict[str, Any]) -> str:
    """The card (markdown after YAML front matter) of the model that `manifest`, a `gb_model.json`, describes.

    It reads: name, run_id, parents (of an average), members (of an ensemble), tasks, metrics, before (the metrics
    before fine-tuning), corpus (samples by split), intervals, calibration, corpus_digest, weights_sha256, recipe,
    recipe_digest, code, max_tokens. What is absent is said to be not recorded.
    """
    tasks = manifest["tasks"]
    types = list(dict.fromkeys(task["type"] for task in tasks.values()))
    base = manifest.get("recipe", {}).get("model", {}).get("path")
    parts = [
        _front_matter(manifest, types),
        f"# {manifest['name']}",
        _what(manifest, types, base),
        *(_task(name, task, manifest) for name, task in tasks.items()),
        _data(manifest),
        _metrics(manifest),
        *_parent(manifest),
        _loading_any(manifest, types),
        _provenance(manifest),
        *(_made_of(manifest[key], said) for key, said in _MADE_OF.items() if key in manifest),
        _limits(manifest),
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(manifest: dict[str, Any], types: list[str]) -> str:
    # A page has one such tag: the first task's.
    fields = {
        "library_name": "gb_ray" if "members" in manifest else "transformers",
        "pipeline_tag": _TAGS.get(types[0], types[0]),
        "model_name": manifest["name"],
        "tags": ["gb_ray", *types],
    }
    return f"---\n{yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)}---"


def _task(name: str, task: dict[str, Any], manifest: dict[str, Any]) -> str:
    labels = [str(label) for label in task.get("labels") or []]
    more = f" and {len(labels) - _SHOWN_LABELS} more" if len(labels) > _SHOWN_LABELS else ""
    listed = ", ".join(f"`{label}`" for label in labels[:_SHOWN_LABELS]) or UNKNOWN
    return (
        f"## Task\n\n- Name: `{name}`\n- Type: {task['type']}\n- Labels ({len(labels)}): {listed}{more}\n"
        f"- Longest input: {manifest.get('max_tokens', UNKNOWN)} tokens; the rest of a longer text is not read"
    )


def _data(manifest: dict[str, Any]) -> str:
    corpus = manifest.get("corpus") or {}
    lines = [f"- Corpus digest: {_code(manifest.get('corpus_digest'))}"]
    lines += [f"- Samples in {split}: {count}" for split, count in corpus.items()]
    if not corpus:
        lines.append(f"- Samples: {UNKNOWN}")
    return "## Data\n\n" + "\n".join(lines)


def _metrics(manifest: dict[str, Any]) -> str:
    before = _flat(manifest.get("before") or {})
    after = _flat(manifest.get("metrics") or {})
    if not after:
        return f"## Metrics\n\n{UNKNOWN.capitalize()}."
    ends = manifest.get("intervals") or {}
    rows = [
        f"| {split} | {task} | {metric} | {_number(before.get((split, task, metric)))} | {_number(value)} "
        f"| {_interval(ends.get(split, {}).get(task, {}).get(metric))} |"
        for (split, task, metric), value in after.items()
    ]
    head = ["| split | task | metric | before | after | 95 % interval |", "|---|---|---|---:|---:|---:|"]
    start = "the backbone with a new, untrained head, or as it is where there is no head"
    if manifest.get("from"):
        start = "the model it went on from"
    return f"## Metrics\n\nOn the same samples; before is {start}.\n\n" + "\n".join(head + rows)


def _parent(manifest: dict[str, Any]) -> list[str]:
    """What it went on from and what it forgot of it; nothing for a model made of a backbone."""
    if not (parent := manifest.get("from")):
        return []
    lines = [f"- {name.replace('_', ' ').capitalize()}: {_code(value)}" for name, value in parent.items()]
    said = "Its corpus was not at hand, so what this model forgot of it was not measured."
    if forgotten := manifest.get("forgetting"):
        head = ["| metric | before | after | change | 95 % interval |", "|---|---:|---:|---:|---:|"]
        rows = [
            f"| {metric} | {_number(of['before'])} | {_number(of['after'])} | {of['difference']:+.4g} "
            f"| {_interval(of['interval'])} |"
            for metric, of in forgotten.items()
        ]
        said = "On the test split of its corpus:\n\n" + "\n".join(head + rows)
    return ["## The model it went on from\n\n" + "\n".join(lines) + "\n\n" + said]


def _what(manifest: dict[str, Any], types: list[str], base: str | None) -> str:
    kind = " and ".join(types)
    if members := manifest.get("members"):
        return f"An ensemble of {len(members)} {kind} models, fine-tuned with gb_ray, that answer as one."
    return f"A {kind} model, fine-tuned with gb_ray from {_code(base)}."


def _loading_any(manifest: dict[str, Any], types: list[str]) -> str:
    if "members" in manifest:
        return _LOADING_MEMBERS.format(name=manifest["name"])
    return _loading(manifest, types[0]) if len(manifest["tasks"]) == 1 else _loading_several(manifest)


def _loading_several(manifest: dict[str, Any]) -> str:
    name = manifest["name"]
    return f"""## How to load it

One backbone with a head a task: the heads are the tensors `heads.TASK.*` of the same file.

```python
from pathlib import Path

from gb_ray.model.predictor import Predictor

predictor = Predictor(Path("PATH"))  # this directory
predictor.predict(predictor.encode(["a text"]))  # {{task: answer}} of each text
```

```python
from transformers import AutoModel

backbone = AutoModel.from_pretrained("PATH")
```

```bash
gb predict models:/{name}@champion --text "a text"
```"""


def _loading(manifest: dict[str, Any], type: str) -> str:
    name, cls = manifest["name"], _CLASSES.get(type, "AutoModel")
    pooled = f"\n\n{_POOLED}" if type == "embedding" else ""
    return f"""## How to load it

```python
from transformers import {cls}, AutoTokenizer

model = {cls}.from_pretrained("PATH")  # this directory
tokenizer = AutoTokenizer.from_pretrained("PATH")
```{pooled}

```python
import mlflow

mlflow.pyfunc.load_model("models:/{name}@champion").predict({{"text": "a text"}})
```

```bash
gb predict models:/{name}@champion --text "a text"
```"""


def _provenance(manifest: dict[str, Any]) -> str:
    keys = {
        "Run": "run_id",
        "Recipe digest": "recipe_digest",
        "Corpus digest": "corpus_digest",
        "Weights sha256": "weights_sha256",
        "Code": "code",
    }
    return "## Provenance\n\n" + "\n".join(f"- {name}: {_code(manifest.get(key))}" for name, key in keys.items())


def _made_of(models: list[dict[str, Any]], said: str) -> str:
    shown = ([_code(one[key]) for key in ("uri", "run_id", "weights_sha256")] for one in models)
    lines = [f"- {uri}, run {run}, weights {weights}" for uri, run, weights in shown]
    return "\n".join([said, "", *lines])


def _limits(manifest: dict[str, Any]) -> str:
    splits = ", ".join(manifest.get("metrics") or {}) or "no split"
    return f"""## Limits

- Measured only on this corpus ({splits}). On other domains, languages and periods its quality is unknown.
- Fairness between groups, countries and languages was not measured.
- {_calibrated(manifest)}
- What the backbone learnt before, and its licence, are its publisher's to say; nothing here examined them."""


def _calibrated(manifest: dict[str, Any]) -> str:
    for fitted in (manifest.get("calibration") or {}).values():
        error = fitted["test_ece"]
        return (
            "`gb predict`, the endpoint and `mlflow.pyfunc` divide logits by a temperature fitted on validation, "
            f"{_number(fitted['temperature'])}: the calibration error on test is {_number(error['after'])} with it and "
            f"{_number(error['before'])} without, as `transformers` alone answers."
        )
    if "members" in manifest:
        return "Each member's logits are divided by its own temperature; their mean was not calibrated."
    return "Scores are the model's own and were not calibrated: do not read them as probabilities of being right."


def _flat(metrics: dict[str, Any]) -> dict[tuple[str, str, str], float]:
    return {
        (split, task, metric): value
        for split, tasks in metrics.items()
        for task, values in tasks.items()
        for metric, value in values.items()
        if isinstance(value, int | float)
    }


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _interval(ends: list[float] | None) -> str:
    return "–" if ends is None else f"{_number(ends[0])} to {_number(ends[1])}"


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(inner)}" for key, inner in value.items())
    return ", ".join(map(_plain, value)) if isinstance(value, list) else str(value)


def _code(value: Any) -> str:
    return UNKNOWN if value is None else f"`{_plain(value)}`"
