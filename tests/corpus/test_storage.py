"""Storage: what an address names is found wherever it is, and a read gives all of it or says why not."""

from __future__ import annotations

import gzip
import hashlib
import os
import pickle
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import s3

from gb_ray.corpus.sources import remote
from gb_ray.corpus.sources.formats.format import FORMATS, identify
from gb_ray.corpus.sources.remote import Unreachable
from gb_ray.corpus.sources.storage import File, files
from gb_ray.section import UserError

CONTENT = random.Random(0).randbytes(3_000_000)
LINES = b"".join(b'{"text": "row %d"}\n' % i for i in range(2000))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bucket's worth of files."""
    root = tmp_path_factory.mktemp("buckets")
    for name, content in {
        "a.bin": CONTENT,
        "fr/a.jsonl": LINES,
        "fr/b.jsonl.gz": gzip.compress(LINES),
        "fr/deep/c.jsonl.zst": pa.compress(LINES, codec="zstd", asbytes=True),
        "fr/.hidden": b"x",
        "_temporary/d.jsonl": LINES,
        "odd/a[1] é%20+#&.txt": b"odd",
        "odd/a1.txt": b"plain",
    }.items():
        (root / "bucket" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "bucket" / name).write_bytes(content)
    (root / "bucket/empty").mkdir()
    pq.write_table(pa.table({"text": [f"t{i}" for i in range(5000)]}), root / "bucket/p.parquet", row_group_size=1000)
    return root


@pytest.fixture
def server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[s3.S3]:
    """That folder as a store, with the pauses between tries made short."""
    for name, value in {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(remote, "PAUSES", (0.001, 0.002, 0.004, 0.008))
    with s3.serve(folder) as running:
        yield running


def names(uri: str) -> list[str]:
    return [file.name for file in files(uri)]


ADDRESSES = [
    ("bucket", ["a.bin", "fr/a.jsonl", "fr/b.jsonl.gz", "fr/deep/c.jsonl.zst", "odd/a1.txt", "odd/a[1] é%20+#&.txt"]),
    ("bucket/fr/", ["a.jsonl", "b.jsonl.gz", "deep/c.jsonl.zst"]),
    ("bucket/fr/*", ["a.jsonl", "b.jsonl.gz"]),
    ("bucket/*/*.jsonl", ["fr/a.jsonl"]),
    ("bucket/**/*.jsonl*", ["fr/a.jsonl", "fr/b.jsonl.gz", "fr/deep/c.jsonl.zst"]),
    ("bucket/fr/**", ["a.jsonl", "b.jsonl.gz", "deep/c.jsonl.zst"]),
    ("bucket/**/deep/*", ["fr/deep/c.jsonl.zst"]),
    ("bucket/_*/*", ["_temporary/d.jsonl"]),
    ("bucket/_temporary", ["d.jsonl"]),
    ("bucket/fr/.hidden", [".hidden"]),
    ("bucket/odd/a[1] é%20+#&.txt", ["a[1] é%20+#&.txt"]),
    ("bucket/odd/a[0-9].txt", ["a1.txt"]),
]


@pytest.mark.parametrize(("address", "expected"), ADDRESSES)
def test_an_address_names_the_same_files_on_disk_and_in_a_bucket(
    address: str, expected: list[str], folder: Path, server: s3.S3
) -> None:
    here, there = (
        [file for file in files(uri) if not file.name.endswith("parquet")]
        for uri in (f"{folder}/{address}", server.uri(address))
    )
    assert [file.name for file in here] == [file.name for file in there] == expected
    for local, distant in zip(here, there, strict=True):
        assert local.uri == f"{folder}/bucket/{local.path.removeprefix(f'{folder}/bucket/')}"
        assert distant.uri == f"s3://{distant.path}"
        with local.open() as one, distant.open() as other:
            assert one.read() == other.read()


@pytest.mark.parametrize("address", ["bucket/absent", "bucket/*.zip", "bucket/**/x", "bucket/fr/a", "absent/fr"])
def test_an_address_of_nothing_is_refused_by_name(address: str, folder: Path, server: s3.S3) -> None:
    for uri, shown in ((f"{folder}/{address}", f"{folder}/{address}"), (server.uri(address), f"s3://{address}")):
        with pytest.raises(UserError, match=f"^{re.escape(shown)}: no(thing| file) there"):
            files(uri)


def test_an_empty_folder_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match=r"bucket/empty: no file there"):
        files(f"{folder}/bucket/empty")


