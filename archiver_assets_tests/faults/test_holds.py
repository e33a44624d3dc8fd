"""Legal holds under attack: no held row is ever deleted, and a hold that cannot be read or understood holds everything."""

import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from typing import Any

import dagster as dg
import psycopg
import pytest

from archiver_assets.config import Compliance, HoldsTable, LegalHolds
from archiver_assets.demo.seaweed import EmbeddedS3
from archiver_assets.errors import ConfigError, HoldsUnreadable, ObjectExists, ObjectMissing, StoreUnavailable
from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.backlog import expired_days
from archiver_assets.lifecycle.purging.purge import purge
from archiver_assets.lifecycle.task import Step, Task
from archiver_assets.orchestration.metadata import purged_metadata
from archiver_assets.source.session import Source
from archiver_assets.store.hold_objects import place_hold, release_hold
from archiver_assets.store.s3 import S3ObjectStore
from archiver_assets_tests.conftest import fresh_lab
from archiver_assets_tests.faulty_store import WatchedStore
from archiver_assets_tests.holds import condition, hold, place
from archiver_assets_tests.kills import Killed, after, kill_at
from archiver_assets_tests.lab import COPY_AND_SWAP, DAY, PREFIX, Lab
from archiver_assets_tests.outcomes import assert_purged
from archiver_assets_tests.servers import PostgresServer

HOLDS = HoldsTable(database="lab", name="holds")
HOLDS_TABLE = """
    CREATE TABLE holds (
        id text, table_name text, schema_name text, reason text, start_date timestamptz, expiration_date date, requestor text,
        conditions jsonb
    )
"""
INSERT_CONDITIONS = "INSERT INTO holds (table_name, reason, conditions) VALUES "
NEVER: dict[str, object] = {"conditions": [{"column": "action", "operator": "=", "values": ["none has this"]}]}


def archived(lab: Lab, rows: int = 20) -> Lab:
    """Fill one day and archive it: rows `action 0` and so on, the ids from 1."""
    lab.fill(rows=rows)
    archive(lab.task())
    return lab


@pytest.fixture(scope="module")
def kept_lab(postgres_server: PostgresServer, s3_server: EmbeddedS3, s3_store: S3ObjectStore) -> Iterator[Lab]:
    """A lab with 3 archived rows."""
    with fresh_lab(postgres_server, s3_server, s3_store) as lab:
        lab.execute("""
            CREATE TYPE public.pair AS (a int, b int); CREATE TYPE public.kind AS ENUM ('a', 'b');
            ALTER TABLE audit_logs ADD document json, ADD pair public.pair, ADD kind public.kind
        """)
        yield archived(lab, rows=3)


@pytest.fixture
def kept(kept_lab: Lab) -> Iterator[Lab]:
    """The lab with 3 archived rows and no holds, for tests in which none of the rows goes."""
    yield kept_lab
    kept_lab.execute("DROP TABLE IF EXISTS holds")
    for key in kept_lab.objects():
        if "_holds/" in key:
            kept_lab.store.remove(key)


def actions(lab: Lab) -> set[str]:
    return {row[0].removeprefix("action ") for row in lab.execute("SELECT action FROM audit_logs")}


def receipts(lab: Lab) -> list[str]:
    return [key for key in lab.objects() if "_purged" in key]


def with_table(lab: Lab, **changes: Any) -> Task:  # noqa: ANN401 - whatever a task has
    """Return the task of a config that names the table of holds, in the database of the lab."""
    return lab.task(legal_holds=LegalHolds(table=HOLDS), holds_source=Source(lab.database_config(), lab.environ), **changes)


def no_answer() -> None:
    message = "no answer"
    raise StoreUnavailable(message, hint="-")


def test_a_hold_on_a_table_keeps_its_rows_until_it_is_released(lab: Lab) -> None:
    archived(lab)
    place(lab)

    held = purge(lab.task())

    assert_purged(held, outcome="held", held=20, late=0)
    assert lab.count() == 20
    assert not [key for key in lab.objects() if "_purg" in key]
    release_hold(lab.store, PREFIX, "case-1")
    assert (purge(lab.task()).outcome, lab.count(), len(receipts(lab))) == ("purged", 0, 1)


