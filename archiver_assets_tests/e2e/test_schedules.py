"""What a tick of a table's schedule asks for, with real rows in a real database and real records of runs.

Runs of other times are put into Dagster's storage with those times; the clock of the schedule is given.
"""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from time import sleep
from typing import Any

import dagster as dg
import psycopg
import pytest
from dagster._core.definitions.assets.job.asset_job import IMPLICIT_ASSET_JOB_NAME
from dagster._core.instance.ref import InstanceRef

from archiver_assets.errors import TableRefused
from archiver_assets.orchestration import history
from archiver_assets.orchestration.assets import table_keys
from archiver_assets.orchestration.history import got_on
from archiver_assets.orchestration.partitions import shared_job_name
from archiver_assets.orchestration.schedules import choose_days
from archiver_assets.orchestration.tags import run_tags
from archiver_assets.source import preflight as source_preflight
from archiver_assets.source.session import partition_lock
from archiver_assets_tests.holds import place
from archiver_assets_tests.lab import DAY, Lab, only
from archiver_assets_tests.ticks import Ticks, fill, march


@pytest.fixture
def ticks(lab: Lab, instance: dg.DagsterInstance) -> Ticks:
    return Ticks(lab, instance, lab.table())


def scans(lab: Lab, ticks: Ticks) -> int:
    """Count the scans of the table and its indexes so far; the server counts those of a session when it has ended."""
    ticks.services.sessions.close()
    statement = "SELECT coalesce(idx_scan, 0) + seq_scan FROM pg_stat_user_tables WHERE relname = 'audit_logs'"
    before, after = -1, int(lab.execute(statement)[0][0])
    while before != after:
        sleep(0.3)
        before, after = after, int(lab.execute(statement)[0][0])
    return after


def test_a_tick_without_a_backlog_asks_nothing_of_dagster(lab: Lab, instance: dg.DagsterInstance) -> None:
    ticks = Ticks(lab, instance, lab.table())
    schedule = ticks.repository.get_schedule_def(f"{ticks.table.dagster_name}__schedule")
    asked = []

    def asking() -> dg.DagsterInstance:
        asked.append(True)
        return instance

    assert schedule.required_resource_keys == set()
    assert choose_days(asking, ticks.services, ticks.table).chosen == []
    assert asked == []
    lab.fill(rows=1)
    assert choose_days(asking, ticks.services, ticks.table).chosen == [str(DAY)]
    assert asked


def test_ticks_open_the_storage_that_the_daemon_names_once(
    lab: Lab, kept_instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = Ticks(lab, kept_instance, lab.table())
    opened, open_one = [], dg.DagsterInstance.from_ref

    def opening(reference: InstanceRef) -> dg.DagsterInstance:
        opened.append(reference)
        return open_one(reference)

    monkeypatch.setattr(dg.DagsterInstance, "from_ref", staticmethod(opening))

    assert [ticks.tick().skip_message for _ in range(3)] == ["no expired day has rows"] * 3
    assert opened == [kept_instance.get_ref()]
    (tmp_path / "other").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "other")) as ticks.instance:
        opened.clear()
        ticks.tick()
        ticks.tick()
        assert opened == [ticks.instance.get_ref()]


def test_a_tick_asks_for_the_oldest_days_with_rows_up_to_its_cap_and_else_says_why_not(lab: Lab, kept_instance: dg.DagsterInstance) -> None:
    ticks = Ticks(lab, kept_instance, lab.table(max_partitions_per_tick=2))
    fill(lab, march(5, 9, 20))
    lab.fill(day=datetime.now(UTC).date() - timedelta(days=30), rows=3)

    requests = ticks.tick().run_requests or []

    assert [each.partition_key for each in requests] == march(5, 9)
    assert requests[0].asset_selection == [ticks.keys.archive, ticks.keys.purge]
    assert requests[0].tags.items() >= {"archiver/database": "lab", "archiver/table": "lab/public/audit_logs"}.items()
    place(lab, id="all")
    assert (ticks.tick().run_requests, ticks.tick().skip_message) == ([], "3 days expired: 3 held")


def test_ticks_catch_up_and_then_say_that_nothing_waits(lab: Lab, instance: dg.DagsterInstance) -> None:
    ticks = Ticks(lab, instance, lab.table(max_partitions_per_tick=2))
    fill(lab, march(5, 9, 20))

    done = []
    while asked := ticks.asked():
        done += asked
        assert all(ticks.run(day).success for day in asked)

    assert done == march(5, 9, 20)
    assert lab.count() == 0
    assert ticks.said() == "no expired day has rows"


