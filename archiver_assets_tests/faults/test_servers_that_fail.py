"""Standbys that lag, failovers that lose transactions, transaction ids that come round: a version is believed only where it is the same."""

from dataclasses import replace

import psycopg
import pytest

from archiver_assets.config import DatabaseConfig, ReplicaConfig
from archiver_assets.demo.postgres import EmbeddedPostgres
from archiver_assets.errors import SourceUnavailable
from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.purging.purge import purge
from archiver_assets.lifecycle.task import Step, Task
from archiver_assets.lifecycle.verifying.verify import verify
from archiver_assets_tests.clusters import Pair, catch_up, primary_with_standby, restartable, run, turn_epoch
from archiver_assets_tests.lab import AUDIT_LOGS, Lab
from archiver_assets_tests.outcomes import assert_purged
from archiver_assets_tests.servers import PostgresServer


def lab_on(lab: Lab, server: EmbeddedPostgres) -> Lab:
    """Return a lab on another server, with the same bucket."""
    return Lab(PostgresServer(server.dsn()).database("postgres"), lab.store, lab.bucket, lab.endpoint)


def from_standby(lab: Lab, pair: Pair) -> Task:
    """Return the task whose rows are read on the standby."""
    task = lab.task()
    replica = ReplicaConfig(host=pair.standby.host, port=pair.standby.port)
    config: DatabaseConfig = task.source.config.model_copy(update={"read_replica": replica})
    return replace(task, source=replace(task.source, config=config))


def update_with_xid(lab: Lab, xid: int, statement: str) -> None:
    """Run a statement in the transaction that gets exactly the id `xid` (its low 32 bits)."""
    with psycopg.connect(lab.database.dsn) as connection:
        while True:
            ((given,),) = connection.execute("SELECT pg_current_xact_id()::text::numeric % 4294967296").fetchall()
            if given == xid:
                connection.execute(statement)
                connection.commit()
                return
            assert given < xid, "the id is gone already"
            connection.commit()


def freeze(server: EmbeddedPostgres) -> None:
    """Make the rows of the server ready for another epoch of transaction ids."""
    for name in ("postgres", "template1"):
        with psycopg.connect(server.dsn(name), autocommit=True) as connection:
            connection.execute("VACUUM (FREEZE)")
    run(server, "CHECKPOINT")


