"""Values through `read_rows`, against what the server itself says of them.

Every value that was read is sent back as text and compared inside the server by `record_image_eq`, which compares bytes and not by the
type's own idea of equality (1.0 and 1.00, -0 and 0), and by its text. Dates and timestamps are compared as integers, because Python knows
no year before 1 or after 9999.
"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg
import pyarrow as pa
import pytest
from psycopg import sql as composed

from archiver_assets.config import DatabaseConfig, TableConfig
from archiver_assets.errors import ValueRefused
from archiver_assets.partition import Partition
from archiver_assets.source import sql
from archiver_assets.source.catalog import XMIN, Table, read_table
from archiver_assets.source.reading import read_rows
from archiver_assets.source.session import Source, open_snapshot
from archiver_assets_tests.conftest import fresh_database
from archiver_assets_tests.servers import Database, PostgresServer
from archiver_assets_tests.tables import REFUSED

PARTITION = Partition(date(2024, 3, 5), "UTC")
PASSWORD_VARIABLE = "READING_DB_PASSWORD"  # noqa: S105 - the name of a variable

TYPES = """
CREATE TYPE public.mood AS ENUM ('', 'so so', 'a,"b\\');
CREATE TYPE public.pair AS (a int, "b c" text);
CREATE DOMAIN public.small AS int CHECK (VALUE < 10);
CREATE DOMAIN public.label AS varchar(5)
"""

EXACT = {
    "boolean": ["true", "false"],
    "smallint": ["-32768", "32767", "0"],
    "integer": ["-2147483648", "2147483647"],
    "bigint": ["-9223372036854775808", "9223372036854775807", "9007199254740993"],
    "real": ["0", "-0", "NaN", "Infinity", "-Infinity", "1e-45", "3.4028235e38", "0.1", "16777217"],
    "double precision": ["0", "-0", "NaN", "Infinity", "-Infinity", "5e-324", "1.7976931348623157e308", "0.1", "9007199254740993"],
    "text": ["", " ", "NULL", "\\N", "a\"b'c", "a\r\nb\tc", "{}", "é\U0001f600\u0301", "\x01\x7f", "x" * 1_000_000],
    "character varying": ["", "NULL", " a "],
    "character varying(3)": ["", "abc", "äöü"],
    "character(5)": ["", "ab", "ab   ", "äöü"],
    "bpchar": ["", "a", "a  "],
    "name": ["", "x" * 63, 'A "b'],
    "json": ['{"a": 1,  "a":2.10}', " null ", r'"\u0000"', "1e999", "[]"],
    "jsonb": ['{"b": 1.10, "a": [null, true]}', "null", r'"\ud83d\ude00 \" \\"', "1e999", "{}", '""'],
    "bytea": ["", r"\x00", r"\x00ff0a5c27", r"\x" + "ab" * 100_000],
    "uuid": ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff", "01234567-89ab-cdef-0123-456789abcdef"],
    "numeric(18,4)": ["99999999999999.9999", "-99999999999999.9999", "0", "0.0001", "-0.0001", "1.1"],
    "numeric(12,2)": ["9999999999.99", "-0.01", "100000000", "10000.5", "0.1", "1000000.03"],
    "numeric(18,0)": ["9" * 18, "-" + "9" * 18, "100000000000000000", "-10000", "10001", "0"],
    "numeric(18,18)": ["0." + "9" * 18, "-0." + "0" * 17 + "1", "0.0001", "0"],
    "numeric(17,3)": ["99999999999999.999", "-10000000000000.001", "0.999", "12340000"],
    "numeric(19,0)": ["9" * 19, "-" + "9" * 19, "0"],
    "numeric(38,0)": ["9" * 38, "-" + "9" * 38, "0"],
    "numeric(38,38)": ["0." + "9" * 38, "-0." + "0" * 37 + "1"],
    "numeric(1,1)": ["0.9", "-0.9", "0"],
}
TEMPORAL = {
    "date": ["4714-11-24 BC", "0001-12-31 BC", "0001-01-01", "1969-12-31", "1970-01-01", "9999-12-31", "10000-01-01", "5874897-12-31"],
    "timestamp without time zone": [
        "4714-11-24 00:00:00 BC",
        "4713-01-01 00:00:00.000001 BC",
        "0001-12-31 23:59:59.999999 BC",
        "0001-01-01 00:00:00",
        "1969-12-31 23:59:59.999999",
        "1970-01-01 00:00:00",
        "9999-12-31 23:59:59.999999",
        "10000-01-01 00:00:00",
        "294246-12-31 23:59:59.999999",
        "294247-01-10 04:00:54.775807",
    ],
}
TEMPORAL["timestamp with time zone"] = [text.replace(" BC", "+00 BC") for text in TEMPORAL["timestamp without time zone"]]
AS_TEXT = {
    "numeric": ["NaN", "Infinity", "-Infinity", "1.10", "1.1", "0.000", "1e131071", "1e-16383", "-0.00000001"],
    "numeric(39,0)": ["9" * 39, "NaN"],
    "numeric(5,-2)": ["1234567", "NaN"],
    "numeric(3,5)": ["0.00999", "NaN"],
    "integer[]": ["{}", "{NULL}", "{1,NULL,3}", "{{1,2},{3,4}}", "[0:1]={1,2}", "[-1:0][5:6]={{1,2},{3,4}}", "{{{1}}}"],
    "text[]": ["{}", '{""}', '{NULL,"NULL","a,b","\\"","\\\\"," x ","{}"}', '[2:3]={"a",""}'],
    "numeric(18,4)[]": ["{NaN,1.1000}"],
    "timestamp with time zone[]": ["{infinity,-infinity,NULL}"],
    "bytea[]": [r'{"\\x00ff",""}'],
    "time without time zone": ["24:00:00", "00:00:00", "23:59:59.999999"],
    "time with time zone": ["24:00:00+15:59:59", "00:00:00-15:59:59", "12:00:00+05:30"],
    "interval": ["178000000 years", "-178000000 years", "1 mon -1 days +00:00:00.000001", "24 hours", "1 day", "0"],
    "inet": ["10.0.0.1", "10.0.0.1/8", "0.0.0.0/0", "::1", "::ffff:1.2.3.4/96"],
    "cidr": ["10.0.0.0/8", "::/0"],
    "macaddr": ["08:00:2b:01:02:03"],
    "macaddr8": ["08:00:2b:01:02:03:04:05"],
    "int4range": ["empty", "(,)", "[1,2)", "(,5)"],
    "numrange": ["[1.0,1.10]", "(,Infinity)"],
    "tstzrange": ['["2024-01-01 00:00:00+00",infinity)', '["0044-03-15 00:00:00+00 BC",)'],
    "int4multirange": ["{}", "{[1,2),[5,7)}"],
    "public.mood": ["", "so so", 'a,"b\\'],
    "public.mood[]": ['{"","so so",NULL}'],
    "public.pair": ["(,)", '(1,"")', '(-1,"a ""b"", ")'],
    "public.pair[]": ['{"(1,x)",NULL}'],
    "public.small": ["9", "-1"],
    "public.label": ["", "a b"],
    "bit(3)": ["101", "000"],
    "bit varying": ["", "1", "0000000001"],
    "money": ["-92233720368547758.08", "92233720368547758.07", "0"],
    "oid": ["4294967295", "2147483648", "0"],
    "xid": ["4294967295"],
    "xid8": ["18446744073709551615"],
    "tid": ["(4294967295,65535)"],
    "pg_lsn": ["FFFFFFFF/FFFFFFFF"],
    '"char"': ["", "a", "\\377"],
    "regclass": ["pg_class", "0"],
    "point": ["(0.1,-0)", "(NaN,Infinity)"],
    "line": ["{1,-1,0.1}"],
    "lseg": ["[(0,0),(0.1,1e300)]"],
    "box": ["(1,1),(0,0)"],
    "path": ["[(0,0),(1,1)]", "((0,0),(1,1))"],
    "polygon": ["((0,0),(1,1),(0,1))"],
    "circle": ["<(0.1,0.2),0.3>"],
    "xml": ['<a b="c">é</a>', "x<b/>", '<?xml version="1.0" encoding="UTF-8"?><a/>', ""],
    "tsvector": ["'a':1A 'b c':2", ""],
    "tsquery": ["'a' & !'b':*", ""],
    "jsonpath": ['$."a"[*]?(@ > 1)'],
    "int2vector": ["1 2", ""],
    "oidvector": ["4294967295 1"],
    "pg_snapshot": ["10:20:10,14,15"],
}


@dataclass(frozen=True)
class Place:
    """A database whose table `public.events` has a column `v` of the type under test, and rows of one day with it."""

    database: Database

    def make(self, pg_type: str, values: list[str]) -> None:
        """Insert a row for each value, then one with NULL; the ids count from 0."""
        with psycopg.connect(self.database.dsn) as connection:
            statement = composed.SQL("CREATE TABLE public.events (id int PRIMARY KEY, at timestamptz NOT NULL, v {})")
            connection.execute(statement.format(sql.trusted(pg_type)))
            insert = composed.SQL("INSERT INTO public.events VALUES (%s, '2024-03-05 12:00:00+00', %s::{})").format(sql.trusted(pg_type))
            connection.cursor().executemany(insert, enumerate([*values, None]))

    def server_version(self) -> int:
        """Return it as one number: 140023 is 14.23."""
        with psycopg.connect(self.database.dsn) as connection:
            return connection.info.server_version

    def source(self) -> Source:
        """Return the database as the archiver knows it."""
        database = self.database
        config = DatabaseConfig(
            name="place",
            host=database.host,
            port=database.port,
            user=database.user,
            password_env=PASSWORD_VARIABLE,
            database=database.name,
            tables=(table_config(),),
        )
        return Source(config, {PASSWORD_VARIABLE: database.password})

    def read(self, config: TableConfig) -> tuple[Table, pa.Table]:
        """Read the day's rows in the order of their ids."""
        source, relation = self.source(), sql.Relation(config.schema_name, config.name)
        with source.connect() as connection, open_snapshot(connection, relation) as snapshot:
            table = read_table(connection, config)
            with closing(read_rows(source, table, table.days(PARTITION), snapshot.id)) as batches:
                return table, pa.Table.from_batches(batches, table.schema).sort_by(config.primary_key[0])

    def differing(self, pg_type: str, stored: pa.Table) -> list[Any]:
        """Return the rows of which the server says that the value read is not, byte for byte, the one that it has."""
        same = f"record_image_eq(ROW(v), ROW($1::{pg_type})) AND v::text IS NOT DISTINCT FROM $1::{pg_type}::text"
        statement = f"SELECT v::text AS had, $1::{pg_type}::text AS read FROM public.events WHERE id = $2 AND NOT ({same})"
        found: list[Any] = []
        with self.source().connect() as connection:
            for number, value in zip(stored["id"].to_pylist(), stored["v"].to_pylist(), strict=True):
                found += connection.execute(statement, [as_text(value), number]).fetchall()
        return found