def test_rows_that_meet_the_conditions_stay_and_the_others_go(lab: Lab) -> None:
    archived(lab)
    place(lab, condition("action", "in", "action 3", "action 5", "action 7"), condition("amount", "<", "1"))

    held = purge(lab.task())

    assert_purged(held, outcome="held", purged=18, held=2, late=0)
    assert (actions(lab), receipts(lab)) == ({"3", "5"}, [])
    assert (purge(lab.task()).outcome, actions(lab)) == ("held", {"3", "5"})
    release_hold(lab.store, PREFIX, "case-1")
    finished = purge(lab.task())
    assert_purged(finished, outcome="purged", purged=2, gone=18)
    assert lab.count() == 0
    assert len(receipts(lab)) == 1


def test_the_metadata_of_a_purge_says_how_many_rows_are_held_and_why(lab: Lab) -> None:
    archived(lab)
    place(lab, condition("action", "=", "action 3"), requestor="counsel")

    metadata = purged_metadata(lab.task(), lab.services().links, purge(lab.task()))

    assert metadata["rows_held"].value == 1
    assert isinstance(holds := metadata["holds"], dg.TableMetadataValue)
    assert [record.data for record in holds.records] == [
        {"id": "case-1", "rows held": 1, "reason": "an investigation", "requestor": "counsel"}
    ]


@pytest.mark.parametrize(("conditions", "kept"), [([], 15), ([condition("action", ">=", "action 8")], 2)])
def test_a_hold_placed_between_two_batches_holds_from_the_next_one_on(lab: Lab, conditions: list[dict[str, object]], kept: int) -> None:
    archived(lab)

    held = purge(lab.task(table=lab.table(batch_size=5), reached=after(Step.BATCH_DELETED, lambda: place(lab, *conditions))))

    assert_purged(held, outcome="held", held=kept)
    assert (lab.count(), receipts(lab)) == (kept, [])


@pytest.mark.usefixtures("short_row_locks")
@pytest.mark.parametrize("nth", [3, 4])
def test_holds_are_read_before_every_transaction_also_when_locked_rows_make_a_batch_take_several(lab: Lab, nth: int) -> None:
    archived(lab)
    # 1: before the generation is read back; 2: before the transaction that waits for the lock; 3: before it is tried again; 4: a half.
    store = WatchedStore(lab.store, lambda: place(lab), nth)

    with psycopg.connect(lab.database.dsn) as other:
        other.execute("SELECT FROM audit_logs WHERE id = 3 FOR UPDATE")
        held = purge(lab.task(store=store))

    assert (held.held, lab.count()) == (20, 20)


def test_a_hold_released_between_two_batches_lets_the_rest_go_and_the_next_purge_finishes(lab: Lab) -> None:
    archived(lab)
    place(lab, condition("amount", ">=", "0"))
    task = lab.task(
        table=lab.table(batch_size=5), reached=after(Step.BATCH_DELETED, lambda: release_hold(lab.store, PREFIX, "case-1"), nth=2)
    )

    assert_purged(purge(task), purged=10)
    assert (lab.count(), receipts(lab)) == (10, [])
    assert_purged(purge(lab.task()), purged=10)
    assert (lab.count(), len(receipts(lab))) == (0, 1)


def test_a_purge_that_dies_among_held_rows_is_finished_by_the_next(lab: Lab) -> None:
    archived(lab)
    place(lab, condition("action", "=", "action 3"))
    with pytest.raises(Killed):
        purge(lab.task(table=lab.table(batch_size=5), reached=kill_at(Step.BATCH_DELETED, 2)))
    assert (lab.count(), actions(lab) & {"3"}) == (11, {"3"})

    assert (purge(lab.task()).outcome, actions(lab), receipts(lab)) == ("held", {"3"}, [])


DOCUMENT = {"format": "archiver/1", "id": "case-2", "reason": "r", "table_name": "other_table"}


