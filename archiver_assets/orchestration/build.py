"""From a config to Dagster's Definitions.

What belongs here: putting the parts together. What does not: the parts.
"""

from collections import defaultdict

import dagster as dg

from archiver_assets.config import Config, DatabaseConfig, TableConfig
from archiver_assets.orchestration.assets import archive_asset, preflight_check, purge_asset, row_counts_check, source_asset, table_keys
from archiver_assets.orchestration.partitions import PartitionsCatalog, shared_job_name
from archiver_assets.orchestration.resources import Services
from archiver_assets.orchestration.restoring import restore_asset
from archiver_assets.orchestration.schedules import table_schedule


def build_definitions(config: Config, services: Services | None = None) -> dg.Definitions:
    """Return the code location of `config`. Nothing connects; `services` can be replaced for a test."""
    tables = [table for _, table in config.tables()]
    partitions = PartitionsCatalog()
    schedules = [table_schedule(table, shared_job_name(table)) for table in tables]
    return dg.Definitions(
        assets=[asset for database, table in config.tables() for asset in _assets(database, table, partitions.of(table))],
        asset_checks=[check for table in tables for check in (preflight_check(table), row_counts_check(table, partitions.of(table)))],
        jobs=[dg.define_asset_job(name, selection=dg.AssetSelection.assets(*keys)) for name, keys in _shared_jobs(tables).items()],
        schedules=[schedule for schedule in schedules if schedule is not None],
        resources={"services": services or Services(config)},
        # One process, and on Kubernetes one pod, for a run: its steps hand nothing over in memory, and come one after the other.
        executor=dg.in_process_executor,
    )


def _assets(
    database: DatabaseConfig, table: TableConfig, partitions: dg.DailyPartitionsDefinition
) -> list[dg.AssetSpec | dg.AssetsDefinition]:
    return [
        source_asset(table, database),
        archive_asset(table, partitions),
        purge_asset(table, partitions),
        restore_asset(table, partitions),
    ]


def _shared_jobs(tables: list[TableConfig]) -> dict[str, list[dg.AssetKey]]:
    # A job per table would be quadratic, as each resolves over every asset; and one job cannot mix partitions definitions.
    selected: dict[str, list[dg.AssetKey]] = defaultdict(list)
    for table in tables:
        keys = table_keys(table)
        selected[shared_job_name(table)] += [keys.archive, keys.purge]
    return selected
