"""The assets of one table that schedules run: source -> archive (with its check) -> purge. A table with `purge: false` has no purge asset.

What belongs here: from a table's config to Dagster's definitions. What does not: the work of the steps (`steps.py`, imported when one
runs). No asset has a BackfillPolicy: with any, Dagster evaluates the check once for a whole range of partitions.
"""

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import dagster as dg

from archiver_assets.config import DatabaseConfig, TableConfig
from archiver_assets.orchestration.launchpad import ARCHIVE_SCHEMA, CHECK_SCHEMA, PURGE_SCHEMA
from archiver_assets.orchestration.ops import step_asset, step_checks
from archiver_assets.orchestration.specs import about, shown, tagging

Events = Iterator[dg.MaterializeResult[None] | dg.AssetObservation | dg.AssetCheckEvaluation]
"""What a step yields: a materialization, or in a dry run only an observation."""

_DRY_RUN = "With `dry_run` in the launchpad, a run only reports what it would do."


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


def scheduled_keys(table: TableConfig) -> list[dg.AssetKey]:
    """Return the keys of the assets that a run of the schedule materializes: the archive, and unless it is archived only the purge."""
    keys = table_keys(table)
    return [keys.archive, keys.purge] if table.purge else [keys.archive]


def source_asset(table: TableConfig, database: DatabaseConfig) -> dg.AssetSpec:
    """Return the external asset that stands for the table itself."""
    return dg.AssetSpec(
        table_keys(table).source,
        kinds={"postgres"},
        description=about(table, _about_source(table)),
        metadata={**tagging(table), "dagster/table_name": f"{database.dbname}.{table.schema_name}.{table.name}"},
        **shown(table),
    )


def _about_source(table: TableConfig) -> str:
    after = f"{table.retention_days} days after their day (`{table.timestamp_column}`, {table.timezone})"
    rows = f"Rows stay in the table for {after}." if table.purge else f"Rows are archived {after}, and stay in the table."
    return f"The table {table.label}, with the key `{', '.join(table.primary_key)}`. {rows}"


def archive_asset(table: TableConfig, partitions: dg.DailyPartitionsDefinition) -> dg.AssetsDefinition:
    """Return the asset whose materialization archives one day."""
    keys = table_keys(table)
    spec = dg.AssetSpec(
        keys.archive,
        deps=[keys.source],
        partitions_def=partitions,
        metadata=tagging(table),
        kinds={"s3", "parquet"},
        skippable=True,  # a dry run materializes nothing
        description=about(table, f"One day of expired rows of {table.label}, as Parquet in S3. {_DRY_RUN}"),
        **shown(table),
    )

    def archive_one_day(context: dg.AssetExecutionContext, _inputs: Mapping[str, object]) -> Events:
        from archiver_assets.orchestration import steps  # noqa: PLC0415 -- see steps.py

        yield from steps.archive_one_day(table, context)

    return step_asset(archive_one_day, name=f"{table.dagster_name}__archive", spec=spec, config_schema=ARCHIVE_SCHEMA)


def row_counts_check(table: TableConfig, partitions: dg.DailyPartitionsDefinition) -> dg.AssetChecksDefinition:
    """Return the blocking check that reads the day's object back from the store."""
    with warnings.catch_warnings():
        # Partitioned checks are a preview in the pinned version of Dagster; our tests hold on to what we use of them.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return _row_counts(table, partitions)


def _row_counts(table: TableConfig, partitions: dg.DailyPartitionsDefinition) -> dg.AssetChecksDefinition:
    spec = dg.AssetCheckSpec(
        "row_counts",
        asset=table_keys(table).archive,
        blocking=True,
        partitions_def=partitions,
        description="Reads the whole object back, and compares its size, digest, rows, and the row count of the table with the manifest.",
    )

    def row_counts(context: dg.AssetCheckExecutionContext, _inputs: Mapping[str, object]) -> Iterator[dg.AssetCheckResult]:
        from archiver_assets.orchestration import steps  # noqa: PLC0415 -- see steps.py

        yield steps.check_row_counts(table, context)

    return step_checks(row_counts, name=f"{table.dagster_name}__archive_row_counts", specs=[spec], config_schema=CHECK_SCHEMA)


def purge_asset(table: TableConfig, partitions: dg.DailyPartitionsDefinition) -> dg.AssetsDefinition:
    """Return the asset whose materialization deletes the rows that the day's object holds."""
    keys = table_keys(table)
    spec = dg.AssetSpec(
        keys.purge,
        deps=[keys.archive],
        partitions_def=partitions,
        metadata=tagging(table),
        kinds={"postgres"},
        skippable=True,  # a dry run materializes nothing
        description=about(
            table,
            f"Deletes the rows of one day of {table.label} that its archive holds, after verifying the archive itself. {_DRY_RUN}",
        ),
        **shown(table),
    )

    def purge_one_day(context: dg.AssetExecutionContext, _inputs: Mapping[str, object]) -> Events:
        from archiver_assets.orchestration import steps  # noqa: PLC0415 -- see steps.py

        yield from steps.purge_one_day(table, context)

    return step_asset(purge_one_day, name=f"{table.dagster_name}__purge", spec=spec, config_schema=PURGE_SCHEMA)
