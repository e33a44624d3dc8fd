"""The assets of one table that schedules run: source -> archive (with its check) -> purge.

What belongs here: from a table's config to Dagster's definitions, and bodies that only call the lifecycle. What does not: any decision
about rows. No asset has a BackfillPolicy: with one, even of single runs, Dagster evaluates the check once for a whole range of partitions.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import dagster as dg

from archiver_assets.config import DatabaseConfig, TableConfig
from archiver_assets.errors import ConfigError
from archiver_assets.lifecycle.archive import archive
from archiver_assets.lifecycle.dry_purge import dry_purge
from archiver_assets.lifecycle.dry_run import dry_archive
from archiver_assets.lifecycle.purge import purge
from archiver_assets.lifecycle.task import Task
from archiver_assets.lifecycle.verify import combined, verify
from archiver_assets.orchestration.dry_metadata import archive_observation, evaluation_of, purge_observation
from archiver_assets.orchestration.failing import failing_clearly
from archiver_assets.orchestration.launchpad import (
    ARCHIVE_SCHEMA,
    CHECK_SCHEMA,
    PURGE_SCHEMA,
    CheckConfig,
    PurgeConfig,
    is_dry,
    selects,
    selects_check,
    settings,
)
from archiver_assets.orchestration.metadata import archived_metadata, purged_metadata, verification_result
from archiver_assets.orchestration.resources import Services
from archiver_assets.orchestration.specs import about, shown
from archiver_assets.orchestration.tags import PARTITION_TAG, run_tags

Events = Iterator[dg.MaterializeResult[None] | dg.AssetObservation | dg.AssetCheckEvaluation]
"""What a body yields: a materialization, or in a dry run only what was seen."""


@dataclass(frozen=True)
class TableKeys:
    """The asset keys of a table: `[D, S, T]`, and below it `archive`, `purge` and `restore`."""

    source: dg.AssetKey
    archive: dg.AssetKey
    purge: dg.AssetKey
    restore: dg.AssetKey

    @property
    def row_counts(self) -> dg.AssetCheckKey:
        """The key of the blocking check of the archive."""
        return dg.AssetCheckKey(self.archive, "row_counts")


def table_keys(table: TableConfig) -> TableKeys:
    """Return the asset keys of a table."""
    path = list(table.asset_path)
    return TableKeys(dg.AssetKey(path), *(dg.AssetKey([*path, step]) for step in ("archive", "purge", "restore")))


def source_asset(table: TableConfig, database: DatabaseConfig) -> dg.AssetSpec:
    """Return the external asset that stands for the table itself."""
    return dg.AssetSpec(
        table_keys(table).source,
        kinds={"postgres"},
        description=about(table, _about_source(table)),
        metadata={**run_tags(table), "dagster/table_name": f"{database.dbname}.{table.schema_name}.{table.name}"},
        **shown(table),
    )


def _about_source(table: TableConfig) -> str:
    day = f"their day, by `{table.timestamp_column}` in {table.timezone}"
    return f"The table {table.label}, with the key `{', '.join(table.primary_key)}`. Rows stay {table.retention_days} days after {day}."


def archive_asset(table: TableConfig, partitions: dg.DailyPartitionsDefinition) -> dg.AssetsDefinition:
    """Return the asset whose materialization archives one day."""
    keys = table_keys(table)
    spec = dg.AssetSpec(
        keys.archive,
        deps=[keys.source],
        partitions_def=partitions,
        metadata=run_tags(table),
        kinds={"s3", "parquet"},
        skippable=True,  # a dry run materializes nothing
        description=about(table, f"One day of expired rows of {table.label}, as Parquet in S3. `dry_run` in the launchpad only looks."),
        **shown(table),
    )

    @dg.multi_asset(specs=[spec], name=f"{table.dagster_name}__archive", config_schema=ARCHIVE_SCHEMA)
    def archive_one_day(context: dg.AssetExecutionContext, services: dg.ResourceParam[Services]) -> Events:
        with failing_clearly():
            task = services.task(table, context.partition_key, context.run.run_id)
            if is_dry(context.run):
                yield from _dry_run(table, services, task, context)
            else:
                yield dg.MaterializeResult(asset_key=keys.archive, metadata=archived_metadata(task, services.links, archive(task)))

    return archive_one_day


def _dry_run(table: TableConfig, services: Services, task: Task, context: dg.AssetExecutionContext) -> Events:
    """Say what the whole run would do: without a materialization Dagster skips the steps after that of the archive."""
    keys = table_keys(table)
    dry = dry_archive(task)
    yield archive_observation(keys.archive, task, dry)
    if dry.verifications and selects_check(context.run, keys.row_counts):
        result = verification_result(task, services.links, combined(dry.verifications))
        yield evaluation_of(keys.row_counts, task, result, context.instance)
    if selects(context.run, keys.purge):
        yield _dry_purge(table, task, archived_first=True)


def _dry_purge(table: TableConfig, task: Task, *, archived_first: bool) -> dg.AssetObservation:
    dry = dry_purge(task, archived_first=archived_first)
    return purge_observation(table_keys(table).purge, task, dry, archived_first=archived_first)


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
        config_schema=CHECK_SCHEMA,
        description="The object was read back whole: bytes, digest, every row and the count of the table are those of the manifest.",
    )
    def row_counts(context: dg.AssetCheckExecutionContext, services: dg.ResourceParam[Services]) -> dg.AssetCheckResult:
        with failing_clearly():
            if not context.run.tags.get(PARTITION_TAG):
                message = f"expected a day of {table.label} to check, found a run without a partition"
                raise ConfigError(
                    message, hint="materialize the archive of the day: its check is part of the run; or purge it, which verifies too"
                )
            config = settings(CheckConfig, context.op_execution_context)
            task = services.task(config.overrides().applied_to(table), context.partition_key, context.run.run_id)
            dry = is_dry(context.run)
            # A warning stops nothing: in a dry run the step after it says itself what it would meet.
            severity = dg.AssetCheckSeverity.WARN if dry else dg.AssetCheckSeverity.ERROR
            return verification_result(task, services.links, verify(task, rejecting=not dry), severity)

    return row_counts


def purge_asset(table: TableConfig, partitions: dg.DailyPartitionsDefinition) -> dg.AssetsDefinition:
    """Return the asset whose materialization deletes the rows that the day's object holds."""
    keys = table_keys(table)
    spec = dg.AssetSpec(
        keys.purge,
        deps=[keys.archive],
        partitions_def=partitions,
        metadata=run_tags(table),
        kinds={"postgres"},
        skippable=True,  # a dry run materializes nothing
        description=about(
            table,
            f"One day of {table.label} without the rows that its archive holds. Verifies the archive by itself before it deletes. "
            "`dry_run` in the launchpad only looks.",
        ),
        **shown(table),
    )

    @dg.multi_asset(specs=[spec], name=f"{table.dagster_name}__purge", config_schema=PURGE_SCHEMA)
    def purge_one_day(context: dg.AssetExecutionContext, services: dg.ResourceParam[Services]) -> Events:
        with failing_clearly():
            config = settings(PurgeConfig, context.op_execution_context)
            task = services.task(config.overrides().applied_to(table), context.partition_key, context.run.run_id)
            if is_dry(context.run):
                yield _dry_purge(table, task, archived_first=False)
            else:
                yield dg.MaterializeResult(asset_key=keys.purge, metadata=purged_metadata(task, services.links, purge(task)))

    return purge_one_day
