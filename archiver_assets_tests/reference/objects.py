"""The objects of the archive: their keys and the JSON in them, from the store's models, and one of each from a real run.

Numbers, digests and times of the example differ from run to run, so it is written again only if anything else differs.
"""

import json
from collections.abc import Iterator, Mapping
from textwrap import dedent
from typing import Any, Final, get_args

from pydantic import BaseModel

from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.purging.purge import purge
from archiver_assets.store import keys
from archiver_assets.store.manifest import AcceptedSource, Manifest, Purging, Receipt, Rejected
from archiver_assets_tests.lab import Lab
from archiver_assets_tests.reference.parts import REFERENCE, Part, table

PAGE = REFERENCE / "objects.md"
KINDS: Final[Mapping[str, type[BaseModel]]] = {
    "_manifest": Manifest,
    "_rejected": Rejected,
    "_purging": Purging,
    "_purged": Receipt,
    "_source": AcceptedSource,
}
MEANINGS: Final[Mapping[str, str]] = {
    "format": "always `archiver/1`; a manifest of another format is refused",
    "database": "the database's label in the config",
    "schema": "the table's schema",
    "table": "the table's name",
    "partition.column": "the column whose value decides the day of a row",
    "partition.timezone": "the zone whose midnights part the days",
    "partition.start": "the first instant of the day",
    "partition.end": "the first instant after it",
    "generation": "the number of the generation, from 1",
    "primary_key": "the key's columns, in their order",
    "fingerprint": "a digest of the columns, their types and what their values mean; while the table's is another one, nothing is purged",
    "source.system_identifier": "the server, as `pg_control_system()` names it",
    "source.database_oid": "the database on that server",
    "source.table_oid": "the table in that database",
    "source.timeline": "the server's timeline, which a failover changes",
    "source.server_version": "PostgreSQL's version",
    "source.snapshot": "the snapshot in which the rows were read, as `pg_current_snapshot()` writes it",
    "source.lsn": "a position in the WAL, read after the snapshot, which the server had flushed before the manifest was written",
    "source.read_from": "`primary` or `standby`",
    "source.leaves.oid": "the table, or a leaf of it, that held rows",
    "source.leaves.columns": "a digest of its columns and their numbers",
    "archiver_version": "which archiver made it",
    "run_id": "Dagster's id of the run, or the command",
    "object.key": "the key of the Parquet object, whole",
    "object.bytes": "its size",
    "object.sha256": "its digest",
    "object.etag": "its ETag, as the store gave it",
    "object.version_id": "its version, null where the bucket keeps none",
    "rows": "how many rows it holds",
    "content_digest": "a digest of the decoded values, the same however the rows are cut into groups",
    "timestamp_min": "the oldest row's timestamp",
    "timestamp_max": "the newest row's timestamp",
    "columns.name": "a column, in the table's order",
    "columns.pg_type": "its type as PostgreSQL writes it",
    "columns.arrow_type": "its type in the object",
    "columns.not_null": "whether the table had it NOT NULL",
    "ddl": "a CREATE TABLE from which a restore makes a table",
    "archived_at": "when it was archived",
    "earlier.generation": "an earlier generation of the day; left out in generation 1",
    "earlier.manifest_sha256": "the digest of its manifest",
    "manifest_sha256": "the digest of the manifest that it speaks of",
    "at": "when it was written",
    "mismatches": "what two reads found, a sentence each",
    "settings.batch_size": "the purge's setting",
    "settings.sleep_between_batches": "the purge's setting, in seconds",
    "settings.retention_days": "the table's setting, by which the day had expired",
    "settings.purge_method": "the table's setting: `delete`, `drop_partition`; null in marks of before it was recorded",
    "settings.verification": "how the object was proven: `rows`, `full`, `restore`; null in marks of before it was recorded",
    "started_at": "when the call began that wrote the receipt; the mark `_purging` has the time of the first call",
    "rows_purged_by_version": "rows that this call deleted by key and `xmin`",
    "rows_purged_by_content": "rows that this call deleted because every column was equal",
    "rows_gone": "rows that were no longer there: deleted by others, or by an earlier call that did not reach its end",
    "rows_late": "rows of the day that were left, those that another generation or a hold keeps included",
    "rows_held_before": "rows of the day that legal holds kept before this call deleted any",
    "batches": "transactions of this call that deleted",
    "wal_bytes": "bytes of WAL that they wrote; always null in this version, which does not measure them",
    "system_identifier": "the server that was accepted",
    "database_oid": "the database that was accepted",
}
VOLATILE: Final = {
    *("lsn", "snapshot", "system_identifier", "database_oid", "table_oid", "oid", "timeline", "server_version"),
    *("sha256", "manifest_sha256", "content_digest", "etag", "bytes", "key", "archived_at", "at", "started_at", "run_id", "wal_bytes"),
    *("archiver_version", "columns_digest"),
}
"""Keys whose values differ between two runs."""