@pytest.mark.parametrize(
    ("key", "content"),
    [
        ("case-2.json", b""),
        ("case-2.json", b"\xff\xfe"),
        ("case-2.json", b"[" * 100_000),
        ("case-2.json", b"[]"),
        ("case-2.json", b'{"format": "archiver/1", "id": "case-2", "reason": "r", "table_name": "a", "table_name": "b"}'),
        ("case-2.json", b'{"format": "archiver/1", "id": "case-2", "reason": "r", "table_name": NaN}'),
        ("case-2.json", json.dumps(DOCUMENT | {"format": "archiver/2"}).encode()),
        ("case-2.json", json.dumps(DOCUMENT | {"id": "another"}).encode()),
        ("case-2.json", json.dumps(DOCUMENT | {"table_name": None}).encode()),
        ("case-2.json", json.dumps(DOCUMENT | {"tables": ["audit_logs"]}).encode()),
        ("case-2.json", json.dumps(DOCUMENT | {"expiration_date": "soon"}).encode()),
        ("case-2.json", json.dumps(DOCUMENT | {"first_day": "2024-03-06", "last_day": "2024-03-05"}).encode()),
        ("case-2.json", json.dumps(DOCUMENT | {"conditions": "id = 1"}).encode()),
        ("case-2.json", json.dumps(DOCUMENT | {"conditions": [condition("id", "= 1 OR", "1")]}).encode()),
        ("case-2.json", json.dumps(DOCUMENT | {"conditions": [condition("id", "=")]}).encode()),
        ("case-2.json", json.dumps(DOCUMENT | {"conditions": [condition("id", "=", "1") | {"values": [None]}]}).encode()),
        ("case-2.json", json.dumps(DOCUMENT | {"conditions": [condition("id", "=", "1") | {"not": "yes"}]}).encode()),
        ("case-2.json", b" " * (1 << 20) + json.dumps(DOCUMENT).encode()),
        ("case-2.JSON", json.dumps(DOCUMENT).encode()),
        ("2024/case-2.json", json.dumps(DOCUMENT).encode()),
        ("case%2d2.json", json.dumps(DOCUMENT).encode()),
    ],
)
def test_whatever_is_no_hold_where_holds_are_holds_every_row(kept: Lab, key: str, content: bytes) -> None:
    kept.store.create(f"{PREFIX}_holds/{key}", content)

    with pytest.raises(HoldsUnreadable) as caught:
        purge(kept.task())

    assert (kept.count(), receipts(kept)) == (3, [])
    assert key in caught.value.message


def test_a_hold_of_another_table_and_a_console_s_empty_folder_hold_nothing(lab: Lab) -> None:
    archived(lab, rows=3)
    lab.store.create(f"{PREFIX}_holds/case-2.json", json.dumps(DOCUMENT).encode())
    place_hold(lab.store, PREFIX, hold(id="§ 17/2 \\ '", table_name="b.audit_logs"))

    assert (purge(lab.task()).outcome, lab.count()) == ("purged", 0)


def test_garbage_that_appears_between_two_batches_stops_the_purge(lab: Lab) -> None:
    archived(lab)
    task = lab.task(
        table=lab.table(batch_size=5),
        reached=after(Step.BATCH_DELETED, lambda: lab.store.create(f"{PREFIX}_holds/x.json", b"{")),
    )

    with pytest.raises(HoldsUnreadable):
        purge(task)

    assert (lab.count(), receipts(lab)) == (15, [])


@pytest.mark.parametrize(("nth", "left"), [(1, 20), (2, 20), (3, 20), (4, 15), (6, 5)])
def test_a_listing_that_fails_stops_the_purge(lab: Lab, nth: int, left: int) -> None:
    archived(lab)

    with pytest.raises(HoldsUnreadable, match="no answer"):
        purge(lab.task(table=lab.table(batch_size=5), store=WatchedStore(lab.store, no_answer, nth)))

    assert (lab.count(), receipts(lab)) == (left, [])


def test_a_hold_that_is_changed_in_place_is_read_again(lab: Lab) -> None:
    archived(lab)
    place(lab, condition("action", "=", "action 17"))

    def change() -> None:
        release_hold(lab.store, PREFIX, "case-1")
        place(lab, condition("action", "=", "action 19"))

    purge(lab.task(table=lab.table(batch_size=5), reached=after(Step.BATCH_DELETED, change)))

    assert actions(lab) == {"19"}


def test_placing_a_hold_twice_and_releasing_none_are_errors(lab: Lab) -> None:
    place(lab)
    with pytest.raises(ObjectExists):
        place(lab)
    with pytest.raises(ObjectMissing):
        release_hold(lab.store, PREFIX, "case-2")


