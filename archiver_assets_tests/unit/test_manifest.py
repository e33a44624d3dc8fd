"""The JSON objects of a generation: their form, and what is believed when they are read back."""

import hashlib
import json
import re
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from archiver_assets.errors import ManifestInvalid
from archiver_assets.store.manifest import (
    FORMAT,
    ColumnFacts,
    Identity,
    LeafFacts,
    Manifest,
    ObjectFacts,
    PartitionFacts,
    PurgeSettings,
    Purging,
    Receipt,
    SourceFacts,
    decode,
    encode,
    format_instant,
    sha256_of,
)

KEY = "audit/prod/public/audit_logs/dt=2026-08-01/_manifest-0001.json"
SHA256 = "sha256:" + "ab" * 32

texts = st.text(st.characters(blacklist_categories=["Cs"]), max_size=20)
digests = st.binary(max_size=4).map(sha256_of)
counts = st.integers(0, 2**63 - 1)
zones = st.sampled_from(["UTC", "Europe/Berlin", "Pacific/Apia", "America/Havana"])
offsets = st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(timezone)
instants = st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=offsets)  # noqa: DTZ001 - hypothesis wants naive bounds
snapshots = st.sampled_from(["10:10:", "10:20:10", "4294967300:4294967400:4294967301,4294967302"])

partitions = st.builds(PartitionFacts, column=texts, timezone=zones, start=instants, end=instants)
objects = st.builds(ObjectFacts, key=texts, bytes=counts, sha256=digests, etag=texts, version_id=st.none() | texts)
columns = st.builds(ColumnFacts, name=texts, pg_type=texts, arrow_type=texts, not_null=st.booleans())
sources = st.builds(
    SourceFacts,
    system_identifier=texts,
    database_oid=counts,
    table_oid=counts,
    timeline=counts,
    server_version=texts,
    snapshot=snapshots,
    lsn=texts,
    read_from=st.just("primary"),
    leaves=st.lists(st.builds(LeafFacts, oid=counts, columns=texts), max_size=3).map(tuple),
)
manifests = st.builds(
    Manifest,
    format=st.just(FORMAT),
    database=texts,
    schema_name=texts,
    table=texts,
    partition=partitions,
    generation=st.integers(1, 10**6),
    primary_key=st.lists(texts, max_size=3).map(tuple),
    fingerprint=digests,
    source=sources,
    archiver_version=texts,
    run_id=texts,
    object=objects,
    rows=st.integers(1, 2**63 - 1),
    content_digest=digests,
    timestamp_min=instants,
    timestamp_max=instants,
    columns=st.lists(columns, max_size=3).map(tuple),
    ddl=texts,
    archived_at=instants,
)
receipts = st.builds(
    Receipt,
    format=st.just(FORMAT),
    generation=st.integers(1, 10**6),
    manifest_sha256=digests,
    at=instants,
    run_id=texts,
    started_at=instants,
    rows_purged_by_version=counts,
    rows_purged_by_content=counts,
    rows_gone=counts,
    rows_late=counts,
    rows_held_before=counts,
    batches=counts,
    wal_bytes=st.none() | counts,
)
purgings = st.builds(
    Purging,
    format=st.just(FORMAT),
    generation=st.integers(1, 10**6),
    manifest_sha256=digests,
    at=instants,
    run_id=texts,
    settings=st.builds(
        PurgeSettings, batch_size=counts, sleep_between_batches=st.floats(0, 3600, allow_nan=False), retention_days=st.integers(0, 10**5)
    ),
)


