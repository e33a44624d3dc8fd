"""The metadata of materializations: which there are, on which, and what they mean. `e2e/test_metadata.py` compares it with real runs.

A column of the table is an asset, or a reconciled event, which `archiver reconcile` writes from the store.
"""

from typing import Final

from archiver_assets_tests.reference.parts import REFERENCE, Part, table

PAGE = REFERENCE / "dagster.md"
WRITERS: Final = ("archive", "purge", "restore", "reconciled archive", "reconciled purge")
EVERY: Final = frozenset(WRITERS)
RUNS: Final = frozenset({"archive", "purge", "restore"})
ARCHIVES: Final = frozenset({"archive", "reconciled archive"})
PURGES: Final = frozenset({"purge", "reconciled purge"})
RECONCILED: Final = frozenset({"reconciled archive", "reconciled purge"})
PURGE: Final = frozenset({"purge"})
RESTORE: Final = frozenset({"restore"})
ONLY_WITH_A_GENERATION: Final = frozenset({"generation", "object", "manifest", "manifest_sha256"})
"""Left out of the events of a day without one."""

METADATA: Final[tuple[tuple[str, frozenset[str], str], ...]] = (
    ("outcome", EVERY, "What the run did, such as `archived`, `held` or `empty`; `reconciled` if `archiver reconcile` wrote the event."),
    ("dagster/row_count", EVERY, "Archive: the rows of the day in all generations. Purge: the rows purged. Restore: the rows loaded."),
    ("dagster/partition_row_count", EVERY, "The same number; Dagster shows it with the partition."),
    ("dagster/table_name", EVERY, "The table as `database.schema.table`; for a restore the target."),
    ("dagster/column_schema", EVERY, "The columns; for a restore those restored, and left out if the day has no generation."),
    ("dagster/uri", EVERY, "The Parquet object of `generation`; without a generation the day's folder."),
    ("bytes", EVERY, "The size of that object; 0 without a generation."),
    ("generation", EVERY, "The number of the newest generation that the run made, purged or restored; left out if the day has none."),
    ("object", EVERY, "A link to the object; left out without a generation."),
    ("manifest", EVERY, "A link to its manifest; left out without a generation."),
    ("manifest_sha256", EVERY, "The digest of that manifest; left out without a generation."),
    ("duration_seconds", RUNS, "How long the step took. The store does not record it, so reconciled events have none."),
    ("rows_per_second", RUNS, "Rows archived, purged or loaded, divided by `duration_seconds`. Reconciled events have none."),
    ("rows_archived", ARCHIVES, "The rows that this run archived; reconciled: the rows of all generations."),
    ("rows_in_table", frozenset({"archive"}), "The rows that the table had of the day."),
    ("rows_without_day", frozenset({"archive"}), "The rows of the table whose timestamp is NULL or infinite."),
    ("generations_rejected", frozenset({"archive"}), "Generations that this run found damaged and rejected."),
    ("bytes_archived", frozenset({"reconciled archive"}), "The size of the objects of all generations."),
    ("report", PURGE, "All numbers of the purge in a table."),
    ("rows_purged", PURGES, "The rows purged; reconciled: by all receipts of the day."),
    ("rows_late", PURGES, "Late rows, which stay. Reconciled: rows left at the newest receipt (`rows_late`), with held ones."),
    ("rows_held", PURGES, "Rows that legal holds keep. Reconciled: those held when the newest purge began (`rows_held_before`)."),
    ("holds", PURGE, "The holds, and the rows that each keeps."),
    ("rows_purged_by_version", PURGES, "Rows deleted by key and `xmin`."),
    ("rows_purged_by_content", PURGES, "Rows deleted because every column was equal."),
    ("rows_changed", PURGE, "Rows that were changed after they were archived, which stay as late rows."),
    ("rows_gone", PURGES, "Archived rows that the application had deleted."),
    ("rows_locked", PURGE, "Archived rows that stay because other sessions locked them, or because they belong to another day by now."),
    ("batches", PURGES, "Transactions that deleted rows."),
    ("leaves_dropped", PURGE, "Partitions of the PostgreSQL table that were dropped."),
    ("vacuum", PURGE, "Whether the table was vacuumed, or why not."),
    ("bytes_reusable", PURGE, "Bytes of the table that new rows can use after the vacuum."),
    ("verification", PURGE, "How the generations were verified: `rows`, `full` or `restore`."),
    ("target", RESTORE, "The table restored into."),
    ("rows_loaded", RESTORE, "The rows loaded."),
    ("rows_present", RESTORE, "Archived rows that the target had already, byte for byte."),
    ("rows_skipped", RESTORE, "Archived rows that were left out because the target had another row under their key."),
    ("rows_overwritten", RESTORE, "Rows of the target that gave way to archived ones."),
    ("rows_superseded", RESTORE, "Older versions of a key, which were left out."),
    ("generations", RESTORE, "The numbers of the generations restored, newest first."),
    ("drift", RESTORE, "Differences between the columns of the archive and those of the target."),
    ("sequences_advanced", RESTORE, "Sequences that were advanced past the restored numbers."),
    ("hold", RESTORE, "The id of the hold that protects the restored rows from the next purge, or `none`."),
    ("recorded_at", RECONCILED, "When the newest manifest or receipt was written."),
    ("recorded_by_run", RECONCILED, "The run that wrote it."),
)  # fmt: skip


def names(writer: str) -> set[str]:
    """Return the metadata of one kind of event."""
    return {name for name, writers, _ in METADATA if writer in writers}


def metadata() -> str:
    """Return the metadata, with the events that have them."""
    return table(("metadata", "on", "meaning"), [(f"`{name}`", _on(writers), meaning) for name, writers, meaning in METADATA])


def _on(writers: frozenset[str]) -> str:
    return "every event" if writers == EVERY else ", ".join(each for each in WRITERS if each in writers)


PARTS = (Part(PAGE, "metadata", metadata),)
