"""The test servers in pairs and out of time do what the tests that use them rely on."""

import psycopg

from archiver_assets.demo.postgres import EmbeddedPostgres
from archiver_assets_tests.clusters import Pair, catch_up, primary_with_standby, reset_wal, restartable, run, timeline, wait_for

BOUND = 200


def rows(server: EmbeddedPostgres) -> list[tuple[object, ...]]:
    return run(server, "SELECT n FROM t ORDER BY n")


def begin(pair: Pair) -> None:
    run(pair.primary, "CREATE TABLE t (n int)")
    run(pair.primary, "INSERT INTO t VALUES (1)")
    catch_up(pair)


def test_a_standby_shows_what_the_primary_wrote_and_lags_while_its_replay_is_paused() -> None:
    with primary_with_standby() as pair:
        begin(pair)
        assert rows(pair.standby) == [(1,)]

        pair.pause_replay()
        run(pair.primary, "INSERT INTO t VALUES (2)")
        wait_for(pair.standby, "SELECT pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn()")
        assert rows(pair.standby) == [(1,)]

        pair.resume_replay()
        catch_up(pair)
        assert rows(pair.standby) == [(1,), (2,)]


def test_a_standby_that_was_held_back_is_promoted_without_what_it_never_received() -> None:
    with primary_with_standby() as pair:
        begin(pair)
        pair.hold_back()
        run(pair.primary, "INSERT INTO t VALUES (2)")

        pair.fail_over()

        assert (pair.primary.pid, timeline(pair.standby)) == (None, 2)
        run(pair.standby, "INSERT INTO t VALUES (3)")
        assert rows(pair.standby) == [(1,), (3,)]


def test_nothing_of_a_pair_is_left() -> None:
    with primary_with_standby() as pair:
        homes = [pair.primary.home, pair.standby.home]

    assert (pair.primary.pid, pair.standby.pid) == (None, None)
    assert not [home for home in homes if home.parent.exists()]


def test_the_low_half_of_a_transaction_id_comes_again_in_the_next_epoch() -> None:
    with restartable() as home, EmbeddedPostgres(home, durable=True) as server:
        run(server, "CREATE TABLE t (n int)")
        run(server, "INSERT INTO t VALUES (1)")
        ((old,),) = run(server, "SELECT xmin::text::bigint FROM t")

        expected = reset_wal(server, 1)

        assert expected >> 32 == 1
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            ids = [int(connection.execute("SELECT pg_current_xact_id()::text").fetchall()[0][0]) for _ in range(BOUND)]
        assert ids[0] >= expected
        assert (1 << 32) + int(str(old)) in ids
        assert run(server, "SELECT n, xmin::text::bigint FROM t") == [(1, old)]
