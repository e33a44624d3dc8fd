"""The metadata of materializations: exactly those that the reference lists, on each kind of event, and what they say."""

from collections.abc import Mapping
from datetime import date

import dagster as dg
import pytest

from archiver_assets.lifecycle.generations import read_generations
from archiver_assets.lifecycle.verifying.archive_listing import SurveyedDay
from archiver_assets.orchestration.reconciling import Known, missing_materializations
from archiver_assets_tests.asset_runs import QUIET, Runs
from archiver_assets_tests.lab import DAY, Lab, only
from archiver_assets_tests.reference.event_metadata import ONLY_WITH_A_GENERATION, WRITERS, names

FOLDER = f"archives/lab/public/audit_logs/dt={DAY}/"
EMPTY_DAY = date(2024, 3, 7)

Events = Mapping[str, Mapping[str, dg.MetadataValue]]


def materialized(lab: Lab, instance: dg.DagsterInstance, day: date) -> Events:
    """Run every step of a day, have it reconciled for an instance that knows nothing, and return the metadata of each event."""
    runs = Runs(lab, instance)
    job = runs.definitions.resolve_implicit_global_asset_job_def()
    steps = {"archive": runs.keys.archive, "purge": runs.keys.purge, "restore": runs.keys.restore}
    found = {}
    for step, key in steps.items():
        result = job.execute_in_process(run_config=QUIET, instance=instance, partition_key=str(day), asset_selection=[key])
        ((event,)) = result.asset_materializations_for_node(key.to_python_identifier())
        found[step] = event.metadata
    surveyed = SurveyedDay(day, read_generations(lab.task(day)).live)
    for event in missing_materializations(lab.task(day), runs.services.links, surveyed, Known((), (), ())):
        found[f"reconciled {event.asset_key.path[-1]}"] = event.metadata
    return found


@pytest.fixture
def full(lab: Lab, instance: dg.DagsterInstance) -> Events:
    lab.fill(rows=20)
    return materialized(lab, instance, DAY)


def test_every_event_has_the_metadata_that_the_reference_lists(full: Events) -> None:
    assert {writer: set(metadata) for writer, metadata in full.items()} == {writer: names(writer) for writer in WRITERS}


def test_every_event_names_the_object_and_its_size(lab: Lab, full: Events) -> None:
    key = only(lab.objects(), lambda each: "/rows-" in each)
    for metadata in full.values():
        assert metadata["dagster/row_count"].value == metadata["dagster/partition_row_count"].value == 20
        assert metadata["dagster/uri"].value == f"s3://{lab.bucket}/{key}"
        assert (metadata["generation"].value, metadata["bytes"].value) == (1, len(lab.content(key)))


def test_every_event_names_its_table_and_the_columns(lab: Lab, full: Events) -> None:
    described = lab.execute("SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute"
                            " WHERE attrelid = 'audit_logs'::regclass AND attnum > 0 ORDER BY attnum")  # fmt: skip
    for writer, metadata in full.items():
        table = "audit_logs_restored" if writer == "restore" else "audit_logs"
        assert metadata["dagster/table_name"].value == f"{lab.database.name}.public.{table}"
        schema = metadata["dagster/column_schema"].value
        assert isinstance(schema, dg.TableSchema)
        assert [(each.name, each.type, not each.constraints.nullable) for each in schema.columns] == described


def test_the_events_of_a_day_without_rows_lack_only_a_generation(lab: Lab, instance: dg.DagsterInstance) -> None:
    empty = materialized(lab, instance, EMPTY_DAY)

    no_schema = {"archive": set(), "purge": set(), "restore": {"dagster/column_schema"}}
    assert {writer: names(writer) - set(metadata) for writer, metadata in empty.items()} == {
        writer: ONLY_WITH_A_GENERATION | missing for writer, missing in no_schema.items()
    }
    folder = f"s3://{lab.bucket}/archives/lab/public/audit_logs/dt={EMPTY_DAY}/"
    assert {(metadata["dagster/uri"].value, metadata["bytes"].value, metadata["outcome"].value) for metadata in empty.values()} == {
        (folder, 0, "empty")
    }
