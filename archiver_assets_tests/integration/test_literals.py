"""A stored value, sent back as input text, is the same value to the server, byte by byte."""

import psycopg
import pyarrow as pa
import pytest

from archiver_assets.source.catalog import read_table
from archiver_assets.source.literals import to_input_text
from archiver_assets.source.reading import read_rows
from archiver_assets.source.session import open_snapshot
from archiver_assets.source.sql import Relation
from archiver_assets_tests.lab import DAY, Lab

VALUES = {
    "boolean": ["true", "false"],
    "smallint": ["-32768", "32767"],
    "integer": ["-2147483648", "2147483647"],
    "bigint": ["-9223372036854775808", "9223372036854775807"],
    "real": ["0.1", "-0", "NaN", "Infinity", "-Infinity", "1e-45", "3.4028235e38"],
    "double precision": ["0.1", "-0", "NaN", "Infinity", "-Infinity", "5e-324", "1.7976931348623157e308", "1e15", "1e16", "123456789.123"],
    "numeric(18,4)": ["0", "-0.0001", "99999999999999.9999"],
    "numeric(38,10)": ["-9999999999999999999999999999.9999999999", "0.0000000001"],
    "numeric(5,5)": ["0.00001", "-0.99999"],
    "text": ["", "a'b\"c\\d", "line\nline\r\t", "Ünïcödé 😀", "NULL", "{a,b}"],
    "varchar(9)": ["", "  a  "],
    "char(5)": ["", "a", "abcde"],
    "name": ["a name"],
    "json": ['{"b": 1,   "a": [1.10, null]}', "null"],
    "jsonb": ['{"b": 1, "a": [1.10, 1e2]}', "null"],
    "bytea": [r"\x", r"\x00ff", r"\x5c"],
    "uuid": ["00000000-0000-0000-0000-000000000000", "f47ac10b-58cc-4372-a567-0e02b2c3d479"],
    "date": ["4714-11-24 BC", "0001-12-31 BC", "0001-01-01", "1969-12-31", "2024-02-29", "9999-12-31", "10000-01-01", "5874897-12-31"],
    "timestamp": ["4714-11-24 00:00:00 BC", "0044-03-15 23:59:59.999999 BC", "1969-12-31 23:59:59.999999", "294246-01-01 00:00:00.000001"],
    "timestamptz": ["4714-11-24 00:00:00+00 BC", "0001-01-01 00:00:00+00", "2024-03-31 02:30:00+02", "294246-01-01 00:00:00.000001+00"],
    "inet": ["10.0.0.1", "::1/64"],
    "text[]": ['{a,NULL,"b c"}', "[2:3]={x,y}", "{}", "{{a,b},{c,d}}"],
    "numeric": ["NaN", "Infinity", "1.00", "1e-20", "1e400"],
    "interval": ["1 mon -2 days 03:04:05.000006"],
    "time": ["24:00"],
    "int4range": ["empty", "[1,5)"],
}


@pytest.mark.parametrize("kind", VALUES)
def test_every_value_comes_back_as_the_same_image(lab: Lab, kind: str) -> None:
    values = [*VALUES[kind], None]
    lab.execute(f"CREATE TABLE typed (id int PRIMARY KEY, at timestamptz NOT NULL DEFAULT '2024-03-05 10:00+00', v {kind})")
    with psycopg.connect(lab.database.dsn) as connection:
        connection.cursor().executemany(f"INSERT INTO typed (id, v) VALUES (%s, %s::text::{kind})", list(enumerate(values)))
    task = lab.task(DAY, lab.table(name="typed", timestamp_column="at"))
    with task.source.connect() as session, open_snapshot(session, Relation("public", "typed")) as snapshot:
        table = read_table(session, task.table)
        rows = pa.Table.from_batches(read_rows(task.source, table, table.days(task.partition), snapshot.id)).combine_chunks()
        (batch,) = rows.to_batches()
        given = to_input_text(batch.column("v"))
        for row, text in zip(batch.column("id").to_pylist(), given, strict=True):
            found = session.execute(
                f"SELECT record_image_eq(ROW(t.v), ROW($2::text::{kind})) AS same FROM public.typed t WHERE id = $1", [row, text]
            ).fetchone()
            assert found == {"same": True}, (values[row], text)


def test_an_arrow_type_that_is_not_stored_has_no_text() -> None:
    with pytest.raises(TypeError, match="list"):
        to_input_text(pa.array([[1]]))