def as_text(value: object) -> str | None:
    """Return a value as text that the server reads as the very same."""
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    if isinstance(value, Decimal):
        return format(value, "f")
    if value is None or isinstance(value, str | UUID | int | float):
        return None if value is None else str(value)
    raise TypeError(type(value))


def table_config(**changes: object) -> TableConfig:
    values = {"database": "place", "name": "events", "timestamp_column": "at", "primary_key": ("id",), "retention_days": 30} | changes
    return TableConfig.model_validate(values)


@pytest.fixture(scope="module")
def kept(postgres_server: PostgresServer) -> Iterator[Database]:
    """A database for all of these tests: each makes its table anew."""
    with fresh_database(postgres_server) as made:
        with psycopg.connect(made.dsn) as connection:
            connection.execute(TYPES)
        yield made


@pytest.fixture
def place(kept: Database) -> Place:
    with psycopg.connect(kept.dsn) as connection:
        connection.execute("DROP TABLE IF EXISTS public.events")
    return Place(kept)


def sent_integers(place: Place, pg_type: str) -> Iterator[int | None]:
    """Yield the integers that the server itself sends, counted from 1970 and not from 2000 (`extract` would round the largest)."""
    send, since_2000 = {
        "date": ("date_send", 10_957),
        "timestamp without time zone": ("timestamp_send", 946_684_800_000_000),
        "timestamp with time zone": ("timestamptz_send", 946_684_800_000_000),
    }[pg_type]
    with place.source().connect() as connection:
        for row in connection.execute(f"SELECT {send}(v) AS sent FROM public.events ORDER BY id"):
            yield None if row["sent"] is None else int.from_bytes(row["sent"], "big", signed=True) + since_2000


