"""The steps of a run: each unpacks Dagster's context, makes one call into the lifecycle, and returns what Dagster records.

What belongs here: the bodies of the ops. What does not: any decision about rows, and the descriptions of assets and checks (`assets.py`,
`restore_assets.py`, `checks.py`).

Those modules import this one only when a step runs. With Arrow, numpy and the driver it takes a second and 120 MiB to import, and a code
server, which runs no step, would keep that memory as long as it lives.
"""

import gc
from collections.abc import Iterator

import dagster as dg

from archiver_assets.config import DatabaseConfig, TableConfig
from archiver_assets.errors import ConfigError
from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.dry_run import dry_archive
from archiver_assets.lifecycle.purging.dry_purge import dry_purge
from archiver_assets.lifecycle.purging.purge import purge
from archiver_assets.lifecycle.restoring.restore import restore
from archiver_assets.lifecycle.task import Task
from archiver_assets.lifecycle.verifying.verify import combined, verify
from archiver_assets.orchestration.assets import Events, table_keys
from archiver_assets.orchestration.check_evaluation import evaluate_all, looks_at
from archiver_assets.orchestration.dry_metadata import archive_observation, evaluation_of, purge_observation
from archiver_assets.orchestration.failure_text import failing_clearly
from archiver_assets.orchestration.launchpad import CheckConfig, PurgeConfig, selects, selects_check, settings
from archiver_assets.orchestration.metadata import archived_metadata, purged_metadata, restored_metadata, verification_result
from archiver_assets.orchestration.restore_assets import RestoreConfig
from archiver_assets.orchestration.tags import PARTITION_TAG
from archiver_assets.services import Services
from archiver_assets.telemetry.runs import is_dry

# Python's own, which `definitions.py` raised for the load: garbage of a step can hold whole batches of rows.
gc.set_threshold(700, 10, 10)

_NOT_ALONE = (
    "not restored: a run that also selects the archive or the purge restores nothing, as Materialize all would do; run this asset alone"
)


def archive_one_day(table: TableConfig, context: dg.AssetExecutionContext) -> Events:
    """Archive the run's day; in a dry run, report what all its steps would do."""
    services = _services(context)
    with failing_clearly():
        task = services.task(table, context.partition_key, context.run.run_id)
        if is_dry(context.run):
            yield from _dry_run(table, services, task, context)
        else:
            metadata = archived_metadata(task, services.links, archive(task))
            yield dg.MaterializeResult(asset_key=table_keys(table).archive, metadata=metadata)


def _dry_run(table: TableConfig, services: Services, task: Task, context: dg.AssetExecutionContext) -> Events:
    """Report what the whole run would do: without a materialization Dagster skips the steps after the archive."""
    keys = table_keys(table)
    dry = dry_archive(task)
    yield archive_observation(keys.archive, task, dry)
    if dry.verifications and selects_check(context.run, keys.row_counts):
        result = verification_result(task, services.links, combined(dry.verifications))
        yield evaluation_of(keys.row_counts, task, result, context.instance)
    if table.purge and selects(context.run, keys.purge):
        yield _dry_purge(table, task, archived_first=True)


def _dry_purge(table: TableConfig, task: Task, *, archived_first: bool) -> dg.AssetObservation:
    dry = dry_purge(task, archived_first=archived_first)
    return purge_observation(table_keys(table).purge, task, dry, archived_first=archived_first)


def check_row_counts(table: TableConfig, context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    """Read the objects of the run's day back from the store."""
    services = _services(context)
    with failing_clearly():
        if not context.run.tags.get(PARTITION_TAG):
            message = f"expected a day of {table.label} to check, found a run without a partition"
            raise ConfigError(
                message, hint="materialize the archive of the day, whose run includes the check; or purge the day, which verifies it too"
            )
        config = settings(CheckConfig, context.op_execution_context)
        task = services.task(config.overrides().applied_to(table), context.partition_key, context.run.run_id)
        dry = is_dry(context.run)
        # A warning stops nothing: in a dry run the next step reports what would stop it.
        severity = dg.AssetCheckSeverity.WARN if dry else dg.AssetCheckSeverity.ERROR
        return verification_result(task, services.links, verify(task, rejecting=not dry), severity)


def purge_one_day(table: TableConfig, context: dg.AssetExecutionContext) -> Events:
    """Purge the run's day."""
    services = _services(context)
    with failing_clearly():
        config = settings(PurgeConfig, context.op_execution_context)
        task = services.task(config.overrides().applied_to(table), context.partition_key, context.run.run_id)
        if is_dry(context.run):
            yield _dry_purge(table, task, archived_first=False)
        else:
            metadata = purged_metadata(task, services.links, purge(task))
            yield dg.MaterializeResult(asset_key=table_keys(table).purge, metadata=metadata)


def restore_one_day(table: TableConfig, context: dg.AssetExecutionContext) -> Events:
    """Restore the run's day, if the run is of nothing else."""
    keys, partition = table_keys(table), context.partition_key
    config = settings(RestoreConfig, context.op_execution_context)
    if selects(context.run, keys.archive) or selects(context.run, keys.purge):
        yield dg.AssetObservation(keys.restore, partition=partition, description=_NOT_ALONE)
        return
    services, request = _services(context), config.request()
    with failing_clearly():
        task = services.task(table, partition, context.run.run_id)
        metadata = restored_metadata(task, services.links, request, restore(task, request))
    if config.dry_run:
        yield dg.AssetObservation(keys.restore, partition=partition, description="Dry run: nothing was restored", metadata=metadata)
    else:
        yield dg.MaterializeResult(asset_key=keys.restore, metadata=metadata)


def evaluate_checks(database: DatabaseConfig, context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
    """Evaluate those checks of a database's tables that the run selects."""
    looks = looks_at(database, _services(context), context.instance)
    with failing_clearly():
        yield from evaluate_all({key: look for key, look in looks.items() if key in context.selected_asset_check_keys})


def _services(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> Services:
    services: Services = context.resources.services
    return services
