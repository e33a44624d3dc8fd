"""The assets of one table that schedules run: source -> archive (with its check) -> purge.

What belongs here: from a table's config to Dagster's definitions, and bodies that only call the lifecycle. What does not: any decision
about rows. No asset has a BackfillPolicy: with one, even of single runs, Dagster evaluates the check once for a whole range of partitions.
"""

import warnings
from dataclasses import dataclass

import dagster as dg

from archiver_assets.config import TableConfig
from archiver_assets.lifecycle.archive import archive
from archiver_assets.lifecycle.purge import purge
from archiver_assets.lifecycle.verify import verify
from archiver_assets.orchestration.metadata import archived_result, purged_result, verification_result
from archiver_assets.orchestration.resources import Services
from archiver_assets.orchestration.tags import run_tags


@dataclass(frozen=True)
class TableKeys:
    """The asset keys of a table: `[D, S, T]`, and below it `archive`, `purge` and `restore`."""

    source: dg.AssetKey
    archive: dg.AssetKey
    purge: dg.AssetKey
    restore: dg.AssetKey


def table_keys(table: TableConfig) -> TableKeys:
    """Return the asset keys of a table."""
    path = list(table.asset_path)
    return TableKeys(dg.AssetKey(path), *(dg.AssetKey([*path, step]) for step in ("archive", "purge", "restore")))


def source_asset(table: TableConfig) -> dg.AssetSpec:
    """Return the external asset that stands for the table itself."""
    return dg.AssetSpec(
        table_keys(table).source,
        group_name=_group(table),
        metadata=run_tags(table),
        kinds={"postgres"},
        description=table.description or f"The table {table.label}; its rows stay {table.retention_days} days.",
    )


def archive_asset(table: TableConfig, partitions: dg.DailyPartitionsDefinition) -> dg.AssetsDefinition:
    """Return the asset whose materialization archives one day."""
    keys = table_keys(table)

    @dg.asset(
        key=keys.archive,
        deps=[keys.source],
        partitions_def=partitions,
        group_name=_group(table),
        metadata=run_tags(table),
        kinds={"s3", "parquet"},
        description=f"One day of expired rows of {table.label}, as one Parquet object in S3.",
    )
    def archive_one_day(context: dg.AssetExecutionContext, services: dg.ResourceParam[Services]) -> dg.MaterializeResult[None]:
        task = services.task(table, context.partition_key, context.run.run_id)
        return archived_result(task, archive(task))

    return archive_one_day


def row_counts_check(table: TableConfig, partitions: dg.DailyPartitionsDefinition) -> dg.AssetChecksDefinition:
    """Return the blocking check that reads the day's object back from the store."""
    with warnings.catch_warnings():
        # Partitioned checks are a preview in the pinned version of Dagster; our tests hold on to what we use of them.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return _row_counts(table, partitions)


def _row_counts(table: TableConfig, partitions: dg.DailyPartitionsDefinition) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=table_keys(table).archive,
        name="row_counts",
        blocking=True,
        partitions_def=partitions,
        description="The object was read back whole: bytes, digest, every row and the count of the table are those of the manifest.",
    )
    def row_counts(context: dg.AssetCheckExecutionContext, services: dg.ResourceParam[Services]) -> dg.AssetCheckResult:
        task = services.task(table, context.partition_key, context.run.run_id)
        return verification_result(task, verify(task))

    return row_counts


def purge_asset(table: TableConfig, partitions: dg.DailyPartitionsDefinition) -> dg.AssetsDefinition:
    """Return the asset whose materialization deletes the rows that the day's object holds."""
    keys = table_keys(table)

    @dg.asset(
        key=keys.purge,
        deps=[keys.archive],
        partitions_def=partitions,
        group_name=_group(table),
        metadata=run_tags(table),
        kinds={"postgres"},
        description=f"One day of {table.label} without the rows that its archive holds. Verifies the archive by itself before it deletes.",
    )
    def purge_one_day(context: dg.AssetExecutionContext, services: dg.ResourceParam[Services]) -> dg.MaterializeResult[None]:
        task = services.task(table, context.partition_key, context.run.run_id)
        return purged_result(task, purge(task))

    return purge_one_day


def _group(table: TableConfig) -> str:
    return table.asset_path[0]
