"""Purging the day, and its limits: one DELETE by range, and one scan of a leaf's keys and xmins followed by its DROP.

What does not belong here: the database, which is created again for each run (`subjects/purge.py`). Arguments: `statement` or `scan`, or the
purge method and the prefix of the keys. Before the measurement, the day is read once and a checkpoint is written, so that all methods write
the same full pages to the WAL. The measurement of a purge starts at its mark, after reading back and verifying.
"""

import sys
from dataclasses import replace

from psycopg import sql

from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.purging.purge import purge
from archiver_assets.lifecycle.task import Step
from archiver_assets.source.catalog import Connection
from archiver_assets.source.session import Source
from archiver_assets_tests.benchmarks.measuring import Done, Meter, report_part
from archiver_assets_tests.benchmarks.methods.place import source, task
from archiver_assets_tests.benchmarks.workload import select_day

LEAF = sql.Identifier("public", "audit_logs_05")
_WAL = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint AS bytes"


class Clock:
    """The meter and the server's WAL position together."""

    def __init__(self, meter: Meter, database: Source) -> None:
        """Create the clock without starting it."""
        self.meter = meter
        self.wal = 0
        self._database = database

    def start(self) -> None:
        """Have the server write a checkpoint, then start measuring."""
        with self._database.connect() as connection:
            connection.execute("CHECKPOINT")
            self.wal = -_position(connection)
        self.meter.start()

    def stop(self) -> None:
        """Stop measuring."""
        self.meter.stop()
        with self._database.connect() as connection:
            self.wal += _position(connection)


def _position(connection: Connection) -> int:
    return sum(int(row["bytes"]) for row in connection.execute(_WAL))


def purged(meter: Meter, method: str, prefix: str) -> Done:
    """Archive the day, and purge it with the given purge method."""
    clock = Clock(meter, source())

    def note(step: Step) -> None:
        if step is Step.PURGE_MARKED:
            clock.start()
        if step is Step.UNLOCKED:
            clock.stop()

    day = replace(task(prefix, purge_method=method), reached=note)
    archive(day)
    found = purge(day)
    return Done(found.tally.purged, {"wal": clock.wal, "leaves": len(found.dropped)})


def deleted(meter: Meter) -> Done:
    """Delete the day's rows with one statement, and commit."""
    clock = Clock(meter, source())
    with source().connect() as connection:
        _drain(connection, sql.SQL(select_day()))
        clock.start()
        rows = connection.execute(sql.SQL(select_day().replace("SELECT *", "DELETE"))).rowcount
        clock.stop()
    return Done(rows, {"wal": clock.wal})


def scanned(meter: Meter) -> Done:
    """Read the keys and xmins of the day's leaf by binary COPY, discard them, and drop the leaf."""
    clock = Clock(meter, source())
    with source().connect() as connection:
        _drain(connection, sql.SQL(select_day()))
        clock.start()
        rows = _drain(connection, sql.SQL("SELECT id, created_at, xmin FROM {}").format(LEAF))
        connection.execute(sql.SQL("DROP TABLE {}").format(LEAF))
        clock.stop()
    return Done(rows, {"wal": clock.wal})


def _drain(connection: Connection, query: sql.Composable) -> int:
    cursor = connection.cursor()
    with cursor.copy(sql.SQL("COPY ({}) TO STDOUT (FORMAT binary)").format(query)) as copy:
        for _ in copy:
            pass
    return cursor.rowcount


if __name__ == "__main__":
    named = sys.argv[1]
    others = {"statement": deleted, "scan": scanned}
    report_part(lambda meter: others[named](meter) if named in others else purged(meter, named, sys.argv[2]))
