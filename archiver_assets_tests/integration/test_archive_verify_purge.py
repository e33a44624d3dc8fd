"""The path of a day: archive, verify, purge, against a real PostgreSQL and a real S3 server."""

import json
import uuid
from datetime import UTC, date, datetime, timedelta

import pyarrow.parquet as pq
import pytest

from archiver_assets.errors import NotArchived, NotExpired, PartitionBusy, SourceChanged, TableRefused, ValueRefused
from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.purging.purge import purge
from archiver_assets.lifecycle.verifying.verify import verify
from archiver_assets.source.session import partition_lock
from archiver_assets.store.manifest import Manifest, Receipt
from archiver_assets_tests.lab import Lab, only
from archiver_assets_tests.outcomes import assert_purged

FOLDER = "archives/lab/public/audit_logs/dt=2024-03-05/"


def test_a_day_of_rows_leaves_the_table_and_lies_in_the_bucket(lab: Lab) -> None:
    lab.fill(rows=100)
    lab.fill(day=date(2024, 3, 6), rows=7)

    archived = archive(lab.task())
    verification = verify(lab.task())
    purged = purge(lab.task())

    assert (archived.outcome, archived.rows) == ("archived", 100)
    assert (verification.mismatches, verification.rows_in_object) == ((), 100)
    assert_purged(purged, outcome="purged", purged=100, late=0)
    assert lab.count() == 7


def test_the_bucket_holds_the_objects_of_the_contract_and_nothing_else(lab: Lab) -> None:
    lab.fill(rows=10)
    archive(lab.task())
    purge(lab.task())

    marks = [key for key in lab.objects() if not key.endswith(".parquet")]
    data = only(lab.objects(), lambda key: key.endswith(".parquet"))

    assert marks == [FOLDER + "_manifest-0001.json", FOLDER + "_purged-0001.json", FOLDER + "_purging-0001.json"]
    assert data.startswith(FOLDER + "rows-0001-")


def test_the_manifest_has_the_fields_of_the_contract_and_true_facts(lab: Lab) -> None:
    lab.fill(rows=24)
    archive(lab.task())

    raw = lab.content(FOLDER + "_manifest-0001.json")
    fields = json.loads(raw)
    manifest = Manifest.model_validate_json(raw)
    stored = lab.content(manifest.object.key)

    assert set(fields) == {
        *("format", "database", "schema", "table", "partition", "generation", "object", "rows", "content_digest", "timestamp_min"),
        *("timestamp_max", "columns", "primary_key", "ddl", "fingerprint", "source", "archived_at", "archiver_version", "run_id"),
    }
    assert fields["partition"] == {
        "column": "created_at",
        "timezone": "UTC",
        "start": "2024-03-05T00:00:00.000000Z",
        "end": "2024-03-06T00:00:00.000000Z",
    }
    assert (fields["timestamp_min"], fields["timestamp_max"]) == ("2024-03-05T00:00:00.000000Z", "2024-03-05T23:00:00.000000Z")
    assert (manifest.rows, manifest.object.bytes) == (24, len(stored))
    assert str(manifest.source.table_oid) == str(lab.execute("SELECT 'public.audit_logs'::regclass::oid")[0][0])


def test_the_object_explains_itself_without_its_manifest(lab: Lab) -> None:
    lab.fill(rows=3)
    archive(lab.task())

    data = only(lab.objects(), lambda key: key.endswith(".parquet"))
    parquet = pq.ParquetFile(lab.file(data))
    footer = {key.decode(): value.decode() for key, value in parquet.metadata.metadata.items()}

    assert (footer["database"], footer["schema"], footer["table"], footer["generation"]) == ("lab", "public", "audit_logs", "1")
    assert json.loads(footer["partition"])["start"] == "2024-03-05T00:00:00.000000Z"
    columns = [name for (name,) in lab.execute("SELECT attname FROM pg_attribute WHERE attrelid = 'audit_logs'::regclass AND attnum > 0")]
    assert parquet.schema_arrow.names == [*columns, "_xmin"]
    assert parquet.schema_arrow.field("amount").metadata == {b"pg_type": b"numeric(18,4)"}
    assert str(parquet.schema_arrow.field("_xmin").type) == "uint32"