@pytest.mark.parametrize("pg_type", EXACT)
def test_an_exact_type_comes_through_byte_for_byte(place: Place, pg_type: str) -> None:
    place.make(pg_type, EXACT[pg_type])

    table, stored = place.read(table_config())

    assert table.columns[-1].arrow_type is not None
    assert stored.num_rows == len(EXACT[pg_type]) + 1
    assert stored["v"].null_count == 1
    assert place.differing(pg_type, stored) == []


@pytest.mark.parametrize("pg_type", TEMPORAL)
def test_dates_and_timestamps_are_the_integers_that_the_server_counts(place: Place, pg_type: str) -> None:
    place.make(pg_type, TEMPORAL[pg_type])

    table, stored = place.read(table_config())

    integer = pa.int32() if pg_type == "date" else pa.int64()
    assert table.columns[-1].arrow_type is not None
    assert stored["v"].cast(integer).to_pylist() == list(sent_integers(place, pg_type))


@pytest.mark.parametrize("pg_type", AS_TEXT)
def test_any_other_type_travels_as_the_server_s_own_text(place: Place, pg_type: str) -> None:
    if pg_type in {"numeric(5,-2)", "numeric(3,5)"} and place.server_version() < 150_000:
        pytest.skip("PostgreSQL 14 knows no scale below 0 or above the precision")
    place.make(pg_type, AS_TEXT[pg_type])

    table, stored = place.read(table_config())

    assert table.columns[-1].arrow_type is None
    assert stored["v"].type == pa.string()
    assert stored["v"].null_count == 1
    assert place.differing(pg_type, stored) == []