# The table of holds.


def test_rows_of_the_table_of_holds_hold_rows(lab: Lab) -> None:
    archived(lab)
    lab.execute(HOLDS_TABLE)
    rows: list[tuple[object, ...]] = [
        ("a", "AUDIT_logs", None, None, None, json.dumps([condition("action", "=", "action 1")])),
        ("b", "audit_logs", ' "Public" ', "2024-01-01", "infinity", json.dumps([condition("action", "=", "action 2")])),
        (None, "lab.public.audit_logs", None, "-infinity", "9999-12-31", '[{"column": "amount", "operator": "<", "values": [0.0001]}]'),
        ("expired", "audit_logs", None, None, "2024-01-01", None),
        ("to come", "audit_logs", None, "2999-01-01", None, None),
        ("another", "audit_log", None, None, None, "null"),
        ("elsewhere", "audit_logs", "private", None, None, "[]"),
    ]
    for row in rows:
        lab.execute("INSERT INTO holds VALUES (%s, %s, %s, 'r', %s, %s, 'q', %s)", row)

    held = purge(with_table(lab))

    assert (held.outcome, actions(lab)) == ("held", {"0", "1", "2"})
    assert [each.id for each in held.holds] == ["a", "b", "row 3 of public.holds"]


@pytest.mark.parametrize("conditions", [None, "null", "[]"])
def test_a_row_without_conditions_holds_the_whole_table(lab: Lab, conditions: str | None) -> None:
    archived(lab, rows=3)
    lab.execute(HOLDS_TABLE)
    lab.execute("INSERT INTO holds (table_name, reason, conditions) VALUES ('audit_logs', 'r', %s)", [conditions])

    assert (purge(with_table(lab)).outcome, lab.count()) == ("held", 3)


def test_a_table_of_holds_needs_no_more_than_table_and_reason(lab: Lab) -> None:
    archived(lab, rows=3)
    lab.execute("CREATE TABLE heard_of (table_name name, reason text); INSERT INTO heard_of VALUES ('audit_logs', E'several\\nlines')")
    lab.execute("CREATE VIEW holds AS SELECT * FROM heard_of")

    assert [each.reason for each in purge(with_table(lab)).holds] == ["several\nlines"]


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE holds",
        "ALTER TABLE holds RENAME reason TO why",
        "INSERT INTO holds (table_name) VALUES ('other')",
        "INSERT INTO holds (table_name, reason) VALUES (NULL, 'r')",
        INSERT_CONDITIONS + "('other', 'r', '{}')",
        INSERT_CONDITIONS + "('other', 'r', '\"id = 1\"')",
        INSERT_CONDITIONS + '(\'other\', \'r\', \'[{"column": "id", "operator": "~", "values": [1]}]\')',
        INSERT_CONDITIONS + '(\'other\', \'r\', \'[{"column": "id", "operator": "=", "values": 1}]\')',
        "INSERT INTO holds (table_name, reason, start_date) VALUES ('other', 'r', 'infinity')",
        "INSERT INTO holds (table_name, reason, expiration_date) VALUES ('other', 'r', '0044-03-15 BC')",
        "ALTER TABLE holds ALTER conditions TYPE text; INSERT INTO holds (table_name, reason, conditions) VALUES ('other', 'r', 'id = 1')",
    ],
)
def test_a_table_of_holds_that_is_not_understood_holds_every_row(kept: Lab, statement: str) -> None:
    kept.execute(HOLDS_TABLE)
    kept.execute(statement)

    with pytest.raises(HoldsUnreadable):
        purge(with_table(kept))

    assert (kept.count(), receipts(kept)) == (3, [])


def test_a_table_of_holds_dropped_between_two_batches_stops_the_purge(lab: Lab) -> None:
    archived(lab)
    lab.execute(HOLDS_TABLE)
    task = with_table(lab, table=lab.table(batch_size=5), reached=after(Step.BATCH_DELETED, lambda: lab.execute("DROP TABLE holds")))

    with pytest.raises(HoldsUnreadable, match=r"lab/public/holds"):
        purge(task)

    assert lab.count() == 15


