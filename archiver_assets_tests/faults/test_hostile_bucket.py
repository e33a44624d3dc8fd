"""A bucket in which somebody else writes: manifests and objects that agree with each other and are none of ours.

Whatever they say, it ends in a named mismatch or in an error of ours, in bounded words and bounded memory, and no row is deleted by it.
"""

import io
import json
import operator
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import reduce
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from archiver_assets.demo.seaweed import EmbeddedS3
from archiver_assets.errors import ArchiverError, HoldsUnreadable, ManifestInvalid
from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.generations import read_generations
from archiver_assets.lifecycle.purging.purge import purge
from archiver_assets.lifecycle.task import Task
from archiver_assets.lifecycle.verifying.bucket_history import History
from archiver_assets.lifecycle.verifying.inspection import inspect_day
from archiver_assets.lifecycle.verifying.verify import verify
from archiver_assets.store import hold_objects as holding
from archiver_assets.store import objects, parquet
from archiver_assets.store.keys import Mark
from archiver_assets.store.manifest import Rejected, encode, sha256_of
from archiver_assets.store.objects import Version
from archiver_assets.store.s3 import S3ObjectStore
from archiver_assets_tests.conftest import fresh_lab
from archiver_assets_tests.doubles import MemoryObjectStore
from archiver_assets_tests.lab import Lab
from archiver_assets_tests.servers import PostgresServer

LONGEST_WORDS = 20_000
NO_SERVER = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(name="archived", scope="module")
def archived_day(postgres_server: PostgresServer, s3_server: EmbeddedS3, s3_store: S3ObjectStore) -> Task:
    """A day that was archived."""
    with fresh_lab(postgres_server, s3_server, s3_store) as lab:
        return in_memory(lab)


def in_memory(lab: Lab) -> Task:
    """Archive a day, and return its task with the objects in a store in memory."""
    lab.fill(rows=10)
    archive(lab.task())
    return replace(lab.task(), store=MemoryObjectStore({key: lab.content(key) for key in lab.objects()}))


@pytest.fixture(name="task")
def task_of_an_archived_day(archived: Task) -> Task:
    """The day, in a store of one's own. Nothing of it asks the database, which is gone."""
    return replace(archived, store=MemoryObjectStore(contents_of(archived)))


def contents_of(task: Task) -> dict[str, bytes]:
    assert isinstance(task.store, MemoryObjectStore)
    return task.store.contents


def key_of(task: Task, ending: str) -> str:
    (key,) = (key for key in contents_of(task) if key.endswith(ending))
    return key


def forge(task: Task, path: tuple[str | int, ...], value: object) -> None:
    """Write another value into the manifest."""
    key = key_of(task, "_manifest-0001.json")
    manifest = json.loads(contents_of(task)[key])
    reduce(operator.getitem, path[:-1], manifest)[path[-1]] = value
    contents_of(task)[key] = json.dumps(manifest).encode()


def forge_object(task: Task, rows: pa.Table, **options: Any) -> None:  # noqa: ANN401 -- pyarrow's own
    """Put another object in the place of the right one, and make the manifest agree with it."""
    sink = io.BytesIO()
    pq.write_table(rows, sink, compression="zstd", **options)
    contents_of(task)[key_of(task, ".parquet")] = sink.getvalue()
    for path, value in {
        ("object", "bytes"): len(sink.getvalue()),
        ("object", "sha256"): sha256_of(sink.getvalue()),
        ("rows",): rows.num_rows,
    }.items():
        forge(task, path, value)