def test_after_400_days_without_a_daemon_every_day_is_asked_for_once_and_the_oldest_first(lab: Lab, instance: dg.DagsterInstance) -> None:
    ticks = Ticks(lab, instance, lab.table(max_partitions_per_tick=90))
    first = ticks.now.date() - timedelta(days=31 + 399)
    days = [(first + timedelta(days=number)).isoformat() for number in range(400)]
    lab.execute(
        "INSERT INTO public.audit_logs (created_at, action) "
        "SELECT d + '23:59:59'::time, 'x' FROM generate_series(%s::date, %s, '1 day') AS d",
        [days[0], ticks.now.date()],
    )
    asked: list[str] = []
    before = scans(lab, ticks)

    while len(asked) < len(days):
        running = asked[-90:]
        requested = ticks.asked()
        assert len(requested) == min(90, len(days) - len(asked))
        asked += requested
        # Those of the tick before end, and purge, only now.
        lab.execute("DELETE FROM public.audit_logs WHERE created_at::date::text = ANY (%s)", [running])
        for day in requested:
            ticks.record(dg.DagsterRunStatus.STARTING, day)

    assert asked == days
    assert ticks.said() == "40 days expired: 40 running"
    # A tick looks at the days in progress, at those it asks for, and at most 99 more, at a probe each; our own deletes scan too.
    assert scans(lab, ticks) - before <= 6 * (90 + 90 + 99 + 1)


def test_a_tick_of_a_table_without_expired_rows_is_one_probe(lab: Lab, ticks: Ticks) -> None:
    lab.fill(day=datetime.now(UTC).date(), rows=50)
    before = scans(lab, ticks)

    assert ticks.said() == "no expired day has rows"

    assert scans(lab, ticks) - before == 1


@pytest.mark.parametrize("status", history.ACTIVE)
def test_a_day_that_is_in_progress_is_left_alone(lab: Lab, ticks: Ticks, status: dg.DagsterRunStatus) -> None:
    fill(lab, march(5, 6, 7))
    ticks.record(status, march(5)[0])
    # Runs that people start have no tag of the table where the run coordinator is another one.
    by_people: dict[str, Any] = {"job_name": history.ASSET_JOB, "tags": {}}
    ticks.record(status, march(6)[0], **by_people, asset_selection=frozenset({ticks.keys.restore}))
    ticks.record(status, march(7)[0], **by_people, asset_selection=frozenset({dg.AssetKey(["other", "public", "audit_logs", "purge"])}))

    assert ticks.asked() == march(7)
    lab.execute("DELETE FROM public.audit_logs WHERE created_at::date = '2024-03-07'")
    assert ticks.said() == "2 days expired: 2 running"


def test_the_job_of_runs_that_people_start_has_the_name_by_which_they_are_found() -> None:
    assert history.ASSET_JOB == IMPLICIT_ASSET_JOB_NAME


def test_a_run_that_outlived_every_limit_blocks_its_day_no_more_but_one_that_is_queued_does(lab: Lab, ticks: Ticks) -> None:
    fill(lab, march(5, 6, 7, 8))
    limit = timedelta(seconds=history._LONGEST_RUN_SECONDS) + history._GRACE
    ticks.record(dg.DagsterRunStatus.STARTED, march(5)[0], ago=limit + timedelta(minutes=1))
    ticks.record(dg.DagsterRunStatus.STARTED, march(6)[0], ago=limit - timedelta(minutes=1))
    ticks.record(
        dg.DagsterRunStatus.STARTED, march(7)[0], ago=timedelta(hours=2), tags={**run_tags(ticks.table), "dagster/max_runtime": "60"}
    )
    ticks.record(dg.DagsterRunStatus.QUEUED, march(8)[0], ago=timedelta(days=40))

    assert ticks.asked() == march(5, 7)


@pytest.mark.parametrize("written", ["\N{SUPERSCRIPT TWO}", "9" * 400, "soon", ""])
def test_a_limit_of_its_time_that_says_nothing_leaves_a_run_the_usual_one(lab: Lab, ticks: Ticks, written: str) -> None:
    fill(lab, march(5, 6))
    tags = {**run_tags(ticks.table), "dagster/max_runtime": written}
    limit = timedelta(seconds=history._LONGEST_RUN_SECONDS) + history._GRACE
    ticks.record(dg.DagsterRunStatus.STARTED, march(5)[0], ago=limit + timedelta(minutes=1), tags=tags)
    ticks.record(dg.DagsterRunStatus.STARTED, march(6)[0], ago=limit - timedelta(minutes=1), tags=tags)
    assert ticks.asked() == march(5)


