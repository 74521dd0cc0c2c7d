"""What is different in two corpora: what they are made from, how, and which rows are in one and not in the other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from gb_ray.corpus.catalogue import ids
from gb_ray.corpus.catalogue.figures import WIDTH, columns, cut
from gb_ray.corpus.catalogue.ids import Ids
from gb_ray.corpus.catalogue.rows import Row, line, read, shown
from gb_ray.corpus.corpus import Corpus
from gb_ray.corpus.manifest import Manifest, SourceEntry
from gb_ray.progress import Progress

EXAMPLES = 5
_SHOWN = 20
"""Changes of one kind for a person; the account has them all."""
Account = dict[str, Any]
Changes = dict[str, list[Any]]
"""What differs: key: [its value in A, in B]; where there is none None, or 0 if it is a count."""


def diff(a: Corpus, b: Corpus, progress: Progress) -> Account:
    """All that differs. `equal` says whether their digests are, and so all that was built (check.py reads the bytes).

    Their rows are compared by id: two rows have one id when the task sees the same text in them. Holds 16 bytes a row
    of both corpora in memory. Raises UserError when a shard is damaged.
    """
    one, other = a.manifest, b.manifest
    return {
        "a": {"path": a.uri, "digest": one.digest},
        "b": {"path": b.uri, "digest": other.digest},
        "equal": one.digest == other.digest,
        "task": _changes(_task(one), _task(other)),
        "sources": _sources(one, other),
        "section": _changes(_section(one), _section(other)),
        "funnel": _changes(_flat(one.funnel.model_dump()), _flat(other.funnel.model_dump()), absent=0),
        "splits": _changes(_totals(one), _totals(other)),
        "labels": _changes(_counted(one, "labels"), _counted(other, "labels"), absent=0),
        "languages": _changes(_counted(one, "languages"), _counted(other, "languages"), absent=0),
        "rows": _rows(a, b, progress),
    }


def _changes(one: dict[str, Any], other: dict[str, Any], absent: int | None = None) -> Changes:
    keys = list(one) + [key for key in other if key not in one]
    pairs = {key: [one.get(key, absent), other.get(key, absent)] for key in keys}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def _flat(value: dict[str, Any], above: str = "") -> dict[str, Any]:
    """Nested keys joined with points; lists are values."""
    found: dict[str, Any] = {}
    for key, inner in value.items():
        found |= _flat(inner, f"{above}{key}.") if isinstance(inner, dict) else {above + key: inner}
    return found


def _task(manifest: Manifest) -> dict[str, Any]:
    return {"name": manifest.task, **_flat(manifest.encoder)}


def _section(manifest: Manifest) -> dict[str, Any]:
    return _flat({key: value for key, value in manifest.section.items() if key != "sources"})


def _totals(manifest: Manifest) -> dict[str, int]:
    whats = ("samples", "tokens", "longest")
    return {f"{name} {what}": getattr(split, what) for name, split in manifest.splits.items() for what in whats}


def _counted(manifest: Manifest, what: str) -> dict[str, int]:
    return {f"{name} {key}": n for name, split in manifest.splits.items() for key, n in getattr(split, what).items()}


def _sources(one: Manifest, other: Manifest) -> Account:
    before, after = _by_uri(one), _by_uri(other)
    changed = {uri: _source(before[uri], after[uri]) for uri in before if uri in after}
    return {
        "added": [uri for uri in after if uri not in before],
        "removed": [uri for uri in before if uri not in after],
        "changed": {uri: what for uri, what in changed.items() if any(what.values())},
    }


def _by_uri(manifest: Manifest) -> dict[str, tuple[SourceEntry, dict[str, Any]]]:
    """What a recipe says of each source, and what was found there; of several at one address the n-th as `uri (n)`."""
    found: dict[str, tuple[SourceEntry, dict[str, Any]]] = {}
    for entry, said in zip(manifest.sources, manifest.section["sources"], strict=True):
        same = sum(earlier[0].uri == entry.uri for earlier in found.values())
        found[f"{entry.uri} ({same + 1})" if same else entry.uri] = entry, said
    return found


def _source(one: tuple[SourceEntry, dict[str, Any]], other: tuple[SourceEntry, dict[str, Any]]) -> Account:
    before, after = ({file.uri: file.fingerprint for file in source.files} for source, _ in (one, other))
    return {
        "files_added": [uri for uri in after if uri not in before],
        "files_removed": [uri for uri in before if uri not in after],
        "files_changed": [uri for uri in before if uri in after and before[uri] != after[uri]],
        "keys": _changes(_flat(one[1]), _flat(other[1])),
    }


def _rows(a: Corpus, b: Corpus, progress: Progress) -> Account:
    corpora, done = {corpus.manifest.digest: corpus for corpus in (a, b)}, 0
    total = sum(corpus.manifest.funnel.samples for corpus in corpora.values())
    with progress.stage("compare", total=total, unit="rows") as stage:

        def seen(rows: int) -> None:
            nonlocal done
            done += rows
            stage.to(done)

        read_ids = {digest: ids.read(corpus, seen) for digest, corpus in corpora.items()}
    one, other = read_ids[a.manifest.digest], read_ids[b.manifest.digest]
    found = {f"{s} to {t}": ids.common(one[s], other[t]) for s in one for t in other}
    both = sum(found.values())
    moved = {f"{s} to {t}": found[f"{s} to {t}"] for s in one for t in other if s != t and found[f"{s} to {t}"]}
    counts = {"only_a": sum(map(len, one.values())) - both, "only_b": sum(map(len, other.values())) - both}
    return {
        "both": both,
        **counts,
        "moved": moved,
        "examples": {
            "only_a": list(_examples(a, other, counts["only_a"])),
            "only_b": list(_examples(b, one, counts["only_b"])),
            "moved": list(_examples(a, other, sum(moved.values()), moved=True)),
        },
    }


def _examples(corpus: Corpus, others: dict[str, Ids], total: int, moved: bool = False) -> Iterator[Row]:
    """The first rows that are not in the other corpus or, with `moved`, that are in another split of it."""
    left = min(EXAMPLES, total)
    for name, split in corpus.manifest.splits.items():
        elsewhere = [other for other in others if other != name]
        for shard in split.shards:
            if not left:
                return
            mine = ids.of_shard(corpus, shard)
            away = np.any([ids.within(mine, others[other]) for other in elsewhere], axis=0)
            places = np.flatnonzero(away if moved else ~(away | ids.within(mine, others[name])))[:left]
            left -= len(places)
            if len(places):
                yield from ({"split": name, **shown(row)} for row in read(corpus, shard).take(places).to_pylist())


def lines(found: Account) -> list[str]:
    """The account for a person, within 100 columns."""
    if found["equal"]:
        return [f"the two corpora are the same: digest {found['a']['digest']}"]
    rows = found["rows"]
    moved = [f"{count:,} moved from {where}" for where, count in rows["moved"].items()]
    counts = [f"{rows['both']:,} in both", f"{rows['only_a']:,} only in A", f"{rows['only_b']:,} only in B", *moved]
    said = [f"A          {found['a']['path']}", f"B          {found['b']['path']}"]
    if "type" in found["task"]:
        said.append("A and B are of different tasks, which see different texts: the same row may have two ids")
    for uri, what in found["sources"]["changed"].items():
        said += _source_lines(uri, what)
    said += [f"source     only in A: {cut(uri, WIDTH - 21)}" for uri in found["sources"]["removed"]]
    said += [f"source     only in B: {cut(uri, WIDTH - 21)}" for uri in found["sources"]["added"]]
    for title in ("task", "section", "funnel", "splits", "labels", "languages"):
        said += _change_lines(title, found[title])
    said.append(f"rows       {', '.join(counts)}")
    for kind, examples in rows["examples"].items():
        said += [f"  {kind.replace('only_a', 'only in A').replace('only_b', 'only in B')}"] if examples else []
        said += [f"    {line(row, WIDTH - 4)}" for row in examples]
    return said


def _source_lines(uri: str, what: Account) -> Iterator[str]:
    for kind in ("added", "removed", "changed"):
        files = what[f"files_{kind}"]
        if files:
            named = ", ".join(files[:3]) + (f" and {len(files) - 3:,} more" if len(files) > 3 else "")
            yield "source     " + cut(f"{uri}: {len(files):,} files {kind}: {named}", WIDTH - 11)
    for key, (before, after) in what["keys"].items():
        yield "source     " + cut(f"{uri}: {key}: {_value(before)} -> {_value(after)}", WIDTH - 11)


def _change_lines(title: str, changes: Changes) -> list[str]:
    shown = [[cut(key, 40), f"{_value(one)} -> {_value(other)}"] for key, (one, other) in changes.items()]
    more = [["", f"and {len(shown) - _SHOWN:,} more; --json has all"]] if len(shown) > _SHOWN else []
    table = columns(shown[:_SHOWN] + more, numbers=False)
    return [f"{'' if number else title:<11}{cut(row, WIDTH - 11)}" for number, row in enumerate(table)]


def _value(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else json.dumps(value)
