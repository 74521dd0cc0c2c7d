"""What a command that failed says: one line on what was wrong, and an exit status that tells whose turn it is."""

from __future__ import annotations

from typing import Any

import pytest

from gb_ray.cli import corpus, main
from gb_ray.corpus.reading.fetch import DamagedCorpus
from gb_ray.corpus.sources.remote import Unreachable
from gb_ray.section import UserError


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (UserError("rows.csv: no column 'label'"), 2, "gb: rows.csv: no column 'label'\n"),
        (Unreachable("s3://b/rows: gave up"), 1, "gb: Unreachable: s3://b/rows: gave up\n"),
        (DamagedCorpus("shard-00000.parquet: damaged"), 1, "gb: DamagedCorpus: shard-00000.parquet: damaged\n"),
    ],
)
def test_what_goes_wrong_in_a_task_of_ray_is_told_in_a_line(
    ray_up: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    status: int,
    said: str,
) -> None:
    import ray

    @ray.remote
    def work() -> None:
        raise error

    def verb(call: Any) -> None:
        ray.get(work.remote())

    monkeypatch.setattr(corpus, "corpus_list", verb)
    assert main(["corpus", "list"]) == status
    assert capsys.readouterr().err == said
