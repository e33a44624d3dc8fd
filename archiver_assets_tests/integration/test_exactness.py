"""Whatever a table holds comes back the same: archived, purged, restored, and compared by the server alone, byte by byte."""

import os

import psycopg
import pytest

from archiver_assets.demo.postgres import EmbeddedPostgres
from archiver_assets.errors import TableRefused, ValueRefused
from archiver_assets_tests import types_table
from archiver_assets_tests.lab import Lab
from archiver_assets_tests.round_trips import make_extensions, round_trip, round_trip_by
from archiver_assets_tests.servers import PostgresServer
from archiver_assets_tests.tables import REFUSED, TYPES_TO_MAKE, MadeTable, any_tables, table_of

RANDOM_TABLES = int(os.environ.get("RANDOM_TABLES", "600"))
"""How many tables the long run makes, at about a second each."""


@pytest.fixture(name="typed")
def lab_with_types(lab: Lab) -> Lab:
    lab.execute(TYPES_TO_MAKE)
    return lab


def test_a_table_of_every_type_comes_back_as_it_was(typed: Lab) -> None:
    round_trip(typed, table_of())


def test_it_does_by_a_scratch_server_that_has_its_own_ideas_of_text(typed: Lab) -> None:
    ideas = {"DateStyle": "German", "IntervalStyle": "sql_standard", "TimeZone": "Asia/Tokyo", "extra_float_digits": "-5"}
    with EmbeddedPostgres(settings={**ideas, "bytea_output": "escape", "search_path": "public"}) as server:
        scratch = PostgresServer(server.dsn()).database("postgres")
        with psycopg.connect(scratch.dsn) as connection:
            connection.execute(TYPES_TO_MAKE)
        round_trip_by(typed, table_of(), scratch)


def test_types_of_extensions_come_back_as_they_were(lab: Lab) -> None:
    samples = make_extensions(lab)
    if not samples:
        pytest.skip("the server under test has none of the extensions")
    round_trip(lab, table_of(samples))


def test_values_that_are_refused_come_back_as_they_were_where_they_are_stored_as_text(lab: Lab) -> None:
    made = table_of(REFUSED)
    with pytest.raises(ValueRefused, match=r"store_as: text"):
        round_trip(lab, made)
    round_trip(lab, made, columns={name: {"store_as": "text"} for name, _ in made.columns})


@pytest.mark.parametrize("kind", ["pg_node_tree", "gtsvector[]", "public.code", "public.short_code"])
def test_a_type_of_which_nothing_can_be_restored_is_refused_before_the_first_row(typed: Lab, kind: str) -> None:
    with pytest.raises(TableRefused, match="'0 "):
        round_trip(typed, MadeTable(((f"0 {kind}", kind),), ((None,),)))


@any_tables(8)
def test_any_table_comes_back_as_it_was(typed: Lab, made: MadeTable) -> None:
    round_trip(typed, made)


@pytest.mark.torture
@pytest.mark.timeout(0)
@any_tables(RANDOM_TABLES)
def test_any_of_many_tables_comes_back_as_it_was(typed: Lab, made: MadeTable) -> None:
    round_trip(typed, made)


def test_the_docs_list_every_type_as_it_is_stored(postgres_dsn: str) -> None:
    with psycopg.connect(postgres_dsn) as connection:
        if connection.info.server_version // 10_000 != types_table.MAJOR:
            pytest.skip("the docs are made from the types of the server that comes with the package")
    text = types_table.FILE.read_text()
    assert types_table.write(postgres_dsn, text) == text, "expected what `make docs` writes"


def test_large_values_come_back_as_they_were(typed: Lab) -> None:
    megabyte = 'é\\"\n' * 250_000
    rows = tuple((megabyte + str(number), f'["{number}{"x" * 1_000_000}"]', "\\x" + "5c00ff22" * 250_000) for number in range(2))
    round_trip(typed, MadeTable((("t", "text"), ("j", "jsonb"), ("b", "bytea")), rows))