def test_a_day_that_failed_comes_again_after_a_wait_that_grows(lab: Lab, ticks: Ticks) -> None:
    lab.fill(rows=3)
    task = lab.task()
    with task.source.connect() as connection, partition_lock(connection, table=task.table.label, partition=task.partition):
        assert not ticks.run().success

    until = f"{ticks.now + timedelta(hours=1):%Y-%m-%d %H}"
    assert ticks.said().startswith(f"1 day expired: 1 put off; put off: {DAY} after 1 run that failed or left its rows, until {until}")
    ticks.now += timedelta(hours=1)
    assert ticks.asked() == [str(DAY)]
    ticks.record(dg.DagsterRunStatus.CANCELED)
    assert "after 2 runs" in ticks.said()
    ticks.now += timedelta(hours=2)
    assert ticks.asked() == [str(DAY)]


def test_a_day_that_failed_ten_times_is_tried_again_within_a_week_and_a_success_makes_it_a_new_one(lab: Lab, ticks: Ticks) -> None:
    lab.fill(rows=3)
    for weeks in reversed(range(10)):
        ticks.record(dg.DagsterRunStatus.FAILURE, ago=timedelta(days=7 * weeks + 6))
    assert "after 10 runs" in ticks.said()
    ticks.now += timedelta(days=1)
    assert ticks.asked() == [str(DAY)]

    assert ticks.run().success
    lab.fill(rows=3)
    assert ticks.asked() == [str(DAY)]
    ticks.record(dg.DagsterRunStatus.FAILURE)
    assert "after 1 run " in ticks.said()


def test_under_a_cap_of_one_a_day_that_fails_lets_the_others_through(lab: Lab, instance: dg.DagsterInstance) -> None:
    ticks = Ticks(lab, instance, lab.table(max_partitions_per_tick=1))
    fill(lab, march(5, 6, 7, 8))
    order = []
    for _ in range(8):
        for day in ticks.asked():
            order.append(day)
            failed = day == march(5)[0]
            ticks.record(dg.DagsterRunStatus.FAILURE if failed else dg.DagsterRunStatus.SUCCESS, day)
            if not failed:
                lab.execute("DELETE FROM public.audit_logs WHERE created_at::date = %s", [day])
        ticks.now += timedelta(days=1)

    assert order == march(5, 5, 6, 5, 7, 5, 8, 5)


@pytest.mark.usefixtures("short_row_locks")
def test_a_run_that_succeeded_and_left_its_rows_is_one_that_did_not_get_on(lab: Lab, ticks: Ticks) -> None:
    lab.fill(rows=3)
    with psycopg.connect(lab.database.dsn) as other:
        other.execute("SELECT FROM public.audit_logs FOR UPDATE")
        assert ticks.run().success
    assert lab.count() == 3

    assert f"put off: {DAY} after 1 run that failed or left its rows" in ticks.said()
    ticks.now += timedelta(hours=1)
    assert ticks.asked() == [str(DAY)]
    ticks.run()
    assert lab.count() == 0


@pytest.mark.parametrize(("purged", "late", "locked", "expected"), [(1, 5, 5, True), (0, 0, 0, True), (0, 1, 0, False), (0, 0, 1, False)])
def test_a_purge_got_on_if_it_purged_rows_or_there_was_none(purged: int, late: int, locked: int, *, expected: bool) -> None:
    counts = {"rows_purged": purged, "rows_late": late, "rows_locked": locked}
    assert got_on({name: dg.MetadataValue.int(count) for name, count in counts.items()}) is expected


def test_runs_of_a_part_and_dry_runs_neither_put_a_day_off_nor_bring_it_back(lab: Lab, ticks: Ticks) -> None:
    fill(lab, march(5, 6, 7))
    ticks.record(dg.DagsterRunStatus.FAILURE, march(5)[0], asset_selection=frozenset({ticks.keys.purge}))
    ticks.record(
        dg.DagsterRunStatus.FAILURE, march(6)[0], run_config={"ops": {"lab__public__audit_logs__purge": {"config": {"dry_run": True}}}}
    )
    ticks.record(dg.DagsterRunStatus.FAILURE, march(7)[0], ago=timedelta(minutes=1))
    ticks.record(dg.DagsterRunStatus.SUCCESS, march(7)[0], asset_selection=frozenset({ticks.keys.archive}))

    assert ticks.asked() == march(5, 6)


