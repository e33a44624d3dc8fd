"""Proves from the outside that no row version is lost: from the table, the log of the writers, and the bucket.

What belongs here: the invariants, and reading with psycopg, boto3 and pyarrow alone. What does not: anything of the archiver's own code,
whose errors it would share.

The table is read first. A version that is not in it any more was deleted before, so what holds it must be in the bucket by then.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC
from io import BytesIO
from typing import TYPE_CHECKING, Any

import psycopg
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Version = tuple[int, int]
"""The id and the xmin of a row."""

LOG = """
DROP SCHEMA IF EXISTS torture CASCADE;
CREATE SCHEMA torture;
CREATE TABLE torture.versions (seq bigserial, id bigint, version bigint, op text, content text NOT NULL, PRIMARY KEY (id, version));
CREATE TABLE torture.superseded (id bigint, version bigint);
"""

# The same text as `_content` makes of a row in Parquet.
CONTENT = """
concat_ws('|', t.id, to_char(t.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'), coalesce(t.actor::text, '-'), t.action,
          coalesce(t.address::text, '-'), coalesce(t.amount::text, '-'), coalesce(t.tags::text, '-'), coalesce(t.details::text, '-'))
"""

_MARK = re.compile(r"_(manifest|rejected|purging|purged)-([0-9]{4,})\.json")
_MARKS = {"manifest", "rejected", "purging", "purged"}


@dataclass(frozen=True)
class TableState:
    """One snapshot of the table, of the table of restored rows, and of what the writers logged."""

    rows: dict[Version, str]
    restored: dict[Version, str]
    logged: dict[Version, str]
    superseded: set[Version]


@dataclass(frozen=True)
class Folder:
    """The objects of one partition: the numbers by kind of mark, and the keys of the data."""

    marks: dict[str, set[int]]
    data: set[str]

    def counts(self, number: int) -> bool:
        """Tell whether a generation counts: a rejection beside a purge that has begun is void."""
        return number in self.marks["manifest"] and (number in self.marks["purging"] or number not in self.marks["rejected"])


@dataclass
class Checker:
    """Looks at one table and one prefix again and again, and remembers the manifests it saw. `damaged` are objects spoilt on purpose."""

    dsn: str
    client: "S3Client"
    bucket: str
    prefix: str
    damaged: set[str] = field(default_factory=set)
    _manifests: dict[str, bytes] = field(default_factory=dict)

    def violations(self) -> list[str]:
        """Return what is wrong, one line each."""
        state = read_table(self.dsn)
        found, archived = self._check_bucket()
        return found + list(_lost(state, archived)) + list(_unknown(state))

    def not_restored(self) -> list[str]:
        """Return the versions that some generation holds, and the table of restored rows does not, one line each."""
        state, (_, archived) = read_table(self.dsn), self._check_bucket()
        return [
            f"id {version[0]} xmin {version[1]}, {sorted(contents)}: found {state.restored.get(version)!r}"
            for version, contents in archived.items()
            if contents != {state.restored.get(version)}
        ]

    def _check_bucket(self) -> tuple[list[str], dict[Version, set[str]]]:
        """Return what is wrong with the bucket, and the contents that it holds of each version."""
        found: list[str] = []
        archived: dict[Version, set[str]] = {}
        for name, folder in self.folders().items():
            found += [f"{name}: a mark of generation {number} without its manifest" for number in sorted(_orphans(folder))]
            for number in sorted(folder.marks["manifest"]):
                found += self._check_generation(name, folder, number, archived)
        return found + [f"{key}: this manifest was there and is gone" for key in self._manifests if not self._exists(key)], archived

    def folders(self) -> dict[str, Folder]:
        """Return what lies under the prefix, by folder."""
        found: dict[str, Folder] = {}
        for key in self.objects():
            name, _, last = key.rpartition("/")
            folder = found.setdefault(name, Folder({kind: set() for kind in _MARKS}, set()))
            if mark := _MARK.fullmatch(last):
                folder.marks[mark[1]].add(int(mark[2]))
            else:
                folder.data.add(key)
        return found

    def objects(self) -> dict[str, str]:
        """Return the keys under the prefix with their ETags."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix)
        return {each["Key"]: each["ETag"] for page in pages for each in page.get("Contents", [])}

    def read(self, key: str) -> bytes:
        """Return the content of an object."""
        return self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()

    def manifest(self, name: str, number: int) -> dict[str, Any]:
        """Return the manifest of a generation in a folder."""
        return dict(json.loads(self.read(f"{name}/_manifest-{number:04d}.json")))

    def unnamed(self) -> set[str]:
        """Return the data that no manifest names."""
        found = set()
        for name, folder in self.folders().items():
            found |= folder.data - {self.manifest(name, number)["object"]["key"] for number in folder.marks["manifest"]}
        return found

    def _check_generation(self, name: str, folder: Folder, number: int, archived: dict[Version, set[str]]) -> Iterator[str]:
        key = f"{name}/_manifest-{number:04d}.json"
        data = self.read(key)
        if self._manifests.setdefault(key, data) != data:
            yield f"{key}: this manifest has changed"
        manifest = json.loads(data)
        yield from _wrong_receipts(name, folder, number, self, hashlib.sha256(data).hexdigest())
        object_key = manifest["object"]["key"]
        if object_key not in folder.data and not self._exists(object_key):
            yield f"{key}: its object {object_key} does not exist"
            return
        content = self.read(object_key)
        if f"sha256:{hashlib.sha256(content).hexdigest()}" != manifest["object"]["sha256"]:
            if object_key not in self.damaged:
                yield f"{key}: its object {object_key} has other bytes"
            return
        rows = dict(_rows(content))
        if len(rows) != manifest["rows"]:
            yield f"{key}: {manifest['rows']} rows in the manifest, {len(rows)} in the object"
        if folder.counts(number):
            for version, text in rows.items():
                archived.setdefault(version, set()).add(text)

    def _exists(self, key: str) -> bool:
        return bool(self.client.list_objects_v2(Bucket=self.bucket, Prefix=key).get("Contents"))


def _orphans(folder: Folder) -> set[int]:
    return set().union(*folder.marks.values()) - folder.marks["manifest"]


def _wrong_receipts(name: str, folder: Folder, number: int, checker: Checker, sha256: str) -> Iterator[str]:
    for kind in ("rejected", "purging", "purged"):
        if number in folder.marks[kind]:
            mark = json.loads(checker.read(f"{name}/_{kind}-{number:04d}.json"))
            if mark["manifest_sha256"] != f"sha256:{sha256}":
                yield f"{name}: the {kind} mark of generation {number} speaks of another manifest"
    if number in folder.marks["purged"] and number not in folder.marks["purging"]:
        yield f"{name}: generation {number} has a receipt and no purging mark"


def _rows(content: bytes) -> Iterator[tuple[Version, str]]:
    for row in pq.read_table(BytesIO(content)).to_pylist():
        yield (row["id"], row["_xmin"]), _content(row)


def _content(row: dict[str, Any]) -> str:
    created = row["created_at"].astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
    rest = [row[name] for name in ("actor", "action", "address", "amount", "tags", "details")]
    return "|".join([str(row["id"]), created, *("-" if value is None else str(value) for value in rest)])


def _lost(state: TableState, archived: dict[Version, set[str]]) -> Iterator[str]:
    for version, content in state.logged.items():
        if state.rows.get(version) == content or version in state.superseded or content in archived.get(version, ()):
            continue
        elsewhere = f"in the table {state.rows.get(version)!r}, in the bucket {sorted(archived.get(version, ()))}"
        yield f"LOST: id {version[0]} xmin {version[1]}, {content!r}: {elsewhere}"


def _unknown(state: TableState) -> Iterator[str]:
    for version in state.rows.keys() - state.logged.keys():
        yield f"in the table, and logged by no writer: id {version[0]} xmin {version[1]}, {state.rows[version]!r}"
    for version, content in state.restored.items():
        if state.logged.get(version) != content:
            yield f"restored, and logged by no writer: id {version[0]} xmin {version[1]}, {content!r}"


def read_table(dsn: str) -> TableState:
    """Read table and log in one snapshot."""
    with psycopg.connect(dsn) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        rows = _texts(connection, f"SELECT t.id, t.xmin::text::bigint, {CONTENT} FROM public.audit_logs t")
        there = connection.execute("SELECT to_regclass('public.audit_logs_restored') IS NOT NULL").fetchone() == (True,)
        restored = _texts(connection, f"SELECT t.id, t._xmin, {CONTENT} FROM public.audit_logs_restored t") if there else {}
        logged = _texts(connection, "SELECT id, version, content FROM torture.versions")
        superseded = {(row[0], row[1]) for row in connection.execute("SELECT id, version FROM torture.superseded")}
        return TableState(rows, restored, logged, superseded)


def _texts(connection: psycopg.Connection[tuple[Any, ...]], statement: str) -> dict[Version, str]:
    return {(row[0], row[1]): row[2] for row in connection.execute(statement.encode())}
