"""A table with `purge: false`, by its schedule, its checks and the commands: every day is archived once, and no row is ever deleted.

What belongs here: such a table from the first day on, and there and back again. What does not: the names of objects by which a day is done,
and the refusals of the core (`unit/test_archive_only.py`).
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.errors import DagsterInvalidSubsetError

from archiver_assets.cli.app import Status
from archiver_assets.config import TableConfig
from archiver_assets.errors import NotRestored, StoreUnavailable, TableRefused
from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.backlog import measure_backlog
from archiver_assets.lifecycle.generations import read_generations, reject
from archiver_assets.lifecycle.preflight import preflight
from archiver_assets.lifecycle.purging.purge import purge
from archiver_assets.lifecycle.restoring.request import Conflict, RestoreRequest
from archiver_assets.lifecycle.restoring.restore import restore
from archiver_assets.lifecycle.task import Step
from archiver_assets.orchestration.assets import purge_asset, table_keys
from archiver_assets.orchestration.build import build_definitions
from archiver_assets.orchestration.partitions import PartitionsCatalog, shared_job_name
from archiver_assets.orchestration.schedules import every_waiting_day
from archiver_assets.services import Services
from archiver_assets.store.keys import Mark
from archiver_assets.store.objects import ObjectStore, StoredObject
from archiver_assets_tests.asset_runs import QUIET, Checks, numbers
from archiver_assets_tests.e2e.conftest import Said
from archiver_assets_tests.holds import place
from archiver_assets_tests.kills import Killed, kill_at
from archiver_assets_tests.lab import DAY, Lab
from archiver_assets_tests.scraping import scrape
from archiver_assets_tests.ticks import Ticks, fill, march

FOLDER = "archives/lab/public/audit_logs/"
PURGE = dg.AssetKey(["lab", "public", "audit_logs", "purge"])
DONE = "no expired day has rows to archive; {} are archived already"


@dataclass(frozen=True)
class Listings:
    """A store that notes of which prefixes it was asked for a listing; of those that are to fail the listing fails."""

    store: ObjectStore
    asked: list[str] = field(default_factory=list)
    failing: list[str] = field(default_factory=list)

    def list(self, prefix: str, *, at_most: int | None = None) -> Iterator[StoredObject]:
        self.asked.append(prefix)
        if any(prefix.startswith(each) for each in self.failing):
            message = f"could not list {prefix}"
            raise StoreUnavailable(message, hint="wait for it")
        return self.store.list(prefix, at_most=at_most)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever else a store does
        return getattr(self.store, name)


def listening(services: Services) -> Listings:
    """Let the services use a store that can be listened to."""
    listings = Listings(services.store)
    services.__dict__["store"] = listings  # where a cached property keeps what it made
    return listings


@pytest.fixture
def kept(lab: Lab) -> TableConfig:
    return lab.table(purge=False)


@pytest.fixture
def ticks(lab: Lab, instance: dg.DagsterInstance, kept: TableConfig) -> Ticks:
    return Ticks(lab, instance, kept)


def catch_up(ticks: Ticks) -> list[str]:
    """Run what ticks ask for until they ask for nothing, and return the days in their order."""
    days: list[str] = []
    while asked := ticks.asked():
        assert len(days) < 20
        assert all(ticks.run(day).success for day in asked)
        days += asked
    return days


def test_such_a_table_has_no_purge_to_click_and_its_schedule_asks_for_none(lab: Lab, kept: TableConfig) -> None:
    other = lab.table(name="other")
    definitions = build_definitions(lab.services(kept, other).config)
    graph, keys = definitions.resolve_asset_graph(), table_keys(kept)

    assert {key for key in graph.get_all_asset_keys() if key.path[2] == "audit_logs"} == {keys.source, keys.archive, keys.restore}
    assert {table_keys(other).purge, keys.row_counts} <= {*graph.get_all_asset_keys(), *graph.asset_check_keys}
    assert "Rows are archived 30 days after" in str(graph.get(keys.source).description)
    selected = definitions.resolve_job_def(shared_job_name(kept)).asset_layer.executable_asset_keys
    assert selected == {keys.archive, table_keys(other).archive, table_keys(other).purge}
    about = {schedule.name: schedule.description for schedule in definitions.get_repository_def().schedule_defs}
    assert about["lab__public__audit_logs__schedule"] == (
        "Archives and checks the expired days of lab/public/audit_logs, oldest first. Nothing is purged: purge is false."
    )
    assert "purges" in str(about["lab__public__other__schedule"])


def test_a_tick_requests_the_archive_alone(lab: Lab, kept: TableConfig, kept_instance: dg.DagsterInstance) -> None:
    fill(lab, march(5, 6))
    ticks = Ticks(lab, kept_instance, kept)
    requests = ticks.tick().run_requests or []
    assert [(each.partition_key, each.asset_selection) for each in requests] == [(day, [ticks.keys.archive]) for day in march(5, 6)]
    assert all(ticks.run(day).success for day in march(5, 6))
    assert ticks.tick().skip_message == DONE.format(2)


def test_every_day_is_archived_and_checked_once_and_no_row_is_deleted(lab: Lab, ticks: Ticks) -> None:
    fill(lab, march(5, 6, 9, 20))

    assert catch_up(ticks) == march(5, 6, 9, 20)

    assert lab.count() == 12
    assert ticks.said() == DONE.format(4)
    assert ticks.instance.get_materialized_partitions(ticks.keys.archive) == set(march(5, 6, 9, 20))
    checked = ticks.instance.event_log_storage.get_asset_check_partition_info([ticks.keys.row_counts])
    assert {each.partition_key for each in checked} == set(march(5, 6, 9, 20))
    assert ticks.instance.get_materialized_partitions(PURGE) == set()
    assert not [key for key in lab.objects() if "_purg" in key]
    fill(lab, march(5, 7, 21))  # late rows in a day that is archived, and rows in days before, between and after those
    fill(lab, ["2024-02-28"])
    assert ticks.asked() == ["2024-02-28", *march(7, 21)]
    assert every_waiting_day(ticks.services, ticks.table) == ["2024-02-28", *march(7, 21)]


def test_late_rows_are_archived_by_a_run_that_somebody_starts(lab: Lab, ticks: Ticks) -> None:
    lab.fill(rows=3)
    catch_up(ticks)
    lab.fill(rows=2)
    assert ticks.asked() == []
    assert ticks.run().success
    assert [each.manifest.rows for each in read_generations(lab.task()).live] == [3, 2]
    assert lab.count() == 5


def test_a_tick_lists_the_days_once_and_only_of_such_a_table(lab: Lab, kept: TableConfig, instance: dg.DagsterInstance) -> None:
    lab.execute("CREATE TABLE public.other (LIKE public.audit_logs INCLUDING ALL)")
    other = lab.table(name="other")
    ticks = Ticks(lab, instance, kept, other)
    listings = listening(ticks.services)
    assert ticks.said() == "no expired day has rows"
    assert listings.asked == []
    fill(lab, march(5, 6))
    lab.execute("INSERT INTO public.other SELECT * FROM public.audit_logs")
    assert ticks.asked() == ticks.asked(other) == march(5, 6)
    assert [each for each in listings.asked if "_holds" not in each] == [f"{FOLDER}dt="]


def test_a_tick_of_a_table_that_is_all_archived_imports_no_arrow(lab: Lab, ticks: Ticks, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(lab, march(5, 9))
    catch_up(ticks)
    monkeypatch.setitem(sys.modules, "archiver_assets.lifecycle.backlog", None)  # what brings Arrow with it
    assert ticks.said() == DONE.format(2)
    lab.fill(date(2024, 3, 7), rows=1)
    with pytest.raises(ImportError):
        ticks.asked()


def test_a_listing_that_fails_fails_the_tick_and_nothing_is_asked_for(lab: Lab, ticks: Ticks) -> None:
    lab.fill(rows=3)
    listening(ticks.services).failing.append(FOLDER)
    for ask in (ticks.asked, lambda: every_waiting_day(ticks.services, ticks.table), lambda: ticks.services.done_days(ticks.table)):
        with pytest.raises(StoreUnavailable, match="could not list archives/lab/public/audit_logs/dt="):
            ask()


def test_a_day_whose_generation_was_rejected_comes_again(lab: Lab, ticks: Ticks) -> None:
    fill(lab, march(5, 6))
    catch_up(ticks)
    task = lab.task()
    (generation,) = read_generations(task).live
    reject(task, generation, ("damaged",))
    assert ticks.asked() == [str(DAY)]
    assert catch_up(ticks) == [str(DAY)]
    assert [(each.number, each.live) for each in read_generations(task).committed] == [(1, False), (2, True)]


def test_a_day_that_failed_waits_and_comes_again(lab: Lab, ticks: Ticks) -> None:
    lab.fill(rows=3)
    ticks.record(dg.DagsterRunStatus.FAILURE)
    assert "put off: 2024-03-05 after 1 run" in ticks.said()
    ticks.now += timedelta(hours=1)
    assert ticks.asked() == [str(DAY)]


def test_a_hold_is_no_reason_to_leave_a_day_out_of_the_archive(lab: Lab, ticks: Ticks) -> None:
    place(lab, id="all")
    lab.fill(rows=3)
    assert catch_up(ticks) == [str(DAY)]
    assert lab.count() == 3


def test_the_backlog_is_what_no_generation_holds(lab: Lab, kept: TableConfig, instance: dg.DagsterInstance) -> None:
    fill(lab, march(5, 6, 9, 20))
    for day in march(6, 9):
        archive(lab.task(day, table=kept))
    fill(lab, march(9), rows=50)  # late: not of the backlog
    checks = Checks(instance, lab.services(kept))
    found = checks.backlog()
    expected = {"days_waiting": 2, "rows_waiting": 6, "oldest_expired_day": "2024-03-05", "days_held": 0, "days_stalled": 2}
    assert numbers(found).items() >= expected.items()
    assert "expected no expired day to wait longer than 7 days for its archive, found 2 days" in str(found.description)
    for day in march(5, 20):
        archive(lab.task(day, table=kept))
    found = checks.backlog()
    assert (found.passed, found.description, numbers(found)["rows_waiting"]) == (True, "no expired day waits", 0)
    assert scrape(instance, None)["archiver_archived_only"] == 1
    # The same rows, of a table that is purged, wait all of them.
    task = lab.task()
    every = measure_backlog(task.source, task.table, task.hold_places())
    assert (len(every.waiting), every.rows_waiting) == (4, 62)


@pytest.mark.parametrize("most", [1, 4, 5, 6])
def test_the_rows_that_wait_are_counted_up_to_a_limit_over_all_days(lab: Lab, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(lab, march(5, 6, 7), rows=3)
    monkeypatch.setattr("archiver_assets.lifecycle.backlog.MOST_COUNTED", most)
    task = lab.task(table=lab.table(purge=False))
    found = measure_backlog(task.source, task.table, task.hold_places(), {date(2024, 3, 6)})
    assert ([day.key for day in found.waiting], found.rows_waiting) == (march(5, 7), most)


def test_back_to_true_archives_what_came_late_and_purges_everything_oldest_first(
    lab: Lab, ticks: Ticks, instance: dg.DagsterInstance
) -> None:
    fill(lab, march(5, 6, 9))
    catch_up(ticks)
    fill(lab, march(6), rows=4)
    lab.execute("UPDATE public.audit_logs SET action = 'changed' WHERE id = (SELECT min(id) FROM public.audit_logs)")
    assert (ticks.asked(), lab.count()) == ([], 13)

    purging = Ticks(lab, instance, lab.table(purge=True, max_partitions_per_tick=2))
    assert purging.asked() == march(5, 6)
    assert catch_up(purging) == march(5, 6, 9)

    assert (lab.count(), purging.said()) == (0, "no expired day has rows")
    rows = {day: [each.manifest.rows for each in read_generations(lab.task(day)).live] for day in march(5, 6, 9)}
    assert rows == {"2024-03-05": [3, 1], "2024-03-06": [3, 4], "2024-03-09": [3]}


@pytest.mark.parametrize("step", [Step.PURGE_MARKED, Step.BATCH_DELETED])
def test_a_purge_that_had_begun_stays_begun_while_purge_is_false_and_is_finished_after(
    lab: Lab, kept: TableConfig, instance: dg.DagsterInstance, step: Step
) -> None:
    lab.fill(rows=10)
    lab.overrides = {"batch_size": 4}
    archive(lab.task())
    with pytest.raises(Killed):
        purge(lab.task(reached=kill_at(step)))
    left, objects = lab.count(), lab.objects()
    assert left == (10 if step is Step.PURGE_MARKED else 6)

    ticks = Ticks(lab, instance, kept)
    assert ticks.said() == DONE.format(1)
    assert ticks.run().success  # as somebody may start it
    with pytest.raises(TableRefused):
        purge(lab.task(table=kept))
    assert (lab.count(), lab.objects()) == (left, objects)

    purging = Ticks(lab, instance, lab.table())
    assert catch_up(purging) == [str(DAY)]
    assert lab.count() == 0
    assert f"{FOLDER}dt={DAY}/_{Mark.PURGED}-0001.json" in lab.objects()


def test_no_run_however_it_is_started_deletes_a_row(lab: Lab, ticks: Ticks, kept: TableConfig) -> None:
    lab.fill(rows=5)
    archive(lab.task())
    # A run that was queued, or is executed again, with the selection that it had while purge was true.
    for selection in ([ticks.keys.archive, PURGE], [PURGE]):
        with pytest.raises(DagsterInvalidSubsetError, match="purge"):
            ticks.job.execute_in_process(run_config=QUIET, instance=ticks.instance, partition_key=str(DAY), asset_selection=selection)
    # The whole job, without any selection; and as a dry run, which in an older record can name the step of the purge.
    for config in (QUIET, {**QUIET, "ops": {"lab__public__audit_logs__archive": {"config": {"dry_run": True}}}}):
        result = ticks.job.execute_in_process(run_config=config, instance=ticks.instance, partition_key=str(DAY))
        assert result.success
        assert {each.asset_observation_data.asset_observation.asset_key for each in result.get_asset_observation_events()} <= {
            ticks.keys.archive
        }
    # An asset that some code made in spite of the config.
    forced = dg.Definitions(
        assets=[purge_asset(kept, PartitionsCatalog().of(kept))], resources={"services": ticks.services}, executor=dg.in_process_executor
    )
    job = forced.resolve_implicit_global_asset_job_def()
    for config in (QUIET, {**QUIET, "ops": {"lab__public__audit_logs__purge": {"config": {"batch_size": 1}}}}):
        result = job.execute_in_process(run_config=config, instance=ticks.instance, partition_key=str(DAY), raise_on_error=False)
        (failure,) = (event.step_failure_data for event in result.all_events if event.is_step_failure)
        assert "TableRefused: expected purge: true in the config of lab/public/audit_logs" in str(failure.user_failure_data)
    assert lab.count() == 5
    assert not [key for key in lab.objects() if "_purg" in key]


def test_a_restore_overwrites_no_row_of_the_table_itself(lab: Lab, kept: TableConfig) -> None:
    lab.fill(rows=5)
    archive(lab.task(table=kept))
    lab.execute("UPDATE public.audit_logs SET action = 'changed'")
    archive(lab.task(table=kept))
    request = RestoreRequest(table_name="audit_logs", conflict=Conflict.overwrite, generations=(1,))
    with pytest.raises(NotRestored, match="to overwrite rows of it, found purge: false"):
        restore(lab.task(table=kept), request)
    assert lab.execute("SELECT DISTINCT action FROM public.audit_logs") == [("changed",)]
    lab.execute("CREATE TABLE public.elsewhere (LIKE public.audit_logs INCLUDING ALL)")
    elsewhere = RestoreRequest(table_name="elsewhere", conflict=Conflict.overwrite, generations=(1,))
    assert restore(lab.task(table=kept), elsewhere).tally.loaded == 5


TRIGGER = "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
OF_DELETES = {
    "delete_trigger": TRIGGER + "CREATE TRIGGER t BEFORE DELETE ON audit_logs FOR EACH ROW EXECUTE FUNCTION f()",
    "after_delete_trigger": TRIGGER + "CREATE TRIGGER t AFTER DELETE ON audit_logs FOR EACH ROW EXECUTE FUNCTION f()",
    "delete_rule": "CREATE RULE r AS ON DELETE TO audit_logs DO INSTEAD NOTHING",
    "cascading_foreign_key": "CREATE TABLE child (of bigint REFERENCES audit_logs ON DELETE CASCADE)",
    "inbound_foreign_key": "CREATE TABLE child (of bigint REFERENCES audit_logs)",
    "published_deletes": "CREATE PUBLICATION p FOR TABLE audit_logs",
    "publication_without_identity": "ALTER TABLE audit_logs REPLICA IDENTITY NOTHING; CREATE PUBLICATION p FOR TABLE audit_logs",
}


@pytest.mark.parametrize("name", OF_DELETES)
def test_what_only_a_delete_would_set_off_says_nothing_against_an_archive(lab: Lab, kept: TableConfig, name: str) -> None:
    lab.fill(rows=3)
    lab.execute(OF_DELETES[name])
    task = lab.task(table=kept)
    assert [each.name for each in preflight(task.source, lab.table())] == [name]
    assert preflight(task.source, kept) == ()
    assert archive(task).rows == 3


def test_what_a_select_would_miss_stops_the_archive_all_the_same(lab: Lab, kept: TableConfig) -> None:
    lab.fill(rows=3)
    lab.execute("CREATE TABLE heir () INHERITS (audit_logs)")
    with pytest.raises(TableRefused, match=r"inheritance child public\.heir would make a SELECT do more or less"):
        archive(lab.task(table=kept))


@pytest.fixture
def told(lab: Lab, config: str, said: Said) -> Said:
    """Commands of a config with `purge: false`."""
    Path(config).write_text(yaml.safe_dump(lab.document(purge=False)))
    return said


WHERE = ("--database", "lab", "--table", "audit_logs")


def test_the_commands_read_well_for_such_a_table(lab: Lab, told: Said) -> None:
    fill(lab, march(5, 6), rows=10)
    assert "30 days, not purged" in told("validate")[1]
    _, out = told("plan")
    assert "2 days, 2024-03-05 to 2024-03-06, with 20 rows, counted" in out
    assert "purge is false: days are archived, and rows stay in the table" in out

    status, out = told("run", *WHERE, "--partition", str(DAY))
    line = "lab/public/audit_logs {}: archived, 10 rows archived; 10 rows kept in the table: purge is false"
    assert (status, out.splitlines()[1:]) == (Status.DONE, [line.format(DAY)])
    _, out = told("run", *WHERE, "--dry-run", "--all")
    assert out.splitlines()[1] == "lab/public/audit_logs: 1 waiting day"
    assert "Dry run: would archive; 10 rows to archive" in out
    assert "purge" not in out.replace("lab/public/audit_logs", "")
    _, out = told("run", *WHERE, "--json")
    assert [(each["day"], list(each["steps"])) for each in json.loads(out)["days"]] == [("2024-03-06", ["archive", "row_counts"])]
    for every in ((), ("--all",)):
        _, out = told("run", *WHERE, *every)
        assert "no backlog: no expired day has rows " in out
    assert lab.count() == 20

    _, out = told("plan")
    assert "nothing to do: no expired day has rows to archive" in out
    _, out = told("status", "--check", "--json")
    (found,) = json.loads(out)["tables"]
    assert (found["purge"], found["days_waiting"], found["days_archived"], found["days_purged"]) == (False, 0, 2, 0)
    status, out = told("status", "--check")
    assert (status, "nothing needs attention" in out, " kept " in out) == (Status.DONE, True, True)
    _, out = told("list", "--json")
    assert {each["state"] for each in json.loads(out)["generations"]} == {"live"}
    assert told("verify")[0] == Status.DONE
    assert "can be archived: permissions, key, index on created_at; purge is false, so no row is ever deleted" in " ".join(
        told("doctor")[1].split()
    )


def test_status_says_what_becomes_of_a_purge_that_had_begun(lab: Lab, told: Said) -> None:
    lab.fill(rows=10)
    archive(lab.task())
    with pytest.raises(Killed):
        purge(lab.task(reached=kill_at(Step.PURGE_MARKED)))
    _, out = told("status")
    assert "is not complete: a run continues it once purge is true again" in " ".join(out.split())


def test_a_purge_of_before_is_not_given_back_to_dagster_which_has_no_asset_for_it(
    lab: Lab, told: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.fill(rows=10)
    archive(lab.task())
    purge(lab.task())
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    assert "1 archive and 0 purges reported" in told("reconcile")[1]
    assert "0 archives and 0 purges reported" in told("reconcile")[1]