def test_an_empty_day_succeeds_and_says_so(lab: Lab) -> None:
    assert archive(lab.task()).outcome == "empty"
    assert verify(lab.task()).passed
    assert purge(lab.task()).outcome == "empty"
    assert lab.objects() == []


def test_a_row_updated_after_the_archive_stays_in_the_table(lab: Lab) -> None:
    lab.fill(rows=50)
    archive(lab.task())
    lab.execute("UPDATE audit_logs SET action = 'corrected' WHERE id = 7")

    purged = purge(lab.task())

    assert_purged(purged, purged=49, changed=1, late=1)
    assert lab.execute("SELECT id, action FROM audit_logs") == [(7, "corrected")]


def test_an_update_that_changes_nothing_leaves_the_row_that_the_archive_holds(lab: Lab) -> None:
    lab.fill(rows=5)
    archive(lab.task())
    lab.execute("UPDATE audit_logs SET action = action WHERE id = 2")

    purged = purge(lab.task())
    assert_purged(purged, by_version=4, by_content=1)
    assert lab.count() == 0


def test_a_row_inserted_after_the_archive_stays_in_the_table(lab: Lab) -> None:
    lab.fill(rows=50)
    archive(lab.task())
    lab.fill(rows=2)

    purged = purge(lab.task())

    assert_purged(purged, purged=50, late=2)
    assert lab.execute("SELECT min(id), count(*) FROM audit_logs") == [(51, 2)]


def test_a_row_deleted_and_inserted_again_stays_unless_it_is_the_same(lab: Lab) -> None:
    lab.fill(rows=5)
    archive(lab.task())
    lab.execute("WITH gone AS (DELETE FROM audit_logs WHERE id = 3 RETURNING *) INSERT INTO audit_logs SELECT * FROM gone")
    lab.execute("DELETE FROM audit_logs WHERE id = 2; INSERT INTO audit_logs (id, created_at, action) VALUES (2, '2024-03-05', 'other')")
    lab.execute("DELETE FROM audit_logs WHERE id = 4")

    purged = purge(lab.task())

    assert_purged(purged, purged=3, by_content=1, changed=1, gone=1)
    assert lab.execute("SELECT id FROM audit_logs") == [(2,)]


def test_a_row_moved_to_another_day_after_the_archive_stays(lab: Lab) -> None:
    lab.fill(rows=5)
    archive(lab.task())
    lab.execute("UPDATE audit_logs SET created_at = created_at + interval '3 days' WHERE id = 1")

    assert purge(lab.task()).late == 0
    assert lab.execute("SELECT id FROM audit_logs") == [(1,)]


def test_archiving_twice_makes_one_generation(lab: Lab) -> None:
    lab.fill(rows=5)
    archive(lab.task())
    before = lab.objects()

    again = archive(lab.task())

    assert (again.outcome, again.rows, again.rows_in_table) == ("already archived", 0, 5)
    assert lab.objects() == before


def test_purging_twice_deletes_nothing_more(lab: Lab) -> None:
    lab.fill(rows=5)
    archive(lab.task())
    purge(lab.task())
    lab.fill(rows=2)

    again = purge(lab.task())

    assert_purged(again, outcome="already purged", purged=0, late=2)
    assert lab.count() == 2


def test_archiving_a_purged_day_again_writes_nothing_and_loses_nothing(lab: Lab) -> None:
    lab.fill(rows=5)
    archive(lab.task())
    purge(lab.task())
    before = lab.objects()

    assert archive(lab.task()).outcome == "already archived"
    assert lab.objects() == before
    assert verify(lab.task()).passed


def test_a_purge_without_an_archive_deletes_nothing(lab: Lab) -> None:
    lab.fill(rows=5)

    with pytest.raises(NotArchived, match="expected a generation that holds the 5 rows"):
        purge(lab.task())

    assert lab.count() == 5


def test_verifying_rows_without_a_generation_fails(lab: Lab) -> None:
    lab.fill(rows=5)

    assert verify(lab.task()).mismatches == ("the table holds 5 rows of the partition and there is no generation that counts",)


