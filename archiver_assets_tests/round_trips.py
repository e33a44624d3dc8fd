"""A table's whole way, out of the server and back, with the comparison left to the server alone and never to a decoder of ours.

What belongs here: making a table of given values, the way, the comparison. What does not: which values (`tables.py`).
"""

from itertools import count

import psycopg
from psycopg import sql

from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.purging.purge import purge
from archiver_assets.lifecycle.restoring.request import RestoreRequest
from archiver_assets.lifecycle.restoring.restore import restore
from archiver_assets_tests.lab import DAY, Lab, with_scratch
from archiver_assets_tests.servers import Database
from archiver_assets_tests.tables import OF_EXTENSIONS, MadeTable

_NUMBERS = count()


def round_trip(lab: Lab, made: MadeTable, **config: object) -> None:
    """Make the table, archive it, let the server prove and purge it, restore it, and let it compare with a copy, byte by byte."""
    round_trip_by(lab, made, None, **config)


def round_trip_by(lab: Lab, made: MadeTable, scratch: Database | None, **config: object) -> None:
    """Go the same way, with the proof before the purge in a scratch database if there is one."""
    with psycopg.connect(lab.database.dsn) as connection:
        made = made.on(connection.info.server_version)
    name = f"made_{next(_NUMBERS)}"
    table, columns = sql.Identifier("public", name), [sql.Identifier(each) for each, _ in made.columns]
    fields = [sql.SQL("{} {}").format(sql.Identifier(each), sql.SQL(kind)) for each, kind in made.columns]
    # A dropped column, so that numbers and positions differ; an identity; a generated column.
    create = sql.SQL(
        "CREATE TABLE {} (gone int, n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "
        "at timestamptz NOT NULL DEFAULT '2024-03-05 10:00+00', {}, twice bigint GENERATED ALWAYS AS (n * 2) STORED)"
    ).format(table, sql.SQL(", ").join(fields))
    # Not by way of text: its cast to regclass takes names only.
    values = [sql.SQL(f"${number}::{kind}") for number, (_, kind) in enumerate(made.columns, start=1)]
    insert = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(table, sql.SQL(", ").join(columns), sql.SQL(", ").join(values))
    with psycopg.connect(lab.database.dsn, options="-c xmloption=content") as connection:
        connection.execute(create)
        connection.execute(sql.SQL("ALTER TABLE {} DROP gone").format(table))
        psycopg.RawCursor(connection).executemany(insert, made.rows)
        connection.execute(sql.SQL("CREATE TABLE {} AS SELECT * FROM {}").format(sql.Identifier(f"{name}_before"), table))
    task = lab.task(DAY, lab.table(name=name, timestamp_column="at", primary_key=("n",), verification="restore", **config))
    task = with_scratch(task, scratch) if scratch else task
    archive(task)
    assert purge(task).tally.purged == len(made.rows)
    for target in (None, name):
        restore(task, RestoreRequest(table_name=target))
        assert same_rows(lab, target or f"{name}_restored", f"{name}_before", made) == len(made.rows)


def same_rows(lab: Lab, one: str, other: str, made: MadeTable) -> int:
    """Let the server count the rows that two tables have in common: by their images, and by the text of each column."""
    columns = [sql.Identifier(each) for each in ("n", "at", *(each for each, _ in made.columns), "twice")]
    same = [sql.SQL("a.{0}::text IS NOT DISTINCT FROM b.{0}::text").format(column) for column in columns]
    images = [
        sql.SQL("ROW({})").format(sql.SQL(", ").join(sql.SQL("{}.{}").format(sql.SQL(each), column) for column in columns)) for each in "ab"
    ]
    statement = sql.SQL("SELECT count(*) FROM {} a JOIN {} b USING (n) WHERE {} AND record_image_eq({}, {})").format(
        sql.Identifier(one), sql.Identifier(other), sql.SQL(" AND ").join(same), *images
    )
    with psycopg.connect(lab.database.dsn) as connection:
        row = connection.execute(statement).fetchone()
    assert row is not None
    return int(row[0])


def make_extensions(lab: Lab) -> dict[str, list[str]]:
    """Create the extensions that the server has, and return the sample values of their types."""
    there = {str(name) for (name,) in lab.execute("SELECT name FROM pg_available_extensions")} & OF_EXTENSIONS.keys()
    for name in sorted(there):
        lab.execute(f"CREATE EXTENSION {name} SCHEMA public")
    return {kind: values for name in sorted(there) for kind, values in OF_EXTENSIONS[name].items()}
