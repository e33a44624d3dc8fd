"""Whatever a table holds comes back the same: archived, purged, restored, and compared by the server alone, byte by byte."""

from itertools import count

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from psycopg import sql

from archiver_assets.demo.postgres import EmbeddedPostgres
from archiver_assets.lifecycle.archive import archive
from archiver_assets.lifecycle.purge import purge
from archiver_assets.lifecycle.restore import restore
from archiver_assets.lifecycle.restore_request import RestoreRequest
from archiver_assets_tests.lab import DAY, Lab, with_scratch
from archiver_assets_tests.servers import Database, PostgresServer
from archiver_assets_tests.tables import TYPES_TO_MAKE, MadeTable, every_type, tables

_NUMBERS = count()


def round_trip(lab: Lab, made: MadeTable, scratch: Database | None = None) -> None:
    """Make the table, archive it, let the server prove and purge it, restore it, and compare with a copy."""
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
    task = lab.task(DAY, lab.table(name=name, timestamp_column="at", primary_key=("n",), verification="restore"))
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


@pytest.fixture(name="typed")
def lab_with_types(lab: Lab) -> Lab:
    lab.execute(TYPES_TO_MAKE)
    return lab


def test_a_table_of_every_type_comes_back_as_it_was(typed: Lab) -> None:
    round_trip(typed, every_type())


def test_it_does_by_a_scratch_server_that_has_its_own_ideas_of_text(typed: Lab) -> None:
    ideas = {"DateStyle": "German", "IntervalStyle": "sql_standard", "TimeZone": "Asia/Tokyo", "extra_float_digits": "-5"}
    with EmbeddedPostgres(settings={**ideas, "bytea_output": "escape", "search_path": "public"}) as server:
        scratch = PostgresServer(server.dsn()).database("postgres")
        with psycopg.connect(scratch.dsn) as connection:
            connection.execute(TYPES_TO_MAKE)
        round_trip(typed, every_type(), scratch)


@given(made=tables())
@settings(
    max_examples=8,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_table_comes_back_as_it_was(typed: Lab, made: MadeTable) -> None:
    round_trip(typed, made)


def test_large_values_come_back_as_they_were(typed: Lab) -> None:
    megabyte = 'é\\"\n' * 250_000
    rows = tuple((megabyte + str(number), f'["{number}{"x" * 1_000_000}"]', "\\x" + "5c00ff22" * 250_000) for number in range(2))
    round_trip(typed, MadeTable((("t", "text"), ("j", "jsonb"), ("b", "bytea")), rows))