def document() -> dict[str, Any]:
    """Return a manifest as the public contract writes it."""
    return {
        "format": "archiver/1",
        "database": "prod",
        "schema": "public",
        "table": "audit_logs",
        "partition": {
            "column": "created_at",
            "timezone": "Europe/Berlin",
            "start": "2026-07-31T22:00:00.000000Z",
            "end": "2026-08-01T22:00:00.000000Z",
        },
        "generation": 1,
        "primary_key": ["id"],
        "fingerprint": SHA256,
        "source": {
            "system_identifier": "7412345678901234567",
            "database_oid": 16384,
            "table_oid": 16390,
            "timeline": 1,
            "server_version": "17.5",
            "snapshot": "1000:1002:1000,1001",
            "lsn": "0/16B3748",
            "read_from": "primary",
            "leaves": [{"oid": 16390, "columns": "ab12"}],
        },
        "archiver_version": "0.1.0",
        "run_id": "run-1",
        "object": {
            "key": "audit/prod/public/audit_logs/dt=2026-08-01/rows-0001-0123abcd.parquet",
            "bytes": 12345,
            "sha256": SHA256,
            "etag": "abc",
            "version_id": None,
        },
        "rows": 7,
        "content_digest": SHA256,
        "timestamp_min": "2026-07-31T22:00:00.000000Z",
        "timestamp_max": "2026-08-01T21:59:59.999999Z",
        "columns": [{"name": "id", "pg_type": "bigint", "arrow_type": "int64", "not_null": True}],
        "ddl": "CREATE TABLE audit_logs (id bigint NOT NULL)",
        "archived_at": "2026-11-01T02:00:00.000000Z",
    }


def change(path: str, value: object) -> bytes:
    """Return the manifest's JSON with the field at `path`, dotted, replaced; the value `...` removes it."""
    changed = document()
    *parents, name = path.split(".")
    inside: Any = changed
    for parent in parents:
        inside = inside[int(parent)] if isinstance(inside, list) else inside[parent]
    if value is ...:
        del inside[name]
    else:
        inside[name] = value
    return json.dumps(changed).encode()


def paths(inside: dict[str, Any], prefix: str = "") -> list[str]:
    """Name every field, dotted."""
    found = []
    for name, value in inside.items():
        found.append(prefix + name)
        if isinstance(value, dict):
            found += paths(value, f"{prefix}{name}.")
    return found


def require_invalid(data: bytes, *fields: str) -> None:
    with pytest.raises(ManifestInvalid) as caught:
        decode(Manifest, data, key=KEY)
    assert KEY in caught.value.message
    for field in fields:
        assert f"{field}: " in caught.value.message


def test_a_manifest_is_written_as_the_public_contract_says() -> None:
    manifest = decode(Manifest, json.dumps(document()).encode(), key=KEY)
    assert encode(manifest) == json.dumps(document(), indent=2).encode() + b"\n"


@settings(max_examples=30)
@given(manifests)
def test_a_manifest_reads_back_as_it_was_written(manifest: Manifest) -> None:
    data = encode(manifest)
    assert decode(Manifest, data, key=KEY) == manifest
    assert encode(decode(Manifest, data, key=KEY)) == data


@given(receipts | purgings)
def test_a_receipt_and_a_purging_mark_read_back_as_they_were_written(facts: Receipt | Purging) -> None:
    assert decode(type(facts), encode(facts), key=KEY) == facts


@settings(max_examples=30)
@given(manifests)
def test_names_and_times_stand_in_json_as_they_are(manifest: Manifest) -> None:
    written = json.loads(encode(manifest))
    assert written["schema"] == manifest.schema_name
    assert written["table"] == manifest.table
    assert written["primary_key"] == list(manifest.primary_key)
    assert "schema_name" not in written
    times = [written[name] for name in ("timestamp_min", "timestamp_max", "archived_at")] + [written["partition"]["start"]]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", time) for time in times)


@given(instants)
def test_a_time_is_written_in_utc_with_microseconds(instant: datetime) -> None:
    text = format_instant(instant)
    assert text.endswith("Z")
    assert len(text) == 27
    assert datetime.fromisoformat(text) == instant


