"""`archiver run`: the same runs as Dagster's, in the process of the command."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import dagster as dg
import psycopg
import pytest
import yaml
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from archiver_assets.cli.app import Status
from archiver_assets.demo.seaweed import EmbeddedS3
from archiver_assets.errors import PartitionBusy
from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.progress import Progress
from archiver_assets.lifecycle.purging.purge import purge
from archiver_assets.orchestration import in_process_runs as running
from archiver_assets.orchestration.assets import table_keys
from archiver_assets.orchestration.in_process_runs import Runner
from archiver_assets.orchestration.tags import COMMAND_TAG
from archiver_assets.source.session import Connection, is_alive, partition_lock
from archiver_assets.store.objects import StoredObject
from archiver_assets.store.s3 import S3ObjectStore
from archiver_assets.telemetry.runs import TABLE_TAG
from archiver_assets_tests.e2e.conftest import Said
from archiver_assets_tests.lab import DAY, PASSWORD_VARIABLE, PREFIX, Lab
from archiver_assets_tests.pods import pod_instance, pod_variables
from archiver_assets_tests.proxies import Fault, HttpProxy, Rule

NEXT_DAY = date(2024, 3, 6)
WHERE = ("--database", "lab", "--table", "audit_logs")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """DAGSTER_HOME of the command."""
    folder = tmp_path / "dagster_home"
    folder.mkdir()
    (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(folder))
    return folder


def test_a_run_is_that_of_the_schedule_and_is_recorded_as_one(lab: Lab, home: Path, said: Said) -> None:
    for day in (DAY, NEXT_DAY):
        lab.fill(day, rows=10)
    status, out = said("run", *WHERE)
    assert status == Status.DONE
    assert out.splitlines()[1:] == [
        f"lab/public/audit_logs {day}: archived, 10 rows archived; purged, 10 rows purged, 0 late, 0 held" for day in (DAY, NEXT_DAY)
    ]
    assert lab.count() == 0
    keys = table_keys(lab.table())
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert instance.get_materialized_partitions(keys.archive) == {str(DAY), str(NEXT_DAY)}
        assert instance.get_materialized_partitions(keys.purge) == {str(DAY), str(NEXT_DAY)}
        runs = instance.get_runs()
        assert {run.status for run in runs} == {dg.DagsterRunStatus.SUCCESS}
        assert all(run.tags["archiver/table"] == "lab/public/audit_logs" and run.tags["archiver/database"] == "lab" for run in runs)
    status, out = said("run", *WHERE)
    assert (status, out) == (Status.DONE, "lab/public/audit_logs: no backlog: no expired day has rows\n")


@pytest.mark.parametrize("on_kubernetes", [True, False])
def test_it_warns_of_run_monitoring_only_where_runs_have_workers_that_are_asked_for(
    lab: Lab, home: Path, said: Said, monkeypatch: pytest.MonkeyPatch, *, on_kubernetes: bool
) -> None:
    lab.fill(rows=10)
    if on_kubernetes:
        for name, value in pod_variables().items():
            monkeypatch.setenv(name, value)
        (home / "dagster.yaml").write_text(pod_instance(home))
    else:
        (home / "dagster.yaml").write_text("telemetry: {enabled: false}\nrun_monitoring: {enabled: true}\n")
    status, out = said("run", *WHERE)
    assert status == Status.DONE
    assert ("warning: this instance monitors runs" in out) is on_kubernetes
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert instance.run_monitoring_enabled
        assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.SUCCESS]


def test_a_day_that_fails_keeps_no_other_from_being_run(lab: Lab, said: Said) -> None:
    for day in (DAY, NEXT_DAY):
        lab.fill(day, rows=10)
    archive(lab.task(DAY))
    key = next(key for key in lab.objects() if f"dt={DAY}/rows-" in key)
    data = lab.content(key)
    lab.store.remove(key)
    lab.store.create(key, data[:-1])
    # Its rows are archived again at once: the damaged generation covers nothing any more. So that this fails, its manifest is spoilt too.
    manifest = f"archives/lab/public/audit_logs/dt={DAY}/_manifest-0001.json"
    lab.store.remove(manifest)
    lab.store.create(manifest, b"{}")
    status, out = said("run", *WHERE, "--all", "--json")
    answer = json.loads(out)
    assert status == Status.FAILED
    assert [(each["day"], each["failure"] is None) for each in answer["days"]] == [(str(DAY), False), (str(NEXT_DAY), True)]
    (failure,) = answer["failures"]
    assert failure["error"] == "ManifestInvalid"
    assert manifest in failure["message"]
    assert answer["recorded"] is False
    assert lab.count() == 10


def test_a_table_whose_objects_come_back_damaged_keeps_no_other_from_being_run(
    lab: Lab, s3_server: EmbeddedS3, config: str, said: Said
) -> None:
    lab.execute("CREATE TABLE other_logs (LIKE audit_logs INCLUDING ALL)")
    lab.fill(rows=10)
    lab.execute("INSERT INTO other_logs SELECT * FROM audit_logs")
    with HttpProxy(s3_server.port, Rule(Fault.WRONG_BYTE_TOLD, "GET", "/audit_logs/.*/rows-", times=None)) as proxy:
        document = replace(lab, endpoint=proxy.endpoint).document()
        (database,) = document["databases"]
        database["tables"].append({**database["tables"][0], "name": "other_logs"})
        Path(config).write_text(yaml.safe_dump(document))
        status, out = said("run", "--database", "lab", "--json")
    assert status == Status.FAILED
    (failure,) = json.loads(out)["failures"]
    assert (failure["error"], "checksum" in failure["message"]) == ("NotVerified", True)
    assert (lab.count(), lab.count("other_logs")) == (10, 0)


def test_a_login_that_is_refused_is_no_failure_that_passes_and_keeps_the_other_tables_of_its_database_from_being_tried(
    lab: Lab, config: str, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = lab.document()
    (database,) = document["databases"]
    database["tables"].append({**database["tables"][0], "name": "other_logs"})
    Path(config).write_text(yaml.safe_dump(document))
    monkeypatch.setenv(PASSWORD_VARIABLE, "no longer this")
    status, out = said("run")
    assert status == Status.FAILED
    assert "FAILED lab/public/audit_logs: SourceLoginRefused: " in out
    assert "lab/public/other_logs: not run, because its database failed" in out


def test_a_partition_that_is_busy_is_to_be_tried_again(lab: Lab, said: Said) -> None:
    lab.fill(rows=10)
    task = lab.task()
    with task.source.connect() as connection, partition_lock(connection, table=task.table.label, partition=task.partition):
        status, out = said("run", *WHERE, "--partition", str(DAY))
    assert status == Status.TRY_AGAIN
    assert f"FAILED lab/public/audit_logs {DAY}: PartitionBusy: " in out
    assert "HINT: " in out


def test_another_run_of_the_table_in_dagster_is_respected(lab: Lab, home: Path, said: Said) -> None:
    lab.fill(rows=10)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        job = dg.GraphDefinition(name="other").to_job()
        run = instance.create_run_for_job(job, tags={"archiver/table": "lab/public/audit_logs"}, status=dg.DagsterRunStatus.STARTED)
    status, out = said("run", *WHERE)
    assert status == Status.TRY_AGAIN
    assert f"expected no other run of lab/public/audit_logs in Dagster, found {run.run_id} (STARTED)" in out
    assert lab.count() == 10
    status, _ = said("run", *WHERE, "--force")
    assert status == Status.DONE
    assert lab.count() == 0


TAGS = {TABLE_TAG: "lab/public/audit_logs", COMMAND_TAG: "run"}


def test_a_run_of_the_command_that_ends_while_it_is_looked_at_keeps_its_end(
    home: Path, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        job = dg.GraphDefinition(name="other").to_job()
        run = instance.create_run_for_job(job, tags=TAGS, status=dg.DagsterRunStatus.STARTED)

        def ending(connection: Connection, run_id: str) -> bool:
            succeeded = dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, run.job_name)
            instance.report_dagster_event(succeeded, run_id)
            return is_alive(connection, run_id)

        monkeypatch.setattr(running, "is_alive", ending)
        assert said("run", *WHERE)[0] == Status.DONE
        assert instance.get_run_by_id(run.run_id).status is dg.DagsterRunStatus.SUCCESS  # type: ignore[union-attr]


def test_a_run_that_dagster_launched_with_the_tags_of_one_of_the_command_is_no_dead_one(lab: Lab, home: Path, said: Said) -> None:
    """A person executes a run of the command again in the UI, which copies its tags."""
    lab.fill(rows=10)
    location = RegisteredCodeLocationOrigin("archiver_assets.definitions")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        run = dg.DagsterRun(
            job_name="other",
            tags=TAGS,
            status=dg.DagsterRunStatus.STARTED,
            remote_job_origin=RemoteJobOrigin(RemoteRepositoryOrigin(location, "__repository__"), "other"),
        )
        instance.add_run(run)
        status, out = said("run", *WHERE)
        assert (status, lab.count()) == (Status.TRY_AGAIN, 10)
        assert f"found {run.run_id} (STARTED)" in out
        assert instance.get_run_by_id(run.run_id).status is dg.DagsterRunStatus.STARTED  # type: ignore[union-attr]


def test_a_run_of_the_command_that_could_not_be_marked_alive_is_no_dead_one(lab: Lab, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database ended the session at that moment, and is there again."""
    lab.fill(rows=10)
    seen: list[str] = []

    def refused(_connection: Connection, _run_id: str) -> None:
        raise psycopg.errors.AdminShutdown

    def watch(_progress: Progress) -> None:
        if not seen:
            with pytest.raises(PartitionBusy, match="expected no other run of lab/public/audit_logs") as error:
                runner.require_free()
            seen.append(error.value.message)

    monkeypatch.setattr(running, "mark_alive", refused)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        runner = Runner(replace(lab.services(lab.table()), watch=watch), instance, lab.table())
        assert runner.run(str(DAY)).failed is None
        assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.SUCCESS]
    assert len(seen) == 1