@pytest.fixture
def reader(lab: Lab) -> Iterator[Task]:
    """A task whose holds are read by a role of its own, without rights."""
    name = f"reader_of_{lab.database.name}"
    lab.execute(HOLDS_TABLE)
    lab.execute(f"INSERT INTO holds (table_name, reason) VALUES ('audit_logs', 'r'); CREATE ROLE {name} LOGIN PASSWORD 'p'")
    yield lab.task(
        legal_holds=LegalHolds(table=HOLDS),
        holds_source=Source(lab.database_config(user=name, password_env="READER"), {"READER": "p"}),  # noqa: S106 - a variable's name
    )
    lab.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


def test_holds_that_a_role_may_not_read_hold_every_row(lab: Lab, reader: Task) -> None:
    archived(lab, rows=3)
    assert reader.holds_source
    name = reader.holds_source.config.user

    with pytest.raises(HoldsUnreadable, match="permission denied"):
        purge(reader)

    lab.execute(f"GRANT SELECT ON holds TO {name}")
    assert purge(reader).outcome == "held"


def test_holds_that_row_level_security_would_hide_hold_every_row(lab: Lab, reader: Task) -> None:
    archived(lab, rows=3)
    assert reader.holds_source
    lab.execute(f"GRANT SELECT ON holds TO {reader.holds_source.config.user}; ALTER TABLE holds ENABLE ROW LEVEL SECURITY")

    with pytest.raises(HoldsUnreadable, match="row-level security"):
        purge(reader)

    assert lab.count() == 3


def test_a_database_of_holds_that_is_away_holds_every_row(lab: Lab) -> None:
    archived(lab, rows=3)
    away = Source(lab.database_config(port=1), lab.environ)
    secret_missing = Source(lab.database_config(), {})

    for source in (away, secret_missing, None):
        with pytest.raises(HoldsUnreadable):
            purge(lab.task(legal_holds=LegalHolds(table=HOLDS), holds_source=source))

    assert lab.count() == 3


# Conditions.


@pytest.mark.parametrize(
    ("conditions", "kept"),
    [
        ([condition("amount", "=", "0.1429")], {"1"}),
        ([condition("amount", "=", "0.14290")], {"1"}),
        ([condition("amount", ">", "2.71425")], {"19"}),
        ([condition("amount", "<=", "0.1429")], {"0", "1"}),
        ([condition("id", "in", "1", "3")], {"0", "2"}),
        ([condition("created_at", ">=", "2024-03-05T22:48:00Z")], {"19"}),
        ([condition("created_at", ">=", "2024-03-05 23:48:00+01")], {"19"}),
        ([condition("actor", "=", "00000000-0000-0000-0000-000000000005")], {"5"}),
        ([condition("actor", "=", "{00000000-0000-0000-0000-00000000000A}")], {"10"}),
        ([condition("details", "=", '{"x": 1.1, "n": 7}')], {"7"}),
        ([condition("address", "=", "10.0.0.4/32")], {"4"}),
        ([condition("tags", "=", "{a,NULL,9}")], {"9"}),
        ([condition("action", "=", "action 11"), condition("action", "!=", "action 12")], {"11"}),
        ([condition("note", "is not null")], {"2", "3"}),
        ([condition("note", "=", "it's %s \\ $1")], {"2"}),
        # As in SQL a NULL is not unequal either.
        ([condition("note", "!=", "it's %s \\ $1")], {"3"}),
        ([condition("note", "is null"), condition("id", "<", "4")], {"0", "1"}),
        ([condition("kind", "=", "b")], {"4"}),
        ([condition("code", "=", "abcd")], set()),
        ([condition("code", "!=", "abcd")], {"6"}),
        ([condition("small", ">", "4")], {"8"}),
        # What would be SQL in another place is text here.
        ([condition("note", "=", "' OR '1'='1")], set()),
        ([condition("note", "=", "'; DROP TABLE audit_logs; --")], set()),
        ([condition('od"d; %s', "=", "x")], {"12"}),
    ],
)
def test_conditions_mean_what_they_say_for_every_type(lab: Lab, conditions: list[dict[str, object]], kept: set[str]) -> None:
    lab.execute("""
        CREATE TYPE public.kind AS ENUM ('a', 'b'); CREATE DOMAIN public.small AS int CHECK (VALUE < 10);
        ALTER TABLE audit_logs ADD note text, ADD kind public.kind, ADD code varchar(3), ADD small public.small, ADD "od""d; %s" text
    """)
    lab.fill(rows=20)
    lab.execute("UPDATE audit_logs SET actor = lpad(to_hex(id - 1), 32, '0')::uuid")
    lab.execute("UPDATE audit_logs SET note = %s WHERE id = 3", ["it's %s \\ $1"])
    lab.execute("UPDATE audit_logs SET note = 'other' WHERE id = 4")
    lab.execute("UPDATE audit_logs SET kind = 'b' WHERE id = 5; UPDATE audit_logs SET code = 'abc' WHERE id = 7")
    lab.execute('UPDATE audit_logs SET small = 5 WHERE id = 9; UPDATE audit_logs SET "od""d; %s" = \'x\' WHERE id = 13')
    archive(lab.task())
    place(lab, *conditions)

    purge(lab.task())

    assert actions(lab) == kept


