"""Loading rows into a new table: by a restore, or by the server's own binary COPY FROM into a table of the same shape.

What does not belong here: preparing the rows as a file and as an object (`subjects/restore.py`). Arguments: `restore` and the prefix of the
keys, or `copy` and the file. Of a restore, only the load is measured, without reading back and verifying before it and the server's
comparison after it. The file is in the page cache.
"""

import sys
from dataclasses import replace
from pathlib import Path

from psycopg import sql

from archiver_assets.lifecycle.restoring.request import RestoreRequest
from archiver_assets.lifecycle.restoring.restore import restore
from archiver_assets.lifecycle.task import Step
from archiver_assets_tests.benchmarks.measuring import Done, Meter, report_part
from archiver_assets_tests.benchmarks.methods.place import source, task

RESTORED = sql.Identifier("public", "audit_logs_restored")
COPIED = sql.Identifier("public", "audit_logs_copied")
_CHUNK = 1 << 20


def loaded(meter: Meter, prefix: str) -> Done:
    """Restore into a new table, `audit_logs_restored`."""

    def note(step: Step) -> None:
        if step is Step.READ_BACK:
            meter.start()
        if step is Step.ROWS_LOADED:
            meter.stop()

    day = replace(task(prefix), reached=note)
    with day.source.connect() as connection:
        connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(RESTORED))
    return Done(restore(day, RestoreRequest()).tally.loaded)


def copied(meter: Meter, path: Path) -> Done:
    """COPY the binary file into a new table with the shape that a restore creates."""
    with source().connect() as connection, path.open("rb") as file:
        connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(COPIED))
        connection.execute(sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING ALL)").format(COPIED, RESTORED))
        cursor = connection.cursor()
        meter.start()
        with connection.transaction(), cursor.copy(sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(COPIED)) as copy:
            while chunk := file.read(_CHUNK):
                copy.write(chunk)
        meter.stop()
        return Done(cursor.rowcount)


if __name__ == "__main__":
    method, where = sys.argv[1:]
    report_part(lambda meter: loaded(meter, where) if method == "restore" else copied(meter, Path(where)))
