"""Tables that are altered, swapped or replaced between archive and purge, or while a purge runs: nothing goes that no object holds."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime

import psycopg
import pytest
from psycopg import sql

from archiver_assets.demo.postgres import EmbeddedPostgres
from archiver_assets.demo.seaweed import EmbeddedS3
from archiver_assets.errors import ManifestInvalid, NotVerified, SourceChanged, SourceUnavailable, TableRefused
from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.purging.purge import purge
from archiver_assets.lifecycle.task import Step
from archiver_assets.lifecycle.verifying.verify import verify
from archiver_assets.source import catalog_versions as footprints
from archiver_assets.source.catalog import Connection, Table, read_facts, read_table
from archiver_assets.source.catalog_versions import Footprint
from archiver_assets.source.sql_catalog import FACTS, RELATION
from archiver_assets.source.sql_catalog_versions import ROWS
from archiver_assets.store.s3 import S3ObjectStore
from archiver_assets_tests.doubles import MemoryObjectStore
from archiver_assets_tests.faulty_store import FaultyStore
from archiver_assets_tests.kills import after
from archiver_assets_tests.lab import AUDIT_LOGS, Lab, only
from archiver_assets_tests.outcomes import assert_purged
from archiver_assets_tests.servers import PostgresServer


@dataclass
class AlteringStore(FaultyStore):
    """Runs a statement right after the purging mark was created: after all the proofs, before the first delete."""

    statement: str = ""

    def create(self, key: str, data: bytes, *, locked: bool = True) -> object:  # type: ignore[override]
        created = self.real.create(key, data, locked=locked)
        if "_purging" in key:
            self.lab.execute(self.statement)
        return created


SWAP = """
    CREATE TABLE shadow (LIKE audit_logs INCLUDING ALL, extra text DEFAULT 'x');
    INSERT INTO shadow OVERRIDING SYSTEM VALUE SELECT *, 'never archived' FROM audit_logs;
    ALTER TABLE audit_logs RENAME TO audit_old; ALTER TABLE shadow RENAME TO audit_logs
