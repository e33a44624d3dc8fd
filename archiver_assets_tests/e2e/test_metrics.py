"""The metrics of real runs: what was archived, purged, left, damaged and restored is what a scrape says, however often it is asked anew."""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

import dagster as dg
import pytest

from archiver_assets.cli.app import Status, main
from archiver_assets.demo.seaweed import EmbeddedS3
from archiver_assets.orchestration.checks import CHECKS_JOB
from archiver_assets_tests.asset_runs import QUIET, Runs
from archiver_assets_tests.holds import place
from archiver_assets_tests.lab import DAY, Lab, only
from archiver_assets_tests.scraping import Scrape, get, scrape

NAMES = ("database", "schema", "table")
TABLE = ("lab", "public", "audit_logs")


@pytest.fixture
def runs(lab: Lab, instance: dg.DagsterInstance) -> Runs:
    return Runs(lab, instance)


def said(runs: Runs) -> Scrape:
    return scrape(runs.instance, runs.services.config)


def test_a_scrape_says_what_was_archived_verified_and_purged_and_what_waits(lab: Lab, runs: Runs) -> None:
    lab.fill(rows=20)
    lab.fill(DAY + timedelta(days=1), rows=5)
    began = time.time()
    runs.run(runs.keys.archive, runs.keys.purge)
    checks = runs.definitions.resolve_job_def(CHECKS_JOB)
    checks.execute_in_process(run_config=QUIET, instance=runs.instance, tags={"archiver/database": "lab"})

    found = said(runs)

    assert (found["archiver_rows_archived_total"], found["archiver_rows_purged_total"]) == (20, 20)
    assert found["archiver_bytes_archived_total"] == len(lab.content(only(lab.objects(), lambda key: "rows-" in key)))
    last = found.by("archiver_last_success_timestamp_seconds", "step")
    assert set(last) == {("archive",), ("verify",), ("purge",)}
    assert all(began < at < time.time() for at in last.values())
    assert (found["archiver_backlog_days"], found["archiver_backlog_stalled_days"], found["archiver_backlog_limit_days"]) == (1, 1, 7)
    assert found["archiver_backlog_oldest_day_timestamp_seconds"] == lab.task(DAY + timedelta(days=1)).partition.start.timestamp()
    assert found.by("archiver_check_failing", "check") == {("backlog",): 1, ("preflight",): 0, ("row_counts",): 0}
    assert found["archiver_preflight_failing"] == 0
    ended = found.by("archiver_runs_total", *NAMES, "status")
    assert ended[*TABLE, "success"] == 1
    assert ended["lab", "", "", "success"] == 1  # that of the checks, which is of no table
    assert sum(ended.values()) == 2
    assert 0 < found.by("archiver_run_duration_seconds_sum", "table")["audit_logs",] < time.time() - began


def test_what_a_purge_leaves_shows_until_a_later_purge_of_the_day_leaves_none(lab: Lab, runs: Runs) -> None:
    lab.fill(rows=20)
    place(lab, {"column": "action", "operator": "=", "values": ["action 7"]})
    runs.run(runs.keys.archive)
    lab.fill(rows=3)
    runs.run(runs.keys.purge)

    found = said(runs)
    assert (found["archiver_rows_held"], found["archiver_rows_late"], found["archiver_rows_locked"]) == (1, 3, 0)
    assert found["archiver_rows_purged_total"] == 19

    runs.run()
    assert (said(runs)["archiver_rows_held"], said(runs)["archiver_rows_late"]) == (1, 0)


def test_what_was_restored_shows(lab: Lab, runs: Runs) -> None:
    lab.fill(rows=20)
    runs.run(runs.keys.archive)
    job = runs.definitions.resolve_implicit_global_asset_job_def()
    job.execute_in_process(run_config=QUIET, instance=runs.instance, partition_key=str(DAY), asset_selection=[runs.keys.restore])

    found = said(runs)

    assert found["archiver_rows_restored_total"] == 20
    assert ("restore",) in found.by("archiver_last_success_timestamp_seconds", "step")
    assert found.by("archiver_runs_total", *NAMES, "status")[*TABLE, "success"] == 2


