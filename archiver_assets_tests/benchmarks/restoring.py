"""Loading a day back into a table, beside the server's own COPY FROM of the same rows in binary form.

What belongs here: archiving the day once, then loading it by either way, by turns, into a new table with a primary key each time. What does
not: printing (`__main__.py`). Called as a program: the number of runs. The load is that of `restore` alone: reading back and verifying come
before it, the server's comparison after it, and both are left out; so is reading the binary file, which lies in the page cache.
"""

import json
import sys
import tempfile
import time
from dataclasses import asdict
from typing import IO

from psycopg import sql

from archiver_assets.lifecycle.archive import archive
from archiver_assets.lifecycle.restore import restore
from archiver_assets.lifecycle.restore_request import RestoreRequest
from archiver_assets.lifecycle.task import Step, Task
from archiver_assets.source.session import Source
from archiver_assets_tests.benchmarks.extraction import PARTITION, TABLE, source
from archiver_assets_tests.benchmarks.measuring import Window
from archiver_assets_tests.benchmarks.workload import select_day
from archiver_assets_tests.doubles import MemoryObjectStore

_RESTORED = sql.Identifier("public", "audit_logs_restored")
_CHUNK = 1 << 20


def loaded(task: Task) -> Window:
    """Restore into a new table; the window is that of the load."""
    times: dict[Step, float] = {}

    def note(step: Step) -> None:
        times[step] = time.time()

    _drop(task.source)
    rows = restore(Task(task.table, task.partition, task.source, task.store, "bench", reached=note), RestoreRequest()).tally.loaded
    return Window(rows, times[Step.READ_BACK], times[Step.ROWS_LOADED])


def copied(database: Source, file: IO[bytes]) -> Window:
    """COPY the binary file into a table that a restore has made, empty again."""
    file.seek(0)
    with database.connect() as connection:
        connection.execute(sql.SQL("TRUNCATE {}").format(_RESTORED))
        began = time.time()
        cursor = connection.cursor()
        with connection.transaction(), cursor.copy(sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(_RESTORED)) as copy:
            while chunk := file.read(_CHUNK):
                copy.write(chunk)
        return Window(cursor.rowcount, began, time.time())


def main(runs: int) -> list[tuple[Window, Window]]:
    """Return a pair for each run: the restore's load, and the server's COPY."""
    database = source()
    task = Task(TABLE, PARTITION, database, MemoryObjectStore(), "bench")
    archive(task)
    found = []
    with tempfile.TemporaryFile() as file:
        with database.connect() as connection, connection.cursor().copy(f"COPY ({select_day()}) TO STDOUT (FORMAT binary)") as copy:
            for chunk in copy:
                file.write(chunk)
        for _ in range(runs):
            found.append((loaded(task), copied(database, file)))
            print(f"restore {_seconds(found[-1][0]):.2f} s, COPY {_seconds(found[-1][1]):.2f} s", file=sys.stderr, flush=True)
    _drop(database)
    return found


def _seconds(window: Window) -> float:
    return window.ended - window.began


def _drop(database: Source) -> None:
    with database.connect() as connection:
        connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(_RESTORED))


if __name__ == "__main__":
    print(json.dumps([[asdict(each) for each in pair] for pair in main(int(sys.argv[1]))]))
