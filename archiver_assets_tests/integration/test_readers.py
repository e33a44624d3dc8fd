"""DuckDB, pyarrow and polars read an archived object as it lies: natural types where these are exact, and the values that went in.

What belongs here: readers that know nothing of the archiver. What does not: the archiver's own reader (`faults/test_reader.py`).
"""

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest

from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets_tests.lab import Lab, only

TABLE = """
CREATE TABLE kinds (
    id int PRIMARY KEY, at timestamptz NOT NULL, small smallint, big bigint, single real, dbl double precision, flag boolean, note text,
    amount numeric(18,4), large numeric(38,0), loose numeric, day date, local timestamp, who uuid, raw bytea, plain json, packed jsonb,
    tags text[]
);
INSERT INTO kinds VALUES
    (1, '2024-03-05 10:00:00.123456+02', -32768, 9223372036854775807, 0.5, 0.1, true, 'é"\n', -0.0001,
     99999999999999999999999999999999999999, 1.10, '1969-12-31', '2024-03-05 23:59:59.999999',
     'f47ac10b-58cc-4372-a567-0e02b2c3d479', '\\x00ff',
     '{"b":  1}', '{"b":  1.10}', '{a,NULL}'),
    (2, '2024-03-05 10:00+00', 0, 0, 0, 0, false, '', 0, 0, 0, '1970-01-01', '1970-01-01', '00000000-0000-0000-0000-000000000000', '',
     'null', 'null', '{}');
INSERT INTO kinds (id, at) VALUES (3, '2024-03-05 10:00+00')
"""
NOTHING = dict.fromkeys(
    ["small", "big", "single", "dbl", "flag", "note", "amount", "large", "loose", "day", "local", "who", "raw", "plain", "packed", "tags"]
)
NOON = datetime(2024, 3, 5, 10, tzinfo=UTC)
EXPECTED: list[dict[str, object]] = [
    {
        "id": 1,
        "at": datetime(2024, 3, 5, 8, 0, 0, 123456, tzinfo=UTC),
        "small": -32768,
        "big": 2**63 - 1,
        "single": 0.5,
        "dbl": 0.1,
        "flag": True,
        "note": 'é"\n',
        "amount": Decimal("-0.0001"),
        "large": Decimal(10**38 - 1),
        "loose": "1.10",
        "day": date(1969, 12, 31),
        "local": datetime(2024, 3, 5, 23, 59, 59, 999999),  # noqa: DTZ001 - a timestamp without zone
        "who": UUID("f47ac10b-58cc-4372-a567-0e02b2c3d479"),
        "raw": b"\x00\xff",
        "plain": '{"b":  1}',
        "packed": '{"b": 1.10}',
        "tags": "{a,NULL}",
    },
    {
        "id": 2,
        "at": NOON,
        "small": 0,
        "big": 0,
        "single": 0.0,
        "dbl": 0.0,
        "flag": False,
        "note": "",
        "amount": Decimal("0.0000"),
        "large": Decimal(0),
        "loose": "0",
        "day": date(1970, 1, 1),
        "local": datetime(1970, 1, 1),  # noqa: DTZ001 - a timestamp without zone
        "who": UUID(int=0),
        "raw": b"",
        "plain": "null",
        "packed": "null",
        "tags": "{}",
    },
    {"id": 3, "at": NOON, **NOTHING},
]
NAMES = list(EXPECTED[0])


def by_pyarrow(file: Path) -> tuple[list[dict[str, Any]], dict[str, str]]:
    table = pq.read_table(file, partitioning=None).sort_by("id")
    return table.to_pylist(), {field.name: str(field.type) for field in table.schema}


def by_duckdb(file: Path) -> tuple[list[dict[str, Any]], dict[str, str]]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        found = connection.execute("SELECT * FROM read_parquet(?) ORDER BY id", [str(file)])
        names, kinds = [each[0] for each in found.description or []], [str(each[1]) for each in found.description or []]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()], dict(zip(names, kinds, strict=True))


def by_polars(file: Path) -> tuple[list[dict[str, Any]], dict[str, str]]:
    frame = pl.read_parquet(file, hive_partitioning=False).sort("id")
    rows = frame.to_dicts()
    for row in rows:
        # polars knows no UUID, and gives its sixteen bytes.
        row["who"] = None if row["who"] is None else UUID(bytes=row["who"])
    return rows, {name: str(kind) for name, kind in frame.schema.items()}


KINDS = {
    "id": ("int32", "INTEGER", "Int32"),
    "at": ("timestamp[us, tz=UTC]", "TIMESTAMP WITH TIME ZONE", "Datetime(time_unit='us', time_zone='UTC')"),
    "small": ("int16", "SMALLINT", "Int16"),
    "big": ("int64", "BIGINT", "Int64"),
    "single": ("float", "FLOAT", "Float32"),
    "dbl": ("double", "DOUBLE", "Float64"),
    "flag": ("bool", "BOOLEAN", "Boolean"),
    "note": ("string", "VARCHAR", "String"),
    "amount": ("decimal128(18, 4)", "DECIMAL(18,4)", "Decimal(precision=18, scale=4)"),
    "large": ("decimal128(38, 0)", "DECIMAL(38,0)", "Decimal(precision=38, scale=0)"),
    "loose": ("string", "VARCHAR", "String"),
    "day": ("date32[day]", "DATE", "Date"),
    "local": ("timestamp[us]", "TIMESTAMP", "Datetime(time_unit='us', time_zone=None)"),
    "who": ("extension<arrow.uuid>", "UUID", "Binary"),
    "raw": ("binary", "BLOB", "Binary"),
    "plain": ("string", "VARCHAR", "String"),
    "packed": ("string", "VARCHAR", "String"),
    "tags": ("string", "VARCHAR", "String"),
    "_xmin": ("uint32", "UINTEGER", "UInt32"),
}
"""How each column comes out of pyarrow, which says how it is stored, of DuckDB, and of polars."""

READERS = (by_pyarrow, by_duckdb, by_polars)


@pytest.mark.parametrize("read", READERS)
def test_a_reader_that_knows_nothing_of_the_archiver_reads_the_values_in_natural_types(
    lab: Lab, tmp_path: Path, read: Callable[[Path], tuple[list[dict[str, Any]], dict[str, str]]]
) -> None:
    lab.execute(TABLE)
    archive(lab.task(table=lab.table(name="kinds", timestamp_column="at")))
    file = tmp_path / "rows.parquet"
    file.write_bytes(lab.content(only(lab.objects(), lambda key: key.endswith(".parquet"))))

    rows, kinds = read(file)

    assert [{name: row[name] for name in NAMES} for row in rows] == EXPECTED
    assert kinds == {name: each[READERS.index(read)] for name, each in KINDS.items()}


def test_the_docs_say_what_each_reader_makes_of_a_type() -> None:
    lines = (Path(__file__).parents[2] / "docs" / "reference" / "types.md").read_text().splitlines()
    expected = {f"| {' | '.join(f'`{kind}`' for kind in kinds)} |" for kinds in KINDS.values()}
    assert expected - set(lines) == set()
