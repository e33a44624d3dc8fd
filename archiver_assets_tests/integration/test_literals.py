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
from archiver_assets_tests.literal_values import VALUES


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
