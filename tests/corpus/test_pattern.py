"""Patterns mean what they mean in Python's own glob."""

from __future__ import annotations

import glob
import itertools
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gb_ray.corpus.sources.storage import files
from gb_ray.section import UserError


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files one to four folders deep whose names are like each other."""
    root = tmp_path_factory.mktemp("tree")
    for depth in range(4):
        for middle in itertools.product(("a", "ab"), repeat=depth):
            folder = root.joinpath(*middle)
            folder.mkdir(exist_ok=True)
            for name in ("a.csv", "b.csv", ".a.csv"):
                (folder / name).touch()
    return root


@given(st.lists(st.sampled_from(["*", "**", "a", "a*", "?b", "[!b]*", "*.csv"]), min_size=1, max_size=4))
def test_patterns_mean_what_they_mean_in_python(tree: Path, pattern: list[str]) -> None:
    assume(any(set(part) & set("*?[") for part in pattern))
    matches = glob.glob("/".join([str(tree), *pattern]), recursive=True)  # noqa: PTH207 (Path.glob shows hidden files)
    try:
        found = {file.path for file in files("/".join([str(tree), *pattern]))}
    except UserError:
        found = set()
    assert found == {path for path in matches if Path(path).is_file()}
