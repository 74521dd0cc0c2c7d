"""The whole life of one model in one go: real texts, corpus, training, gate, endpoint, answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx

from gb_ray.corpus.manifest import where_rows_went
from gb_ray.finetune import Inputs, finetune, promote
from gb_ray.machine import wait_for_stop
from gb_ray.measure.table import after_lines
from gb_ray.progress import Progress
from gb_ray.registry.tracking import Tracking
from gb_ray.serve import endpoint
from gb_ray.serve.app import Arguments
from gb_ray.serve.port import require_free

SENTENCES = [
    "Coastal cities are raising sea walls because storms and rising temperatures flood them more often every decade.",
    "Girls who finish secondary school earn more, but in many regions families still cannot pay for their classes.",
    "Rural clinics lack vaccines and midwives, so mothers and newborn children die of causes that could be prevented.",
]
"""Written for this project; none is in the corpus."""


def quickstart(
    inputs: Inputs, home: Path, tracking: Tracking, uri: str | None, keep: bool, progress: Progress
) -> dict[str, Any]:
    """Run the life of the recipe's model; Ray must be up. Returns the account that `--json` prints.

    With `keep` the endpoint stays up until the process is asked to stop. A gate that refuses ends it before serving.
    """
    recipe = inputs.recipe
    require_free(recipe.serve.host, recipe.serve.port)
    account = finetune(inputs, home, tracking, progress, reuse=True)
    outcome = promote(recipe.name, account["model"]["version"], home, tracking, inputs.policy, progress)
    result = told(account, outcome)
    if outcome["gate"]["passed"]:
        with progress.stage("serve"):
            model = f"models:/{recipe.name}@champion"
            running = endpoint.start(Arguments(model=model, home=home, tracking=uri, serve=recipe.serve))
        try:
            with progress.stage("ask"):
                result["endpoint"] = {"url": running.url, "answers": _ask(running.url, recipe.name)}
            if keep:
                progress.say(f"{running.url} stays up; stop it with Ctrl-C")
                wait_for_stop()
        finally:
            running.stop()
    return result | {"seconds": progress.seconds}


def told(account: dict[str, Any], outcome: dict[str, Any]) -> dict[str, Any]:
    """What is printed of a run's account and of what its promotion came to; nothing is served yet."""
    return {
        "corpus": account["corpus"],
        "run_id": account["run_id"],
        "page": account["page"],
        "metrics": {"before": account["before"], "after": account["metrics"]},
        **{name: account[name] for name in ("intervals", "compared", "calibration", "slices", "pace")},
        "model": account["model"],
        "gate": {"passed": outcome["gate"]["passed"], "checks": outcome["gate"]["checks"]},
        "ledger": outcome["ledger"],
        "endpoint": {"url": None, "answers": []},
    }


def _ask(url: str, name: str) -> list[dict[str, Any]]:
    """The endpoint's answers to the sentences, each with its text, the model's version and digest."""
    answer = httpx.post(f"{url}/v1/models/{name}/predict", json={"texts": SENTENCES}, timeout=60)
    answer.raise_for_status()
    content = answer.json()
    return [
        {"text": text, **one, "model": content["model"]}
        for text, one in zip(SENTENCES, content["answers"], strict=True)
    ]


def summary(account: dict[str, Any], name: str, recipe: Path, home: Path) -> list[str]:
    """One screen for a person."""
    corpus, model = account["corpus"], account["model"]
    lines = [
        "",
        *(line for one in _each(corpus) for line in _rows(one)),
        *after_lines(account | {"before": account["metrics"]["before"], "metrics": account["metrics"]["after"]}),
        f"model      {model['uri']}  sha256 {model['weights_sha256'][:16]}…",
        *(f"gate       {'passed' if c['passed'] else 'FAILED'}: {c['why']}" for c in account["gate"]["checks"]),
        f"ledger     {account['ledger']['size']} entries, head {(account['ledger']['head'] or '')[:16]}…",
        f"endpoint   {account['endpoint']['url'] or 'not started: the gate said no'}",
        *(_answer(answer) for answer in account["endpoint"]["answers"] if "probabilities" in answer),
        "seconds    " + ", ".join(f"{stage} {spent:.0f}" for stage, spent in account["seconds"].items()),
        "run        " + account["page"].replace("\n", "\n           "),
        "next",
    ]
    at = "" if home == Path("~/.gb_ray").expanduser() else f" --home {home}"
    text = json.dumps(SENTENCES[0])
    return [
        *lines,
        f"  gb predict models:/{name}@champion --text {text}{at}",
        f"  gb serve models:/{name}@champion --recipe {recipe}{at}",
        f"  gb ledger show {name}{at}",
    ]


def _each(corpus: dict[str, Any]) -> list[dict[str, Any]]:
    """The summaries of a recipe's corpora: one, or one a task."""
    return [corpus] if "digest" in corpus else list(corpus.values())


def _rows(corpus: dict[str, Any]) -> list[str]:
    splits = ", ".join(f"{count} {split}" for split, count in corpus["splits"].items())
    return [f"rows       {where_rows_went(corpus)}", f"splits     {splits}"]


def _answer(answer: dict[str, Any]) -> str:
    best = sorted(answer["probabilities"].items(), key=lambda pair: -pair[1])[:3]
    return f"  {answer['text'][:60]}… → " + ", ".join(f"{label} {score:.2f}" for label, score in best)
