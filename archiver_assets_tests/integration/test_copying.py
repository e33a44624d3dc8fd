"""A stored value, sent back by COPY or within an array, is the same value to the server, byte by byte."""

import threading
from collections.abc import Iterator

import psycopg
import pyarrow as pa
import pytest

from archiver_assets.source.catalog import read_table
from archiver_assets.source.copying import copy_rows
from archiver_assets.source.literals import to_array_text
from archiver_assets.source.reading import read_rows
from archiver_assets.source.session import open_snapshot
from archiver_assets.source.sql import Relation
from archiver_assets_tests.lab import DAY, Lab
from archiver_assets_tests.literal_values import VALUES

EVERY_CHARACTER = [
    "".join(map(chr, range(1, 0x300))),
    "\\.",
    "\n\\.\n",
    '"',
    '""',
    ",",
    "NULL",
    "\r\n",
    "\\N",
    "\U0010ffff",
    "x" * 1_000_000,
]


@pytest.mark.parametrize("kind", VALUES)
def test_every_value_comes_back_as_the_same_image(lab: Lab, kind: str) -> None:
    values: list[str | None] = [None, *VALUES[kind], None, *(EVERY_CHARACTER if kind == "text" else [])]
    lab.execute(f"CREATE TABLE typed (id int PRIMARY KEY, at timestamptz NOT NULL DEFAULT '2024-03-05 10:00+00', v {kind})")
    lab.execute(f"CREATE TABLE copied (id int, v {kind}); CREATE TABLE listed (id int, v {kind})")
    with psycopg.connect(lab.database.dsn) as connection:
        connection.cursor().executemany(f"INSERT INTO typed (id, v) VALUES (%s, %s::text::{kind})", list(enumerate(values)))
    task = lab.task(DAY, lab.table(name="typed", timestamp_column="at"))
    with task.source.connect() as session, open_snapshot(session, Relation("public", "typed")) as snapshot:
        table = read_table(session, task.table)
        rows = pa.Table.from_batches(read_rows(task.source, table, table.days(task.partition), snapshot.id)).combine_chunks()
    (batch,) = rows.to_batches()
    with task.source.connect() as session:
        for part in (batch, batch.slice(1), batch.slice(0, 0)):  # an offset, and nothing
            session.execute("TRUNCATE public.copied, public.listed")
            assert copy_rows(session, Relation("public", "copied"), ["v", "id"], [part]) == part.num_rows
            arrays = [to_array_text(part.column(name)) for name in ("id", "v")]
            if not kind.endswith("[]"):
                session.execute(f"INSERT INTO public.listed (id, v) SELECT * FROM unnest($1::int[], $2::{kind}[])", arrays)
            for target in ("copied", "listed"):
                found = session.execute(
                    f"SELECT count(*) AS n FROM public.{target} c JOIN public.typed t USING (id) WHERE record_image_eq(ROW(t.v), ROW(c.v))"
                ).fetchone()
                assert found == {"n": part.num_rows if target == "copied" or not kind.endswith("[]") else 0}


class Stopped(BaseException):
    """The run is cancelled here."""


def test_a_copy_that_is_stopped_while_rows_are_encoded_leaves_none_and_a_session_that_works(lab: Lab) -> None:
    lab.execute("CREATE TABLE copied (id int)")

    def rows() -> Iterator[pa.RecordBatch]:
        yield pa.record_batch({"id": pa.array(range(20_000), pa.int32())})
        raise Stopped

    before = threading.active_count()
    with lab.task().source.connect() as session:
        with pytest.raises(Stopped), session.transaction():
            copy_rows(session, Relation("public", "copied"), ["id"], rows())
        assert session.execute("SELECT count(*) AS n FROM public.copied").fetchone() == {"n": 0}
    assert threading.active_count() == before
