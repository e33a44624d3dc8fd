"""Runs on their way through the queue: what they are tagged with, how many are at work at once, what a backfill becomes.

What belongs here: runs as people and schedules start them, in the real webserver and the daemon's own loops, with the settings of
dagster.yaml. What does not: what a run does to rows, but for a backfill with a bad day at the end.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import dagster as dg
import pytest
import yaml

from archiver_assets_tests.control_room import IDLE, IN_MEMORY, IN_PROCESS, ControlRoom, open_control_room
from archiver_assets_tests.lab import DAY, PASSWORD_VARIABLE, PREFIX, Lab

# Dagster's own: its snapshot of a schedule and its backfills use what it deprecated, and partitioned checks are a preview.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Property `ScheduleDefinition.environment_vars`:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Function `AssetSelection.sources`:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::dagster.PreviewWarning"),
]

SHIPPED = yaml.safe_load((Path(__file__).parents[2] / "dagster.yaml").read_text())
LIMITS = {"one": 1, "many": 3, "plain": None}
TABLES = ("t0", "t1", "t2")
TABLE = {"timestamp_column": "created_at", "primary_key": "id", "retention_days": 30, "schedule": "* * * * *", "max_partitions_per_tick": 2}
MOST = 5
"""Runs in all: fewer than the databases would have together."""
ACTIVE = (dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING)
QUEUED = dg.DagsterRunStatus.QUEUED
ASKED = {"resources": {"limits": {"memory": "4Gi"}}, "deadline_seconds": 7200}
"""What all tables of these rooms ask of Kubernetes unless they say otherwise."""
TERMS = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "pool", "operator": "In", "values": ["a"]}]}]}
POOL = {"requiredDuringSchedulingIgnoredDuringExecution": TERMS}
POD_TAGS = {
    "dagster-k8s/config": {
        "container_config": {"resources": {"limits": {"memory": "4Gi"}}},
        "job_spec_config": {"activeDeadlineSeconds": 7200},
        "merge_behavior": "SHALLOW",
    },
    "dagster/max_runtime": 6000,
}
NOWHERE = {"host": "127.0.0.1", "port": 1, "user": "nobody", "password_env": PASSWORD_VARIABLE}


def key(database: str, table: str, *step: str) -> dg.AssetKey:
    return dg.AssetKey([database, "public", table, *step])


def pod_tags(run: dg.DagsterRun) -> dict[str, Any]:
    """Return the tags that shape the pod of a run, decoded."""
    return {name: json.loads(run.tags[name] or "null") for name in POD_TAGS if name in run.tags}


def days(count: int, first: date = DAY) -> list[str]:
    return [(first + timedelta(number)).isoformat() for number in range(count)]


def instance_yaml(launcher: Mapping[str, Any]) -> str:
    settings = {name: SHIPPED[name] for name in ("run_coordinator", "run_monitoring", "telemetry")}
    # Not in threads: a storage in memory is for one, and the limits decide before any thread does.
    settings["run_coordinator"] = {
        **SHIPPED["run_coordinator"],
        "config": {**SHIPPED["run_coordinator"]["config"], "dequeue_use_threads": False},
    }
    return json.dumps({**settings, **IN_MEMORY, "run_launcher": launcher, "concurrency": {"runs": {"max_concurrent_runs": MOST}}})


@contextmanager
def room_of(config: Mapping[str, Any], folder: Path, launcher: Mapping[str, Any]) -> Iterator[ControlRoom]:
    (folder / "config.yaml").write_text(json.dumps({"version": "2.0", "defaults": ASKED, **config}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARCHIVER_CONFIG", str(folder / "config.yaml"))
        patch.setenv("DAGSTER_HOME", str(folder))
        with open_control_room(folder, instance_yaml(launcher)) as room:
            yield room


def room_of_lab(
    lab: Lab, databases: list[dict[str, Any]], folder: Path, launcher: Mapping[str, Any]
) -> AbstractContextManager[ControlRoom]:
    """Open a room whose databases are the lab's under several labels."""
    place = {
        "host": lab.database.host,
        "port": lab.database.port,
        "user": lab.database.user,
        "password_env": PASSWORD_VARIABLE,
        "database": lab.database.name,
    }
    s3 = {"endpoint": lab.endpoint, "bucket": lab.bucket, "prefix": PREFIX, "region": "us-east-1", "path_style": True}
    return room_of({"s3": s3, "databases": [{**place, **each} for each in databases]}, folder, launcher)


def limited(name: str, limit: int | None, tables: list[dict[str, Any]]) -> dict[str, Any]:
    return {"name": name, "tables": tables} if limit is None else {"name": name, "max_concurrent_runs": limit, "tables": tables}