@pytest.mark.parametrize(
    "conditions",
    [
        [condition("no_such_column", "=", "1")],
        [condition("ctid", "=", "(0,1)")],
        [condition("Action", "=", "action 1")],
        [condition('id" = 1 OR "id', "=", "1")],
        [condition("id", "=", "one")],
        [condition("id", "=", "1); DROP TABLE audit_logs; --")],
        [condition("actor", "in", "00000000-0000-0000-0000-000000000005", "5")],
        [condition("created_at", "<", "2024-02-30")],
        [condition("document", "=", "{}")],
        [condition("pair", "is null")],
        [condition("kind", "=", "c")],
    ],
)
def test_conditions_that_the_table_cannot_be_asked_for_hold_every_row(kept: Lab, conditions: list[dict[str, object]]) -> None:
    place(kept, *conditions)

    with pytest.raises(HoldsUnreadable, match="case-1"):
        purge(kept.task())
    with pytest.raises(HoldsUnreadable), suppress(StopIteration):
        next(expired_days(kept.task().source, kept.table(), kept.task().hold_places()))

    assert kept.count() == 3


def test_a_held_row_that_has_to_be_compared_by_content_stays(lab: Lab) -> None:
    archived(lab)
    lab.execute(COPY_AND_SWAP)
    place(lab, condition("action", "=", "action 3"))

    held = purge(lab.task())

    assert_purged(held, outcome="held", by_content=19, held=1)
    assert (actions(lab), receipts(lab)) == ({"3"}, [])
    release_hold(lab.store, PREFIX, "case-1")
    assert_purged(purge(lab.task()), by_content=1)
    assert (lab.count(), len(receipts(lab))) == (0, 1)


def test_late_rows_are_archived_and_stay_while_they_are_held(lab: Lab) -> None:
    archived(lab)
    place(lab, condition("action", "in", "action 3", "late"))
    lab.execute("INSERT INTO audit_logs (created_at, action) VALUES ('2024-03-05', 'late'), ('2024-03-05', 'late and free')")
    lab.execute("UPDATE audit_logs SET amount = 5 WHERE action = 'action 3'")

    first = purge(lab.task())
    assert_purged(first, outcome="held", purged=19, held=2, late=1)
    assert archive(lab.task()).rows == 3
    second = purge(lab.task())

    assert_purged(second, outcome="held", purged=1, held=2, late=0)
    assert actions(lab) == {"3", "late"}
    release_hold(lab.store, PREFIX, "case-1")
    assert (purge(lab.task()).outcome, lab.count(), len(receipts(lab))) == ("purged", 0, 2)


