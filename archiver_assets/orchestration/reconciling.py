"""Dagster's materializations, written again from the store after Dagster lost its own database.

What belongs here: from a day's generations to the events that Dagster lacks. What does not: reading them
(`lifecycle/verifying/archive_listing.py`).

Nothing is invented: an event has only what a manifest or a receipt records, and a check is evaluated only by reading the objects back. The
events have today's time, because Dagster accepts no other; `recorded_at` in their metadata is the time of the archive or the purge. Runs do
not come back.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import dagster as dg

from archiver_assets.config import TableConfig
from archiver_assets.lifecycle.task import Task
from archiver_assets.lifecycle.verifying.archive_listing import SurveyedDay
from archiver_assets.lifecycle.verifying.readback import read_back
from archiver_assets.lifecycle.verifying.verify import combined
from archiver_assets.orchestration.assets import table_keys
from archiver_assets.orchestration.dry_metadata import evaluation_of
from archiver_assets.orchestration.metadata import recorded_archive, recorded_purge, verification_result
from archiver_assets.store.links import Links

Event = dg.AssetMaterialization | dg.AssetCheckEvaluation


@dataclass(frozen=True)
class Known:
    """The days of a table that Dagster knows: archived, purged, and with an evaluation of `row_counts`."""

    archived: Collection[str]
    purged: Collection[str]
    checked: Collection[str]


def known_days(instance: dg.DagsterInstance, table: TableConfig) -> Known:
    """Return which days Dagster knows."""
    keys = table_keys(table)
    checks = instance.event_log_storage.get_asset_check_partition_info([keys.row_counts])
    return Known(
        archived=instance.get_materialized_partitions(keys.archive),
        purged=instance.get_materialized_partitions(keys.purge),
        checked={each.partition_key for each in checks if each.partition_key is not None},
    )


def missing_materializations(task: Task, links: Links, day: SurveyedDay, known: Known) -> Iterator[dg.AssetMaterialization]:
    """Yield what Dagster lacks of a day: its archive, if any generation counts, and its purge, if any has a receipt.

    A table that is archived only has no purge asset, whatever it was once; that comes back with `purge: true`.
    """
    keys, partition = table_keys(task.table), task.partition.key
    if day.live and partition not in known.archived:
        metadata = recorded_archive(task, links, day.live)
        yield dg.AssetMaterialization(keys.archive, partition=partition, description=_WHENCE, metadata=metadata)
    receipts = [(each, each.receipt) for each in day.live if each.receipt is not None]
    if task.table.purge and receipts and partition not in known.purged:
        metadata = recorded_purge(task, links, receipts[-1][0], [receipt for _, receipt in receipts])
        yield dg.AssetMaterialization(keys.purge, partition=partition, description=_WHENCE, metadata=metadata)


def missing_evaluation(
    task: Task, links: Links, day: SurveyedDay, known: Known, instance: dg.DagsterInstance
) -> dg.AssetCheckEvaluation | None:
    """Read the generations that count back, and return the evaluation of `row_counts`; None where Dagster has one. Rejects nothing."""
    if not day.live or task.partition.key in known.checked:
        return None
    verifications = []
    for generation in day.live:
        with read_back(task, generation) as copy:
            verifications.append(copy.verification)
    result = verification_result(task, links, combined(verifications))
    return evaluation_of(table_keys(task.table).row_counts, task, result, instance)


_WHENCE = "Reconciled: written from the objects in the store after Dagster lost its own record."