def test_a_day_that_the_retention_protects_is_refused_by_archive_and_purge(lab: Lab) -> None:
    newest = datetime.now(UTC).date() - timedelta(days=30)
    lab.fill(day=newest, rows=5)

    for verb in (archive, purge):
        with pytest.raises(NotExpired, match="is not expired"):
            verb(lab.task(newest))

    assert (lab.count(), lab.objects()) == (5, [])


def test_the_newest_expired_day_is_taken(lab: Lab) -> None:
    newest = datetime.now(UTC).date() - timedelta(days=31)
    lab.fill(day=newest, rows=5)

    archive(lab.task(newest))

    assert purge(lab.task(newest)).tally.purged == 5


def test_a_retention_raised_after_the_archive_stops_the_purge(lab: Lab) -> None:
    newest = datetime.now(UTC).date() - timedelta(days=31)
    lab.fill(day=newest, rows=5)
    archive(lab.task(newest))

    with pytest.raises(NotExpired):
        purge(lab.task(newest, lab.table(retention_days=90)))

    assert lab.count() == 5


@pytest.mark.parametrize(("day", "hours"), [(date(2024, 3, 31), 23), (date(2024, 10, 27), 25)])
@pytest.mark.parametrize("kind", ["timestamptz", "timestamp", "date"])
def test_days_of_a_clock_change_are_archived_whole_and_no_more(lab: Lab, day: date, hours: int, kind: str) -> None:
    lab.execute(f"CREATE TABLE events (id int PRIMARY KEY, at {kind} NOT NULL)")
    # One row each half hour, from two hours before the local day to two hours after it, by the server's own time zone data.
    lab.execute(
        f"""INSERT INTO events SELECT n, (instant AT TIME ZONE 'Europe/Berlin')::{kind if kind != "timestamptz" else "timestamp"}
                                         {"AT TIME ZONE 'Europe/Berlin'" if kind == "timestamptz" else ""}
            FROM (SELECT n, (%(day)s::timestamp AT TIME ZONE 'Europe/Berlin') + (n - 4) * interval '30 min' AS instant
                  FROM generate_series(0, %(n)s) AS n) AS halves""",
        {"day": str(day), "n": hours * 2 + 7},
    )
    table = lab.table(name="events", timestamp_column="at", timezone="Europe/Berlin")

    archived = archive(lab.task(day, table))
    purged = purge(lab.task(day, table))

    assert (archived.rows, purged.tally.purged) == (hours * 2, hours * 2)
    assert lab.count("events") == 8


def test_rows_with_null_or_infinite_timestamps_are_never_touched(lab: Lab) -> None:
    lab.execute("ALTER TABLE audit_logs ALTER created_at DROP NOT NULL")
    lab.execute("INSERT INTO audit_logs (created_at, action) VALUES (NULL, 'x'), ('infinity', 'x'), ('-infinity', 'x')")
    lab.fill(rows=5)
    archive(lab.task())

    assert purge(lab.task()).tally.purged == 5
    assert lab.count() == 3


def test_a_natively_partitioned_table_with_a_composite_key_is_archived_and_purged(lab: Lab) -> None:
    lab.execute("""
        CREATE TABLE postings (id int NOT NULL, at timestamptz NOT NULL, memo text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
        CREATE TABLE postings_am PARTITION OF postings FOR VALUES FROM (MINVALUE) TO ('2024-03-05 12:00+00');
        CREATE TABLE postings_pm PARTITION OF postings FOR VALUES FROM ('2024-03-05 12:00+00') TO (MAXVALUE);
        INSERT INTO postings SELECT n, '2024-03-05 00:00+00'::timestamptz + n * interval '1 hour', 'm' FROM generate_series(0, 30) n
    """)
    table = lab.table(name="postings", timestamp_column="at", primary_key=("id", "at"))
    archive(lab.task(table=table))
    lab.execute("UPDATE postings SET memo = 'x' WHERE id = 20")

    purged = purge(lab.task(table=table))

    assert_purged(purged, purged=23, changed=1)
    assert lab.count("postings") == 8


