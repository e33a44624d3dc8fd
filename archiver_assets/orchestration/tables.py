"""Results of the lifecycle as tables in Dagster's UI.

What belongs here: their rows and columns. What does not: the plain numbers beside them (`metadata.py`).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import dagster as dg

from archiver_assets.config import Hold
from archiver_assets.lifecycle.purging.dry_purge import DryPurge
from archiver_assets.lifecycle.purging.purge import Purged
from archiver_assets.lifecycle.verifying.object_content import Comparison
from archiver_assets.source.deleting import Deleted
from archiver_assets.source.findings import Finding

Cell = str | int | float | bool


def table(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> dg.MetadataValue:
    """Return a table of these columns; each row has a cell for each of them."""
    records = [dg.TableRecord(dict(zip(columns, row, strict=True))) for row in rows]
    return dg.MetadataValue.table(records, dg.TableSchema([dg.TableColumn(name) for name in columns]))


def holds_table(holds: Sequence[Hold], held_by: Sequence[int]) -> dg.MetadataValue:
    """Return the holds in force, and how many rows each keeps, some of them perhaps together with others."""
    rows = zip(holds, held_by or [0] * len(holds), strict=True)
    return table(["id", "rows held", "reason", "requestor"], [(hold.id, count, hold.reason, hold.requestor or "") for hold, count in rows])


def purge_report(purged: Purged) -> dg.MetadataValue:
    """Return what became of the rows of a day."""
    tally = purged.tally
    return table(
        ["what", "number"],
        [
            *_fates(tally.rows, "purged"),
            ("rows locked by others: left to the next purge", tally.rows.locked),
            *_stay(purged.late, purged.held, _by_hold(purged.holds, purged.held_by)),
            ("batches", tally.batches),
            ("leaves dropped", len(purged.dropped)),
            ("bytes that new rows can use (0: not vacuumed)", purged.vacuumed.bytes_reusable),
        ],
    )


def dry_purge_report(dry: DryPurge) -> dg.MetadataValue:
    """Return what would become of the rows of a day."""
    fates = _fates(dry.rows, "to be purged") if dry.rows else []
    kept = dry.kept
    stay = _stay(dry.late or 0, kept.held, _by_hold(kept.holds, kept.held_by)) if kept else []
    return table(["what", "number"], [*fates, ("rows locked by others: known only to a real purge", "unknown"), *stay])


def _fates(rows: Deleted, purged: str) -> list[tuple[str, Cell]]:
    return [
        (f"rows {purged}", rows.by_version + rows.by_content),
        ("… of them by version", rows.by_version),
        ("… of them by content, every column compared", rows.by_content),
        ("rows changed since the archive: they stay as late rows", rows.changed),
        ("rows already gone: deleted by others or by an earlier purge", rows.gone),
    ]


def _stay(late: int, held: int, by_hold: Mapping[str, int]) -> list[tuple[str, Cell]]:
    return [
        ("rows late: in the table, and in no purged generation", late),
        ("rows held", held),
        *((f"… of them by the hold {hold_id}", rows) for hold_id, rows in by_hold.items()),
    ]


def _by_hold(holds: Sequence[Hold], held_by: Sequence[int]) -> dict[str, int]:
    return {hold.id: rows for hold, rows in zip(holds, held_by or [0] * len(holds), strict=True)}


def comparisons_table(comparisons: Sequence[Comparison]) -> dg.MetadataValue:
    """Return what a verification compared, differences first; matching fields of the footer share one line."""
    differing = [(each.generation, each.what, "DIFFERS", each.expected, each.found) for each in comparisons if not each.same]
    same = [each for each in comparisons if each.same]
    rows = [(each.generation, each.what, "same", _short(each.expected), _short(each.found)) for each in same if not each.in_footer]
    footers = Counter(each.generation for each in same if each.in_footer)
    rows += [(number, "identity in its footer", "same", f"{fields} fields", f"{fields} fields") for number, fields in footers.items()]
    return table(["generation", "what", "result", "expected", "found"], [*differing, *sorted(rows, key=lambda row: row[0])])


_LONG = 24
"""Characters shown of a value that matches: whole digests and lists of columns would push the differences out of sight."""


def _short(text: str) -> str:
    return text if len(text) <= _LONG else f"{text[:_LONG]}…"


def findings_table(findings: Sequence[Finding]) -> dg.MetadataValue:
    """Return the obstacles to working on a table or a day, and the next steps."""
    return table(["finding", "stops", "what", "next step"], [(each.name, each.stopped, each.what, each.hint) for each in findings])