DATABASES = [limited(name, limit, [{"name": table, **TABLE} for table in TABLES]) for name, limit in LIMITS.items()]
ODD = {
    "name": "Überall",
    "resources": None,
    "deadline_seconds": None,
    "tables": [
        {"schema": "my schema", "name": 'Log "é" %', **TABLE, "retention_days": 31},
        {"name": "pinned", **TABLE, "retention_days": 31, "node_affinity": POOL},
    ],
}


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlRoom]:
    """A room of tables that nobody can reach, where runs start and do nothing."""
    databases = [{**NOWHERE, **each} for each in (*DATABASES, ODD)]
    config = {"s3": {"bucket": "a-bucket", "region": "us-east-1"}, "databases": databases}
    with room_of(config, tmp_path_factory.mktemp("home"), IDLE) as room:
        yield room


@pytest.fixture
def room(opened: ControlRoom) -> Iterator[ControlRoom]:
    """The room, without runs."""
    yield opened
    for run in opened.runs():
        opened.instance.delete_run(run.run_id)


def test_a_run_from_the_ui_is_tagged_with_the_true_names_of_its_table(room: ControlRoom) -> None:
    odd = ["_berall", "my_schema", "Log______"]
    runs = [
        room.launch(key("many", "t1", "archive"), key("many", "t1", "purge"), day=str(DAY)),
        room.launch(key("many", "t1", "restore"), day=str(DAY)),
        room.launch(dg.AssetKey([*odd, "purge"]), day=str(DAY)),
    ]

    tagged = [{name: value for name, value in room.run(run).tags.items() if name.startswith("archiver/")} for run in runs]
    table = {"archiver/database": "many", "archiver/table": "many/public/t1"}
    assert tagged == [table, table, {"archiver/database": "Überall", "archiver/table": 'Überall/my schema/Log "é" %'}]
    assert all(room.run(run).status is QUEUED for run in runs)


def test_a_run_of_a_whole_job_and_a_run_of_a_check_alone_are_tagged_too(room: ControlRoom) -> None:
    job = room.launch(day=str(DAY), pipelineName="archive_and_purge__31_days__UTC__from_2015_01_01", assetSelection=None)
    check = room.launch(assetCheckSelection=[{"assetKey": {"path": ["one", "public", "t2"]}, "name": "preflight"}])

    assert room.run(job).tags["archiver/database"] == "Überall"
    assert room.run(check).tags["archiver/table"] == "one/public/t2"


def test_a_run_of_several_tables_has_the_tags_that_are_true_of_all(room: ControlRoom) -> None:
    of_one_database = room.run(room.launch(key("one", "t0", "archive"), key("one", "t1", "archive"), day=str(DAY))).tags
    of_two = room.run(room.launch(key("one", "t0", "archive"), key("many", "t0", "archive"), day=str(DAY))).tags
    whole_job = room.run(
        room.launch(day=str(DAY), pipelineName="archive_and_purge__30_days__UTC__from_2015_01_01", assetSelection=None)
    ).tags

    assert of_one_database["archiver/database"] == "one"
    assert "archiver/table" not in of_one_database
    assert not [tag for tags in (of_two, whole_job) for tag in tags if tag.startswith("archiver/")]


def test_a_run_that_claims_to_be_of_another_table_is_tagged_with_its_own(room: ControlRoom) -> None:
    run = room.launch(key("one", "t0", "archive"), day=str(DAY), tags={"archiver/table": "one/public/t1", "archiver/database": "many"})

    assert room.run(run).tags.items() >= {"archiver/database": "one", "archiver/table": "one/public/t0"}.items()


def test_what_a_table_asks_of_kubernetes_is_a_tag_of_each_of_its_runs(room: ControlRoom) -> None:
    runs = [
        room.launch(key("many", "t1", "archive"), key("many", "t1", "purge"), day=str(DAY)),
        room.launch(key("many", "t1", "restore"), day=str(DAY)),
        room.launch(assetCheckSelection=[{"assetKey": {"path": ["many", "public", "t1"]}, "name": "preflight"}]),
        room.launch(key("one", "t0", "archive"), key("many", "t0", "archive"), day=str(DAY)),
    ]

    assert [pod_tags(room.run(run)) for run in runs] == [POD_TAGS] * 4


