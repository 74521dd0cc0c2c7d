"""Ray Tune's side of a search: proposes trials, starts them, and ends those that ASHA gives up."""

from __future__ import annotations

import logging
import os
import shutil
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

from gb_ray.files import alone
from gb_ray.train.guard import MOST_SKIPS
from gb_ray.tune import trial as trials
from gb_ray.tune.ledger import Ledger, Mark, Trial, name_of
from gb_ray.tune.section import SearchSection, Values
from gb_ray.tune.space import coded, decoded, text
from gb_ray.tune.trial import Search

MARK = "mark"


def start() -> Any:
    """An actor on the driver's node whose `search` blocks until all trials have ended; it ends with its handle.

    It has a process of its own because Ray Tune must not be interrupted by signals; all that it finds is in the ledger.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(_Searcher).options(num_cpus=0, scheduling_strategy=here).remote()


class _Searcher:
    def search(self, search: Search) -> str | None:
        """Why it failed, or None."""
        # A trial works where the driver does, and the ledger is all that is kept.
        os.environ |= {"RAY_CHDIR_TO_TRIAL_DIR": "0", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1"}
        try:
            with alone(search.folder / "searcher"):
                _search(search)
        except Exception as error:  # noqa: BLE001 - Ray Tune's own errors do not survive being sent to another process
            return str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        return None


def _search(search: Search) -> None:
    import optuna
    from ray import tune

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    section, mode = search.section, "max" if search.better > 0 else "min"
    ended, begun = _known(search.ledger)
    scheduler = asha(section, search.metric, mode)
    proposer = proposals(section, search.metric, mode, search.recipe.seed, ended, begun)
    for one in ended:
        _recall(scheduler, one, search)
    storage = search.folder / "ray"
    shutil.rmtree(storage, ignore_errors=True)
    train = search.recipe.train
    skips = MOST_SKIPS if train.bad_loss.policy == "skip" else 0
    tune.Tuner(
        tune.with_resources(tune.with_parameters(_train, search=search), {"cpu": 1, "gpu": int(search.gpus)}),
        tune_config=tune.TuneConfig(
            search_alg=proposer,
            scheduler=scheduler,
            num_samples=section.trials - len(ended),
            max_concurrent_trials=section.parallel,
        ),
        run_config=tune.RunConfig(
            storage_path=str(storage),
            verbose=0,
            callbacks=[_keeper(search)],
            failure_config=tune.FailureConfig(max_failures=train.max_failures + skips),
        ),
    ).fit()
    shutil.rmtree(storage, ignore_errors=True)


def asha(section: SearchSection, metric: str, mode: str) -> Any:
    """The scheduler (https://arxiv.org/abs/1810.05934), which knows marks."""
    from ray.tune.schedulers import ASHAScheduler

    factor, last = section.asha.factor, section.asha.marks[-1]
    return ASHAScheduler(time_attr=MARK, metric=metric, mode=mode, max_t=last, reduction_factor=factor)


def proposals(section: SearchSection, metric: str, mode: str, seed: int, ended: list[Trial], begun: list[Trial]) -> Any:
    """Optuna's TPE, which knows the trials that ended and proposes first those that had begun."""
    from ray.tune.search.optuna import OptunaSearch

    from gb_ray.tune.sampler import Numbered

    space = {key: _distribution(values) for key, values in section.space.items()}

    first = [coded(section, trial.values) for trial in begun]
    found = OptunaSearch(space, metric=metric, mode=mode, sampler=Numbered(seed), points_to_evaluate=first or None)
    for trial in ended:
        value = trial.curve[-1].metrics[metric] if trial.ended != "failed" else None
        found.add_evaluated_point(coded(section, trial.values), value, error=value is None)
    return found


def _known(ledger: Ledger) -> tuple[list[Trial], list[Trial]]:
    """Trials that ended, and those that had only begun."""
    known = ledger.trials()
    return [one for one in known if one.ended], [one for one in known if not one.ended]


def _recall(scheduler: Any, trial: Trial, search: Search) -> None:
    """Tell the scheduler of a trial from before: its rungs are where they were."""
    past = SimpleNamespace(trial_id=trial.name)
    scheduler.on_trial_add(None, past)
    for mark, measured in zip(search.marks, trial.curve, strict=False):
        scheduler.on_trial_result(None, past, {MARK: mark, search.metric: measured.metrics[search.metric]})


def _distribution(values: Values) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if values.choice is not None:
        return CategoricalDistribution([text(one) for one in values.choice])
    if values.whole is not None:
        return IntDistribution(*values.whole)
    low, high = values.ends
    return FloatDistribution(low, high, log=values.log is not None)


def _train(config: dict[str, Any], search: Search) -> None:
    """What Ray Tune calls in a process of its own."""
    from ray import tune

    def report(mark: int, measured: Mark) -> None:
        tune.report({MARK: mark, search.metric: measured.metrics[search.metric]})

    trials.train(search, decoded(search.section, config), report)


def _keeper(search: Search) -> Any:
    from ray.tune import Callback

    ledger, section = search.ledger, search.section

    class Keeper(Callback):
        """Writes down when a trial begins and how it ends; a trial that has ended needs no checkpoint."""

        def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            ledger.begin(decoded(section, trial.config))

        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            found = ledger.trial(self._name(trial))
            self._end(found.name, "full" if len(found.curve) == len(search.marks) else "early", None)

        def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            name = self._name(trial)
            said = str(trial.get_pickled_error() or "").strip().splitlines()
            self._end(name, "failed", ledger.failure(name) or (said[-1] if said else "its process died"))

        def _name(self, trial: Any) -> str:
            return name_of(decoded(section, trial.config))

        def _end(self, name: str, how: Any, why: str | None) -> None:
            ledger.end(name, how, why)
            with suppress(OSError):
                shutil.rmtree(ledger.run(name) / "checkpoints")

    return Keeper()
