"""Dagster as a witness of the archive: its materializations name the manifests that were written, and are stored outside the bucket.

What belongs here: reading them from Dagster's events. What does not: the comparison (`lifecycle/verifying/witness.py`), and what `archiver
reconcile` writes.
"""

from collections.abc import Iterable, Iterator

import dagster as dg

from archiver_assets.config import TableConfig
from archiver_assets.lifecycle.verifying.witness import Witness
from archiver_assets.orchestration.assets import table_keys

_AT_ONCE = 1000


def dagster_witness(instance: dg.DagsterInstance, tables: Iterable[TableConfig]) -> Witness:
    """Return the manifests that archives and purges spoke of when they were materialized; of one that they differ about, the first word."""
    return Witness("Dagster", {table.label: dict(_manifests(instance, table)) for table in tables})


def _manifests(instance: dg.DagsterInstance, table: TableConfig) -> Iterator[tuple[str, str]]:
    keys = table_keys(table)
    for key in (keys.purge, keys.archive):
        for event in _newest_first(instance, key):
            metadata = event.metadata
            generation, digest = metadata.get("generation"), metadata.get("manifest_sha256")
            if event.partition and generation is not None and digest is not None:
                yield f"dt={event.partition}/_manifest-{int(str(generation.value)):04d}.json", str(digest.value)


def _newest_first(instance: dg.DagsterInstance, key: dg.AssetKey) -> Iterator[dg.AssetMaterialization]:
    cursor, more = None, True
    while more:
        found = instance.fetch_materializations(key, limit=_AT_ONCE, cursor=cursor)
        yield from (record.asset_materialization for record in found.records if record.asset_materialization is not None)
        cursor, more = found.cursor, found.has_more