def test_a_purged_day_that_got_late_rows_comes_again(lab: Lab, ticks: Ticks) -> None:
    lab.fill(rows=3)
    ticks.run()
    assert ticks.asked() == []
    lab.fill(rows=2)

    assert ticks.asked() == [str(DAY)]
    ticks.run()

    assert lab.count() == 0


def test_held_and_restored_rows_wait_until_the_hold_ends_and_days_that_are_held_partly_do_not(lab: Lab, ticks: Ticks) -> None:
    fill(lab, march(5, 6, 7))
    # As a restore into the table places it.
    place(lab, id="whole days", first_day="2024-03-05", last_day="2024-03-06")
    partly: dict[str, object] = {"column": "action", "operator": "=", "values": ["action 1"]}
    place(lab, partly, id="some rows", first_day="2024-03-07", last_day="2024-03-07")
    assert ticks.asked() == march(7)
    ticks.run(march(7)[0])

    assert ticks.said() == "3 days expired: 3 held"
    lab.store.remove(only(lab.objects(), lambda key: "whole" in key))
    assert ticks.asked() == march(5, 6)


def test_two_tables_of_one_job_have_their_own_days_and_their_own_runs(lab: Lab, kept_instance: dg.DagsterInstance) -> None:
    lab.execute("CREATE TABLE public.other (LIKE public.audit_logs INCLUDING ALL)")
    one, two = lab.table(), lab.table(name="other")
    assert shared_job_name(one) == shared_job_name(two)
    ticks = Ticks(lab, kept_instance, one, two)
    fill(lab, march(5, 6))
    lab.execute("INSERT INTO public.other SELECT * FROM public.audit_logs")
    ticks.record(dg.DagsterRunStatus.STARTED, march(5)[0])
    ticks.record(dg.DagsterRunStatus.FAILURE, march(6)[0])

    assert ticks.asked(one) == []
    requests = ticks.tick(two).run_requests or []
    assert [each.partition_key for each in requests] == march(5, 6)
    assert requests[0].asset_selection == [table_keys(two).archive, table_keys(two).purge]


@pytest.mark.parametrize(
    ("zone", "instants", "days"),
    [
        # Of 23 hours, the last one of the day before and the first one of the day after beside it; of 25; and a day without a midnight.
        ("Europe/Berlin", ["2024-03-30 22:59:59.999999", "2024-03-30 23:00", "2024-03-31 21:59:59", "2024-03-31 22:00"], (30, 31, 32)),
        ("Europe/Berlin", ["2023-10-28 22:00", "2023-10-29 22:59:59.999999", "2023-10-29 23:00"], (29, 30)),
        ("America/Sao_Paulo", ["2018-11-04 02:59:59.999999", "2018-11-04 03:00", "2018-11-05 01:59:59", "2018-11-05 02:00"], (3, 4, 5)),
    ],
)
def test_days_are_those_of_the_tables_zone_also_where_clocks_change(
    lab: Lab, instance: dg.DagsterInstance, zone: str, instants: list[str], days: tuple[int, ...]
) -> None:
    ticks = Ticks(lab, instance, lab.table(timezone=zone))
    for instant in instants:
        lab.execute("INSERT INTO public.audit_logs (created_at, action) VALUES (%s::timestamp AT TIME ZONE 'UTC', 'x')", [instant])

    first = date.fromisoformat(instants[0][:8] + "01")
    assert ticks.asked() == [(first + timedelta(days=day - 1)).isoformat() for day in days]


def test_the_cron_is_read_in_the_zone_of_the_config_and_else_in_utc(lab: Lab, instance: dg.DagsterInstance) -> None:
    tables = [lab.table(schedule="30 2 * * *", schedule_timezone="Europe/Berlin"), lab.table(name="plain")]
    ticks = Ticks(lab, instance, *tables)
    zoned, plain = (ticks.repository.get_schedule_def(f"{table.dagster_name}__schedule") for table in tables)

    assert (plain.cron_schedule, plain.execution_timezone) == ("0 2 * * *", "UTC")
    assert zoned.execution_timezone == "Europe/Berlin"


def test_a_large_table_without_an_index_is_refused_in_place_of_being_read_whole_for_each_day(
    lab: Lab, ticks: Ticks, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.fill(rows=50)
    lab.execute("DROP INDEX audit_logs_created_at_idx")
    assert ticks.asked() == [str(DAY)]  # it is small
    monkeypatch.setattr(source_preflight, "SCANNED_ANYWAY", 100)

    with pytest.raises(TableRefused, match="no index begins with 'created_at'"):
        ticks.asked()
