"""What PostgreSQL says of rows that it does not take quotes them; what becomes of it here does not, nor does any error behind it.

The server is real, and each of these messages is one of its own.
"""

import traceback
from collections.abc import Iterator

import psycopg
import pytest

from archiver_assets.errors import ArchiverError, NotRestored, SourceError
from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.purging.purge import purge
from archiver_assets.lifecycle.restoring.request import Drift, RestoreRequest, Triggers
from archiver_assets.lifecycle.restoring.restore import restore
from archiver_assets.source import session
from archiver_assets.source.catalog import read_table
from archiver_assets.source.reading import read_rows
from archiver_assets.source.session import open_snapshot
from archiver_assets.source.sql import Relation
from archiver_assets_tests.lab import Lab

VALUE = "a-persons-name-7d1f4c"
TARGET = "CREATE TABLE target (LIKE audit_logs INCLUDING DEFAULTS INCLUDING IDENTITY INCLUDING CONSTRAINTS INCLUDING INDEXES);"
RAISING = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'no row % here', NEW.action USING ERRCODE = '{sqlstate}', DETAIL = NEW.action, HINT = NEW.action; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON target FOR EACH ROW EXECUTE FUNCTION refuse();
"""
REFUSING = {
    "a unique constraint": "ALTER TABLE target ADD CONSTRAINT one_action UNIQUE (action); INSERT INTO target SELECT * FROM other;",
    "a check": "ALTER TABLE target ADD CONSTRAINT no_names CHECK (action NOT LIKE 'a-%');",
    "a null": "UPDATE target SET actor = NULL; ALTER TABLE target ALTER address SET NOT NULL;",
    "a foreign key": "CREATE TABLE actions (action text PRIMARY KEY); ALTER TABLE target ADD FOREIGN KEY (action) REFERENCES actions;",
    "a type": "ALTER TABLE target ALTER action TYPE integer USING 0;",
    "a length": "ALTER TABLE target ALTER action TYPE varchar(3);",
    "a cast": "CREATE DOMAIN short AS text CHECK (length(VALUE) < 4); ALTER TABLE target ALTER action TYPE short;",
    "a function": RAISING.format(sqlstate="P0001"),
    "a function with a state of another": RAISING.format(sqlstate="42501"),
}


@pytest.fixture(name="refusing", params=REFUSING)
def refusing_lab(request: pytest.FixtureRequest, lab: Lab) -> Lab:
    """A day that is archived and purged, and a table that does not take its rows."""
    lab.fill(rows=2)
    lab.execute("UPDATE audit_logs SET action = %s, address = NULL", [VALUE])
    lab.execute("CREATE TABLE other AS SELECT * FROM audit_logs; UPDATE other SET id = id + 100; DELETE FROM other WHERE id > 101")
    lab.execute(TARGET)
    lab.execute(REFUSING[request.param])
    archive(lab.task())
    return lab


def everything_said(error: BaseException) -> str:
    """Return the error and all errors behind it, as a trace shows them and as `repr` does."""
    return "\n".join([*traceback.format_exception(error), *map(repr, causes(error))])


def causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def refusal(lab: Lab) -> ArchiverError:
    request = RestoreRequest(table_name="target", drift=Drift.by_name, triggers=Triggers.fire)
    with pytest.raises(ArchiverError) as failure:
        restore(lab.task(), request)
    return failure.value


def test_a_restore_says_what_refused_the_rows_and_quotes_none(refusing: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    error = refusal(refusing)
    assert isinstance(error, NotRestored | SourceError)
    assert any(isinstance(each, psycopg.Error) for each in causes(error))
    assert VALUE not in everything_said(error)

    monkeypatch.setattr(session, "hush", lambda _error: None)
    assert VALUE in everything_said(refusal(refusing)), "there was nothing to hide"


def test_a_purge_that_another_table_forbids_quotes_no_key(lab: Lab) -> None:
    lab.fill(rows=2)
    archive(lab.task())
    lab.execute("CREATE TABLE referring (log bigint REFERENCES audit_logs (id)); INSERT INTO referring SELECT max(id) FROM audit_logs")
    (key,) = lab.execute("SELECT max(id) FROM audit_logs")[0]
    with pytest.raises(SourceError) as failure:
        purge(lab.task(table=lab.table(accepted_risks=("inbound_foreign_key",))))
    assert "referring" in failure.value.message
    assert f"({key})" not in everything_said(failure.value)
    assert lab.count() == 2


CASTING = """
CREATE FUNCTION shown(pair) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN ($1).first::integer; END $$;
CREATE CAST (pair AS text) WITH FUNCTION shown(pair);
"""


def test_a_reader_that_meets_a_value_quotes_it_in_none_of_the_errors_behind_it(lab: Lab) -> None:
    """The driver's error has another one behind it, of the stream that it reads, with the server's words.

    A cast of its own is refused, if it is there in time; what PostgreSQL 18 computes as it reads (GENERATED ... VIRTUAL) is not.
    """
    lab.fill(rows=2)
    lab.execute("CREATE TYPE pair AS (first text); ALTER TABLE audit_logs ADD part pair")
    lab.execute("UPDATE audit_logs SET part = ROW(%s)::pair", [VALUE])
    task = lab.task()
    with task.source.connect() as connection, open_snapshot(connection, Relation("public", "audit_logs")) as snapshot:
        table = read_table(connection, task.table)
        lab.execute(CASTING)
        with pytest.raises(SourceError) as failure:
            list(read_rows(task.source, table, table.days(task.partition), snapshot.id))
    assert "InvalidTextRepresentation (SQLSTATE 22P02)" in failure.value.message
    assert any(isinstance(each, OSError) for each in causes(failure.value))
    assert VALUE not in everything_said(failure.value)
    assert VALUE not in repr([vars(each) for each in causes(failure.value)])


@pytest.mark.parametrize(("kind", "named"), [("bigint", True), ("uuid", True), ("text", False)])
def test_a_key_in_the_way_of_a_restore_is_named_only_if_it_is_a_number(lab: Lab, kind: str, *, named: bool) -> None:
    key = {"bigint": "4711", "uuid": "c1f2d3a4-0000-0000-0000-000000000001", "text": VALUE}[kind]
    lab.execute(f"CREATE TABLE keyed (k {kind} PRIMARY KEY, created_at timestamptz NOT NULL, a text); CREATE INDEX ON keyed (created_at)")
    task = lab.task(table=lab.table(name="keyed", primary_key=("k",)))
    lab.execute("INSERT INTO keyed VALUES (%s, '2024-03-05T12:00Z', 'archived')", [key])
    archive(task)
    purge(task)
    lab.execute("INSERT INTO keyed VALUES (%s, '2024-03-05T12:00Z', 'another')", [key])
    with pytest.raises(NotRestored) as failure:
        restore(task, RestoreRequest(table_name="keyed"))
    assert "has another row than the archive under 1 of the keys compared so far" in failure.value.message
    assert (key in everything_said(failure.value)) == named
