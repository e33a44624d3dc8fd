"""From a config to Dagster's Definitions. Only the assembly belongs here; each part has a module of its own."""

from collections import defaultdict

import dagster as dg

from archiver_assets.config import Config, DatabaseConfig, TableConfig
from archiver_assets.orchestration.assets import archive_asset, purge_asset, row_counts_check, scheduled_keys, source_asset
from archiver_assets.orchestration.checks import CHECKS_JOB, check_keys, database_checks
from archiver_assets.orchestration.instance_cache import KeptInstance
from archiver_assets.orchestration.notifying import notifications_sensor
from archiver_assets.orchestration.partitions import PartitionsCatalog, shared_job_name
from archiver_assets.orchestration.restore_assets import restore_asset
from archiver_assets.orchestration.schedules import checks_schedule, table_schedule
from archiver_assets.services import Services


def build_definitions(config: Config, services: Services | None = None) -> dg.Definitions:
    """Return the code location of `config`. Nothing connects; `services` can be replaced for a test."""
    tables = [table for _, table in config.tables()]
    partitions = PartitionsCatalog()
    services = services or Services(config)
    kept = KeptInstance()
    schedules = [
        *(table_schedule(table, shared_job_name(table), services, kept) for table in tables),
        *(checks_schedule(database, CHECKS_JOB, kept) for database in config.databases),
    ]
    sensor = notifications_sensor(config)
    return dg.Definitions(
        assets=[asset for database, table in config.tables() for asset in _assets(database, table, partitions.of(table))],
        asset_checks=[
            *(row_counts_check(table, partitions.of(table)) for table in tables),
            *(database_checks(database) for database in config.databases),
        ],
        jobs=[
            *(dg.define_asset_job(name, selection=dg.AssetSelection.assets(*keys)) for name, keys in _shared_jobs(tables).items()),
            dg.define_asset_job(CHECKS_JOB, selection=dg.AssetSelection.checks(*(key for table in tables for key in check_keys(table)))),
        ],
        schedules=[schedule for schedule in schedules if schedule is not None],
        sensors=[] if sensor is None else [sensor],
        resources={"services": services},
        # One process, and on Kubernetes one pod, for a run: its steps hand nothing over in memory, and come one after the other.
        executor=dg.in_process_executor,
    )


def _assets(
    database: DatabaseConfig, table: TableConfig, partitions: dg.DailyPartitionsDefinition
) -> list[dg.AssetSpec | dg.AssetsDefinition]:
    return [
        source_asset(table, database),
        archive_asset(table, partitions),
        *([purge_asset(table, partitions)] if table.purge else []),
        restore_asset(table, partitions),
    ]


def _shared_jobs(tables: list[TableConfig]) -> dict[str, list[dg.AssetKey]]:
    # A job per table would be quadratic, as each resolves over every asset; and one job cannot mix partitions definitions.
    selected: dict[str, list[dg.AssetKey]] = defaultdict(list)
    for table in tables:
        selected[shared_job_name(table)] += scheduled_keys(table)
    return selected