PATHS: list[tuple[str | int, ...]] = [
    *((name,) for name in ("format", "database", "table", "generation", "rows", "content_digest", "primary_key", "columns", "archived_at")),
    *((name,) for name in ("fingerprint", "source", "partition", "object", "run_id", "timestamp_min", "timestamp_max", "ddl")),
    *(("object", name) for name in ("key", "bytes", "sha256", "etag", "version_id")),
    *(("partition", name) for name in ("column", "timezone", "start", "end")),
    *(("source", name) for name in ("system_identifier", "timeline", "snapshot", "lsn", "leaves", "table_oid")),
    *(("columns", 0, name) for name in ("name", "pg_type", "arrow_type", "not_null")),
]
NUMBERS = [0, -1, 2**31, 2**63 - 1, 2**63, 2**64, 10**400, 0.5, 1e308, float("nan"), float("inf")]
TEXTS = [
    *(
        "",
        "\0",
        "\x1b[2J",
        "a\nb",
        "\u202eb",
        "../../other/rows-0001-0123abcd.parquet",
        "s3://other/rows-0001-0123abcd.parquet",
    ),
    *("9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "Europe/Berlin"),
]
LARGE: dict[object, object] = {
    "a long text": "x" * 200_000,
    "long texts": ["x" * 9999] * 100,
    "a deep list": json.loads("[" * 500 + "]" * 500),
    "many lists": [[]] * 1000,
    "no list": [],
    "no mapping": {},
}
"""By name, as hypothesis would write all of it out."""
VALUES = (
    st.sampled_from([None, True, *NUMBERS, *TEXTS, *LARGE]) | st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.integers()
)


def words_of(task: Task) -> Iterator[str]:
    """Return what a verification says."""
    try:
        yield from verify(task, rejecting=False).mismatches
    except ArchiverError as error:
        yield str(error)


def test_no_value_in_a_manifest_is_anything_but_a_mismatch_in_bounded_words(task: Task) -> None:
    good = dict(contents_of(task))

    @NO_SERVER
    @given(path=st.sampled_from(PATHS), value=VALUES)
    @example(path=("archived_at",), value="9999-12-31T23:59:59.999999Z")
    @example(path=("rows",), value=10**400)
    @example(path=("partition", "timezone"), value="a long text")
    @example(path=("object", "version_id"), value="a long text")
    def check(path: tuple[str | int, ...], value: object) -> None:
        contents_of(task).clear()
        contents_of(task).update(good)
        forge(task, path, LARGE.get(value, value))
        assert all(len(words) < LONGEST_WORDS for words in words_of(task))

    check()


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"a":' * 100_000, b"1" * 100_000, b'"' + b"x" * 100_000, b"\xff" * 1000, b"null"])
def test_what_is_no_manifest_is_named(task: Task, content: bytes) -> None:
    contents_of(task)[key_of(task, "_manifest-0001.json")] = content
    (words,) = words_of(task)
    assert "expected a manifest of the format archiver/1" in words
    assert len(words) < LONGEST_WORDS


def test_a_thousand_wrong_fields_are_not_all_named(task: Task) -> None:
    forge(task, ("columns",), [{}] * 1000)
    (words,) = words_of(task)
    assert "columns.0.name: Field required; " in words
    assert words.partition("\n")[0].endswith("and 3980 more")


class Counting(MemoryObjectStore):
    """Counts what is read of it."""

    chunks = 0

    def read(self, key: str, *, version_id: str | None = None) -> Iterator[bytes]:
        for chunk in super().read(key, version_id=version_id):
            self.chunks += 1
            yield chunk


def test_of_a_manifest_without_end_no_more_is_read_than_one_may_have(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "SMALL", 2 << 20)
    store = Counting(contents_of(task))
    store.contents[key_of(task, "_manifest-0001.json")] += b" " * (20 << 20)
    (words,) = words_of(replace(task, store=store))
    assert "expected at most 2,097,152 bytes in memory://" in words
    assert store.chunks == 3


def test_more_objects_than_a_day_can_have_are_refused_before_they_are_all_listed(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archiver_assets.lifecycle.generations.MOST_OBJECTS", 10)
    contents_of(task).update({f"{task.keys.folder}{number}": b"" for number in range(20)})
    with pytest.raises(ManifestInvalid, match="expected at most 10 objects below memory://"):
        read_generations(task)


@pytest.mark.parametrize("name", ["rows-999999-0123abcd.parquet", "_rejected-999999.json", "_manifest-999999.json"])
def test_a_generation_after_which_no_number_is_left_stops_all(task: Task, name: str) -> None:
    contents_of(task)[task.keys.folder + name] = b"{}"
    with pytest.raises(ManifestInvalid):
        read_generations(task)
    found = inspect_day(task, History())
    assert all(len(words) < LONGEST_WORDS for words in (*found.mismatches, *found.warnings))


@pytest.mark.parametrize("name", ["rows-999999999999999999-0123abcd.parquet", "_manifest-1000000.json"])
def test_a_number_that_no_generation_can_have_is_no_object_of_ours(task: Task, name: str) -> None:
    contents_of(task)[task.keys.folder + name] = b"{}"
    assert read_generations(task).next_number == 2
    found = inspect_day(task, History())
    assert [words for words in found.mismatches if name in words and words.endswith("is none of the archive's objects")]


def test_rows_that_a_few_bytes_stand_for_are_not_decoded(task: Task) -> None:
    forge_object(task, pa.table({"a": pa.repeat(0, 2_000_000)}), row_group_size=2_000_000)
    assert contents_of(task)[key_of(task, ".parquet")].__sizeof__() < 100_000
    words = list(words_of(task))
    assert [
        each for each in words if "row groups: expected at most 65,536 rows and 201,326,592 bytes in each, found 2,000,000 rows" in each
    ]
    assert not [each for each in words if "content_digest" in each]


def test_bytes_that_a_few_bytes_stand_for_are_not_decoded(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "MOST_GROUP_BYTES", 100_000)
    forge_object(task, pa.table({"a": ["x" * 1000] * 1000}), use_dictionary=False)
    (words,) = (each for each in words_of(task) if "row groups" in each)
    assert "found 1,000 rows and 1,00" in words


def test_what_the_archive_writes_itself_is_within_the_bounds(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """The widest that Parquet makes of Arrow's bytes: small integers take twice the room, and rows that are large are alone."""
    monkeypatch.setattr(parquet, "ROW_GROUP_BYTES", 10_000)
    monkeypatch.setattr(parquet, "MOST_GROUP_BYTES", 40_000)
    rows = pa.table(
        {"a": pa.array([n % 30_000 for n in range(50_000)], pa.int16()), "b": ["y" * (30_000 if n == 7 else 1) for n in range(50_000)]}
    )
    sink = io.BytesIO()
    with parquet.ParquetEncoder(sink, rows.schema, {}) as encoder:  # type: ignore[arg-type] # its write returns a number
        for batch in rows.to_batches():
            encoder.write(batch)
        encoder.finish()
    sink.seek(0)
    opened = parquet.open_parquet(sink)
    assert opened.num_row_groups > 10
    assert parquet.oversized(opened) is None
    assert verify(task).passed


def test_a_forged_pair_deletes_no_row(lab: Lab) -> None:
    task = in_memory(lab)
    forge_object(task, pa.table({"id": pa.array(range(1, 11), pa.int64())}))
    with pytest.raises(ArchiverError):
        purge(task)
    assert lab.count() == 10


def test_more_holds_than_anybody_has_hold_every_row_before_they_are_all_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "MOST_HOLDS", 10)
    store = Counting({f"p/_holds/{number}.json": b"{}" for number in range(11)})
    with pytest.raises(HoldsUnreadable, match="found: more than 10 objects"):
        list(holding.read_hold_objects(store, "p/", {}))
    assert store.chunks == 0


def test_a_hold_that_is_none_is_named_in_bounded_words() -> None:
    document = {"id": "x", "reason": "r", "table_name": "t", "conditions": [{"operator": str(number)} for number in range(9_000)]}
    store = MemoryObjectStore({"p/_holds/x.json": json.dumps(document).encode()})
    with pytest.raises(HoldsUnreadable) as failure:
        list(holding.read_hold_objects(store, "p/", {}))
    assert "conditions" in str(failure.value)
    assert len(str(failure.value)) < LONGEST_WORDS


def test_what_a_rejection_and_a_footer_say_is_said_in_bounded_words(task: Task) -> None:
    said = Rejected(generation=1, manifest_sha256=sha256_of(b""), at=datetime.now(UTC), run_id="x", mismatches=("x" * 9_000,) * 100)
    contents_of(task)[task.keys.mark(Mark.REJECTED, 1)] = encode(said)
    sink = io.BytesIO()
    partition = {"column": "created_at", "timezone": "UTC", "start": "2024-03-05T00:00:00Z", "end": "2024-03-06T00:00:00Z"}
    footer = {"database": "y" * 1_000_000, "partition": json.dumps(partition)}
    pq.write_table(pa.table({"a": [1]}).replace_schema_metadata(footer), sink)
    contents_of(task)[f"{task.keys.folder}rows-0009-0123abcd.parquet"] = sink.getvalue()
    found = inspect_day(task, History())
    assert [words for words in found.warnings if words.startswith("generation 1 does not count since")]
    assert [words for words in found.mismatches if "its footer says ('yyy" in words]
    assert all(len(words) < LONGEST_WORDS for words in (*found.mismatches, *found.warnings))


def test_of_many_versions_and_numbers_each_is_looked_at_once(task: Task) -> None:
    """Thousands of objects of as many generations, all hidden: to look at each for each would take minutes."""
    at, number = datetime.now(UTC), 40_000
    keys = sorted(f"{task.keys.folder}rows-{each:04d}-0123abcd.parquet" for each in range(2, 2 * number, 2))
    versions = [
        Version(key, version, current=marker, marker=marker, at=at) for key in keys for version, marker in (("2", True), ("1", False))
    ]
    contents_of(task)[f"{task.keys.folder}rows-{2 * number}-0123abcd.parquet"] = b""
    began = time.process_time()
    found = inspect_day(task, History(versions))
    assert len(found.mismatches) == 1
    assert time.process_time() - began < 8