def test_a_time_on_the_second_still_has_microseconds() -> None:
    assert format_instant(datetime(2026, 8, 1, 2, tzinfo=timezone(timedelta(hours=2)))) == "2026-08-01T00:00:00.000000Z"
    assert format_instant(datetime(26, 8, 1, tzinfo=UTC)) == "0026-08-01T00:00:00.000000Z"


def test_a_time_with_an_offset_is_the_same_instant() -> None:
    manifest = decode(Manifest, change("archived_at", "2026-11-01T04:00:00+02:00"), key=KEY)
    assert manifest.archived_at == datetime(2026, 11, 1, 2, tzinfo=UTC)
    assert manifest.archived_at.utcoffset() == timedelta(0)


@pytest.mark.parametrize("path", ["later", "partition.later", "object.later", "source.later"])
def test_an_unknown_field_is_ignored(path: str) -> None:
    known = decode(Manifest, json.dumps(document()).encode(), key=KEY)
    assert decode(Manifest, change(path, {"of": ["a", "later", "version"]}), key=KEY) == known


@pytest.mark.parametrize("path", paths(document()))
def test_a_missing_field_is_named(path: str) -> None:
    require_invalid(change(path, ...), path)


@pytest.mark.parametrize("path", [path for path in paths(document()) if path != "object.version_id"])
def test_a_value_of_another_type_is_named(path: str) -> None:
    wrong: list[object] = [None, 1.5, True, [5], {"x": 1}]
    for value in wrong:
        data = change(path, value)
        with pytest.raises(ManifestInvalid) as caught:
            decode(Manifest, data, key=KEY)
        assert path in caught.value.message
        assert KEY in caught.value.message


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("format", "archiver/2"),
        ("format", "archiver/1 "),
        ("generation", 0),
        ("generation", "1"),
        ("generation", 1.0),
        ("rows", 0),
        ("rows", -1),
        ("rows", "7"),
        ("rows", 2**63),
        ("object.bytes", 10**400),
        ("object.bytes", -1),
        ("object.bytes", "12345"),
        ("source.table_oid", "16390"),
        ("source.read_from", "replica"),
        ("source.snapshot", ""),
        ("source.snapshot", "1000:1002"),
        ("source.snapshot", "1000:x:"),
        ("source.snapshot", "1000:1002:1000,"),
        ("source.snapshot", "1000:1002:\n"),
        ("primary_key", "id"),
        ("content_digest", "ab" * 32),
        ("content_digest", "sha256:" + "AB" * 32),
        ("content_digest", "sha256:" + "ab" * 31),
        ("content_digest", "sha256:" + "ab" * 33),
        ("content_digest", "sha512:" + "ab" * 32),
        ("content_digest", SHA256 + "\n"),
        ("content_digest", " " + SHA256),
        ("object.sha256", "md5:" + "ab" * 16),
        ("fingerprint", ""),
        ("archived_at", "2026-11-01T02:00:00"),
        ("archived_at", "2026-11-01"),
        ("archived_at", "2026-02-30T02:00:00Z"),
        ("archived_at", "yesterday"),
        ("archived_at", 1_700_000_000),
        ("archived_at", "9999-12-31T23:59:59-01:00"),  # no time of UTC
        ("archived_at", "0001-01-01T00:00:00+01:00"),
        ("timestamp_min", "2026-11-01T02:00:00"),
        ("partition.start", "2026-11-01T02:00:00"),
        ("partition.end", ""),
    ],
)
def test_a_wrong_value_is_named(path: str, value: object) -> None:
    require_invalid(change(path, value), path)


@pytest.mark.parametrize("zone", ["", "Europe", "Europe/Nowhere", "../../etc/passwd", "/etc/localtime", "UTC\0", "x" * 500])
def test_a_time_zone_that_is_none_is_a_fault_of_the_manifest(zone: str) -> None:
    require_invalid(change("partition.timezone", zone), "partition")