def layout() -> str:
    """Return the names of objects, as the module that makes them draws them."""
    lines = (keys.__doc__ or "").splitlines()
    drawn = [line for line in lines if line.startswith("    ")]
    return f"\n```text\n{dedent(chr(10).join(drawn))}\n```\n\n"


def fields(kind: str) -> str:
    """Return the keys of one kind of object."""
    return table(("key", "type", "meaning"), ((f"`{path}`", what, _meaning(path)) for path, what in _paths(KINDS[kind], "")))


def _meaning(path: str) -> str:
    if path not in MEANINGS:
        message = f"expected what {path} means in MEANINGS, found nothing; add it there"
        raise KeyError(message)
    return MEANINGS[path]


def _paths(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str]]:
    for name, field in model.model_fields.items():
        path = f"{prefix}{field.alias or name}"
        inner = list(_models_in(field.annotation))
        if inner:
            yield from _paths(inner[0], f"{path}.")
        else:
            yield path, _type(model, name)


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    """Yield the models that an annotation is made of, such as that of a tuple of them or of None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for each in get_args(annotation):
        yield from _models_in(each)


def _type(model: type[BaseModel], name: str) -> str:
    schema = model.model_json_schema(by_alias=False)["properties"][name]
    kinds = [each.get("type", "text") for each in schema.get("anyOf", [schema])]
    items = schema.get("items", {}).get("type")
    words = {"string": "text", "integer": "number", "number": "number", "boolean": "true or false", "array": "list", "null": "null"}
    said = " or ".join(words.get(kind, kind) for kind in kinds)
    return f"list of {words[items]}s" if items else "time" if schema.get("format") == "date-time" else said


def example(lab: Lab) -> dict[str, Any]:
    """Return the JSON objects that the archive and the purge of a day leave."""
    lab.execute("CREATE TABLE public.small (id bigint PRIMARY KEY, created_at timestamptz NOT NULL, action text)")
    lab.execute("CREATE INDEX ON public.small (created_at)")
    lab.execute(
        "INSERT INTO public.small SELECT n, '2024-03-05'::timestamptz + n * interval '1 hour', 'login' FROM generate_series(1, 9) n"
    )
    task = lab.task(table=lab.table(name="small"))
    archive(task)
    purge(task)
    return {key.rpartition("/")[2]: json.loads(lab.content(key)) for key in lab.objects() if key.endswith(".json")}


def as_page(objects: Mapping[str, Any]) -> str:
    """Return them as a page shows them."""
    return "\n" + "".join(f"`{name}`:\n\n```json\n{json.dumps(content, indent=2)}\n```\n\n" for name, content in objects.items())


def masked(value: object, key: str = "") -> object:
    """Return a document without the values that differ from run to run."""
    if isinstance(value, dict):
        return {name: masked(each, name) for name, each in value.items()}
    if isinstance(value, list):
        return [masked(each, key) for each in value]
    digest = isinstance(value, str) and value.startswith("sha256:")
    return type(value).__name__ if key in VOLATILE or digest else value


PARTS = (
    Part(PAGE, "layout", layout),
    *(Part(PAGE, f"keys of {kind}", lambda kind=kind: fields(kind)) for kind in KINDS),  # type: ignore[misc]
)