def test_paths_may_be_relative_and_are_found_from_elsewhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    found = [*files("bucket/a.bin"), *files("*/a.bin"), *files("./bucket/fr")]
    assert [file.uri for file in found[:3]] == ["bucket/a.bin", "bucket/a.bin", "bucket/fr/a.jsonl"]
    monkeypatch.chdir("/")
    assert found[0].open().read() == CONTENT


def test_linked_folders_are_followed_and_a_circle_ends(tmp_path: Path) -> None:
    (tmp_path / "data/inner").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "data/inner/a.csv").write_text("a")
    (tmp_path / "elsewhere/b.csv").write_text("b")
    (tmp_path / "data/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data/inner/circle").symlink_to(tmp_path / "data")
    assert names(str(tmp_path / "data")) == ["inner/a.csv", "linked/b.csv"]
    (tmp_path / "data/broken.csv").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"cannot be listed: .*broken\.csv"):
        files(str(tmp_path / "data"))


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("pypi:no-such-distribution-at-all/x.csv", "the package is not installed; run: pip install"),
        ("pypi:pyyaml", "expected pypi:DIST/path"),
        ("pypi:pyyaml/../x.csv", "expected pypi:DIST/path"),
        ("pypi:pyyaml//etc/hostname", "expected pypi:DIST/path"),
        ("pypi:pyyaml/yaml/absent.csv", "nothing there"),
        ("https://example.org/x.csv", "unknown scheme 'https'; known: s3, gs, hdfs, pypi:, local paths"),
        ("s3:///x.csv", "expected s3://BUCKET/path"),
    ],
)
def test_a_wrong_address_is_refused_by_name(uri: str, expected: str) -> None:
    with pytest.raises(UserError) as caught:
        files(uri)
    assert str(caught.value).startswith(f"{uri}: {expected}")


def test_a_package_is_a_place_like_any_other() -> None:
    assert "loader.py" in names("pypi:pyyaml/yaml")
    found = files("pypi:pyyaml/yaml/load*.py")
    assert [file.uri for file in found] == ["pypi:pyyaml/yaml/loader.py"]
    assert b"class Loader" in found[0].open().read()


def test_a_secret_in_an_address_is_refused_and_not_repeated() -> None:
    for uri in ("s3://AKIA:secret@bucket/x", "gs://user:secret@bucket/x", "hdfs://user:secret@host:8020/x"):
        with pytest.raises(UserError, match="has credentials in it") as caught:
            files(uri)
        assert "secret" not in str(caught.value)
    with pytest.raises(UserError, match="unknown option 'secret_key'; known: region"):
        files("s3://bucket/x?secret_key=hush")


def test_a_missing_hadoop_is_said_at_once() -> None:
    if os.environ.get("HADOOP_HOME"):
        pytest.skip("Hadoop's libraries may be installed here")
    with pytest.raises(UserError, match=r"hdfs://namenode:8020: the store cannot be read: .*lib"):
        files("hdfs://namenode:8020/data")


def one(server: s3.S3, name: str) -> File:
    return files(server.uri(f"bucket/{name}"))[0]


def test_a_file_of_a_bucket_reads_the_same_after_a_journey(server: s3.S3) -> None:
    file = one(server, "a.bin")
    sent = pickle.dumps(file)
    assert len(sent) < 500
    with pickle.loads(sent).open() as stream:
        assert stream.read() == CONTENT
    with file.raw() as raw:
        raw.seek(-10, os.SEEK_END)
        assert (raw.read(4), raw.read(100), raw.read(1)) == (CONTENT[-10:-6], CONTENT[-6:], b"")


def test_a_large_folder_is_listed_to_its_end(tmp_path: Path, server: s3.S3) -> None:
    server.page = 7
    (server.folder / "many").mkdir(exist_ok=True)
    for i in range(30):
        (server.folder / f"many/{i:02}.csv").write_bytes(b"a\n")
    assert names(server.uri("many")) == names(server.uri("many/*.csv")) == [f"{i:02}.csv" for i in range(30)]


@pytest.mark.parametrize("fault", ["errors", "cuts", "shorts", "stingy"])
@pytest.mark.parametrize("name", ["a.bin", "fr/b.jsonl.gz", "fr/deep/c.jsonl.zst"])
def test_four_failures_in_a_row_lose_nothing(name: str, fault: str, server: s3.S3) -> None:
    file = one(server, name)
    setattr(server.faults, fault, 4)
    with file.open() as stream:
        assert stream.read() == (CONTENT if name == "a.bin" else LINES)
    assert getattr(server.faults, fault) == 0


