"""How Dagster shows a dry run: as an observation of the asset, never as a materialization.

What belongs here: the sentence, the numbers and the tables of the observation. What does not: the dry run itself. The numbers have names of
their own (`would_...`), because Dagster plots observations and materializations with the same names together.
"""

from collections.abc import Sequence

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData

from archiver_assets.lifecycle.dry_run import DryArchive
from archiver_assets.lifecycle.purging.dry_purge import DryPurge
from archiver_assets.lifecycle.task import Task
from archiver_assets.lifecycle.verifying.readback import Verification
from archiver_assets.orchestration.tables import comparisons_table, dry_purge_report, findings_table
from archiver_assets.source.findings import Finding, Work


def archive_observation(key: dg.AssetKey, task: Task, dry: DryArchive) -> dg.AssetObservation:
    """Return what an archive would do."""
    numbers = {"would_archive": dry.rows, "rows_in_table_now": dry.rows_in_table, "rows_without_day_now": dry.rows_without_day}
    sentence = f"Dry run: {dry.outcome}; {_rows(dry.rows)} to archive of {_rows(dry.rows_in_table)} in the table"
    description = _description(sentence, dry.findings, "archive")
    metadata = {
        "outcome": dg.MetadataValue.text(dry.outcome),
        **{name: dg.MetadataValue.int(number) for name, number in numbers.items() if number is not None},
        **_common(dry.findings, dry.verifications, dry.seconds),
    }
    return dg.AssetObservation(key, partition=task.partition.key, description=description, metadata=metadata)


def purge_observation(key: dg.AssetKey, task: Task, dry: DryPurge, *, archived_first: bool) -> dg.AssetObservation:
    """Return what a purge would do; `archived_first` says whether the same run would archive before."""
    late = " that this run would archive first, and then purge" if archived_first else ", late"
    held = dry.kept.held if dry.kept else None
    sentence = (
        f"Dry run: {dry.outcome}; {_rows(dry.purged if dry.rows else None)} to purge of those archived so far, "
        f"{_rows(dry.late)}{late}, {_rows(held)} held"
    )
    numbers = {"would_purge": dry.purged if dry.rows else None, "rows_late_now": dry.late, "rows_held_now": held}
    metadata = {
        "outcome": dg.MetadataValue.text(dry.outcome),
        "report": dry_purge_report(dry),
        **{name: dg.MetadataValue.int(number) for name, number in numbers.items() if number is not None},
        **_common(dry.findings, dry.verifications, dry.seconds),
        "batch_size": dg.MetadataValue.int(task.table.batch_size),
        "sleep_between_batches": dg.MetadataValue.float(task.table.sleep_between_batches),
        "verification": dg.MetadataValue.text(task.table.verification),
    }
    return dg.AssetObservation(
        key, partition=task.partition.key, description=_description(sentence, dry.findings, "purge"), metadata=metadata
    )


def _rows(number: int | None) -> str:
    return "an unknown number of rows" if number is None else f"{number:,} rows"


def _description(sentence: str, findings: Sequence[Finding], work: Work) -> str:
    stopping = [each.name for each in findings if work in each.stops]
    # A description is one paragraph in the UI: what was found is told in the table below it.
    refused = f". It would be refused: {', '.join(dict.fromkeys(stopping))}; see the findings" if stopping else ""
    return f"{sentence}{refused}. Nothing was deleted, and nothing was written"


def _common(findings: Sequence[Finding], verifications: Sequence[Verification], seconds: float) -> dict[str, dg.MetadataValue]:
    compared = [comparison for each in verifications for comparison in each.comparisons]
    return {
        "stopping": dg.MetadataValue.int(sum(not each.is_warning for each in findings)),
        "findings": findings_table(findings),
        "compared": comparisons_table(compared),
        "duration_seconds": dg.MetadataValue.float(round(seconds, 3)),
    }


def evaluation_of(
    check: dg.AssetCheckKey, task: Task, result: dg.AssetCheckResult, instance: dg.DagsterInstance
) -> dg.AssetCheckEvaluation:
    """Return the evaluation of a check that another step made in its place.

    Dagster skips the check's own step after an archive that materialized nothing, and would show the day's check as skipped: a red one
    would be red no more.
    """
    return dg.AssetCheckEvaluation(
        asset_key=check.asset_key,
        check_name=check.name,
        passed=bool(result.passed),
        metadata=result.metadata,
        severity=result.severity,
        description=result.description,
        blocking=False,
        partition=task.partition.key,
        target_materialization_data=_latest_materialization(check.asset_key, task.partition.key, instance),
    )


def _latest_materialization(
    key: dg.AssetKey, partition_key: str, instance: dg.DagsterInstance
) -> AssetCheckEvaluationTargetMaterializationData | None:
    """Return what the evaluation speaks of, as Dagster would: it takes one that speaks of none for none."""
    which = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[partition_key])
    for record in instance.fetch_materializations(which, limit=1).records:
        return AssetCheckEvaluationTargetMaterializationData(storage_id=record.storage_id, run_id=record.run_id, timestamp=record.timestamp)
    return None