KEYS = {
    "uuid": (uuid.UUID(int=1), uuid.UUID(int=2)),
    "text": ("it's", '{"a",NULL}'),
    'text COLLATE "C"': ("", "ü"),
    "varchar(8)": ("a ", "a"),
    "char(6)": ("ab", "abc"),
    "numeric": ("1.00", "1e-30"),
    "numeric(20,4)": ("1.00", "-9999999999999999.9999"),
    "smallint": (-32768, 32767),
    "date": (date(2024, 1, 1), date(1, 1, 1)),
    "timestamptz": (datetime(2024, 1, 1, 0, 0, 0, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC)),
    "boolean": (True, False),
    "bytea": (b"", b"\x00\xff"),
    "inet": ("10.0.0.1", "10.0.0.1/8"),
    "double precision": (0.1, -5e-324),
    "int4range": ("[1,2)", "empty"),
    "int[]": ([1, 2], []),
}


@pytest.mark.parametrize("kind", KEYS)
def test_rows_with_keys_of_any_type_are_purged(lab: Lab, kind: str) -> None:
    lab.execute(f"CREATE TABLE keyed (k {kind} PRIMARY KEY, at timestamptz NOT NULL)")
    for key in KEYS[kind]:
        lab.execute("INSERT INTO keyed VALUES (%s, '2024-03-05 10:00+00')", [key])
    table = lab.table(name="keyed", timestamp_column="at", primary_key=("k",))
    archive(lab.task(table=table))
    purged = purge(lab.task(table=table))
    assert (purged.tally.purged, lab.count("keyed")) == (2, 0)


def test_any_legal_name_of_schema_table_and_column_works(lab: Lab) -> None:
    odd = 'Üb"er %s $1 {x} '
    quoted = odd.replace('"', '""')
    lab.execute(f"""
        CREATE SCHEMA "Sch%ema ""x"" y";
        CREATE TABLE "Sch%ema ""x"" y"."ta/b.le %s" ("{quoted}" int PRIMARY KEY, "created at%" timestamptz NOT NULL);
        INSERT INTO "Sch%ema ""x"" y"."ta/b.le %s" SELECT n, '2024-03-05 10:00+00' FROM generate_series(1, 9) n
    """)
    table = lab.table(schema_name='Sch%ema "x" y', name="ta/b.le %s", primary_key=(odd,), timestamp_column="created at%")

    archive(lab.task(table=table))
    assert verify(lab.task(table=table)).passed
    assert purge(lab.task(table=table)).tally.purged == 9
    assert lab.objects()[0].startswith("archives/lab/Sch%25ema%20%22x%22%20y/ta%2Fb.le%20%25s/dt=2024-03-05/")


def test_a_purge_goes_in_batches_and_pauses_between_them(lab: Lab) -> None:
    pauses: list[float] = []
    lab.fill(rows=25)
    table = lab.table(batch_size=10, sleep_between_batches=1.5)
    archive(lab.task(table=table))

    purged = purge(lab.task(table=table, sleep=pauses.append))

    assert_purged(purged, batches=3, purged=25)
    assert pauses == [1.5, 1.5]


def test_a_purge_that_was_interrupted_between_batches_is_finished_by_the_next(lab: Lab) -> None:
    def interrupted(_seconds: float) -> None:
        raise KeyboardInterrupt

    lab.fill(rows=25)
    table = lab.table(batch_size=10, sleep_between_batches=1.0)
    archive(lab.task(table=table))
    with pytest.raises(KeyboardInterrupt):
        purge(lab.task(table=table, sleep=interrupted))
    assert lab.count() == 15
    assert FOLDER + "_purged-0001.json" not in lab.objects()

    purged = purge(lab.task(table=table))

    assert_purged(purged, outcome="purged", purged=15, gone=10)
    assert lab.count() == 0
    assert FOLDER + "_purged-0001.json" in lab.objects()


