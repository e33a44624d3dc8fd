"""Leaves dropped in place of being emptied: a leaf goes whole only if every row in it is archived, whoever is at work on the table."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from secrets import token_hex
from typing import Any

import psycopg
import pytest

from archiver_assets.config import Hold, HoldCondition
from archiver_assets.errors import TableRefused
from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.purging import deletion
from archiver_assets.lifecycle.purging.purge import Purged, purge
from archiver_assets.lifecycle.task import Step, Task
from archiver_assets.source import identities, sql
from archiver_assets.source import leaves as dropping
from archiver_assets.source.catalog import Connection, Table
from archiver_assets.source.identities import Part, of_leaf
from archiver_assets.store.hold_objects import place_hold, release_hold
from archiver_assets.store.manifest import Receipt, decode
from archiver_assets_tests.faulty_store import WatchedStore
from archiver_assets_tests.kills import after, lose_connection
from archiver_assets_tests.lab import PREFIX, Lab
from archiver_assets_tests.outcomes import assert_purged

DAY, NEXT = date(2024, 3, 5), date(2024, 3, 6)
DAYS = """
CREATE TABLE ev (id int NOT NULL, at timestamptz NOT NULL, note text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE ev_05 PARTITION OF ev FOR VALUES FROM ('2024-03-05') TO ('2024-03-06');
CREATE TABLE ev_06 PARTITION OF ev FOR VALUES FROM ('2024-03-06') TO ('2024-03-07');
CREATE TABLE ev_rest PARTITION OF ev DEFAULT;
CREATE INDEX ON ev (at);
INSERT INTO ev SELECT n, '2024-03-05 10:00+00', 'row ' || n FROM generate_series(1, 20) n;
INSERT INTO ev SELECT n, '2024-03-06 10:00+00', 'next day' FROM generate_series(1, 5) n;
"""
LATE = "INSERT INTO ev SELECT n, '2024-03-05 11:00+00', 'late' FROM generate_series({}, {}) n"


@pytest.fixture(autouse=True)
def days(lab: Lab) -> None:
    lab.overrides = {"name": "ev", "primary_key": ("id", "at"), "timestamp_column": "at", "purge_method": "drop_partition"}
    lab.execute(DAYS)


def archived_and_purged(lab: Lab, day: date = DAY, **changes: Any) -> Purged:  # noqa: ANN401 - whatever a task has
    archive(lab.task(day))
    return purge(lab.task(day, **changes))


def leaves(lab: Lab) -> list[str]:
    found = lab.execute("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'ev'::regclass ORDER BY 1")
    return [str(row[0]) for row in found]


def receipt(lab: Lab, number: int = 1, day: date = DAY) -> Receipt:
    key = f"{PREFIX}lab/public/ev/dt={day}/_purged-{number:04d}.json"
    return decode(Receipt, lab.content(key), key=key)


def notes(lab: Lab, day: date = DAY) -> list[str]:
    return [str(row[0]) for row in lab.execute("SELECT note FROM ev WHERE at >= %s AND at < %s::date + 1 ORDER BY id", [day, day])]


@contextmanager
def writer(lab: Lab, statement: str) -> Iterator[psycopg.Connection]:
    """Leave a transaction open in which a statement was run."""
    with psycopg.connect(lab.database.dsn) as connection:
        connection.execute(statement)
        yield connection


def test_a_leaf_of_the_day_whose_rows_are_all_archived_is_dropped_and_the_receipt_says_how_many(lab: Lab) -> None:
    purged = archived_and_purged(lab)
    assert_purged(purged, outcome="purged", purged=20, batches=0, dropped=("ev_05",))
    assert (leaves(lab), lab.count("ev")) == (["ev_06", "ev_rest"], 5)
    assert (receipt(lab).rows_purged_by_version, receipt(lab).rows_gone, receipt(lab).rows_late) == (20, 0, 0)
    assert (archive(lab.task()).outcome, purge(lab.task()).outcome) == ("already archived", "already purged")


def test_a_leaf_is_not_dropped_by_default(lab: Lab) -> None:
    del lab.overrides["purge_method"]
    assert (archived_and_purged(lab).tally.purged, leaves(lab)) == (20, ["ev_05", "ev_06", "ev_rest"])


def test_a_late_row_keeps_its_leaf_until_it_is_archived_too(lab: Lab) -> None:
    archive(lab.task())
    lab.execute(LATE.format(21, 21))
    purged = purge(lab.task())
    assert_purged(purged, purged=20, dropped=(), late=1)
    assert notes(lab) == ["late"]
    assert archived_and_purged(lab).dropped == ("ev_05",)
    assert receipt(lab, 2).rows_purged_by_version == 1


def test_a_leaf_goes_by_the_proofs_of_several_generations_together(lab: Lab) -> None:
    archive(lab.task())
    lab.execute(LATE.format(21, 23))
    purged = archived_and_purged(lab)
    assert_purged(purged, purged=23, dropped=("ev_05",))
    assert [receipt(lab, number).rows_purged_by_version for number in (1, 2)] == [20, 3]


def test_a_connection_lost_right_after_a_drop_loses_neither_the_leaf_nor_its_rows(lab: Lab) -> None:
    archive(lab.task())
    lab.execute(LATE.format(21, 23))
    archive(lab.task())
    purged = purge(lab.task(reached=after(Step.LEAF_DROPPED, lose_connection)))
    assert_purged(purged, outcome="purged", purged=23, gone=0, dropped=("ev_05",))
    assert [(receipt(lab, number).rows_purged_by_version, receipt(lab, number).rows_gone) for number in (1, 2)] == [(20, 0), (3, 0)]


@pytest.mark.parametrize("note", ["'changed'", "note"])
def test_a_row_that_changed_is_proven_by_its_content_or_stays_but_never_goes_with_its_leaf(lab: Lab, note: str) -> None:
    archive(lab.task())
    lab.execute(f"UPDATE ev SET note = {note} WHERE id = 3 AND at < '2024-03-06'")
    purged = purge(lab.task())
    changed = [note for note in notes(lab) if note == "changed"]
    assert_purged(purged, late=len(changed), purged=20 - len(changed))
    assert notes(lab) == changed
    assert ("ev_05" in leaves(lab)) == bool(changed)  # empty, it goes


def test_the_same_versions_in_two_generations_do_not_prove_rows_that_are_in_none(lab: Lab) -> None:
    archive(lab.task())
    rejected = f"{PREFIX}lab/public/ev/dt={DAY}/_rejected-0001.json"
    lab.store.create(rejected, b"{}")
    assert archive(lab.task()).rows == 20
    lab.store.remove(rejected)
    lab.execute(LATE.format(21, 40))  # as many again as were archived
    purged = purge(lab.task())
    assert_purged(purged, dropped=(), purged=20)
    assert notes(lab) == ["late"] * 20


def test_a_row_that_commits_while_the_drop_waits_keeps_its_leaf(lab: Lab) -> None:
    archive(lab.task())
    with writer(lab, LATE.format(21, 21)) as other:

        def commit(_seconds: float) -> None:
            other.commit()

        purged = purge(lab.task(sleep=commit))
    assert_purged(purged, dropped=(), purged=20)
    assert notes(lab) == ["late"]


def test_a_leaf_in_use_is_emptied_by_deletes_and_dropped_by_a_later_purge(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    archive(lab.task())
    monkeypatch.setattr(dropping, "_LOCK_MILLISECONDS", 100)
    pauses: list[float] = []
    with writer(lab, "SELECT * FROM ev_05"):
        purged = purge(lab.task(sleep=pauses.append))
        assert lab.execute("SELECT count(*) FROM ev_05") == [(0,)]
    assert_purged(purged, outcome="purged", purged=20, dropped=())
    assert pauses == [0.5, 1.0, 2.0, 4.0] * 2
    assert purge(lab.task()).dropped == ("ev_05",)


def test_somebody_who_uses_the_table_but_not_the_leaf_delays_the_drop_and_is_not_stopped_by_it(lab: Lab) -> None:
    archive(lab.task())
    with writer(lab, "INSERT INTO ev VALUES (99, '2024-03-06 11:00+00', 'next day')") as other:

        def use(_seconds: float) -> None:
            other.execute("INSERT INTO ev VALUES (100, '2024-03-06 11:00+00', 'next day')")
            other.commit()

        purged = purge(lab.task(sleep=use))
    assert (purged.dropped, lab.count("ev_06")) == (("ev_05",), 7)


def test_rows_of_the_day_in_the_default_partition_are_deleted_and_it_stays(lab: Lab) -> None:
    lab.execute("ALTER TABLE ev DETACH PARTITION ev_05; INSERT INTO ev SELECT * FROM ev_05; DROP TABLE ev_05")
    purged = archived_and_purged(lab)
    assert_purged(purged, purged=20, dropped=())
    assert leaves(lab) == ["ev_06", "ev_rest"]


def test_rows_in_a_leaf_and_in_the_default_partition_go_each_in_its_way(lab: Lab) -> None:
    lab.execute("ALTER TABLE ev DETACH PARTITION ev_05; INSERT INTO ev SELECT * FROM ev_05 WHERE id <= 4; DELETE FROM ev_05")
    lab.execute("DROP TABLE ev_05; CREATE TABLE ev_late (LIKE ev); INSERT INTO ev_late SELECT 50, '2024-03-05 20:00+00', 'late'")
    lab.execute("UPDATE ev SET at = at - interval '1 hour' WHERE at < '2024-03-06'")
    lab.execute("ALTER TABLE ev ATTACH PARTITION ev_late FOR VALUES FROM ('2024-03-05 12:00') TO ('2024-03-06')")
    purged = archived_and_purged(lab)
    assert_purged(purged, purged=5, gone=0, dropped=("ev_late",))
    assert (receipt(lab).rows_purged_by_version, receipt(lab).rows_gone) == (5, 0)


def test_a_leaf_of_several_days_is_emptied_day_by_day_and_dropped_when_all_of_it_is_gone(lab: Lab) -> None:
    lab.execute("DROP TABLE ev")
    month = DAYS.replace("ev_05 PARTITION OF ev FOR VALUES FROM ('2024-03-05') TO ('2024-03-06')", "ev_03 PARTITION OF ev DEFAULT")
    month = month.replace("CREATE TABLE ev_06 PARTITION OF ev FOR VALUES FROM ('2024-03-06') TO ('2024-03-07');\n", "")
    month = month.replace("CREATE TABLE ev_rest PARTITION OF ev DEFAULT;", "")
    lab.execute(month.replace("ev_03 PARTITION OF ev DEFAULT", "ev_03 PARTITION OF ev FOR VALUES FROM ('2024-03-01') TO ('2024-04-01')"))
    assert (archived_and_purged(lab).dropped, leaves(lab)) == ((), ["ev_03"])
    assert (archived_and_purged(lab, NEXT).dropped, leaves(lab)) == (("ev_03",), [])


def test_an_empty_leaf_that_can_still_take_unexpired_rows_stays(lab: Lab) -> None:
    lab.execute("CREATE TABLE ev_long PARTITION OF ev FOR VALUES FROM ('2024-03-07') TO ('2124-01-01')")
    assert (archived_and_purged(lab).dropped, leaves(lab)) == (("ev_05",), ["ev_06", "ev_long", "ev_rest"])


def test_a_leaf_that_is_no_day_of_the_tables_zone_is_emptied_and_goes_with_the_last_row(lab: Lab) -> None:
    lab.overrides["timezone"] = "Europe/Berlin"
    lab.execute("INSERT INTO ev VALUES (30, '2024-03-05 23:30+00', 'the next day in Berlin')")
    purged = archived_and_purged(lab)
    assert_purged(purged, purged=20, dropped=())
    purged = archived_and_purged(lab, NEXT)
    assert_purged(purged, purged=6, dropped=("ev_05", "ev_06"))


def test_a_crash_after_the_drop_is_finished_by_the_next_purge(lab: Lab) -> None:
    archive(lab.task())

    def stop(step: Step) -> None:
        if step is Step.LEAF_DROPPED:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        purge(lab.task(reached=stop))
    purged = purge(lab.task())
    assert (purged.outcome, receipt(lab).rows_gone, notes(lab)) == ("purged", 20, [])


def test_a_view_on_a_leaf_keeps_it_and_its_rows_are_deleted(lab: Lab) -> None:
    lab.execute("CREATE VIEW looks_at_it AS SELECT * FROM ev_05")
    purged = archived_and_purged(lab)
    assert_purged(purged, purged=20, dropped=())
    assert lab.count("looks_at_it") == 0


def test_no_leaf_is_dropped_past_a_trigger_that_was_accepted(lab: Lab) -> None:
    lab.overrides["accepted_risks"] = ("after_delete_trigger",)
    lab.execute("""
        CREATE TABLE heard (id int);
        CREATE FUNCTION hear() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.heard VALUES (OLD.id); RETURN NULL; END';
        CREATE TRIGGER hears AFTER DELETE ON ev FOR EACH ROW EXECUTE FUNCTION hear()
    """)
    purged = archived_and_purged(lab)
    assert_purged(purged, purged=20, dropped=())
    assert (lab.count("heard"), len(leaves(lab))) == (20, 3)


def test_sub_partitions_are_emptied_and_stay(lab: Lab) -> None:
    lab.execute("""
        DROP TABLE ev_05;
        CREATE TABLE ev_05 PARTITION OF ev FOR VALUES FROM ('2024-03-05') TO ('2024-03-06') PARTITION BY HASH (id);
        CREATE TABLE ev_05_0 PARTITION OF ev_05 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
        CREATE TABLE ev_05_1 PARTITION OF ev_05 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
        INSERT INTO ev SELECT n, '2024-03-05 10:00+00', 'row ' || n FROM generate_series(1, 20) n
    """)
    purged = archived_and_purged(lab)
    assert_purged(purged, purged=20, dropped=())
    assert leaves(lab) == ["ev_05", "ev_06", "ev_rest"]


def changing(lab: Lab, statement: str) -> Any:  # noqa: ANN401 - what Task.reached is
    done: list[Step] = []

    def change(step: Step) -> None:
        if step is Step.BATCH_DELETED and not done:
            done.append(step)
            lab.execute(statement)

    return change


@pytest.mark.parametrize("method", ["delete", "drop_partition"])
def test_leaves_may_come_and_go_while_a_purge_deletes(lab: Lab, method: str) -> None:
    lab.overrides["purge_method"] = method
    archive(lab.task())
    lab.execute(LATE.format(21, 21))  # so that the leaf is emptied
    lab.execute("CREATE TABLE ev_07 (LIKE ev); INSERT INTO ev_07 SELECT 1, '2024-03-07', 'the day after'")
    attach = "ALTER TABLE ev DETACH PARTITION ev_06; ALTER TABLE ev ATTACH PARTITION ev_07 FOR VALUES FROM ('2024-03-07') TO ('2024-03-08')"
    table = lab.table(batch_size=5)
    purged = purge(lab.task(table=table, reached=changing(lab, attach)))
    assert_purged(purged, outcome="purged", purged=20)
    assert (notes(lab), lab.count("ev_07"), lab.count("ev_06")) == (["late"], 1, 5)


def test_a_leaf_that_is_swapped_while_a_purge_deletes_keeps_its_rows(lab: Lab) -> None:
    archive(lab.task())
    lab.execute(LATE.format(21, 21))
    swap = """
        ALTER TABLE ev DETACH PARTITION ev_05; CREATE TABLE other (LIKE ev INCLUDING ALL);
        INSERT INTO other SELECT id, at, 'other ' || id FROM ev_05;
        ALTER TABLE ev ATTACH PARTITION other FOR VALUES FROM ('2024-03-05') TO ('2024-03-06')
    """
    purged = purge(lab.task(table=lab.table(batch_size=5), reached=changing(lab, swap)))
    assert_purged(purged, purged=5, dropped=())
    assert (len(notes(lab)), all(note.startswith("other") for note in notes(lab))) == (16, True)


def test_a_leaf_that_was_attached_since_is_not_dropped_for_the_same_keys_and_xmins(lab: Lab) -> None:
    lab.execute("""
        TRUNCATE ev_05; CREATE TABLE other (LIKE ev INCLUDING ALL);
        INSERT INTO ev SELECT n, '2024-03-05 10:00+00', 'archived' FROM generate_series(1, 5) n;
        INSERT INTO other SELECT n, '2024-03-05 10:00+00', 'other leaf' FROM generate_series(1, 5) n
    """)
    archive(lab.task())
    lab.execute(
        "ALTER TABLE ev DETACH PARTITION ev_05; ALTER TABLE ev ATTACH PARTITION other FOR VALUES FROM ('2024-03-05') TO ('2024-03-06')"
    )
    assert lab.execute("SELECT count(*) FROM ev_05 JOIN other USING (id) WHERE ev_05.xmin = other.xmin") == [(5,)]
    purged = purge(lab.task())
    assert_purged(purged, dropped=(), purged=0)
    assert notes(lab) == ["other leaf"] * 5


def test_versions_that_prove_nothing_since_a_failover_drop_no_leaf(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    archive(lab.task())
    monkeypatch.setattr(deletion, "versions_believed", lambda *_: False)  # as on another timeline
    purged = purge(lab.task())
    assert_purged(purged, by_version=0, by_content=20)
    assert purged.dropped == ("ev_05",), "when it is empty"


def test_a_leaf_that_got_other_columns_while_the_drop_waits_is_not_dropped(lab: Lab) -> None:
    archive(lab.task())
    reshape = """
        ALTER TABLE ev DETACH PARTITION ev_05; ALTER TABLE ev_05 DROP note; ALTER TABLE ev_05 ADD note text DEFAULT 'another';
        ALTER TABLE ev ATTACH PARTITION ev_05 FOR VALUES FROM ('2024-03-05') TO ('2024-03-06')
    """
    with writer(lab, "SELECT * FROM ev_05") as other:

        def change(_seconds: float) -> None:
            if not other.closed:
                other.execute(reshape)
                other.commit()
                other.close()

        purged = purge(lab.task(sleep=change))
    assert_purged(purged, dropped=(), purged=0)
    assert notes(lab) == ["another"] * 20


def test_a_leaf_that_is_detached_while_the_drop_waits_stays_whole(lab: Lab) -> None:
    archive(lab.task())
    with writer(lab, "SELECT * FROM ev_05") as other:

        def detach(_seconds: float) -> None:
            other.execute("ALTER TABLE ev DETACH PARTITION ev_05")
            other.commit()

        purged = purge(lab.task(sleep=detach))
    assert_purged(purged, dropped=(), gone=20)
    assert lab.count("ev_05") == 20


def test_a_role_that_does_not_own_the_leaves_is_refused_with_the_way_out(lab: Lab) -> None:
    role = f"archiver_{token_hex(4)}"
    lab.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{lab.database.password}'; GRANT SELECT, DELETE ON ev TO {role}")
    try:
        task = as_role(lab.task(), role)
        archive(task)
        with pytest.raises(TableRefused, match="does not own") as refused:
            purge(task)
        assert "purge_method: delete" in refused.value.hint
        assert lab.count("ev") == 25
    finally:
        lab.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def as_role(task: Task, role: str) -> Task:
    return replace(task, source=replace(task.source, config=task.source.config.model_copy(update={"user": role})))


def test_an_ordinary_table_is_emptied_by_deletes(lab: Lab) -> None:
    lab.overrides = {"purge_method": "drop_partition"}
    lab.fill(rows=10)
    assert (archived_and_purged(lab).tally.purged, lab.count()) == (10, 0)


def test_nobody_adds_a_row_between_the_proof_and_the_drop(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    archive(lab.task())
    refused: list[str] = []

    def read_and_let_another_try(connection: Connection, table: Table, days: sql.Days, leaf: sql.Relation) -> Iterator[Part]:
        yield from of_leaf(connection, table, days, leaf)
        with pytest.raises(psycopg.errors.LockNotAvailable) as error:
            lab.execute(f"SET lock_timeout = '200ms'; {LATE.format(21, 21)}")
        refused.append(str(error.value))

    monkeypatch.setattr(identities, "of_leaf", read_and_let_another_try)
    assert (purge(lab.task()).dropped, len(refused)) == (("ev_05",), 1)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("smallint", "(n - 3)::smallint"),
        ("int", "n * -256"),
        ("bigint", "(n - 10) * 4294967296"),
        ("uuid", "lpad(to_hex(n * 256), 32, '0')::uuid"),
        ("date", "'1999-12-25'::date + n"),
        ("timestamp", "'1999-12-31 23:59:55'::timestamp + n * interval '1 second'"),
        ("text", "'row ' || n"),
        ("numeric(9,2)", "n / 100.0"),
    ],
)
def test_a_leaf_goes_whatever_the_type_of_its_key_and_stays_while_a_version_is_new(lab: Lab, key: str, value: str) -> None:
    lab.execute("DROP TABLE ev")
    lab.execute(f"CREATE TABLE ev (id {key} NOT NULL, at timestamptz NOT NULL, note text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at)")
    lab.execute("CREATE TABLE ev_05 PARTITION OF ev FOR VALUES FROM ('2024-03-05') TO ('2024-03-06')")
    lab.execute("CREATE INDEX ON ev (at)")
    lab.execute(f"INSERT INTO ev SELECT {value}, '2024-03-05 10:00+00', 'row ' || n FROM generate_series(20, 1, -1) n")
    archive(lab.task())
    lab.execute("UPDATE ev SET note = 'changed' WHERE note IN ('row 7', 'row 20')")
    purged = purge(lab.task())
    assert_purged(purged, dropped=(), purged=18)
    assert sorted(notes(lab)) == ["changed", "changed"]

    archive(lab.task())
    purged = purge(lab.task())
    assert_purged(purged, dropped=("ev_05",), purged=2, batches=0)


def test_a_hold_on_a_row_keeps_its_leaf_also_one_that_is_placed_while_the_drop_waits(lab: Lab) -> None:
    archive(lab.task())
    condition = HoldCondition(column="note", operator="=", values=("row 7",))
    hold = Hold(id="case", reason="a lawsuit", table_name="ev", conditions=(condition,))
    with writer(lab, "SELECT * FROM ev_05") as other:

        def place(_seconds: float) -> None:
            if other.info.transaction_status:
                place_hold(lab.store, PREFIX, hold)
                other.rollback()

        purged = purge(lab.task(sleep=place))
    assert_purged(purged, outcome="held", dropped=(), purged=19, held=1)
    assert notes(lab) == ["row 7"]

    release_hold(lab.store, PREFIX, "case")
    purged = purge(lab.task())
    assert_purged(purged, outcome="purged", purged=1, dropped=("ev_05",))
    assert notes(lab) == []


def test_a_store_of_holds_that_answers_late_does_not_keep_others_from_the_leaf(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    archive(lab.task())
    monkeypatch.setattr(dropping, "_IDLE_MILLISECONDS", 300)
    seen: list[int] = []

    def answer_late_while_the_leaf_is_locked() -> None:
        try:
            lab.execute("SET lock_timeout = '50ms'; SELECT count(*) FROM ev_05")
        except psycopg.errors.LockNotAvailable:
            lab.execute("SET lock_timeout = '5s'; SELECT count(*) FROM ev_05")
            seen.append(lab.count("ev_05"))
        else:
            store.nth += 1

    store = WatchedStore(lab.store, answer_late_while_the_leaf_is_locked)
    purged = purge(lab.task(store=store))

    assert (seen, purged.dropped, notes(lab)) == ([20], ("ev_05",), [])
