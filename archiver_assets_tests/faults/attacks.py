"""What somebody with the rights to write to the bucket may do to the archive of a day, each as a function.

What belongs here: the attacks, and what `archiver verify` has to say of each. What does not: assertions (`test_attacks.py`).
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from archiver_assets.lifecycle.task import Task
from archiver_assets.store.digest import content_digest
from archiver_assets.store.keys import Mark
from archiver_assets.store.manifest import sha256_of
from archiver_assets.store.parquet import open_parquet, read_batches
from archiver_assets_tests.lab import Lab

Kind = Literal["plain", "versioned", "locked"]
State = Literal["archived", "purged"]
UNSEEN = "unseen"
"""By the store alone: what is left is what a crash or an unfinished purge leaves. A witness tells."""


@dataclass(frozen=True)
class Site:
    """One archived day of a lab, and another day beside it, at the mercy of a client that may write everything."""

    kind: Kind
    lab: Lab
    client: Any
    task: Task
    other: Task

    def key(self, mark: Mark, number: int = 1) -> str:
        return self.task.keys.mark(mark, number)

    def rows(self, number: int = 1, task: Task | None = None) -> str:
        (key,) = [each for each in self.there(task) if f"/rows-{number:04d}-" in each]
        return key

    def there(self, task: Task | None = None) -> list[str]:
        return [each.key for each in self.lab.store.list((task or self.task).keys.folder)]

    def look(self) -> "Look":
        """Return what lies in the folder of the day, to be brought back by `undo`."""
        versions = frozenset((each.key, each.version_id) for each in self.lab.store.history(self.task.keys.folder))
        return Look({key: self.lab.content(key) for key in self.there()}, versions)

    def undo(self, before: "Look") -> None:
        """Bring back what lay there. Where versions are kept, what an attack added is removed, which no lock of theirs forbids."""
        if self.kind != "plain":
            for each in self.lab.store.history(self.task.keys.folder):
                if (each.key, each.version_id) not in before.versions:
                    self.client.delete_object(Bucket=self.lab.bucket, Key=each.key, VersionId=each.version_id)
            return
        self.remove(*(set(self.there()) - before.contents.keys()))
        for key, data in before.contents.items():
            if key not in self.there() or self.lab.content(key) != data:
                self.put(key, data)

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.lab.bucket, Key=key, Body=data)

    def remove(self, *keys: str) -> None:
        for key in keys:
            self.client.delete_object(Bucket=self.lab.bucket, Key=key)

    def edit(self, key: str, pattern: str, replacement: str) -> None:
        """Replace one match in a JSON object."""
        before = self.lab.content(key).decode()
        after = re.sub(pattern, replacement, before, count=1)
        assert after != before, (key, pattern)
        json.loads(after)
        self.put(key, after.encode())

    def head(self, key: str) -> dict[str, Any]:
        return dict(self.client.head_object(Bucket=self.lab.bucket, Key=key))


@dataclass(frozen=True)
class Look:
    """The objects of a day by their keys, and the versions of all that were ever there."""

    contents: dict[str, bytes]
    versions: frozenset[tuple[str, str | None]]


@dataclass(frozen=True)
class Attack:
    """`do` it, which returns the key; `told` is in a line of damage: of an archived day, of a purged one, and wherever versions are kept.

    `purged_only` needs the marks of a purge; with `generations` 2 the day has two; `forged` is consistent in itself.
    """

    do: Callable[[Site], str]
    told: str
    told_of_purged: str
    told_by_versions: str
    purged_only: bool = False
    generations: int = 1
    forged: bool = False

    def expected(self, kind: Kind, state: State) -> str:
        if kind != "plain":
            return self.told_by_versions
        return self.told_of_purged if state == "purged" else self.told


ATTACKS: dict[str, Attack] = {}
REPLACED, REMOVED = "was replaced: it has 2 versions", "was removed: the delete marker"


Do = Callable[[Site], str]


def attack(
    told: str,
    *,
    purged: str | None = None,
    versions: str = REPLACED,
    purged_only: bool = False,
    generations: int = 1,
    forged: bool = False,
) -> Callable[[Do], Do]:
    def register(do: Do) -> Do:
        ATTACKS[do.__name__] = Attack(do, told, purged or told, versions, purged_only, generations, forged)
        return do

    return register


# --- the data


@attack("sha256: expected")
def one_bit_of_the_data_is_flipped(site: Site) -> str:
    key = site.rows()
    data = site.lab.content(key)
    site.put(key, data[:100] + bytes([data[100] ^ 1]) + data[101:])
    return key


@attack("bytes: expected")
def the_data_are_truncated(site: Site) -> str:
    key = site.rows()
    site.put(key, site.lab.content(key)[:-1])
    return key


@attack("bytes: expected")
def a_byte_is_appended_to_the_data(site: Site) -> str:
    key = site.rows()
    site.put(key, site.lab.content(key) + b"\0")
    return key


@attack("bytes: expected")
def the_data_are_emptied(site: Site) -> str:
    site.put(site.rows(), b"")
    return site.rows()


@attack("is gone, or hidden by a delete marker", versions=REMOVED)
def the_data_are_removed(site: Site) -> str:
    key = site.rows()
    site.remove(key)
    return key


@attack("partition in its footer: expected")
def the_data_are_those_of_another_day(site: Site) -> str:
    site.put(site.rows(), site.lab.content(site.rows(task=site.other)))
    return site.rows()


@attack("generation in its footer: expected", generations=2)
def the_data_of_two_generations_are_swapped(site: Site) -> str:
    first, second = site.rows(1), site.rows(2)
    data = site.lab.content(first), site.lab.content(second)
    site.put(first, data[1])
    site.put(second, data[0])
    return first


# --- the manifest


@attack("expected a manifest of the format archiver/1")
def the_manifest_is_garbage(site: Site) -> str:
    site.put(site.key(Mark.MANIFEST), b"{}")
    return site.key(Mark.MANIFEST)


@attack("expected a manifest of the format archiver/1")
def the_manifest_is_truncated(site: Site) -> str:
    key = site.key(Mark.MANIFEST)
    site.put(key, site.lab.content(key)[:-50])
    return key


@attack("rows: expected 3, found 4", purged="the digest of another manifest")
def the_manifest_claims_fewer_rows(site: Site) -> str:
    site.edit(site.key(Mark.MANIFEST), r'"rows": 4', '"rows": 3')
    return site.key(Mark.MANIFEST)


def edited(field: str, pattern: str, replacement: str, told: str) -> None:
    """Register an attack on one field of the manifest that a footer, the data or nothing binds; the marks of a purge bind all."""

    def do(site: Site) -> str:
        site.edit(site.key(Mark.MANIFEST), pattern, replacement)
        return site.key(Mark.MANIFEST)

    do.__name__ = f"the_{field}_in_the_manifest_is_edited"
    attack(told, purged="the digest of another manifest")(do)


edited("run_id", r'"run_id": "[^"]*', '"run_id": "another', "run_id in its footer: expected another")
edited("fingerprint", r'"fingerprint": "sha256:.{4}', '"fingerprint": "sha256:0000', "fingerprint in its footer: expected")
edited("table_oid", r'"table_oid": ', '"table_oid": 1', "source in its footer: expected")
edited("content_digest", r'"content_digest": "sha256:[0-9a-f]{8}', '"content_digest": "sha256:00000000', "content_digest: expected")
edited("timestamp_min", r'"timestamp_min": "(\d{4})', '"timestamp_min": "1999', "timestamp_min and timestamp_max: expected 1999")
edited("not_null", r'"not_null": true', '"not_null": false', "columns: expected")
edited("folder_of_the_object", r'"key": "[^"]*/dt=[^/]*', '"key": "archives/lab/public/other/dt=2024-01-01', "below some prefix, found")
edited("archived_at", r'"archived_at": "\d{4}', '"archived_at": "1999', UNSEEN)
edited("ddl", r'"ddl": "', '"ddl": "-- ', UNSEEN)


@attack("expected the manifest", versions=REPLACED)
def the_manifest_is_that_of_another_day(site: Site) -> str:
    site.put(site.key(Mark.MANIFEST), site.lab.content(site.other.keys.mark(Mark.MANIFEST, 1)))
    return site.key(Mark.MANIFEST)


@attack("expected the manifest", versions="expected the manifest")
def the_manifest_is_copied_as_another_generation(site: Site) -> str:
    key = site.key(Mark.MANIFEST, 2)
    site.put(key, site.lab.content(site.key(Mark.MANIFEST)))
    return key


@attack("expected the manifest", versions="expected the manifest")
def two_manifests_name_one_object(site: Site) -> str:
    key = site.key(Mark.MANIFEST, 2)
    site.put(key, site.lab.content(site.key(Mark.MANIFEST)).replace(b'"generation": 1', b'"generation": 2'))
    return key


@attack(UNSEEN, purged="beside the other marks of generation 1, found none", versions=REMOVED)
def the_manifest_is_removed(site: Site) -> str:
    site.remove(site.key(Mark.MANIFEST))
    return site.key(Mark.MANIFEST)


@attack(UNSEEN, purged="the digest of another manifest", forged=True)
def data_and_manifest_are_forged_together(site: Site) -> str:
    """Change a value, and everything in the manifest that would tell."""
    key, manifest_key = site.rows(), site.key(Mark.MANIFEST)
    parquet = open_parquet(BytesIO(site.lab.content(key)))
    table = pa.Table.from_batches(list(read_batches(parquet)))
    place = table.schema.get_field_index("action")
    forged = table.set_column(place, table.schema.field(place), [["forged"] * table.num_rows])
    metadata = {**(parquet.schema_arrow.metadata or {}), **(parquet.metadata.metadata or {})}
    metadata.pop(b"ARROW:schema", None)
    sink = BytesIO()
    pq.write_table(forged.replace_schema_metadata(metadata), sink)
    site.put(key, sink.getvalue())
    written, head, manifest = open_parquet(BytesIO(sink.getvalue())), site.head(key), json.loads(site.lab.content(manifest_key))
    manifest["content_digest"] = content_digest(written.schema_arrow, read_batches(written))
    version = head.get("VersionId")
    manifest["object"] |= {
        "bytes": len(sink.getvalue()),
        "sha256": sha256_of(sink.getvalue()),
        "etag": head["ETag"].strip('"'),
        "version_id": None if version == "null" else version,
    }
    site.put(manifest_key, json.dumps(manifest).encode())
    return manifest_key


# --- the marks of a purge


@attack(UNSEEN, versions=REMOVED, purged_only=True)
def the_receipt_is_removed(site: Site) -> str:
    site.remove(site.key(Mark.PURGED))
    return site.key(Mark.PURGED)


@attack("to tell of at most 4 rows, found 7", purged_only=True)
def the_receipt_claims_more_rows(site: Site) -> str:
    site.edit(site.key(Mark.PURGED), r'"rows_purged_by_version": 4', '"rows_purged_by_version": 7')
    return site.key(Mark.PURGED)


@attack(UNSEEN, purged_only=True)
def the_receipt_claims_fewer_rows(site: Site) -> str:
    site.edit(site.key(Mark.PURGED), r'"rows_purged_by_version": 4', '"rows_purged_by_version": 3')
    return site.key(Mark.PURGED)


@attack("to be of generation 1, found 2", purged_only=True)
def the_receipt_claims_another_generation(site: Site) -> str:
    site.edit(site.key(Mark.PURGED), r'"generation": 1', '"generation": 2')
    return site.key(Mark.PURGED)


@attack("expected a receipt of the format archiver/1", purged_only=True)
def the_receipt_is_garbage(site: Site) -> str:
    site.put(site.key(Mark.PURGED), b"[]")
    return site.key(Mark.PURGED)


@attack("beside the receipt, found none", versions=REMOVED, purged_only=True)
def the_purging_mark_is_removed(site: Site) -> str:
    site.remove(site.key(Mark.PURGING))
    return site.key(Mark.PURGING)


@attack(UNSEEN, purged_only=True)
def the_settings_in_the_purging_mark_are_edited(site: Site) -> str:
    site.edit(site.key(Mark.PURGING), r'"batch_size": \d+', '"batch_size": 1')
    return site.key(Mark.PURGING)


@attack("expected a purging of the format archiver/1", purged_only=True)
def the_purging_mark_is_garbage(site: Site) -> str:
    site.put(site.key(Mark.PURGING), b"")
    return site.key(Mark.PURGING)


@attack("_manifest-0007.json beside the other marks", versions="_manifest-0007.json beside the other marks", purged_only=True)
def a_receipt_is_of_no_generation(site: Site) -> str:
    site.put(site.key(Mark.PURGED, 7), site.lab.content(site.key(Mark.PURGED)))
    return site.key(Mark.MANIFEST, 7)


@attack("beside the other marks", versions="beside the other marks")
def a_rejection_is_of_no_generation(site: Site) -> str:
    site.put(site.key(Mark.REJECTED, 4), b"{}")
    return site.key(Mark.MANIFEST, 4)


@attack("was put beside a purge that had begun", versions="was put beside a purge that had begun", purged_only=True)
def a_purged_generation_is_rejected(site: Site) -> str:
    said = json.loads(site.lab.content(site.key(Mark.PURGING)))
    said["mismatches"] = ["none"]
    site.put(site.key(Mark.REJECTED), json.dumps(said).encode())
    return site.key(Mark.REJECTED)


# --- what is too much


@attack("is none of the archive's objects", versions="is none of the archive's objects")
def a_stranger_lies_in_the_folder(site: Site) -> str:
    key = f"{site.task.keys.folder}notes.txt"
    site.put(key, b"mine")
    return key


@attack("is none of the archive's objects", versions="is none of the archive's objects")
def parquet_of_another_name_lies_in_the_folder(site: Site) -> str:
    key = f"{site.task.keys.folder}part-0.parquet"
    site.put(key, site.lab.content(site.rows()))
    return key


@attack("engines would read both", versions="engines would read both")
def the_data_lie_there_twice(site: Site) -> str:
    key = f"{site.task.keys.folder}rows-0001-00000000.parquet"
    site.put(key, site.lab.content(site.rows()))
    return key


@attack("no archive of this day left it: its footer says", versions="its footer says")
def the_data_lie_there_as_those_of_a_crash(site: Site) -> str:
    key = f"{site.task.keys.folder}rows-0009-00000000.parquet"
    site.put(key, site.lab.content(site.rows()))
    return key


@attack("no Parquet file with the footer of an archive", versions="no Parquet file with the footer of an archive")
def garbage_lies_there_as_the_data_of_a_crash(site: Site) -> str:
    key = f"{site.task.keys.folder}rows-0009-00000000.parquet"
    site.put(key, b"PAR1")
    return key


# --- what is too little


def removed(site: Site, number: int) -> str:
    own = [each for each in site.there() if site.task.keys.number(each) == number]
    site.remove(*own)
    return site.key(Mark.MANIFEST, number)


@attack("generation 1 is missing", versions=REMOVED, generations=2)
def an_older_generation_is_removed_with_all_its_marks(site: Site) -> str:
    removed(site, 1)
    return site.key(Mark.MANIFEST, 2 if site.kind == "plain" else 1)


@attack(UNSEEN, versions=REMOVED, generations=2)
def the_newest_generation_is_removed_with_all_its_marks(site: Site) -> str:
    return removed(site, 2)


@attack(UNSEEN, versions=REMOVED)
def the_whole_day_is_removed(site: Site) -> str:
    return removed(site, 1)


@attack("of which", purged="the digest of another manifest", generations=2)
def an_older_manifest_is_edited(site: Site) -> str:
    site.edit(site.key(Mark.MANIFEST), r'"ddl": "', '"ddl": "-- ')
    return site.key(Mark.MANIFEST)
