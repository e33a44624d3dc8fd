"""Restoring as people do it: the asset in Dagster, and the command."""

from datetime import date

import dagster as dg
import pytest

from archiver_assets.cli.app import main
from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.purging.purge import purge
from archiver_assets.orchestration.assets import table_keys
from archiver_assets.orchestration.build import build_definitions
from archiver_assets_tests.asset_runs import QUIET
from archiver_assets_tests.lab import DAY, Lab

NEXT_DAY = date(2024, 3, 6)


@pytest.fixture(name="lab")
def purged_lab(lab: Lab) -> Lab:
    """Two days that were archived and purged."""
    for day in (DAY, NEXT_DAY):
        lab.fill(day, rows=10)
        archive(lab.task(day))
        purge(lab.task(day))
    return lab


def run_asset(lab: Lab, instance: dg.DagsterInstance, **config: object) -> dg.ExecuteInProcessResult:
    """Materialize the restore asset of one day, as the launchpad does."""
    services = lab.services()
    definitions = build_definitions(services.config, services)
    job = definitions.resolve_implicit_global_asset_job_def()
    return job.execute_in_process(
        run_config={"ops": {"lab__public__audit_logs__restore": {"config": config}}, **QUIET},
        instance=instance,
        partition_key=str(DAY),
        asset_selection=[table_keys(lab.table()).restore],
    )


def test_the_restore_asset_loads_a_day(lab: Lab, instance: dg.DagsterInstance) -> None:
    result = run_asset(lab, instance)
    (event,) = result.asset_materializations_for_node("lab__public__audit_logs__restore")
    assert event.metadata["rows_loaded"].value == event.metadata["dagster/row_count"].value == 10
    assert lab.count("audit_logs_restored") == 10


def test_its_launchpad_says_where_and_how(lab: Lab, instance: dg.DagsterInstance) -> None:
    run_asset(lab, instance, target_table="audit_logs", conflict="skip", triggers="disable", hold_days=1)
    assert lab.count() == 10


def test_a_dry_run_observes_and_materializes_nothing(lab: Lab, instance: dg.DagsterInstance) -> None:
    result = run_asset(lab, instance, dry_run=True)
    assert result.success
    assert instance.get_materialized_partitions(table_keys(lab.table()).restore) == set()
    (observed,) = result.get_asset_observation_events()
    assert observed.asset_observation_data.asset_observation.metadata["rows_loaded"].value == 10
    assert lab.execute("SELECT to_regclass('audit_logs_restored')") == [(None,)]


def test_materializing_everything_restores_nothing_and_says_so(lab: Lab, instance: dg.DagsterInstance) -> None:
    services, keys = lab.services(), table_keys(lab.table())
    job = build_definitions(services.config, services).resolve_implicit_global_asset_job_def()
    everything = [keys.archive, keys.purge, keys.restore]
    result = job.execute_in_process(run_config=QUIET, instance=instance, partition_key=str(DAY), asset_selection=everything)
    assert result.success
    assert instance.get_materialized_partitions(keys.restore) == set()
    (observed,) = result.get_asset_observation_events()
    assert "run this asset alone" in (observed.asset_observation_data.asset_observation.description or "")
    assert lab.execute("SELECT to_regclass('audit_logs_restored')") == [(None,)]


def test_no_job_and_no_schedule_restores(lab: Lab) -> None:
    definitions = build_definitions(lab.services().config, lab.services())
    key = table_keys(lab.table()).restore
    for job in definitions.resolve_all_job_defs():
        selected = {each for layer in [job.asset_layer] for each in layer.selected_asset_keys}
        assert job.name.startswith("__ASSET_JOB") or key not in selected


def test_the_command_restores_a_range_and_says_what_it_did(lab: Lab, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--config", config, "restore", "--database", "lab", "--table", "audit_logs", "--from", str(DAY), "--to", "2024-03-07"]
    assert main([*arguments, "--dry-run"]) == 0
    assert lab.execute("SELECT to_regclass('audit_logs_restored')") == [(None,)]
    assert main(arguments) == 0
    assert lab.count("audit_logs_restored") == 20
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [line.replace(": restored, ", ": dry run, ") for line in lines[3:]]
    assert lines[3].startswith('lab/public/audit_logs 2024-03-05 into "public"."audit_logs_restored": restored, 10 rows loaded')
    assert "2024-03-07" in lines[5]
    assert "empty" in lines[5]


def test_the_command_says_why_it_did_not(lab: Lab, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--config", config, "restore", "--database", "lab", "--table", "audit_logs", "--from", str(DAY)]
    assert main([*arguments, "--target-table", "nowhere"]) == 1
    assert "error: expected a table" in (said := capsys.readouterr().err)
    assert "HINT: create it" in said
    assert main([*arguments, "--to", "2024-03-01"]) == 2
    assert "on or after" in capsys.readouterr().err
    assert lab.count() == 0