@pytest.mark.parametrize("start", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_a_day_that_the_calendar_does_not_have_is_a_fault_of_the_manifest(start: str) -> None:
    zone = "America/New_York" if start.startswith("0001") else "Europe/Berlin"
    changed = json.loads(change("partition.timezone", zone))
    changed["partition"]["start"] = start
    require_invalid(json.dumps(changed).encode(), "partition")


def test_the_day_of_a_partition_is_that_of_its_zone() -> None:
    manifest = decode(Manifest, json.dumps(document()).encode(), key=KEY)
    assert manifest.partition.day == date(2026, 8, 1)


def test_all_wrong_fields_are_named_at_once() -> None:
    changed = json.loads(change("source.lsn", 5))
    changed["columns"].append({"name": "x", "pg_type": 5, "arrow_type": "int32", "not_null": "no"})
    del changed["rows"]
    require_invalid(json.dumps(changed).encode(), "source.lsn", "columns.1.pg_type", "columns.1.not_null", "rows")


NO_OBJECTS = [b"", b"null", b"[]", b"7", b'"x"', b"{", b"\xff\xfe", b"\xef\xbb\xbf{}", b"[" * 100_000, b"NaN", b"{}{}", b"\0"]


@pytest.mark.parametrize("data", NO_OBJECTS, ids=lambda data: repr(data[:4]))
def test_what_is_no_json_object_is_a_fault_of_the_manifest(data: bytes) -> None:
    require_invalid(data)


@settings(max_examples=30)
@given(manifests, st.data())
def test_a_truncated_manifest_is_refused(manifest: Manifest, data: st.DataObject) -> None:
    whole = encode(manifest)
    require_invalid(whole[: data.draw(st.integers(0, len(whole) - 3))])


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_in_one_way(data: bytes) -> None:
    require_invalid(data)


@given(st.integers(0, 10**6), st.binary(min_size=1, max_size=3))
def test_a_damaged_manifest_is_read_or_refused_but_nothing_else(position: int, damage: bytes) -> None:
    whole = json.dumps(document()).encode()
    position %= len(whole)
    damaged = whole[:position] + damage + whole[position + len(damage) :]
    try:
        manifest = decode(Manifest, damaged, key=KEY)
    except ManifestInvalid:
        return
    assert decode(Manifest, encode(manifest), key=KEY) == manifest


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(texts, inside, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(paths(document())), json_values)
def test_a_field_of_any_value_is_read_or_refused_but_nothing_else(path: str, value: object) -> None:
    try:
        manifest = decode(Manifest, change(path, value), key=KEY)
    except ManifestInvalid:
        return
    assert decode(Manifest, encode(manifest), key=KEY) == manifest


@settings(max_examples=30)
@given(manifests)
def test_the_footer_has_every_field_of_the_identity_as_text(manifest: Manifest) -> None:
    footer = manifest.footer()
    written = json.loads(encode(manifest))
    assert set(footer) == {field.alias or name for name, field in Identity.model_fields.items()}
    for name, text in footer.items():
        value = written[name]
        assert text == value if isinstance(value, str) else json.loads(text) == value


def test_the_footer_is_the_same_before_and_after_the_manifest_is_written() -> None:
    manifest = decode(Manifest, json.dumps(document()).encode(), key=KEY)
    identity = Identity(**{name: getattr(manifest, name) for name in Identity.model_fields})
    assert identity.footer() == manifest.footer() == decode(Manifest, encode(manifest), key=KEY).footer()
    assert manifest.footer()["partition"] == json.dumps(document()["partition"], separators=(",", ":"))


def test_facts_cannot_be_changed() -> None:
    manifest: BaseModel = decode(Manifest, json.dumps(document()).encode(), key=KEY)
    with pytest.raises(ValidationError, match="frozen"):
        setattr(manifest, "rows", 8)  # noqa: B010 - mypy knows that it is frozen


@given(st.binary())
def test_a_digest_names_its_algorithm(data: bytes) -> None:
    assert sha256_of(data) == "sha256:" + hashlib.sha256(data).hexdigest()