"""


@pytest.mark.parametrize(
    "statement",
    [
        SWAP,
        "ALTER TABLE audit_logs ADD extra text DEFAULT 'never archived'",
        "CREATE TABLE child (id int, log bigint REFERENCES audit_logs ON DELETE CASCADE); INSERT INTO child VALUES (1, 1)",
        """CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
        CREATE TRIGGER t BEFORE DELETE ON audit_logs FOR EACH ROW EXECUTE FUNCTION f()""",
    ],
)
def test_a_table_changed_while_it_is_purged_is_noticed_under_the_lock_of_the_delete(lab: Lab, statement: str) -> None:
    lab.fill(rows=5)
    archive(lab.task())

    with pytest.raises((SourceChanged, TableRefused)):
        purge(lab.task(store=AlteringStore(lab.store, lab, statement=statement)))

    assert lab.count() == 5


@pytest.mark.parametrize(
    "statement",
    [
        SWAP,
        "ALTER TABLE audit_logs ADD extra text DEFAULT 'never archived'",
        "ALTER TABLE audit_logs ALTER note TYPE bytea USING ''",
        "CREATE TABLE child (id int, log bigint REFERENCES audit_logs ON DELETE CASCADE)",
        """CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
        CREATE TRIGGER t BEFORE DELETE ON audit_logs FOR EACH ROW EXECUTE FUNCTION f()""",
    ],
)
def test_a_table_changed_between_two_batches_is_noticed_under_the_lock_of_the_next(lab: Lab, statement: str) -> None:
    lab.execute("ALTER TABLE audit_logs ADD note text")
    lab.fill(rows=20)
    archive(lab.task())

    with pytest.raises((SourceChanged, TableRefused)):
        purge(lab.task(table=lab.table(batch_size=5), reached=after(Step.BATCH_DELETED, lambda: lab.execute(statement), nth=2)))

    assert lab.count() == 10


# All kinds of things that facts are made of, each changed alone. Before each the footprint is taken anew.
MADE = """
    CREATE SCHEMA kinds; CREATE TYPE kinds.severity AS ENUM ('low', 'high'); CREATE DOMAIN kinds.grave AS kinds.severity;
    CREATE TYPE kinds.report AS (note text, sev kinds.grave); CREATE TYPE kinds.span AS RANGE (subtype = kinds.severity);
    CREATE TYPE kinds.colour AS ENUM ('red'); CREATE TYPE kinds.odd;
    CREATE FUNCTION kinds.odd_in(cstring) RETURNS kinds.odd LANGUAGE internal IMMUTABLE STRICT AS 'textin';
    CREATE FUNCTION kinds.odd_out(kinds.odd) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout';
    CREATE TYPE kinds.odd (INPUT = kinds.odd_in, OUTPUT = kinds.odd_out, LIKE = text); CREATE CAST (kinds.odd AS text) WITHOUT FUNCTION;
    CREATE ROLE {role};
    CREATE FUNCTION kinds.twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 2';
    CREATE FUNCTION kinds.t(kinds.span) RETURNS text LANGUAGE sql AS 'SELECT NULL::text';
    CREATE FUNCTION kinds.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
    CREATE TABLE typed (id int NOT NULL, at timestamptz NOT NULL, home kinds.report[], during kinds.span, note varchar(20), hint text,
                        oddity kinds.odd,
                        double int GENERATED ALWAYS AS (kinds.twice(id)) STORED, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
    CREATE TABLE leaf PARTITION OF typed FOR VALUES FROM ('2024-03-05') TO ('2024-03-06');
    CREATE TABLE other (id int NOT NULL, at timestamptz NOT NULL);
    GRANT SELECT ON typed TO {role}; GRANT USAGE ON SCHEMA kinds TO {role}
"""
CHANGES = [
    "ALTER TYPE kinds.severity RENAME VALUE 'low' TO 'least'",
    "ALTER TYPE kinds.severity ADD VALUE 'most'",
    "ALTER TYPE kinds.report ADD ATTRIBUTE shade kinds.colour",
    "ALTER TYPE kinds.colour RENAME VALUE 'red' TO 'blue'",
    "ALTER TYPE kinds.report RENAME ATTRIBUTE note TO text",
    "ALTER TYPE kinds.span RENAME TO spans",
    "CREATE CAST (kinds.spans AS text) WITH FUNCTION kinds.t AS ASSIGNMENT",
    "ALTER TABLE typed ADD extra int",
    "ALTER TABLE typed DROP extra",
    "ALTER TABLE typed RENAME note TO remark",
    "ALTER TABLE typed ALTER remark TYPE varchar(30)",
    "ALTER TABLE typed ALTER hint SET NOT NULL",
    "ALTER TABLE typed ADD UNIQUE (at, id)",
    "ALTER FUNCTION kinds.twice RENAME TO doubled",
    "ALTER TABLE typed DROP double",
    "ALTER SCHEMA kinds RENAME TO sorts",
    "CREATE OR REPLACE FUNCTION sorts.odd_out(sorts.odd) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'byteaout'",
    "CREATE TRIGGER t BEFORE DELETE ON leaf FOR EACH ROW EXECUTE FUNCTION sorts.f()",
    "ALTER TABLE leaf DISABLE TRIGGER t",
    "ALTER TABLE leaf ENABLE TRIGGER t",
    "ALTER TRIGGER t ON leaf RENAME TO u",
    "CREATE RULE r AS ON DELETE TO typed DO ALSO NOTHING",
    "ALTER RULE r ON typed RENAME TO s",
    "CREATE TABLE child (id int, at timestamptz, FOREIGN KEY (id, at) REFERENCES typed)",
    "ALTER TABLE child RENAME CONSTRAINT child_id_at_fkey TO parent",
    "DROP TABLE child",
    "ALTER TABLE typed ENABLE ROW LEVEL SECURITY",
    "ALTER ROLE {role} BYPASSRLS",
    "CREATE TABLE below PARTITION OF typed FOR VALUES FROM ('2024-03-06') TO ('2024-03-08') PARTITION BY RANGE (at)",
    "CREATE TABLE deep PARTITION OF below FOR VALUES FROM ('2024-03-06') TO ('2024-03-07')",
    "CREATE TABLE deeper PARTITION OF below FOR VALUES FROM ('2024-03-07') TO ('2024-03-08')",
    "ALTER TABLE below DETACH PARTITION deep",
    "ALTER TABLE leaf SET UNLOGGED",
    "ALTER TABLE typed RENAME TO gone; ALTER TABLE other RENAME TO typed",
]
UNSEEN = "CREATE TABLE below"
"""It changes no fact, but what hangs below it then does."""


def test_whatever_changes_the_facts_of_a_table_changes_its_footprint(lab: Lab) -> None:
    role = f"footprint_{lab.bucket.replace('-', '_')}"
    lab.execute(MADE.format(role=role))
    config = lab.table(name="typed", timestamp_column="at", primary_key=("id", "at"))
    unseen = []
    with lab.task(table=config).source.connect() as connection:
        table = read_table(connection, config)
        try:
            connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
            for change in CHANGES:
                footprint, before = Footprint(), replace(table, facts=read_facts(connection, config))
                assert not footprint.is_unchanged(connection), "nothing is known at first"
                assert footprint.proves(connection, config, before), change
                assert footprint.is_unchanged(connection), change

                lab.execute(change.format(role=role))

                if read_facts(connection, config) == before.facts:
                    unseen.append(change)
                else:
                    assert not footprint.is_unchanged(connection), change
                    assert not footprint.proves(connection, config, before), change
                    assert not footprint.is_unchanged(connection), change
        finally:
            connection.execute("RESET ROLE")
            lab.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
    assert [change for change in unseen if not change.startswith(UNSEEN)] == []


def test_a_change_that_comes_while_a_footprint_is_taken_is_not_part_of_it(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.execute(MADE.partition("GRANT")[0].replace("CREATE ROLE {role};", ""))
    config = lab.table(name="typed", timestamp_column="at", primary_key=("id", "at"))
    roots = footprints._roots
    changes = iter(
        [
            "CREATE TABLE below PARTITION OF typed FOR VALUES FROM ('2024-03-06') TO ('2024-03-08') PARTITION BY RANGE (at)",
            "SELECT 1",
            "ALTER TYPE kinds.severity RENAME VALUE 'low' TO 'least'",
        ]
    )

    def change_then(connection: Connection, table: Table) -> dict[str, str]:
        found = roots(connection, table)
        lab.execute(next(changes, "SELECT 1"))
        return found

    with lab.task(table=config).source.connect() as connection:
        table = read_table(connection, config)
        monkeypatch.setattr(footprints, "_roots", change_then)
        footprint = Footprint()
        # A child without leaves is no fact, but a leaf of its own would be one.
        assert (footprint.proves(connection, config, table), footprint.is_unchanged(connection)) == (True, False)
        assert (footprint.proves(connection, config, table), footprint.is_unchanged(connection)) == (False, False)


def test_a_footprint_has_all_catalogs_that_facts_are_read_from() -> None:
    read = {name for statement in (RELATION, *FACTS.values()) for name in re.findall(r"(?:FROM|JOIN|,)\s+(pg_[a-z]+)\b(?!\()", statement)}
    assert read == {catalog for catalog, _, _ in ROWS}


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE typed DROP note, ADD note text DEFAULT 'new'",
        "ALTER TYPE severity RENAME VALUE 'low' TO 'critical'",
        "ALTER TYPE address ADD ATTRIBUTE city text",
    ],
)
def test_a_change_that_keeps_row_versions_but_not_their_values_takes_another_archive_before_the_purge(lab: Lab, statement: str) -> None:
    lab.execute("""
        CREATE TYPE severity AS ENUM ('low', 'high'); CREATE TYPE address AS (street text);
        CREATE TABLE typed (id int PRIMARY KEY, at timestamptz NOT NULL, sev severity, home address, note text);
        INSERT INTO typed SELECT n, '2024-03-05 10:00+00', 'low', ROW('a')::address, 'old' FROM generate_series(1, 5) n
    """)
    table = lab.table(name="typed", timestamp_column="at")
    archive(lab.task(table=table))
    lab.execute(statement)

    with pytest.raises(SourceChanged, match="columns"):
        purge(lab.task(table=table))
    assert lab.count("typed") == 5

    assert archive(lab.task(table=table)).rows == 5
    assert (purge(lab.task(table=table)).tally.purged, lab.count("typed")) == (5, 0)


def test_a_label_of_an_enum_counts_however_deep_in_a_type_it_is(lab: Lab) -> None:
    kinds = ["severity[]", "graver", "graver[]", "report", "report[]", "reports", "span", "span_multirange"]
    lab.execute("""
        CREATE TYPE severity AS ENUM ('low', 'high'); CREATE DOMAIN grave AS severity; CREATE DOMAIN graver AS grave;
        CREATE TYPE report AS (note text, sev severity); CREATE DOMAIN reports AS report[]; CREATE TYPE span AS RANGE (subtype = severity)
    """)
    for number, kind in enumerate(kinds):
        lab.execute(f"CREATE TABLE t{number} (id int PRIMARY KEY, at timestamptz NOT NULL, v {kind})")

    def fingerprints() -> list[str]:
        tables = [lab.table(name=f"t{number}", timestamp_column="at") for number in range(len(kinds))]
        with lab.task().source.connect() as connection:
            return [read_table(connection, table).fingerprint for table in tables]

    before = fingerprints()
    lab.execute("ALTER TYPE severity RENAME VALUE 'low' TO 'critical'")

    assert [kind for kind, one, other in zip(kinds, before, fingerprints(), strict=True) if one == other] == []


@pytest.mark.parametrize(
    ("by", "key", "bounds"), [("at", ("id", "at"), "FROM ('2024-03-05') TO ('2024-03-06')"), ("id", ("id",), "FROM (1) TO (100)")]
)
def test_rows_of_a_leaf_attached_since_stay_even_with_the_same_keys_and_xmins(lab: Lab, by: str, key: tuple[str, ...], bounds: str) -> None:
    lab.execute(f"""
        CREATE TABLE ev (id int NOT NULL, at timestamptz NOT NULL, note text, PRIMARY KEY ({", ".join(key)})) PARTITION BY RANGE ({by});
        CREATE TABLE ev1 PARTITION OF ev FOR VALUES {bounds};
        CREATE TABLE ev2 (LIKE ev INCLUDING ALL);
        INSERT INTO ev1 SELECT n, '2024-03-05 10:00+00', 'archived' FROM generate_series(1, 5) n;
        INSERT INTO ev2 SELECT n, '2024-03-05 10:00+00', 'other leaf' FROM generate_series(1, 5) n
    """)
    table = lab.table(name="ev", timestamp_column="at", primary_key=key)
    archive(lab.task(table=table))
    lab.execute(f"ALTER TABLE ev DETACH PARTITION ev1; ALTER TABLE ev ATTACH PARTITION ev2 FOR VALUES {bounds}")
    assert lab.execute("SELECT count(*) FROM ev1 JOIN ev2 USING (id) WHERE ev1.xmin = ev2.xmin") == [(5,)]

    purged = purge(lab.task(table=table))

    assert_purged(purged, purged=0, late=5)
    assert (lab.count("ev"), lab.count("ev1")) == (5, 5)


@pytest.mark.parametrize(
    "ddl",
    [
        "CREATE DOMAIN odd AS char(5)",
        """CREATE TYPE odd AS (x int, y int);
        CREATE FUNCTION odd_text(odd) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'x=' || ($1).x $$;
        CREATE CAST (odd AS text) WITH FUNCTION odd_text(odd)""",
        """CREATE TYPE pair AS (x int, y int); CREATE DOMAIN lower_odd AS pair; CREATE DOMAIN odd AS lower_odd;
        CREATE FUNCTION pair_text(pair) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'x=' || ($1).x $$;
        CREATE CAST (pair AS text) WITH FUNCTION pair_text(pair)""",
    ],
)
def test_a_type_whose_text_does_not_hold_its_value_is_refused(lab: Lab, ddl: str) -> None:
    lab.execute(
        f"{ddl}; CREATE TABLE odds (id int PRIMARY KEY, at timestamptz NOT NULL, v odd); INSERT INTO odds VALUES (1, '2024-03-05 10:00+00')"
    )

    with pytest.raises(TableRefused, match="the text of 'v'"):
        archive(lab.task(table=lab.table(name="odds", timestamp_column="at")))


def test_a_generation_of_another_database_under_the_same_label_is_not_taken_for_this_one(lab: Lab, postgres_server: PostgresServer) -> None:
    lab.fill(rows=5)
    archive(lab.task())
    other = f"{lab.database.name}_other"
    with psycopg.connect(postgres_server.maintenance_dsn, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {other}")
    try:
        clone = Lab(postgres_server.database(other), lab.store, lab.bucket, lab.endpoint)
        clone.execute(AUDIT_LOGS)
        clone.fill(rows=7)
        for verb in (archive, purge):
            with pytest.raises(SourceChanged, match="database oid"):
                verb(clone.task())
        assert clone.count() == 7
    finally:
        with psycopg.connect(postgres_server.maintenance_dsn, autocommit=True) as admin:
            admin.execute(f"DROP DATABASE {other} WITH (FORCE)")


def test_after_a_change_of_the_time_zone_only_rows_of_the_day_in_both_zones_are_purged(lab: Lab) -> None:
    lab.fill(rows=24)
    archive(lab.task())
    berlin = lab.table(timezone="Europe/Berlin")

    purged = purge(lab.task(table=berlin))
    assert_purged(purged, outcome="incomplete", purged=23, elsewhere=1)
    assert lab.execute("SELECT created_at AT TIME ZONE 'UTC' FROM audit_logs") == [(datetime(2024, 3, 5, 23),)]  # noqa: DTZ001 - a local time

    archive(lab.task("2024-03-06", berlin))
    assert (purge(lab.task("2024-03-06", berlin)).tally.purged, lab.count()) == (1, 0)
    assert purge(lab.task(table=berlin)).outcome == "purged"


def test_rows_of_a_local_day_that_never_was_are_refused(lab: Lab) -> None:
    lab.execute("CREATE TABLE local (id int PRIMARY KEY, at timestamp NOT NULL); INSERT INTO local VALUES (1, '2011-12-30 12:00')")

    with pytest.raises(TableRefused, match="never had"):
        archive(lab.task(date(2011, 12, 30), lab.table(name="local", timestamp_column="at", timezone="Pacific/Apia")))

    assert lab.objects() == []


def test_an_object_hidden_by_a_delete_marker_does_not_pass(lab: Lab, s3_server: EmbeddedS3) -> None:
    s3_server.client().put_bucket_versioning(Bucket=lab.bucket, VersioningConfiguration={"Status": "Enabled"})
    store = S3ObjectStore.connect(bucket=lab.bucket, endpoint=s3_server.endpoint, region="us-east-1", path_style=True)
    lab.fill(rows=5)
    archive(lab.task(store=store))
    assert verify(lab.task(store=store)).passed
    s3_server.client().delete_object(Bucket=lab.bucket, Key=only(lab.objects(), lambda key: "rows-" in key))

    with pytest.raises(NotVerified, match="delete marker"):
        purge(lab.task(store=store))

    assert lab.count() == 5


def test_a_purging_mark_of_another_manifest_stops_the_purge(lab: Lab) -> None:
    lab.fill(rows=5)
    store = MemoryObjectStore()
    archive(lab.task(store=store))
    purge(lab.task(store=store))
    (mark,) = [key for key in store.contents if "_purging" in key]
    lab.fill(rows=5)
    alien = store.contents[mark]
    store.contents.clear()
    archive(lab.task(store=store))
    store.contents[mark] = alien

    with pytest.raises(ManifestInvalid, match="_purging-0001"):
        purge(lab.task(store=store))

    assert lab.count() == 5


@pytest.fixture
def lazy_server() -> Iterator[EmbeddedPostgres]:
    """A server that flushes its WAL late unless a commit waits for it."""
    with EmbeddedPostgres(durable=True, settings={"wal_writer_delay": "10s", "wal_writer_flush_after": "0"}) as server:
        yield server


def test_a_row_that_a_crash_can_still_undo_makes_no_generation(
    lab: Lab, lazy_server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With synchronous_commit off, a transaction is seen before it is on disk; its id would be given to another after the crash."""
    lazy = Lab(PostgresServer(lazy_server.dsn()).database("postgres"), lab.store, lab.bucket, lab.endpoint)
    lazy.execute(AUDIT_LOGS)
    lazy.execute("CHECKPOINT")
    waits: list[float] = []
    ticking = iter(range(0, 10_000, 30))
    lazy.execute(
        "SET synchronous_commit = off; INSERT INTO audit_logs (created_at, action) SELECT '2024-03-05', 'x' FROM generate_series(1, 5)"
    )

    with monkeypatch.context() as patch:
        patch.setattr("archiver_assets.lifecycle.archiving.archive.prompt_flush", lambda _connection: None)  # as if the disk hung
        task = lazy.task(sleep=waits.append, monotonic=lambda: float(next(ticking)))
        with pytest.raises(SourceUnavailable, match="flush its WAL"):
            archive(task)

    assert waits
    assert not [key for key in lab.objects() if "_manifest" in key]
    assert archive(lazy.task()).rows == 5
