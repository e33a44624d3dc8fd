"""`archiver reconcile`: Dagster's partitions after its database was lost."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa

from archiver_assets.cli.app import Status, main
from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.purging.purge import purge
from archiver_assets.orchestration.assets import table_keys
from archiver_assets.store.manifest import sha256_of
from archiver_assets_tests.e2e.conftest import Said
from archiver_assets_tests.lab import DAY, PASSWORD_VARIABLE, Lab, only
from archiver_assets_tests.pages import read_page
from archiver_assets_tests.scraping import scrape

NEXT_DAY = date(2024, 3, 6)


@pytest.fixture(name="lab")
def archived_lab(lab: Lab) -> Lab:
    """A day that is purged, and one that is archived."""
    for day in (DAY, NEXT_DAY):
        lab.fill(day, rows=10)
        archive(lab.task(day))
    purge(lab.task(DAY))
    return lab


@pytest.fixture
def emptied(tmp_path: Path, config: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:  # noqa: ARG001 - sets the password
    """An instance that knows nothing, in DAGSTER_HOME, and no database of a table in reach."""
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.delenv(PASSWORD_VARIABLE)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        yield instance


def test_an_emptied_instance_gets_its_partitions_back_once(lab: Lab, emptied: dg.DagsterInstance, said: Said) -> None:
    keys, before = table_keys(lab.table()), lab.objects()
    assert said("reconcile", "--dry-run") == (
        Status.DONE,
        (
            "lab/public/audit_logs: 2 days in the store: 2 archives and 1 purge would be reported, no evaluation of row_counts "
            "(use --verify)\n"
        ),
    )
    assert emptied.get_materialized_partitions(keys.archive) == set()
    status, _ = said("reconcile")
    assert status == Status.DONE
    assert emptied.get_materialized_partitions(keys.archive) == {str(DAY), str(NEXT_DAY)}
    assert emptied.get_materialized_partitions(keys.purge) == {str(DAY)}
    _, out = said("reconcile")
    assert "0 archives and 0 purges reported" in out
    assert lab.objects() == before


def test_the_script_of_the_manual_deletes_old_runs_and_their_days_come_back(lab: Lab, emptied: dg.DagsterInstance, said: Said) -> None:
    key = table_keys(lab.table()).archive

    @dg.asset(key=key, partitions_def=dg.DailyPartitionsDefinition(DAY.isoformat()))
    def archived() -> None:
        pass

    old, new = (dg.materialize([archived], partition_key=str(day), instance=emptied).run_id for day in (DAY, NEXT_DAY))
    long_ago = {"then": datetime.now(UTC).replace(tzinfo=None) - timedelta(days=121), "run": old}
    with emptied.run_storage.connect() as connection:  # type: ignore[attr-defined] # of SQL, which the base does not say
        connection.execute(sa.text("UPDATE runs SET create_timestamp = :then WHERE run_id = :run"), long_ago)
    (script,) = (block.text for block in read_page(Path("docs/operations/manual.md")).blocks if block.language == "python")

    exec(script, {})  # noqa: S102 -- ours, as an operator runs it

    assert [run.run_id for run in emptied.get_runs()] == [new]
    assert emptied.get_materialized_partitions(key) == {str(NEXT_DAY)}
    _, out = said("reconcile")
    assert "1 archive and 1 purge reported" in out
    assert emptied.get_materialized_partitions(key) == {str(DAY), str(NEXT_DAY)}


def test_a_reconciled_archive_says_what_its_manifest_says(lab: Lab, emptied: dg.DagsterInstance, said: Said) -> None:
    said("reconcile")
    which = dg.AssetRecordsFilter(asset_key=table_keys(lab.table()).archive, asset_partitions=[str(DAY)])
    (record,) = emptied.fetch_materializations(which, limit=5).records
    assert record.asset_materialization is not None
    said_of = {name: value.value for name, value in record.asset_materialization.metadata.items()}
    assert said_of["outcome"] == "reconciled"
    assert said_of["dagster/partition_row_count"] == said_of["rows_archived"] == 10
    assert said_of["recorded_by_run"] == "run-of-a-test"
    assert said_of["dagster/uri"] == lab.store.uri(only(lab.objects(), lambda key: f"{DAY}/rows-" in key))
    assert [column.name for column in said_of["dagster/column_schema"].columns][:2] == ["id", "created_at"]  # type: ignore[union-attr]
    which = dg.AssetRecordsFilter(asset_key=table_keys(lab.table()).purge)
    (record,) = emptied.fetch_materializations(which, limit=5).records
    assert record.asset_materialization is not None
    assert record.asset_materialization.metadata["rows_purged"].value == 10


def test_all_generations_of_a_day_are_counted(lab: Lab, emptied: dg.DagsterInstance, said: Said) -> None:
    lab.fill(NEXT_DAY, rows=3)
    archive(lab.task(NEXT_DAY))
    said("reconcile")

    found = scrape(emptied, None)

    assert (found["archiver_rows_archived_total"], found["archiver_rows_purged_total"]) == (23, 10)
    objects = [key for key in lab.objects() if "/rows-" in key]
    assert len(objects) == 3
    assert found["archiver_bytes_archived_total"] == sum(len(lab.content(key)) for key in objects)


def test_a_check_is_evaluated_only_by_reading_the_objects_back(lab: Lab, emptied: dg.DagsterInstance, said: Said) -> None:
    check = table_keys(lab.table()).row_counts
    said("reconcile")
    assert not emptied.event_log_storage.get_asset_check_execution_history(check, limit=10)
    key = only(lab.objects(), lambda key: f"{NEXT_DAY}/rows-" in key)
    data = lab.content(key)
    lab.store.remove(key)
    lab.store.create(key, data[:-1])
    before = lab.objects()
    status, out = said("reconcile", "--verify")
    assert status == Status.FOUND
    assert "0 archives and 0 purges reported, 2 evaluations of row_counts, 1 failed" in out
    history = emptied.event_log_storage.get_asset_check_execution_history(check, limit=10)
    found = {each.partition: each.status.value for each in history}
    assert found == {str(DAY): "SUCCEEDED", str(NEXT_DAY): "FAILED"}
    assert lab.objects() == before
    status, out = said("reconcile", "--verify", "--json")
    assert (status, json.loads(out)["tables"][0]["evaluated"]) == (Status.DONE, 0)


def test_a_day_that_cannot_be_told_is_named_and_the_others_come_back(lab: Lab, emptied: dg.DagsterInstance, said: Said) -> None:
    key = f"archives/lab/public/audit_logs/dt={DAY}/_manifest-0001.json"
    lab.store.remove(key)
    status, out = said("reconcile")
    assert status == Status.FOUND
    assert f"DAMAGED lab/public/audit_logs: expected {key} beside the other marks" in out
    assert emptied.get_materialized_partitions(table_keys(lab.table()).archive) == {str(NEXT_DAY)}


def test_without_an_instance_there_is_nothing_to_reconcile(
    config: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    assert main(["reconcile", "--config", config]) == Status.USAGE
    assert "expected Dagster's home in the environment variable DAGSTER_HOME" in capsys.readouterr().err
    assert main(["reconcile", "--config", config, "--dagster-home", "/nowhere"]) == Status.USAGE
    assert "expected a Dagster instance in /nowhere" in capsys.readouterr().err


def test_dagster_is_a_witness_of_what_was_removed_or_changed_in_the_bucket(lab: Lab, emptied: dg.DagsterInstance, said: Said) -> None:
    said("reconcile")
    assert said("verify", "--strict", "--against-dagster")[0] == Status.DONE
    folder, manifest = f"archives/lab/public/audit_logs/dt={NEXT_DAY}/", "_manifest-0001.json"
    changed = lab.content(f"{folder}{manifest}").replace(b"CREATE TABLE", b"CREATE  TABLE")
    lab.store.remove(f"{folder}{manifest}")
    lab.store.create(f"{folder}{manifest}", changed)
    # What is reported of the changed one does not count: the first word does.
    metadata = {"generation": dg.MetadataValue.int(1), "manifest_sha256": dg.MetadataValue.text(sha256_of(changed))}
    emptied.report_runless_asset_event(dg.AssetMaterialization(table_keys(lab.table()).archive, partition=str(NEXT_DAY), metadata=metadata))
    assert said("verify")[0] == Status.DONE
    status, out = said("verify", "--against-dagster")
    assert (status, f"{folder}{manifest} was changed: Dagster has the digest sha256:" in out) == (Status.FOUND, True)

    for key in [key for key in lab.objects() if f"dt={NEXT_DAY}" in key]:
        lab.store.remove(key)
    assert said("verify")[0] == Status.DONE
    status, out = said("verify", "--against-dagster")
    assert (status, f"{folder}{manifest} is missing: Dagster has it" in out) == (Status.FOUND, True)


def test_without_an_instance_dagster_is_no_witness(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    assert said("verify", "--against-dagster")[0] == Status.USAGE
