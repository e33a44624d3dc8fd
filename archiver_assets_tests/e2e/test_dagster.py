"""What a user of Dagster meets: the graph, runs of parts of it, checks that gate, schedules."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from archiver_assets.demo.seaweed import EmbeddedS3
from archiver_assets.errors import ConfigError, NotArchived, NotExpired, NotVerified
from archiver_assets.lifecycle.purging.purge import purge
from archiver_assets.lifecycle.task import Step
from archiver_assets.orchestration.assets import table_keys
from archiver_assets.orchestration.build import build_definitions
from archiver_assets_tests.asset_runs import QUIET, Runs, refused
from archiver_assets_tests.kills import Killed, kill_at
from archiver_assets_tests.lab import DAY, Lab, only


@pytest.fixture
def runs(lab: Lab, instance: dg.DagsterInstance) -> Runs:
    return Runs(lab, instance)


def test_the_shared_job_archives_checks_and_purges_a_day(lab: Lab, runs: Runs) -> None:
    lab.fill(rows=20)

    result = runs.run()

    (check,) = result.get_asset_check_evaluations()
    assert (check.check_name, check.passed, check.blocking, check.partition) == ("row_counts", True, True, str(DAY))
    assert runs.materialized(runs.keys.archive) == runs.materialized(runs.keys.purge) == {str(DAY)}
    assert lab.count() == 0


def test_the_check_without_a_day_says_how_it_is_evaluated(lab: Lab, instance: dg.DagsterInstance) -> None:
    runs = Runs(lab, instance)
    check = dg.AssetCheckKey(runs.keys.archive, "row_counts")
    job = runs.definitions.resolve_implicit_global_asset_job_def()
    with refused(ConfigError):
        job.get_subset(asset_selection=set(), asset_check_selection={check}).execute_in_process(run_config=QUIET, instance=instance)


def test_a_purge_alone_purges_what_was_archived(lab: Lab, runs: Runs) -> None:
    lab.fill(rows=20)
    runs.run(runs.keys.archive)
    assert lab.count() == 20

    runs.run(runs.keys.purge)

    assert lab.count() == 0


def test_a_purge_alone_after_no_archive_deletes_nothing_and_fails(lab: Lab, runs: Runs) -> None:
    lab.fill(rows=20)

    with refused(NotArchived):
        runs.run(runs.keys.purge)

    assert lab.count() == 20
    assert runs.materialized(runs.keys.purge) == set()


def test_a_purge_alone_of_a_damaged_object_deletes_nothing_and_fails(lab: Lab, runs: Runs, s3_server: EmbeddedS3) -> None:
    lab.fill(rows=20)
    runs.run(runs.keys.archive)
    key = only(lab.objects(), lambda each: "rows-" in each)
    s3_server.client().put_object(Bucket=lab.bucket, Key=key, Body=bytes(len(lab.content(key))))

    with refused(NotVerified):
        runs.run(runs.keys.purge)

    assert lab.count() == 20


def test_a_failed_check_keeps_the_purge_of_the_same_run_from_starting(lab: Lab, runs: Runs, s3_server: EmbeddedS3) -> None:
    lab.fill(rows=20)
    runs.run(runs.keys.archive)
    # Its purge has begun, so that it cannot be rejected and replaced.
    with pytest.raises(Killed):
        purge(lab.task(reached=kill_at(Step.PURGE_MARKED)))
    key = only(lab.objects(), lambda each: "rows-" in each)
    s3_server.client().put_object(Bucket=lab.bucket, Key=key, Body=lab.content(key)[:-1])

    result = runs.run(raise_on_error=False)

    (check,) = result.get_asset_check_evaluations()
    assert not result.success
    assert "bytes: expected" in str(check.description)
    assert runs.materialized(runs.keys.purge) == set()
    assert lab.count() == 20


@pytest.mark.parametrize("asked", ["archive", "purge"])
def test_a_dry_run_of_any_step_is_one_of_the_whole_run(lab: Lab, runs: Runs, asked: str) -> None:
    lab.fill(rows=20)
    runs.run(runs.keys.archive)
    lab.fill(rows=3)
    before = (lab.objects(), lab.count())

    result = runs.run(config={asked: {"dry_run": True}, "purge" if asked == "archive" else "archive": {"dry_run": False}})

    assert result.success
    assert (lab.objects(), lab.count()) == before
    assert not [event for event in result.all_events if event.is_step_materialization]
    archived, purged = (event.asset_observation_data.asset_observation for event in result.get_asset_observation_events())
    assert (archived.asset_key, archived.metadata["would_archive"].value) == (runs.keys.archive, 3)
    assert (purged.asset_key, purged.metadata["would_purge"].value, purged.metadata["rows_late_now"].value) == (runs.keys.purge, 20, 3)
    assert archived.description == (
        "Dry run: would archive; 3 rows to archive of 23 rows in the table. Nothing was deleted, and nothing was written"
    )
    assert runs.materialized(runs.keys.purge) == set()


def test_a_dry_run_evaluates_the_check_on_what_is_there_and_rejects_nothing(lab: Lab, runs: Runs, s3_server: EmbeddedS3) -> None:
    lab.fill(rows=20)
    assert runs.run(config={"archive": {"dry_run": True}}).get_asset_check_evaluations() == []  # there is nothing to read back
    runs.run(runs.keys.archive)
    assert [each.passed for each in runs.run(config={"archive": {"dry_run": True}}).get_asset_check_evaluations()] == [True]
    key = only(lab.objects(), lambda each: "rows-" in each)
    s3_server.client().put_object(Bucket=lab.bucket, Key=key, Body=lab.content(key)[:-1])

    for selection in ((), (runs.keys.archive,)):
        result = runs.run(*selection, config={"archive": {"dry_run": True}})
        (check,) = result.get_asset_check_evaluations()
        assert result.success
        assert (check.passed, check.partition, check.metadata["mismatches"].value) == (False, str(DAY), 3)
    assert not [each for each in lab.objects() if "_rejected" in each]
    latest = runs.instance.event_log_storage.get_asset_check_execution_history(runs.keys.row_counts, limit=1)[0]
    (archived,) = runs.instance.fetch_materializations(runs.keys.archive, limit=1).records
    assert latest.status.value == "FAILED"
    assert latest.event is not None
    evaluation = latest.event.get_dagster_event().asset_check_evaluation_data
    assert evaluation.target_materialization_data is not None
    assert evaluation.target_materialization_data.storage_id == archived.storage_id


def test_a_dry_run_of_a_purge_alone_says_what_would_stop_it(lab: Lab, runs: Runs) -> None:
    lab.fill(rows=20)
    (event,) = runs.run(runs.keys.purge, config={"purge": {"dry_run": True}}).get_asset_observation_events()
    seen = event.asset_observation_data.asset_observation
    assert "It would be refused: not_archived; see the findings" in str(seen.description)
    assert seen.metadata["stopping"].value == 1
    assert lab.objects() == []


def test_the_launchpad_reaches_the_purge(lab: Lab, runs: Runs) -> None:
    lab.fill(rows=20)
    result = runs.run(config={"purge": {"batch_size": 7, "sleep_between_batches": 0.01, "verification": "restore"}})
    (event,) = result.asset_materializations_for_node(runs.keys.purge.to_python_identifier())
    mark = json.loads(lab.content(only(lab.objects(), lambda key: "_purging" in key)))
    assert (event.metadata["batches"].value, event.metadata["verification"].value) == (3, "restore")
    assert mark["settings"] == {
        "batch_size": 7,
        "sleep_between_batches": 0.01,
        "retention_days": 30,
        "purge_method": "delete",
        "verification": "restore",
    }


def test_the_launchpad_reaches_the_check_and_can_only_prove_more(lab: Lab, instance: dg.DagsterInstance) -> None:
    """A manifest with another digest of the content than that of its object: seen by whoever decodes the values."""
    runs = Runs(lab, instance, lab.table(verification="rows"))
    lab.fill(rows=20)
    runs.run(runs.keys.archive)
    key = only(lab.objects(), lambda each: "_manifest" in each)
    manifest = json.loads(lab.content(key)) | {"content_digest": f"sha256:{'0' * 64}"}
    lab.store.remove(key)
    lab.store.create(key, json.dumps(manifest).encode())

    (lax,) = runs.run(runs.keys.archive).get_asset_check_evaluations()
    result = runs.run(runs.keys.archive, config={"archive_row_counts": {"verification": "full"}}, raise_on_error=False)
    (strict,) = result.get_asset_check_evaluations()

    assert (lax.passed, strict.passed, "content_digest: expected" in str(strict.description)) == (True, False, True)


@pytest.mark.parametrize("config", [{"verification": "rows"}, {"batch_size": 0}, {"batch_size": 100_001}, {"sleep_between_batches": -1.0}])
def test_a_launchpad_that_would_prove_less_or_is_out_of_bounds_is_refused(lab: Lab, runs: Runs, config: dict[str, Any]) -> None:
    lab.fill(rows=20)
    runs.run(runs.keys.archive)
    before = lab.objects()
    with refused(ConfigError):
        runs.run(runs.keys.purge, config={"purge": config})
    assert (lab.count(), lab.objects()) == (20, before)


def test_a_day_that_dagster_does_not_offer_is_refused_by_dagster(lab: Lab, runs: Runs) -> None:
    newest = datetime.now(UTC).date() - timedelta(days=30)
    lab.fill(day=newest, rows=5)

    with pytest.raises(dg.DagsterUnknownPartitionError):
        runs.run(day=newest)


@pytest.mark.parametrize("part", ["archive", "purge"])
def test_a_day_that_the_retention_protects_is_refused_even_where_dagster_lets_it_through(lab: Lab, runs: Runs, part: str) -> None:
    """Dagster does not enforce partition keys everywhere: a run whose tag names the day gets through to the asset."""
    newest = datetime.now(UTC).date() - timedelta(days=30)
    lab.fill(day=newest, rows=5)

    with refused(NotExpired):
        runs.job.execute_in_process(
            run_config=QUIET,
            instance=runs.instance,
            tags={"dagster/partition": newest.isoformat()},
            asset_selection=[getattr(runs.keys, part)],
        )

    assert (lab.count(), lab.objects()) == (5, [])


def test_the_graph_is_named_as_the_contract_says(lab: Lab) -> None:
    tables = [
        lab.table(),
        lab.table(name="Odd name", timezone="Europe/Berlin", schedule="30 4 * * *"),
        lab.table(name="quiet", schedule=None),
    ]
    definitions = build_definitions(lab.services(*tables).config)
    graph = definitions.resolve_asset_graph()
    schedules = definitions.get_repository_def().schedule_defs

    assert {key.to_user_string() for key in graph.get_all_asset_keys()} == {
        f"lab/public/{table}{part}" for table in ("audit_logs", "Odd_name", "quiet") for part in ("", "/archive", "/purge", "/restore")
    }
    assert {schedule.name: schedule.cron_schedule for schedule in schedules} == {
        "lab__public__audit_logs__schedule": "0 2 * * *",
        "lab__public__Odd_name__schedule": "30 4 * * *",
        "lab__checks__schedule": "0 8 * * *",
    }
    purge, archive = (
        graph.get(dg.AssetKey(["lab", "public", "audit_logs", "purge"])),
        dg.AssetKey(["lab", "public", "audit_logs", "archive"]),
    )
    assert purge.parent_keys == {archive}
    assert graph.get(archive).parent_keys == {dg.AssetKey(["lab", "public", "audit_logs"])}
    assert graph.get(dg.AssetKey(["lab", "public", "audit_logs"])).is_external
    assert {check.name for check in graph.asset_check_keys} == {"row_counts", "preflight", "backlog"}
    assert all(node.group_name == "lab" for node in graph.asset_nodes)
    assert all(schedule.default_status == dg.DefaultScheduleStatus.RUNNING for schedule in schedules)
    assert all(node.backfill_policy is None for node in graph.asset_nodes)


def test_assets_show_what_the_config_says_of_their_table(lab: Lab) -> None:
    table = lab.table(owners=("team:audit", "dba@example.com"), tags={"acme/tier": "gold"}, description="Who did what.")
    graph = build_definitions(lab.services(table).config).resolve_asset_graph()
    keys = table_keys(table)

    for key, kinds in (
        (keys.source, {"postgres"}),
        (keys.archive, {"s3", "parquet"}),
        (keys.purge, {"postgres"}),
        (keys.restore, {"postgres"}),
    ):
        node = graph.get(key)
        assert (set(node.owners), node.kinds, node.tags["acme/tier"]) == ({"team:audit", "dba@example.com"}, kinds, "gold")
        assert str(node.description).endswith("\n\nWho did what.")
    assert graph.get(keys.source).metadata["dagster/table_name"] == f"{lab.database.name}.public.audit_logs"


def test_tables_with_the_same_partitions_share_a_job_and_a_definition(lab: Lab) -> None:
    tables = [lab.table(), lab.table(name="b"), lab.table(name="c", retention_days=90)]
    definitions = build_definitions(lab.services(*tables).config)

    names = {job.name for job in definitions.resolve_all_job_defs() if not job.name.startswith("__")}

    assert names == {"archive_and_purge__30_days__UTC__from_2015_01_01", "archive_and_purge__90_days__UTC__from_2015_01_01", "checks"}
    graph = definitions.resolve_asset_graph()
    first, second = (graph.get(dg.AssetKey(["lab", "public", name, "archive"])).partitions_def for name in ("audit_logs", "b"))
    assert first is second


def test_the_last_partition_ends_when_the_retention_began(runs: Runs) -> None:
    partitions = runs.definitions.resolve_asset_graph().get(runs.keys.archive).partitions_def
    assert partitions is not None
    assert partitions.get_last_partition_key() == (datetime.now(UTC).date() - timedelta(days=31)).isoformat()


def test_loading_a_thousand_tables_connects_to_nothing(lab: Lab) -> None:
    tables = [lab.table(name=f"t{number}") for number in range(1000)]
    definitions = build_definitions(lab.services(*tables).config)
    assert len(definitions.get_repository_def().assets_defs_by_key) == 4000