@pytest.mark.parametrize("fault", ["errors", "cuts", "shorts", "stingy"])
@pytest.mark.parametrize("name", ["fr/a.jsonl", "fr/b.jsonl.gz", "fr/deep/c.jsonl.zst", "p.parquet"])
def test_a_store_that_stays_broken_is_neither_an_early_end_nor_a_bad_row(name: str, fault: str, server: s3.S3) -> None:
    file = one(server, name)
    kind = FORMATS[identify(file)]
    reader = kind.rows(kind.pieces(file)[0])
    setattr(server.faults, fault, 1000)
    with pytest.raises(Unreachable, match=rf"^s3://bucket/{re.escape(name)}: gave up after 5 tries: .*(AWS|fewer)"):
        list(reader)
    setattr(server.faults, fault, 0)
    assert sum(1 for piece in kind.pieces(file) for _ in kind.rows(piece)) == (5000 if "parquet" in name else 2000)


def test_a_store_that_breaks_in_the_middle_of_a_parquet_file_spoils_no_row(server: s3.S3) -> None:
    file = one(server, "p.parquet")
    kind = FORMATS["parquet"]
    reader = kind.rows(kind.pieces(file)[0])
    assert next(reader)[1] == {"text": "t0"}
    server.faults.errors = 1000
    with pytest.raises(Unreachable, match="gave up after 5 tries"):
        list(reader)


def test_the_pauses_between_tries_grow(server: s3.S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "PAUSES", (0.1, 0.2, 0.4, 0.8))
    file = one(server, "a.bin")
    server.faults.errors = 1000
    start, before = time.monotonic(), len(server.requests)
    with pytest.raises(Unreachable):
        file.open().read()
    assert 0.75 <= time.monotonic() - start < 6
    assert sum(request.startswith("GET") for request in server.requests[before:]) == 5


def test_a_store_that_answers_only_500_is_named_when_it_is_listed(server: s3.S3) -> None:
    server.faults.always_error = True
    with pytest.raises(Unreachable, match=r"^s3://bucket/fr: gave up after 5 tries: .*500"):
        files(server.uri("bucket/fr"))


def test_a_refusal_is_not_tried_again(server: s3.S3) -> None:
    file = one(server, "a.bin")
    server.faults.refuse = True
    before = len(server.requests)
    with pytest.raises(UserError, match=r"^s3://bucket/a\.bin: the store cannot be read: .*ACCESS_DENIED"):
        file.open().read()
    assert len(server.requests) == before + 1
    with pytest.raises(UserError, match="ACCESS_DENIED"):
        files(server.uri("bucket/fr"))


def test_a_store_that_hangs_is_given_up(server: s3.S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "TIMEOUT", 1.0)
    monkeypatch.setattr(remote, "PAUSES", (0.001,))
    file = files(server.uri("bucket/a.bin"))[0]
    server.faults.slow = 3
    with pytest.raises(Unreachable, match=r"^s3://bucket/a\.bin: gave up after 2 tries: .*(too slow|imeout)"):
        file.open().read()


def test_a_slow_store_is_waited_for(server: s3.S3) -> None:
    file = one(server, "fr/a.jsonl")
    server.faults.slow = 0.3
    with file.open() as stream:
        assert stream.read() == LINES


def test_a_file_that_has_changed_since_it_was_listed_is_not_read(server: s3.S3) -> None:
    path = server.folder / "bucket/fr/changing.jsonl"
    path.write_bytes(LINES)
    file = one(server, "fr/changing.jsonl")
    path.write_bytes(LINES[:-5])
    with pytest.raises(Unreachable, match=f"it has {len(LINES) - 5} bytes, {len(LINES)} when it was listed"):
        file.open().read()
    path.unlink()
    with pytest.raises(Unreachable, match="not there any more"):
        file.open().read()


def test_a_local_file_that_is_gone_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(LINES)
    file = files(str(path))[0]
    path.unlink()
    for read in (file.open, file.raw, file.fingerprint):
        with pytest.raises(Unreachable, match=f"^{re.escape(str(path))}: cannot be read on this machine: No such file"):
            read()


def test_the_fingerprint_of_a_local_file_is_its_digest_and_a_remote_one_is_not_read(server: s3.S3) -> None:
    local = files(str(server.folder / "bucket/a.bin"))[0]
    assert local.fingerprint() == hashlib.sha256(CONTENT).hexdigest()
    file = one(server, "a.bin")
    before = len(server.requests)
    assert re.fullmatch(rf"{len(CONTENT)}/\d+", file.fingerprint())
    assert len(server.requests) == before