@pytest.mark.parametrize(("pg_type", "value"), [(pg_type, value) for pg_type, values in REFUSED.items() for value in values])
def test_a_value_that_its_stored_type_cannot_hold_is_refused_unless_stored_as_text(place: Place, pg_type: str, value: str) -> None:
    possible = {"date": "2024-01-01", "numeric(18,4)": "1", "numeric(38,0)": "1"}.get(pg_type, "2024-01-01 00:00:00+00")
    place.make(pg_type, [possible, value, possible])

    with pytest.raises(ValueRefused, match=r"column 'v' of place/public/events.*\n.*\{v: \{store_as: text\}\}"):
        place.read(table_config())
    _, stored = place.read(table_config(columns={"v": {"store_as": "text"}}))

    assert stored.num_rows == 4
    assert place.differing(pg_type, stored) == []


@pytest.mark.parametrize("pg_type", [*EXACT, *TEMPORAL])
def test_an_exact_type_may_be_stored_as_text_too(place: Place, pg_type: str) -> None:
    place.make(pg_type, (EXACT | TEMPORAL)[pg_type])

    _, stored = place.read(table_config(columns={"v": {"store_as": "text"}}))

    assert stored["v"].type == pa.string()
    assert place.differing(pg_type, stored) == []


def test_the_empty_string_is_not_null(place: Place) -> None:
    place.make("text", ["", "NULL"])

    _, stored = place.read(table_config())

    assert stored["v"].to_pylist() == ["", "NULL", None]


def test_the_role_s_own_settings_change_no_text(database: Database) -> None:
    place = Place(database)
    place.make("interval", ["1 year 2 days"])
    with psycopg.connect(place.database.dsn) as connection:
        for setting in ("IntervalStyle = iso_8601", "DateStyle = 'German, DMY'", "TimeZone = 'Asia/Kolkata'", "bytea_output = escape"):
            statement = f"ALTER DATABASE {place.database.name} SET {setting}"
            connection.execute(statement)

    _, stored = place.read(table_config())

    assert stored["v"].to_pylist() == ["1 year 2 days", None]