def test_a_run_asks_kubernetes_for_nothing_where_its_tables_do_not_or_do_not_agree(room: ControlRoom) -> None:
    plain, pinned = dg.AssetKey(["_berall", "my_schema", "Log______", "archive"]), key("_berall", "pinned", "archive")
    runs = [room.launch(*selected, day=str(DAY)) for selected in ([plain], [plain, pinned], [pinned])]

    *nothing, nodes = [pod_tags(room.run(run)) for run in runs]
    assert nothing == [{}, {}]
    assert nodes == {"dagster-k8s/config": {"pod_spec_config": {"affinity": {"nodeAffinity": POOL}}, "merge_behavior": "SHALLOW"}}


def test_only_the_config_says_what_a_pod_is(room: ControlRoom) -> None:
    mine = {
        "dagster-k8s/config": json.dumps(
            {"container_config": {"image": "mine"}, "pod_spec_config": {"service_account_name": "dagster-sa"}}
        ),
        "dagster/max_runtime": "60",
    }
    asking = room.launch(key("one", "t0", "archive"), day=str(DAY), tags=mine)
    not_asking = room.launch(
        key("_berall", "pinned", "archive"), dg.AssetKey(["_berall", "my_schema", "Log______", "archive"]), day=str(DAY), tags=mine
    )
    again = room.execute_again(not_asking)

    assert pod_tags(room.run(asking)) == POD_TAGS
    assert pod_tags(room.run(not_asking)) == {"dagster-k8s/config": {}, "dagster/max_runtime": 60}
    assert pod_tags(room.run(again)) == {"dagster-k8s/config": {}, "dagster/max_runtime": None}


def test_a_run_with_the_old_tag_of_resources_which_would_be_above_the_config_is_refused(room: ControlRoom) -> None:
    mine = {"dagster-k8s/resource_requirements": json.dumps({"limits": {"memory": "400Gi"}})}
    with pytest.raises(HTTPError) as error:
        room.launch(key("one", "t0", "archive"), day=str(DAY), tags=mine)
    with error.value as answer:
        assert b"expected the resources of a run only in the config, found the tag dagster-k8s/resource_requirements" in answer.read()
    (refused,) = room.runs(**mine)
    assert refused.status is dg.DagsterRunStatus.FAILURE


def test_the_user_of_a_run_is_whom_the_proxy_says_it_is(room: ControlRoom) -> None:
    archive = key("one", "t0", "archive")
    both = {"X-Forwarded-Email": "ada@example.com", "X-Forwarded-User": "0815"}

    by_mail = room.launch(archive, day=str(DAY), headers=both, tags={"user": "eve"})
    by_name = room.launch(archive, day=str(DAY), headers={"X-Forwarded-User": "0815"})
    without = room.launch(archive, day=str(DAY), headers={"X-Somebody": "eve"})
    again = room.execute_again(by_mail, headers={"X-Forwarded-Email": "bob@example.com"})
    again_without = room.execute_again(by_mail)

    users = [room.run(run).tags.get("user") for run in (by_mail, by_name, without, again, again_without)]
    assert users == ["ada@example.com", "0815", None, "bob@example.com", "unknown"]


def test_a_queued_run_that_is_cancelled_never_starts(room: ControlRoom) -> None:
    run = room.launch(key("one", "t0", "archive"), day=str(DAY))

    room.terminate(run)
    room.dequeue()

    assert room.run(run).status is dg.DagsterRunStatus.CANCELED


@pytest.mark.parametrize("count", [31, pytest.param(366, marks=pytest.mark.torture)])
def test_a_long_backfill_is_one_run_a_day_and_each_is_tagged(room: ControlRoom, count: int) -> None:
    every = days(count, date(2024, 1, 1))
    backfill = room.launch_backfill(
        key("many", "t0", "archive"), key("many", "t0", "purge"), days=every, headers={"X-Forwarded-Email": "ada"}
    )

    room.submit_backfills()

    runs = room.runs(**{"dagster/backfill": backfill, "archiver/table": "many/public/t0", "archiver/database": "many"})
    assert sorted(run.tags["dagster/partition"] for run in runs) == every
    assert {run.asset_selection for run in runs} == {frozenset({key("many", "t0", "archive"), key("many", "t0", "purge")})}
    assert not [tag for run in runs for tag in run.tags if tag.startswith("dagster/asset_partition_range") or tag == "user"]
    room.dequeue()
    assert [run.tags["dagster/partition"] for run in room.runs(*ACTIVE)] == every[:1]


@contextmanager
def several_databases(lab: Lab, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ControlRoom]:
    monkeypatch.setenv(PASSWORD_VARIABLE, lab.database.password)
    for table in TABLES:
        lab.execute(f"CREATE TABLE {table} (LIKE audit_logs INCLUDING ALL)")
        for day in days(3):
            lab.execute(f"INSERT INTO {table} (created_at, action) VALUES ('{day} 12:00Z', 'any')")
    with room_of_lab(lab, DATABASES, folder, IDLE) as room:
        yield room