def test_the_receipt_counts_what_became_of_the_rows(lab: Lab) -> None:
    lab.fill(rows=10)
    archive(lab.task())
    lab.execute("DELETE FROM audit_logs WHERE id = 1")
    lab.execute("UPDATE audit_logs SET action = 'x' WHERE id = 2")
    purge(lab.task())

    receipt = Receipt.model_validate_json(lab.content(FOLDER + "_purged-0001.json"))

    assert (receipt.rows_purged_by_version, receipt.rows_gone, receipt.rows_late, receipt.batches) == (8, 1, 1, 1)


def test_two_at_once_on_one_partition_are_refused(lab: Lab) -> None:
    lab.fill(rows=5)
    task = lab.task()
    with task.source.connect() as connection, partition_lock(connection, table=task.table.label, partition=task.partition):
        for verb in (archive, purge):
            with pytest.raises(PartitionBusy, match="another session"):
                verb(lab.task())
    archive(lab.task())
    assert purge(lab.task()).tally.purged == 5


def test_a_table_that_was_made_anew_is_purged_of_equal_rows_only(lab: Lab) -> None:
    lab.fill(rows=5)
    archive(lab.task())
    lab.execute(
        "ALTER TABLE audit_logs RENAME TO old; CREATE TABLE audit_logs (LIKE old INCLUDING ALL); INSERT INTO audit_logs SELECT * FROM old"
    )

    lab.execute("UPDATE audit_logs SET amount = 0.1 WHERE id = 3")

    purged = purge(lab.task())

    assert_purged(purged, by_version=0, by_content=4, changed=1)
    assert (lab.count(), lab.count("old")) == (1, 5)


@pytest.mark.parametrize("change", ["ADD note text", "DROP tags", "ALTER action TYPE varchar(99)", "RENAME details TO more"])
def test_a_table_whose_columns_changed_since_the_archive_is_not_purged(lab: Lab, change: str) -> None:
    lab.fill(rows=5)
    archive(lab.task())
    lab.execute(f"ALTER TABLE audit_logs {change}")

    with pytest.raises(SourceChanged, match="columns"):
        purge(lab.task())

    assert lab.count() == 5


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("CREATE RULE r AS ON DELETE TO audit_logs DO INSTEAD NOTHING", "rule r"),
        ("CREATE TABLE child (id int PRIMARY KEY, log bigint REFERENCES audit_logs ON DELETE CASCADE)", "foreign key"),
        (
            """CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
            CREATE TRIGGER t BEFORE DELETE ON audit_logs FOR EACH ROW EXECUTE FUNCTION f()""",
            "trigger t",
        ),
        ("CREATE TABLE heir () INHERITS (audit_logs)", "inheritance child"),
        ("ALTER TABLE audit_logs DROP CONSTRAINT audit_logs_pkey", "unique index"),
        ("ALTER TABLE audit_logs SET UNLOGGED", "permanent table"),
        ("ALTER TABLE audit_logs ADD _xmin int", "_xmin"),
        ("ALTER TABLE audit_logs RENAME created_at TO other", "created_at"),
    ],
)
def test_a_table_that_cannot_be_purged_safely_is_refused_by_both(lab: Lab, statement: str, reason: str) -> None:
    lab.fill(rows=5)
    archive(lab.task())
    lab.execute(statement)

    for verb in (archive, purge):
        with pytest.raises(TableRefused, match=reason):
            verb(lab.task())

    assert lab.count() == 5


def test_a_value_that_cannot_be_stored_exactly_stops_the_archive_and_names_the_way_out(lab: Lab) -> None:
    lab.fill(rows=5)
    lab.execute("UPDATE audit_logs SET amount = 'NaN' WHERE id = 3")

    with pytest.raises(
        ValueRefused, match=r"(?s)column 'amount' of lab/public/audit_logs.*HINT: set columns: \{amount: \{store_as: text\}\}"
    ):
        archive(lab.task())
    assert lab.objects() == []

    table = lab.table(columns={"amount": {"store_as": "text"}})
    archive(lab.task(table=table))
    assert purge(lab.task(table=table)).tally.purged == 5


def test_a_missing_table_is_named(lab: Lab) -> None:
    with pytest.raises(Exception, match="nothing_here"):
        archive(lab.task(table=lab.table(name="nothing_here")))