def next_xid(lab: Lab) -> int:
    """Return the id (its low 32 bits) that the next transaction gets."""
    return int(lab.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::numeric % 4294967296")[0][0])


def xmin_of(lab: Lab, row: int) -> int:
    return int(lab.execute(f"SELECT xmin::text::bigint FROM audit_logs WHERE id = {row}")[0][0])


def test_rows_are_read_on_a_standby_that_lags_and_purged_by_what_the_primary_says(lab: Lab) -> None:
    with primary_with_standby() as pair:
        primary = lab_on(lab, pair.primary)
        primary.execute(AUDIT_LOGS)
        primary.fill(rows=30)
        run(pair.primary, "CHECKPOINT")
        catch_up(pair)
        run(pair.standby, "SELECT pg_wal_replay_pause()")
        primary.execute("UPDATE audit_logs SET action = 'changed' WHERE id = 3; DELETE FROM audit_logs WHERE id = 4")
        primary.execute("INSERT INTO audit_logs (created_at, action) VALUES ('2024-03-05 09:00+00', 'not yet on the standby')")
        task = from_standby(primary, pair)

        archived = archive(task)
        assert (archived.rows, archived.generation and archived.generation.manifest.source.read_from) == (30, "standby")
        assert verify(task).passed
        purged = purge(task)
        assert_purged(purged, purged=28, changed=1, gone=1, late=2)

        run(pair.standby, "SELECT pg_wal_replay_resume()")
        catch_up(pair)
        assert archive(task).rows == 2
        assert (purge(task).tally.purged, primary.count()) == (2, 0)


def test_a_conflict_with_the_recovery_of_a_standby_is_tried_again(lab: Lab) -> None:
    with primary_with_standby() as pair:
        primary = lab_on(lab, pair.primary)
        primary.execute(AUDIT_LOGS)
        primary.fill(rows=30)
        catch_up(pair)
        tries: list[Step] = []

        def conflict(step: Step) -> None:
            if step is Step.SNAPSHOT_TAKEN and not tries:
                # An exclusive lock that is replayed ends the sessions that read the table.
                primary.execute("ALTER TABLE audit_logs SET (autovacuum_enabled = off)")
                primary.execute("BEGIN; LOCK TABLE audit_logs; COMMIT")
                catch_up(pair)
            if step is Step.SNAPSHOT_TAKEN:
                tries.append(step)

        assert archive(replace(from_standby(primary, pair), reached=conflict)).rows == 30
        assert len(tries) == 2


def test_a_replica_that_was_promoted_is_refused(lab: Lab) -> None:
    with primary_with_standby() as pair:
        primary = lab_on(lab, pair.primary)
        primary.execute(AUDIT_LOGS)
        primary.fill(rows=5)
        catch_up(pair)
        run(pair.standby, "SELECT pg_promote()")

        with pytest.raises(SourceUnavailable, match="read_replica"):
            archive(from_standby(primary, pair))

        assert lab.objects() == []


def test_the_same_xid_of_another_version_after_a_failover_to_a_lagging_standby_deletes_nothing_else(lab: Lab) -> None:
    with primary_with_standby() as pair:
        primary = lab_on(lab, pair.primary)
        primary.execute(AUDIT_LOGS)
        primary.fill(rows=30)
        catch_up(pair)
        pair.standby.stop()
        primary.execute("UPDATE audit_logs SET action = 'lost in the failover' WHERE id = 3")
        xid = xmin_of(primary, 3)
        archive(primary.task())
        pair.primary.crash()
        pair.standby.start()
        run(pair.standby, "SELECT pg_promote()")
        standby = lab_on(lab, pair.standby)
        update_with_xid(standby, xid, "UPDATE audit_logs SET action = 'another version' WHERE id = 3")
        assert xmin_of(standby, 3) == xid

        purged = purge(standby.task())

        assert_purged(purged, by_version=0, by_content=29, changed=1)
        assert standby.execute("SELECT id, action FROM audit_logs") == [(3, "another version")]
        assert archive(standby.task()).rows == 1
        assert (purge(standby.task()).tally.purged, standby.count()) == (1, 0)


def test_the_same_xid_of_another_version_after_a_wraparound_deletes_nothing_else(lab: Lab) -> None:
    with restartable() as home:
        with EmbeddedPostgres(home, durable=True) as server:
            before = lab_on(lab, server)
            before.execute(AUDIT_LOGS)
            before.fill(rows=30)
            before.execute("UPDATE audit_logs SET action = 'old' WHERE id = 3")
            xid = xmin_of(before, 3)
            archive(before.task())
            freeze(server)
        turn_epoch(home, 2**32 + xid - 1)
        with EmbeddedPostgres(home, durable=True) as server:
            after = lab_on(lab, server)
            update_with_xid(after, xid, "UPDATE audit_logs SET action = 'another version' WHERE id = 3")
            assert xmin_of(after, 3) == xid

            purged = purge(after.task())

            assert_purged(purged, by_version=0, by_content=29, changed=1)
            assert after.execute("SELECT id, action FROM audit_logs") == [(3, "another version")]


def test_the_xid_of_a_subtransaction_that_runs_at_the_snapshot_deletes_nothing_else_after_a_wraparound(lab: Lab) -> None:
    """A snapshot names the transactions that run, and none of their subtransactions."""
    with restartable() as home:
        with EmbeddedPostgres(home, durable=True) as server:
            before = lab_on(lab, server)
            before.execute(AUDIT_LOGS)
            before.fill(rows=30)
            before.execute("UPDATE audit_logs SET action = 'old' WHERE id = 3")
            xid = xmin_of(before, 3)
            freeze(server)
        turn_epoch(home, 2**32 + xid - 5)
        with EmbeddedPostgres(home, durable=True) as server:
            after = lab_on(lab, server)
            while next_xid(after) < xid - 1:
                after.execute("SELECT pg_current_xact_id()")
            with psycopg.connect(after.database.dsn) as running:
                running.execute("SELECT pg_current_xact_id()")
                with running.transaction():
                    running.execute("UPDATE audit_logs SET action = 'another version' WHERE id = 3")
                after.execute("SELECT pg_current_xact_id()")
                assert archive(after.task()).rows == 30
            assert xmin_of(after, 3) == xid

            purged = purge(after.task())

            assert (purged.tally.rows.by_version, purged.tally.rows.by_content, purged.tally.rows.changed) == (0, 29, 1)
            assert after.execute("SELECT id, action FROM audit_logs") == [(3, "another version")]