def test_runs_of_schedules_of_people_and_of_backfills_keep_the_limits_together(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with several_databases(lab, tmp_path, monkeypatch) as room:
        for database in LIMITS:
            for table in TABLES:
                room.launch(key(database, table, "purge"), day=days(9)[8])
            room.launch_backfill(key(database, "t0", "archive"), key(database, "t0", "purge"), days=days(3, date(2024, 6, 1)))
        room.submit_backfills()
        room.tick()
        waiting = room.runs(QUEUED)
        assert Counter(_origin(run) for run in waiting) == {"person": 9, "backfill": 9, "schedule": 18}
        assert all(pod_tags(run) == POD_TAGS for run in waiting)

        most: Counter[str] = Counter()
        for _ in waiting:
            room.dequeue()
            if not (active := room.runs(*ACTIVE)):
                break
            tables = Counter(run.tags["archiver/table"] for run in active)
            databases = Counter(run.tags["archiver/database"] for run in active)
            most |= databases | Counter({"a table": max(tables.values()), "all": len(active)})
            room.instance.report_run_canceled(active[0])

        assert room.runs(QUEUED, *ACTIVE) == []
        assert most == {"a table": 1, "one": 1, "many": 3, "plain": 2, "all": MOST}


def _origin(run: dg.DagsterRun) -> str:
    return "backfill" if "dagster/backfill" in run.tags else "schedule" if "dagster/schedule_name" in run.tags else "person"


def work_off(room: ControlRoom, backfill: str) -> dg.DagsterRunStatus | str:
    """Execute all of a backfill; return its status."""
    room.submit_backfills()
    while room.runs(QUEUED):
        room.dequeue()
    room.submit_backfills()
    found = room.instance.get_backfill(backfill)
    assert found
    return found.status.value


def partitions(room: ControlRoom, backfill: str, status: dg.DagsterRunStatus) -> list[str]:
    return sorted(run.tags["dagster/partition"] for run in room.runs(status, **{"dagster/backfill": backfill}))


def test_a_bad_day_of_a_backfill_is_named_and_stops_no_other(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, lab.database.password)
    five = days(5)
    bad, good = five[2], [*five[:2], *five[3:]]
    for day in five:
        lab.fill(date.fromisoformat(day), rows=10)
    lab.execute(f"UPDATE audit_logs SET amount = 'NaN' WHERE action = 'action 1' AND created_at::date = '{bad}'")
    archive, purge, restore = (key("lab", "audit_logs", step) for step in ("archive", "purge", "restore"))
    database = {"name": "lab", "tables": [{**TABLE, "name": "audit_logs"}]}

    with room_of_lab(lab, [database], tmp_path, IN_PROCESS) as room:
        archives = room.launch_backfill(archive, days=five[:2])
        assert work_off(room, archives) == "COMPLETED_SUCCESS"
        assert checked(room, archive) == set(five[:2])
        assert lab.count() == 50, "archive alone purges nothing"

        purges = room.launch_backfill(purge, days=five[:1])
        assert work_off(room, purges) == "COMPLETED_SUCCESS"
        assert lab.count() == 40, "purge alone purges, and archives nothing"
        assert set(room.instance.get_materialized_partitions(archive)) == set(five[:2])

        everything = room.launch_backfill(archive, purge, days=five)
        assert work_off(room, everything) == "COMPLETED_FAILED"
        assert partitions(room, everything, dg.DagsterRunStatus.FAILURE) == [bad]
        assert partitions(room, everything, dg.DagsterRunStatus.SUCCESS) == good
        assert checked(room, archive) == set(good)
        assert set(room.instance.get_materialized_partitions(purge)) == set(good)
        assert lab.execute("SELECT DISTINCT (created_at AT TIME ZONE 'UTC')::date::text, count(*) OVER () FROM audit_logs") == [(bad, 10)]

        restored = room.launch_backfill(restore, days=good)
        assert work_off(room, restored) == "COMPLETED_SUCCESS"
        assert lab.count("public.audit_logs_restored") == 40


def checked(room: ControlRoom, archive: dg.AssetKey) -> set[str]:
    """Return the days whose check was evaluated, and passed."""
    events = [record.event_log_entry for run in room.runs() for record in room.instance.get_records_for_run(run.run_id).records]
    found = [
        entry.dagster_event.asset_check_evaluation_data
        for entry in events
        if entry.dagster_event and entry.dagster_event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION
    ]
    assert all(each.passed and each.asset_key == archive for each in found)
    return {str(each.partition) for each in found}
