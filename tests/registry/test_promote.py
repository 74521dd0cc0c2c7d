import math

import pytest

from gb_ray.registry import records
from gb_ray.registry.ledger import Ledger, LedgerMoved
from gb_ray.registry.promote import promote, rollback, sync
from gb_ray.registry.section import Policy
from gb_ray.registry.versions import local, register, resolve
from gb_ray.section import UserError

POLICY = Policy(floors={"accuracy": 0.5}, not_worse={"accuracy": 0.0})


class Bench:
    """Three registered versions and what each measures."""

    def __init__(self, home, tracking, new_export):
        self.home, self.tracking = home, tracking
        self.versions = [register(tracking, *new_export(seed)) for seed in range(3)]
        self.scores = {version.path: 0.7 for version in self.versions}

    def promote(self, number, measure=None):
        measure = measure or (lambda path: {"accuracy": self.scores[path]})
        return promote(self.tracking, self.home, self.versions[number - 1], POLICY, measure)

    def aliases(self):
        found = records.aliases(self.tracking, "weather")
        return found.get("champion"), found.get("previous")

    @property
    def ledger(self):
        return Ledger(self.home, "weather")


@pytest.fixture
def bench(home, tracking, new_export):
    return Bench(home, tracking, new_export)


def test_forward_and_back(bench):
    first, second = bench.promote(1), bench.promote(2)
    assert first.moved and first.previous is None
    assert second.moved and second.previous == "1"
    assert bench.aliases() == ("2", "1")
    assert bench.promote(3).moved
    assert rollback(bench.tracking, bench.home, "weather").version == "2"
    assert bench.aliases() == ("2", "1")
    assert rollback(bench.tracking, bench.home, "weather").previous_version is None
    assert bench.aliases() == ("1", None)
    with pytest.raises(UserError, match="version 1 is the first"):
        rollback(bench.tracking, bench.home, "weather")
    assert bench.ledger.verify().ok


def test_champion_and_previous_resolve_to_what_was_promoted(bench):
    bench.promote(1)
    bench.promote(2)
    assert resolve(bench.tracking, bench.home, "models:/weather@champion") == bench.versions[1]
    assert resolve(bench.tracking, bench.home, "models:/weather@previous") == bench.versions[0]


def test_the_evidence_is_kept_whatever_the_gate_says(bench):
    bench.promote(1)
    bench.scores[bench.versions[1].path] = 0.6
    refused = bench.promote(2)
    assert not refused.moved and not refused.gate.passed
    assert refused.entry.action == "refuse"
    evidence = refused.entry.evidence
    assert evidence["candidate"]["metrics"] == {"accuracy": 0.6}
    assert evidence["champion"]["metrics"] == {"accuracy": 0.7}
    assert (evidence["split"], evidence["candidate"]["corpus_digest"]) == ("test", "c" * 64)
    assert bench.aliases() == ("1", None)
    assert bench.promote(3, lambda path: {"accuracy": math.nan}).entry.evidence["candidate"]["metrics"] == {
        "accuracy": None
    }


def test_of_several_tasks_less_error_is_better(bench):
    policy, error = Policy(not_worse={"air.mae_pm2.5": 0.0}), {bench.versions[0].path: 4.0, bench.versions[1].path: 3.0}

    def moved(version):
        measure = lambda path: {"air.mae_pm2.5": error[path]}  # noqa: E731
        return promote(bench.tracking, bench.home, version, policy, measure, several=True).moved

    assert moved(bench.versions[0]) and moved(bench.versions[1])


def test_the_champion_again_is_nothing_to_do(bench):
    bench.promote(1)
    again = bench.promote(1)
    assert again.entry is None and not again.moved
    assert "is the champion already" in again.gate.checks[0].why
    assert bench.ledger.verify().size == 1


def test_someone_else_promoting_meanwhile_wins(bench):
    bench.promote(1)

    def measure(path):
        if path == bench.versions[1].path:
            assert bench.promote(3).moved
        return {"accuracy": 0.9}

    with pytest.raises(LedgerMoved, match="nothing was changed"):
        bench.promote(2, measure)
    assert bench.aliases() == ("3", "1")
    assert bench.ledger.verify().size == 2


def test_an_alias_that_is_not_the_ledgers_is_refused_then_repaired(bench):
    bench.promote(1)
    bench.promote(2)
    bench.tracking.client.set_registered_model_alias("weather", "champion", "3")
    bench.tracking.client.delete_registered_model_alias("weather", "previous")
    with pytest.raises(UserError, match="the ledger says version 2, MLflow says version 3; run: gb ledger verify"):
        resolve(bench.tracking, bench.home, "models:/weather@champion")
    assert len(sync(bench.tracking, bench.home, "weather")) == 2
    assert bench.aliases() == ("2", "1")
    assert sync(bench.tracking, bench.home, "weather") == []


def test_a_promotion_that_died_before_the_alias_is_finished_by_the_next(bench):
    bench.promote(1)
    bench.promote(2)
    bench.tracking.client.set_registered_model_alias("weather", "champion", "1")
    assert bench.promote(3).previous == "2"
    assert bench.aliases() == ("3", "2")


def test_a_ledger_that_does_not_verify_stops_everything(bench):
    bench.promote(1)
    bench.promote(2)
    (bench.ledger.directory / "00000002.json").unlink()
    for action in (
        lambda: bench.promote(3),
        lambda: rollback(bench.tracking, bench.home, "weather"),
        lambda: resolve(bench.tracking, bench.home, "models:/weather@champion"),
    ):
        with pytest.raises(UserError, match="the last were removed"):
            action()
    assert bench.aliases() == ("2", "1")


def test_other_files_than_those_promoted_are_refused(bench):
    bench.promote(1)
    champion = bench.versions[0].path
    manifest = champion / "gb_model.json"
    manifest.write_text(manifest.read_text().replace("0.9", "1.0"))
    with pytest.raises(UserError, match=r"gb_model\.json is not the one in entry 1"):
        resolve(bench.tracking, bench.home, "models:/weather@champion")


def test_a_directory_is_not_promoted(bench):
    with pytest.raises(UserError, match="not registered"):
        promote(bench.tracking, bench.home, local(bench.versions[0].path), POLICY, lambda path: {})
