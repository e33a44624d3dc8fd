"""From the results of the lifecycle to Dagster's results, with metadata that Dagster's UI can show.

What belongs here: the names and types of metadata. What does not: counting. `archiver_assets_tests/reference` lists all of them.
See https://docs.dagster.io/guides/build/assets/metadata-and-tags for the `dagster/` keys.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

import dagster as dg

from archiver_assets.config import TableConfig
from archiver_assets.lifecycle.archiving.archive import Archived
from archiver_assets.lifecycle.generations import Generation
from archiver_assets.lifecycle.purging.purge import Purged
from archiver_assets.lifecycle.restoring.request import Restored, RestoreRequest
from archiver_assets.lifecycle.task import Task
from archiver_assets.lifecycle.verifying.readback import Verification
from archiver_assets.orchestration.tables import comparisons_table, findings_table, holds_table, purge_report
from archiver_assets.source.catalog import Column
from archiver_assets.source.destination import TargetColumn
from archiver_assets.source.findings import Finding
from archiver_assets.store.keys import Mark
from archiver_assets.store.links import Links
from archiver_assets.store.manifest import ColumnFacts, Receipt
from archiver_assets.untrusted_text import visible

Metadata = Mapping[str, dg.MetadataValue]
AnyColumn = Column | ColumnFacts | TargetColumn


def archived_metadata(task: Task, links: Links, archived: Archived) -> Metadata:
    """Return what an archive did, for its materialization; its row count is that of all generations."""
    return {
        "outcome": dg.MetadataValue.text(archived.outcome),
        "rows_archived": dg.MetadataValue.int(archived.rows),
        "rows_in_table": dg.MetadataValue.int(archived.rows_in_table),
        "rows_without_day": dg.MetadataValue.int(archived.rows_without_day),
        "generations_rejected": dg.MetadataValue.int(archived.rejected),
        **_standard(task, archived.table.columns, archived.rows_in_archive),
        **_pace(archived.rows, archived.seconds),
        **_object(task, links, archived.generation),
    }


def purged_metadata(task: Task, links: Links, purged: Purged) -> Metadata:
    """Return what a purge did, for its materialization; its row count is that of the rows purged by it."""
    tally = purged.tally
    return {
        "outcome": dg.MetadataValue.text(purged.outcome),
        "report": purge_report(purged),
        "rows_purged": dg.MetadataValue.int(tally.purged),
        "rows_late": dg.MetadataValue.int(purged.late),
        "rows_held": dg.MetadataValue.int(purged.held),
        "holds": holds_table(purged.holds, purged.held_by),
        "rows_purged_by_version": dg.MetadataValue.int(tally.rows.by_version),
        "rows_purged_by_content": dg.MetadataValue.int(tally.rows.by_content),
        "rows_changed": dg.MetadataValue.int(tally.rows.changed),
        "rows_gone": dg.MetadataValue.int(tally.rows.gone),
        "rows_locked": dg.MetadataValue.int(tally.rows.locked),
        "batches": dg.MetadataValue.int(tally.batches),
        "leaves_dropped": dg.MetadataValue.json(list(purged.dropped)),
        "vacuum": dg.MetadataValue.text(purged.vacuumed.outcome),
        "bytes_reusable": dg.MetadataValue.int(purged.vacuumed.bytes_reusable),
        "verification": dg.MetadataValue.text(task.table.verification),
        **_standard(task, purged.table.columns, tally.purged),
        **_pace(tally.purged, purged.seconds),
        **_object(task, links, purged.generation),
    }


def restored_metadata(task: Task, links: Links, request: RestoreRequest, restored: Restored) -> Metadata:
    """Return what a restore did, for its materialization; its row count is that of the rows it loaded, its table is the target."""
    tally = restored.tally
    return {
        "outcome": dg.MetadataValue.text(restored.outcome),
        "target": dg.MetadataValue.text(restored.target),
        "rows_loaded": dg.MetadataValue.int(tally.loaded),
        "rows_present": dg.MetadataValue.int(tally.present),
        "rows_skipped": dg.MetadataValue.int(tally.skipped),
        "rows_overwritten": dg.MetadataValue.int(tally.overwritten),
        "rows_superseded": dg.MetadataValue.int(tally.superseded),
        "generations": dg.MetadataValue.json(list(restored.generations)),
        "drift": drift_text(restored.drift),
        "sequences_advanced": dg.MetadataValue.json(list(restored.sequences)),
        "hold": dg.MetadataValue.text(restored.hold or "none"),
        **_standard(task, restored.columns, tally.loaded, target=request.target(task.table)),
        **_pace(tally.loaded, restored.seconds),
        **_object(task, links, restored.newest),
    }


def drift_text(drift: Sequence[str]) -> dg.MetadataValue:
    """Return the differences as a code block: names come from a manifest, and as Markdown could make the UI load an image."""
    return dg.MetadataValue.md("\n".join(f"    {line}" for each in drift for line in visible(each).splitlines()) or "none")


def recorded_archive(task: Task, links: Links, live: Sequence[Generation]) -> Metadata:
    """Return what the manifests of the generations that count say of the archives that made them, as far as they say it."""
    newest, rows = live[-1], sum(each.manifest.rows for each in live)
    return {
        **_recorded(newest.manifest.run_id, newest.manifest.archived_at),
        "rows_archived": dg.MetadataValue.int(rows),
        "bytes_archived": dg.MetadataValue.int(sum(each.manifest.object.bytes for each in live)),
        **_standard(task, newest.manifest.columns, rows),
        **_object(task, links, newest),
    }


def recorded_purge(task: Task, links: Links, generation: Generation, receipts: Sequence[Receipt]) -> Metadata:
    """Return what the receipts of a day say of the purges that wrote them, `generation` being that of the last one."""
    newest, purged = receipts[-1], sum(each.rows_purged_by_version + each.rows_purged_by_content for each in receipts)
    return {
        **_recorded(newest.run_id, newest.at),
        "rows_purged": dg.MetadataValue.int(purged),
        "rows_late": dg.MetadataValue.int(newest.rows_late),
        "rows_held": dg.MetadataValue.int(newest.rows_held_before),
        "rows_purged_by_version": dg.MetadataValue.int(sum(each.rows_purged_by_version for each in receipts)),
        "rows_purged_by_content": dg.MetadataValue.int(sum(each.rows_purged_by_content for each in receipts)),
        "rows_gone": dg.MetadataValue.int(sum(each.rows_gone for each in receipts)),
        "batches": dg.MetadataValue.int(sum(each.batches for each in receipts)),
        **_standard(task, generation.manifest.columns, purged),
        **_object(task, links, generation),
    }


def _recorded(run_id: str, at: datetime) -> Metadata:
    return {
        "outcome": dg.MetadataValue.text("reconciled"),
        "recorded_at": dg.MetadataValue.timestamp(at),
        "recorded_by_run": dg.MetadataValue.text(run_id),
    }


def verification_result(
    task: Task, links: Links, verification: Verification, severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR
) -> dg.AssetCheckResult:
    """Return the evaluation of `row_counts`, every mismatch named in its description, and all that was compared in a table."""
    counted: Metadata = {
        "compared": comparisons_table(verification.comparisons),
        "rows_in_manifest": dg.MetadataValue.int(verification.rows_in_manifest),
        "rows_in_object": dg.MetadataValue.int(verification.rows_in_object),
        "mismatches": dg.MetadataValue.int(len(verification.mismatches)),
        "generations_rejected": dg.MetadataValue.int(verification.rejected),
        "verification": dg.MetadataValue.text(task.table.verification),
    }
    next_step: Metadata = {} if verification.passed else {"next_step": dg.MetadataValue.text(verification.next_step)}
    return dg.AssetCheckResult(
        passed=verification.passed,
        severity=severity,
        description=_description(verification),
        metadata={**counted, **next_step, **_object(task, links, verification.generation)},
    )


def preflight_result(table: TableConfig, findings: Sequence[Finding]) -> dg.AssetCheckResult:
    """Return the evaluation of `preflight`, one line for each finding; it is a warning if none of them stops anything."""
    stopping = [each for each in findings if not each.is_warning]
    well = f"found no obstacle to archiving {'and purging ' if table.purge else ''}this table"
    return dg.AssetCheckResult(
        passed=not findings,
        severity=dg.AssetCheckSeverity.ERROR if stopping else dg.AssetCheckSeverity.WARN,
        description="\n".join(each.line for each in findings) or well,
        metadata={
            "stopping": dg.MetadataValue.int(len(stopping)),
            "warnings": dg.MetadataValue.int(len(findings) - len(stopping)),
            "findings": findings_table(findings),
        },
    )


def _description(verification: Verification) -> str:
    if verification.mismatches:
        return "; ".join(verification.mismatches)
    if verification.generation is None:
        return "no rows in the table, and no generation: nothing to verify"
    return f"read back {verification.bytes_in_object:,} bytes: {verification.rows_in_object:,} rows, as archived"


def _standard(task: Task, columns: Sequence[AnyColumn], row_count: int, *, target: tuple[str, str] | None = None) -> Metadata:
    """Return the metadata that Dagster knows; `target` is schema and table, if not those of the config. No columns: no schema."""
    schema, table = target or (task.table.schema_name, task.table.name)
    column_schema = {"dagster/column_schema": dg.MetadataValue.table_schema(_column_schema(columns))} if columns else {}
    return {
        "dagster/row_count": dg.MetadataValue.int(row_count),
        "dagster/partition_row_count": dg.MetadataValue.int(row_count),
        "dagster/table_name": dg.MetadataValue.text(f"{task.source.config.dbname}.{schema}.{table}"),
        **column_schema,
    }


def _pace(rows: int, seconds: float) -> Metadata:
    return {
        "duration_seconds": dg.MetadataValue.float(round(seconds, 3)),
        "rows_per_second": dg.MetadataValue.float(round(rows / seconds, 1) if seconds > 0 else 0.0),
    }


def _object(task: Task, links: Links, generation: Generation | None) -> Metadata:
    """Return where the generation lies and its size; without one the day's empty folder, so that a plot of bytes has no gap there."""
    if generation is None:
        return {"dagster/uri": dg.MetadataValue.text(task.store.uri(task.keys.folder)), "bytes": dg.MetadataValue.int(0)}
    return {
        "object": dg.MetadataValue.url(links.url(generation.object_key)),
        "manifest": dg.MetadataValue.url(links.url(task.keys.mark(Mark.MANIFEST, generation.number))),
        "dagster/uri": dg.MetadataValue.text(task.store.uri(generation.object_key)),
        "bytes": dg.MetadataValue.int(generation.manifest.object.bytes),
        "generation": dg.MetadataValue.int(generation.number),
        "manifest_sha256": dg.MetadataValue.text(generation.manifest_sha256),
    }


def _column_schema(columns: Sequence[AnyColumn]) -> dg.TableSchema:
    return dg.TableSchema(
        [
            dg.TableColumn(column.name, column.pg_type, constraints=dg.TableColumnConstraints(nullable=not column.not_null))
            for column in columns
        ]
    )