def test_a_failed_run_shows_by_the_class_of_its_error(lab: Lab, runs: Runs) -> None:
    lab.fill(rows=20)
    runs.run(runs.keys.purge, raise_on_error=False)  # of nothing that was archived

    found = said(runs)

    assert found.by("archiver_run_failures_total", *NAMES, "error") == {(*TABLE, "NotArchived"): 1}
    assert found.by("archiver_runs_total", *NAMES, "status")[*TABLE, "failure"] == 1


def test_a_damaged_generation_shows_whether_the_check_an_archive_or_a_purge_finds_it(lab: Lab, runs: Runs, s3_server: EmbeddedS3) -> None:
    def archive_and_damage() -> None:
        runs.run(runs.keys.archive)
        key = max(key for key in lab.objects() if "rows-" in key)
        s3_server.client().put_object(Bucket=lab.bucket, Key=key, Body=b"damaged")

    lab.fill(rows=20)
    archive_and_damage()
    check = runs.job.get_subset(asset_selection=set(), asset_check_selection={runs.keys.row_counts})
    check.execute_in_process(run_config=QUIET, instance=runs.instance, partition_key=str(DAY), raise_on_error=False)
    found = said(runs)
    assert (found["archiver_verifications_failed_total"], found["archiver_generations_rejected_total"]) == (1, 1)
    assert found.by("archiver_check_failing", "check") == {("row_counts",): 1}

    archive_and_damage()
    runs.run(runs.keys.purge, raise_on_error=False)
    found = said(runs)
    assert found.by("archiver_run_failures_total", "error") == {("NotVerified",): 1}
    assert (found["archiver_verifications_failed_total"], found["archiver_generations_rejected_total"]) == (2, 2)
    assert found.by("archiver_check_failing", "check") == {("row_counts",): 0}  # of the generation before it was damaged

    archive_and_damage()
    runs.run(runs.keys.archive)
    assert said(runs)["archiver_generations_rejected_total"] == 3


def test_dry_runs_change_no_metric(lab: Lab, runs: Runs) -> None:
    lab.fill(rows=20)
    runs.run(runs.keys.archive)
    before = said(runs)

    runs.run(config={"archive": {"dry_run": True}})
    runs.run(runs.keys.purge, config={"purge": {"dry_run": True}})

    assert said(runs).counted == before.counted
    assert said(runs)["archiver_exporter_events_read_total"] > before["archiver_exporter_events_read_total"]


def test_the_command_serves_until_it_is_told_to_end(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text("")
    environment = {**os.environ, "DAGSTER_HOME": str(tmp_path), "ARCHIVER_CONFIG": ""}
    command = [sys.executable, "-m", "archiver_assets", "metrics", "--port", "0", "--json"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            address = json.loads(process.stdout.readline())["address"]
            deadline = time.monotonic() + 10
            while get(f"{address}/healthz")[0] != 200:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            found = Scrape(get(f"{address}/metrics")[1])
        finally:
            process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=10)

    assert found["archiver_exporter_ready"] == 1
    assert list(found.by("archiver_build_info", "version")) == [(version("audit-archiver"),)]
    assert process.returncode == 0, said
    assert "Traceback" not in said


def test_the_command_wants_an_instance(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.delenv("ARCHIVER_CONFIG", raising=False)

    assert main(["metrics"]) == Status.USAGE
    assert "found none\nHINT: set DAGSTER_HOME or --dagster-home" in capsys.readouterr().err
    assert main(["metrics", "--config", "nowhere.yaml"]) == Status.USAGE
    assert "nowhere.yaml: expected a config file" in capsys.readouterr().err