def test_rows_of_a_partitioned_table_are_held(lab: Lab) -> None:
    lab.execute("""
        CREATE TABLE ev (id int NOT NULL, at timestamptz NOT NULL, note text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
        CREATE TABLE ev_a PARTITION OF ev FOR VALUES FROM ('2024-03-01') TO ('2024-03-05 12:00+00');
        CREATE TABLE ev_b PARTITION OF ev FOR VALUES FROM ('2024-03-05 12:00+00') TO ('2024-04-01');
        INSERT INTO ev SELECT n, '2024-03-05 00:00+00'::timestamptz + n * interval '1 hour', 'n' FROM generate_series(0, 23) n;
    """)
    table = lab.table(name="ev", timestamp_column="at", primary_key=("id", "at"))
    archive(lab.task(table=table))
    place(lab, condition("id", "in", "3", "20"), table_name="EV")

    held = purge(lab.task(table=table))

    assert_purged(held, purged=22, held=2)
    assert lab.execute("SELECT id FROM ev ORDER BY 1") == [(3,), (20,)]


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        ({"first_day": "2024-03-05"}, 5),
        ({"first_day": "2024-03-06"}, 0),
        ({"last_day": "2024-03-05"}, 5),
        ({"last_day": "2024-03-04"}, 0),
        ({"first_day": "2024-03-05", "last_day": "2024-03-05"}, 5),
        ({"first_day": "0001-01-01", "last_day": "9999-12-31"}, 5),
        ({"first_day": "2024-03-05", **NEVER}, 0),
        ({"first_day": "0001-01-01", "last_day": "9999-12-31", "conditions": [condition("id", ">", "3")]}, 2),
        ({"first_day": "2024-03-05", "last_day": "2024-03-05", "conditions": [condition("id", ">", "3")]}, 2),
        ({"first_day": "2024-03-01", "last_day": "2024-03-04", "conditions": [condition("id", ">", "3")]}, 0),
    ],
)
def test_a_hold_on_a_range_of_days_holds_those_days(lab: Lab, values: dict[str, object], kept: int) -> None:
    archived(lab, rows=5)

    purge(lab.task(legal_holds=LegalHolds(holds=(hold(**values),))))

    assert lab.count() == kept


# The schedule, and compliance.


def waiting(lab: Lab) -> list[str]:
    task = lab.task()
    return [each.partition.key for each in expired_days(task.source, task.table, task.hold_places()) if not each.held]


def test_the_backlog_has_no_day_whose_rows_are_all_held(lab: Lab) -> None:
    for day in range(5, 11):
        lab.fill(day=date(2024, 3, day), rows=3)
    days = [f"2024-03-{day:02d}" for day in range(5, 11)]
    assert waiting(lab) == days

    place(lab, id="some days", first_day="2024-03-06", last_day="2024-03-07")
    assert waiting(lab) == [days[0], *days[3:]]
    place(lab, condition("action", "!=", "none"), id="all rows of a day", first_day="2024-03-09", last_day="2024-03-09")
    assert waiting(lab) == [days[0], days[3], days[5]]
    place(lab, condition("action", "=", "action 1"), id="some rows")
    assert waiting(lab) == [days[0], days[3], days[5]]
    place(lab, id="the table")
    assert waiting(lab) == []
    lab.store.create(f"{PREFIX}_holds/x.json", b"")
    with pytest.raises(HoldsUnreadable):
        waiting(lab)


@pytest.mark.parametrize(
    ("compliance", "changes", "found"),
    [
        (Compliance(min_retention_days=31), {}, "expected 31 to 36500 days"),
        (Compliance(max_retention_days=29), {}, "expected 1 to 29 days"),
        (Compliance(), {"critical": True}, "expected s3.encryption to be SSE-S3 or SSE-KMS"),
    ],
)
def test_neither_archive_nor_purge_work_beyond_the_limits_of_compliance(
    lab: Lab, compliance: Compliance, changes: dict[str, object], found: str
) -> None:
    archived(lab, rows=3)
    before = lab.objects()
    lab.fill(rows=3)
    task = lab.task(table=lab.table(**changes), compliance=compliance)

    for verb in (archive, purge):
        with pytest.raises(ConfigError, match=found):
            verb(task)

    assert (lab.count(), lab.objects()) == (6, before)


def test_a_services_task_has_the_holds_and_the_limits_of_the_config(lab: Lab) -> None:
    services = lab.services()
    config = services.config.model_copy(update={"legal_holds": LegalHolds(table=HOLDS), "compliance": Compliance(min_retention_days=7)})
    task = type(services)(config, lab.environ).task(lab.table(), str(DAY), "run")

    assert (task.legal_holds.table, task.compliance.min_retention_days, task.encryption) == (HOLDS, 7, "none")
    assert task.holds_source == Source(lab.database_config(), lab.environ)