def test_a_dry_run_says_what_it_would_do_and_does_nothing(lab: Lab, home: Path, said: Said) -> None:
    lab.fill(rows=10)
    status, out = said("run", *WHERE, "--from", str(DAY), "--dry-run")
    assert status == Status.DONE
    assert f"lab/public/audit_logs {DAY}: Dry run: " in out
    assert "10 rows to archive of 10 rows in the table" in out
    assert (lab.count(), lab.objects()) == (10, [])
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert instance.get_materialized_partitions(table_keys(lab.table()).archive) == set()


def test_a_day_that_is_no_partition_is_refused(said: Said) -> None:
    for day in ("2014-12-31", "9999-01-01"):
        status, out = said("run", *WHERE, "--partition", day)
        assert status == Status.FAILED
        assert "NotExpired: expected an expired day of lab/public/audit_logs, 2015-01-01 to " in out


def test_wrong_usage_begins_nothing(said: Said) -> None:
    for arguments in (("--partition", str(DAY), "--from", str(DAY)), ("--to", str(DAY)), ("--table", "nowhere")):
        assert said("run", *arguments) == (Status.USAGE, "")


def test_a_wrong_password_is_said_once_for_a_database(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAB_DB_PASSWORD")
    status, out = said("run")
    assert status == Status.FAILED
    assert out.count("expected its password in the environment variable LAB_DB_PASSWORD, found none") == 1


def test_a_bucket_that_is_not_there_ends_everything(lab: Lab, config: str, said: Said) -> None:
    for day in (DAY, NEXT_DAY):
        lab.fill(day, rows=10)
    Path(config).write_text(Path(config).read_text().replace(lab.bucket, "no-such-bucket"))
    status, out = said("run", "--from", str(DAY), "--to", str(NEXT_DAY))
    assert status == Status.FAILED
    assert out.count("FAILED") == 1
    assert "no-such-bucket" in out
    assert "stopped: the store" in out


def test_a_signal_in_mid_purge_ends_it_cleanly_and_the_next_run_goes_on(lab: Lab, config: str, home: Path, said: Said) -> None:
    lab.fill(rows=60)
    Path(config).write_text(yaml.safe_dump(lab.document(batch_size=5, sleep_between_batches=0.2)))
    command = [sys.executable, "-m", "archiver_assets", "--config", config, "--log-format", "json", "run", *WHERE, "--all"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while lab.count() == 60:
            assert process.poll() is None
            time.sleep(0.02)
        process.terminate()
        out, err = process.communicate(timeout=60)
    assert process.returncode == Status.INTERRUPTED, err
    assert "interrupted" in out
    assert all(json.loads(line)["message"] for line in err.splitlines())
    assert "interrupted; committed work is kept" in err.splitlines()[-1]
    left = lab.count()
    assert 0 < left < 60
    assert left % 5 == 0
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert {run.status for run in instance.get_runs()} == {dg.DagsterRunStatus.FAILURE}
    Path(config).write_text(yaml.safe_dump(lab.document()))
    assert said("run", *WHERE, "--all")[0] == Status.DONE
    assert lab.count() == 0


def test_an_object_that_is_lost_after_its_purge_began_is_to_be_brought_back(lab: Lab, home: Path, said: Said) -> None:
    lab.fill(rows=10)
    archive(lab.task())
    purge(lab.task())
    lab.store.remove(next(key for key in lab.objects() if "/rows-" in key))
    lab.fill(rows=5)
    status, out = said("run", *WHERE, "--json")
    (failure,) = json.loads(out)["failures"]
    assert (status, failure["error"], lab.count()) == (Status.FAILED, "NotVerified", 5)
    assert "run the day again" not in failure["hint"]
    assert "bring back the version of the object that its manifest names" in failure["hint"]
    with dg.DagsterInstance.from_config(str(home)) as instance:
        (record,) = instance.event_log_storage.get_asset_check_execution_history(table_keys(lab.table()).row_counts, limit=1)
        assert record.event is not None
        evaluation = record.event.asset_check_evaluation
        assert evaluation is not None
        assert evaluation.metadata["next_step"].value == failure["hint"]
    # What it says of late rows holds: the purge alone takes them, by the generation that this run archived.
    assert purge(lab.task()).tally.purged == 5
    assert lab.count() == 0


def test_an_object_that_is_lost_before_its_purge_is_archived_again_as_the_next_step_says(
    lab: Lab, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.fill(rows=10)
    uploaded = S3ObjectStore.create

    def losing(self: S3ObjectStore, key: str, data: bytes, *, locked: bool = True) -> StoredObject:
        made = uploaded(self, key, data, locked=locked)
        if "_manifest" in key:
            self.remove(next(each.key for each in self.list(PREFIX) if "/rows-" in each.key))
        return made

    with monkeypatch.context() as lost:
        lost.setattr(S3ObjectStore, "create", losing)
        status, out = said("run", *WHERE, "--json")
    (failure,) = json.loads(out)["failures"]
    assert (status, lab.count()) == (Status.FAILED, 10)
    assert "run the day again" in failure["hint"]
    assert said("run", *WHERE)[0] == Status.DONE
    assert lab.count() == 0