@pytest.mark.parametrize(
    "name", ['Sch"e%s', " $1 ? ", "Übung %(x)s 試", "UPPER", "select", "back\\slash'", "é" * 31 + "x", "t", "{}", "a.b"]
)
def test_names_are_taken_as_they_are(place: Place, name: str) -> None:
    statement = """
        CREATE SCHEMA {name};
        CREATE TABLE {name}.{name} ({key} int PRIMARY KEY, {name} timestamptz NOT NULL, {value} inet)
    """
    key, value = (name[:-1] + last if len(name.encode()) == 63 else name + last for last in "kv")
    names = {part: composed.Identifier(text) for part, text in {"name": name, "key": key, "value": value}.items()}
    with psycopg.connect(place.database.dsn) as connection:
        connection.execute(composed.SQL(statement).format(**names))
        insert = composed.SQL("INSERT INTO {name}.{name} VALUES (1, '2024-03-05 01:00:00+00', '::1')").format(**names)
        connection.execute(insert)

    config = table_config(schema_name=name, name=name, timestamp_column=name, primary_key=(key,))
    _, stored = place.read(config)

    assert stored.column_names == [key, name, value, XMIN]
    assert stored[value].to_pylist() == ["::1/128"]


@pytest.mark.parametrize("pg_type", ["timestamptz", "timestamp", "date"])
def test_a_day_begins_with_its_first_instant_and_ends_before_the_next_one(place: Place, pg_type: str) -> None:
    instants = ["2024-03-04 23:59:59.999999", "2024-03-05 00:00:00", "2024-03-05 23:59:59.999999", "2024-03-06 00:00:00", "infinity"]
    with psycopg.connect(place.database.dsn) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"CREATE TABLE public.events (id int PRIMARY KEY, at {pg_type})")
        insert = f"INSERT INTO public.events SELECT n, at::{pg_type} FROM unnest(%s::text[]) WITH ORDINALITY AS e(at, n)"
        connection.execute(insert, [[*instants, None]])

    _, stored = place.read(table_config())

    assert stored["id"].to_pylist() == [2, 3]


def test_every_row_comes_with_its_own_xmin(place: Place) -> None:
    place.make("int", ["1", "2"])
    with psycopg.connect(place.database.dsn) as connection:
        connection.execute("UPDATE public.events SET v = 3 WHERE id = 1")
        expected = connection.execute("SELECT xmin::text::bigint FROM public.events ORDER BY id").fetchall()

    _, stored = place.read(table_config())

    assert [(xmin,) for xmin in stored[XMIN].to_pylist()] == expected


def test_rows_that_come_after_the_snapshot_are_not_read(place: Place) -> None:
    place.make("int", ["1"])
    source = place.source()
    with source.connect() as connection, open_snapshot(connection, sql.Relation("public", "events")) as snapshot:
        table = read_table(connection, table_config())
        with psycopg.connect(place.database.dsn) as other:
            other.execute("UPDATE public.events SET v = 7")
            other.execute("INSERT INTO public.events VALUES (9, '2024-03-05 12:00:00+00', 9)")
        with closing(read_rows(source, table, table.days(PARTITION), snapshot.id)) as batches:
            read = pa.Table.from_batches(batches, table.schema)

    assert sorted(read["id"].to_pylist()) == [0, 1]
    assert set(read["v"].to_pylist()) == {1, None}


def test_large_values_come_in_batches_bounded_by_bytes(place: Place) -> None:
    place.make("text", ["x" * 1_000_000] * 30)

    _, stored = place.read(table_config())

    assert stored.num_rows == 31
    assert max(batch.nbytes for batch in _batches(place)) < 8 * 1024 * 1024


def test_a_day_without_rows_has_no_batch_with_rows(place: Place) -> None:
    place.make("text", [])
    with psycopg.connect(place.database.dsn) as connection:
        connection.execute("DELETE FROM public.events")

    assert sum(batch.num_rows for batch in _batches(place)) == 0


def _batches(place: Place) -> list[pa.RecordBatch]:
    source = place.source()
    with source.connect() as connection, open_snapshot(connection, sql.Relation("public", "events")) as snapshot:
        table = read_table(connection, table_config())
        with closing(read_rows(source, table, table.days(PARTITION), snapshot.id)) as batches:
            return list(batches)
