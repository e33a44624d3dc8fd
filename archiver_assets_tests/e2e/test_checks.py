"""The checks of all tables of a database, as their schedule evaluates them: each says what it found, and none hides another."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from archiver_assets.errors import SourceLoginRefused, SourceUnavailable, TableRefused
from archiver_assets.orchestration.check_evaluation import evaluate_all, last_seen
from archiver_assets.orchestration.checks import CHECKS_JOB, check_keys
from archiver_assets_tests.asset_runs import Checks, checks, numbers
from archiver_assets_tests.holds import place
from archiver_assets_tests.lab import DAY, Lab


def test_one_run_evaluates_every_check_of_a_database_also_where_one_table_cannot_be_looked_at(
    lab: Lab, kept_instance: dg.DagsterInstance
) -> None:
    made = checks(lab, kept_instance, lab.table(name="nowhere"), lab.table())

    request = made.tick()
    assert isinstance(request, dg.RunRequest)
    result, found = made.run(request)

    assert result.success
    assert {key: each.passed for key, each in found.items()} == {
        ("nowhere", "preflight"): False,
        ("nowhere", "backlog"): False,
        ("audit_logs", "preflight"): True,
        ("audit_logs", "backlog"): True,
    }
    assert "not evaluated: expected a table lab/public/nowhere" in str(found["nowhere", "backlog"].description)
    assert result.dagster_run.tags["archiver/database"] == "lab"


def test_a_database_that_cannot_be_reached_fails_every_check_and_the_one_run_with_the_reason(
    lab: Lab, instance: dg.DagsterInstance
) -> None:
    services = lab.services(lab.table(), lab.table(name="b"), lab.table(name="c"))
    (database,) = services.config.databases
    away = services.config.model_copy(update={"databases": (database.model_copy(update={"port": 1}),)})

    result, found = Checks(instance, replace(services, config=away)).run()

    assert not result.success
    assert len(found) == 6
    assert all(not each.passed and "not evaluated: database lab" in str(each.description) for each in found.values())


@pytest.mark.parametrize("kind", [SourceUnavailable, SourceLoginRefused])
def test_after_two_failed_connections_the_other_checks_are_told_so_without_another_look(
    kind: type[SourceUnavailable | SourceLoginRefused],
) -> None:
    looks = 0

    def look() -> dg.AssetCheckResult:
        nonlocal looks
        looks += 1
        message = "no answer"
        raise kind(message, hint="wait")

    results = []
    with pytest.raises(kind):
        results += list(evaluate_all({dg.AssetCheckKey(dg.AssetKey("a"), str(number)): look for number in range(20)}))
    assert looks == 2


def test_a_connection_that_is_lost_once_stops_no_other_check() -> None:
    def fail() -> dg.AssetCheckResult:
        message = "lost"
        raise SourceUnavailable(message, hint="wait")

    def refuse() -> dg.AssetCheckResult:
        message = "no key"
        raise TableRefused(message, hint="add one")

    def passed() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=True)

    looks = {"a": fail, "b": passed, "c": refuse, "d": fail, "e": passed}
    results = list(evaluate_all({dg.AssetCheckKey(dg.AssetKey("t"), name): look for name, look in looks.items()}))
    assert [(each.check_name, each.passed) for each in results] == [("a", False), ("b", True), ("c", False), ("d", False), ("e", True)]


def test_a_tick_does_not_ask_for_checks_that_are_still_being_evaluated(lab: Lab, kept_instance: dg.DagsterInstance) -> None:
    made = checks(lab, kept_instance)
    request = made.tick()
    assert isinstance(request, dg.RunRequest)
    job = made.definitions.resolve_job_def(CHECKS_JOB)
    kept_instance.create_run_for_job(job, tags={"archiver/database": "another"}, status=dg.DagsterRunStatus.STARTED)
    assert isinstance(made.tick(), dg.RunRequest)
    kept_instance.create_run_for_job(job, tags=dict(request.tags), status=dg.DagsterRunStatus.STARTED)
    assert made.tick() == "the checks of lab are still queued or running"


def test_a_quiet_table_and_one_whose_days_are_held_have_no_backlog(lab: Lab, instance: dg.DagsterInstance) -> None:
    made = checks(lab, instance)
    lab.fill(day=datetime.now(UTC).date(), rows=3)
    assert made.backlog().passed

    lab.fill(rows=3)
    place(lab, id="all")
    evaluation = made.backlog()
    assert (evaluation.passed, evaluation.description) == (True, "no expired day waits; days with held rows alone: 1")


def test_a_table_whose_rows_wait_no_longer_than_they_may_passes_and_says_what_waits(lab: Lab, instance: dg.DagsterInstance) -> None:
    day = datetime.now(UTC).date() - timedelta(days=33)
    lab.fill(day=day, rows=3)

    evaluation = checks(lab, instance).backlog()

    assert evaluation.passed
    assert evaluation.description == f"1 expired day waits with 3 rows, the oldest {day}, expired 2 days ago"
    assert numbers(evaluation) == {
        "oldest_expired_day": str(day),
        "oldest_expired_day_start": datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp(),
        "max_backlog_days": 7,
        "archived_only": False,
        "days_waiting": 1,
        "days_stalled": 0,
        "days_held": 0,
        "rows_waiting": 3,
        "rows_before_start_date": 0,
        "rows_without_day": 0,
    }


def test_a_stalled_table_fails_with_what_was_expected_and_the_next_step(lab: Lab, instance: dg.DagsterInstance) -> None:
    lab.fill(rows=5)
    made = checks(lab, instance)

    evaluation = made.backlog()

    assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.ERROR)
    expected = "expected no expired day to wait longer than 7 days for its purge, found 1 day, the oldest 2024-03-05, expired since"
    assert expected in str(evaluation.description)
    findings = evaluation.metadata["findings"]
    assert isinstance(findings, dg.TableMetadataValue)
    assert str(findings.records[0].data["next step"]).startswith("find out why its runs failed")
    assert not made.backlog().passed
    assert checks(lab, instance, lab.table(max_backlog_days=None)).backlog().passed


def test_late_rows_in_a_day_that_was_clean_are_not_a_stalled_table(lab: Lab, instance: dg.DagsterInstance) -> None:
    made = checks(lab, instance)
    assert made.backlog().passed
    lab.fill(rows=5)

    evaluation = made.backlog()

    assert evaluation.passed
    assert numbers(evaluation)["days_waiting"] == 1
    seen = last_seen(instance, check_keys(lab.table())[1])
    assert seen is not None
    assert set(seen.back_since) == {str(DAY)}


@pytest.mark.parametrize("kind", ["timestamptz", "timestamp", "date"])
def test_rows_before_the_start_fail_and_rows_of_no_day_are_warned_of(lab: Lab, instance: dg.DagsterInstance, kind: str) -> None:
    lab.execute(f"ALTER TABLE public.audit_logs ALTER created_at DROP NOT NULL, ALTER created_at TYPE {kind}")
    lab.execute("INSERT INTO public.audit_logs (created_at, action) VALUES ('infinity', ''), ('-infinity', ''), (NULL, '')")
    made = checks(lab, instance)

    evaluation = made.backlog()
    assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert numbers(evaluation)["rows_without_day"] == 3

    lab.execute("INSERT INTO public.audit_logs (created_at, action) VALUES ('2014-12-31', ''), ('0044-03-15 BC', '')")
    evaluation = made.backlog()
    assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert (numbers(evaluation)["rows_before_start_date"], numbers(evaluation)["days_waiting"]) == (2, 0)
    assert "expected no rows before start_date, 2015-01-01, found 2 rows that no run archives" in str(evaluation.description)
