"""Targets whose columns have other types than the archive: a value that only looks like the archived one there is another value."""

from dataclasses import replace

import pytest

from archiver_assets.errors import NotRestored
from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.purging.purge import purge
from archiver_assets.lifecycle.restoring.request import Conflict, Drift, RestoreRequest
from archiver_assets.lifecycle.restoring.restore import restore
from archiver_assets_tests.lab import Lab

BY_NAME = RestoreRequest(table_name="target", drift=Drift.by_name)


# A type of a column and a value in the archive, the column's type in the target, and another value that it has room for.
WIDENED = [
    ("numeric(18,4)", "1.2300", "numeric(30,9)", "1.230000001"),
    ("numeric(18,4)", "1.2300", "double precision", "1.23000001"),
    ("numeric(18,4)", "1.2300", "public.amount", "1.230000001"),
    ("varchar(2)", "ab", "varchar(9)", "abc"),
    ("varchar(2)", "ab", "bpchar", "ab  "),
    ("text[]", "{a}", "bpchar", "{a}  "),
    ("date", "2024-03-05", "timestamp", "2024-03-05 10:00"),
    ("timestamptz(0)", "2024-03-05 10:00:00+00", "timestamptz", "2024-03-05 10:00:00.3+00"),
    ("real", "0.1", "double precision", "0.100000001"),
    ("integer", "2", "numeric", "2.3"),
    ("interval(0)", "00:00:02", "interval", "00:00:02.3"),
    ("cidr", "10.0.0.0/8", "inet", "10.1.2.3/8"),
    ("bit(3)", "101", "bit varying", "10110"),
]


def test_a_wider_column_with_another_value_is_a_conflict(lab: Lab) -> None:
    """The row of each number has another value in the column of that number alone."""
    columns = [(number, *types) for number, types in enumerate(WIDENED, 1)]
    lab.execute("ALTER TABLE audit_logs " + ", ".join(f"ADD c{number} {then} DEFAULT '{value}'" for number, then, value, _, _ in columns))
    lab.fill(rows=len(WIDENED) + 2)
    archive(lab.task())
    wide = ", ".join(f"c{number} {now}" for number, _, _, now, _ in columns)
    lab.execute(f"CREATE DOMAIN amount AS numeric(30,9); CREATE TABLE target (id bigint PRIMARY KEY, {wide})")
    assert restore(lab.task(), BY_NAME).tally.loaded == len(WIDENED) + 2
    assert restore(lab.task(), BY_NAME).tally.present == len(WIDENED) + 2
    for number, _, _, _, other in columns:
        lab.execute(f"UPDATE target SET c{number} = '{other}' WHERE id = {number}")
    lab.execute("CREATE TABLE before AS TABLE target")
    with pytest.raises(NotRestored, match=f"another row than the archive under {len(WIDENED)} of the keys"):
        restore(lab.task(), BY_NAME)
    tally = restore(lab.task(), replace(BY_NAME, conflict=Conflict.skip)).tally
    assert (tally.present, tally.skipped) == (2, len(WIDENED))
    with pytest.raises(NotRestored, match=f"{len(WIDENED)} rows of .* are in no generation"):
        restore(lab.task(), replace(BY_NAME, conflict=Conflict.overwrite))
    assert lab.execute("SELECT count(*) FROM target t JOIN before b ON record_image_eq(t, b)") == [(len(WIDENED) + 2,)]


def test_a_value_that_was_made_longer_since_is_not_overwritten_as_the_shorter_one(lab: Lab) -> None:
    lab.execute("ALTER TABLE audit_logs ADD code varchar(2)")
    lab.fill(rows=2)
    lab.execute("UPDATE audit_logs SET code = 'ab'")
    archive(lab.task())
    lab.execute("UPDATE audit_logs SET code = 'zz'")
    archive(lab.task())
    lab.execute("ALTER TABLE audit_logs ALTER code TYPE varchar(9); UPDATE audit_logs SET code = 'abc'")
    overwriting = RestoreRequest("audit_logs", generations=(2,), drift=Drift.by_name, conflict=Conflict.overwrite)
    with pytest.raises(NotRestored, match="in no generation"):
        restore(lab.task(), overwriting)
    assert lab.execute("SELECT DISTINCT code FROM audit_logs") == [("abc",)]


def test_a_value_that_a_wider_column_still_has_is_overwritten(lab: Lab) -> None:
    lab.execute("ALTER TABLE audit_logs ADD code varchar(2)")
    lab.fill(rows=2)
    lab.execute("UPDATE audit_logs SET code = 'zz'")
    archive(lab.task())
    lab.execute("UPDATE audit_logs SET code = 'ab'")
    archive(lab.task())
    lab.execute("ALTER TABLE audit_logs ALTER code TYPE varchar(9)")
    overwriting = RestoreRequest("audit_logs", generations=(1,), drift=Drift.by_name, conflict=Conflict.overwrite)
    assert restore(lab.task(), overwriting).tally.overwritten == 2
    assert lab.execute("SELECT DISTINCT code FROM audit_logs") == [("zz",)]


@pytest.mark.parametrize("now", ["bigint", "numeric", "text"])
def test_a_key_of_another_type_is_the_same_key(lab: Lab, now: str) -> None:
    """Of a key that several generations hold the newest version is restored, whatever the type of the key was then."""
    lab.execute("ALTER TABLE audit_logs ALTER id DROP IDENTITY, ALTER id TYPE integer; CREATE SEQUENCE numbers")
    lab.execute("ALTER TABLE audit_logs ALTER id SET DEFAULT nextval('numbers')")
    lab.fill(rows=10)
    archive(lab.task())
    lab.execute(f"ALTER TABLE audit_logs ALTER id TYPE {now}; UPDATE audit_logs SET action = 'changed' WHERE id::text IN ('2', '3')")
    archive(lab.task())
    lab.execute("CREATE TABLE after AS SELECT * FROM audit_logs")
    purge(lab.task())
    tally = restore(lab.task(), RestoreRequest(drift=Drift.by_name)).tally
    assert (tally.loaded, tally.superseded) == (10, 10)
    assert lab.execute("SELECT count(*) FROM (TABLE audit_logs_restored EXCEPT TABLE after) AS other") == [(0,)]
    # The older generation again, over what the newer one holds: they are told apart by the key, and the newer one may give way.
    tally = restore(lab.task(), RestoreRequest(drift=Drift.by_name, generations=(1,), conflict=Conflict.overwrite)).tally
    assert (tally.present, tally.overwritten) == (8, 2)
    assert lab.execute("SELECT count(*) FROM audit_logs_restored WHERE action = 'changed'") == [(0,)]


def test_a_key_that_the_target_would_cut_off_is_not_taken_for_another(lab: Lab) -> None:
    """The server looks for taken keys before it comes to the other row: the first one fills what a COPY inserts at once."""
    lab.execute("CREATE TABLE codes (code text PRIMARY KEY, at timestamptz NOT NULL, n text)")
    lab.execute("INSERT INTO codes VALUES ('ab', '2024-03-05', repeat('x', 100000)), ('abc', '2024-03-05', '')")
    task = lab.task(table=lab.table(name="codes", timestamp_column="at", primary_key=("code",)))
    archive(task)
    lab.execute("CREATE TABLE target (code varchar(2) PRIMARY KEY, n text); INSERT INTO target SELECT code, n FROM codes WHERE code = 'ab'")
    for conflict in Conflict:
        with pytest.raises(NotRestored, match="too long"):
            restore(task, replace(BY_NAME, conflict=conflict))
    assert lab.execute("SELECT code FROM target") == [("ab",)]
