"""Runs of a table's assets in this process, as the UI starts them. Not here: runs by a daemon (`dagster_processes.py`)."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any

import dagster as dg
import pytest

from archiver_assets.config import TableConfig
from archiver_assets.errors import ArchiverError
from archiver_assets.orchestration.assets import TableKeys, table_keys
from archiver_assets.orchestration.build import build_definitions
from archiver_assets.orchestration.checks import CHECKS_JOB
from archiver_assets.orchestration.partitions import shared_job_name
from archiver_assets.services import Services
from archiver_assets_tests.lab import DAY, Lab

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@contextmanager
def refused(error: type[ArchiverError]) -> Iterator[None]:
    """Expect a run to fail by one of our errors, whose message and next step are what Dagster shows first."""
    with pytest.raises(dg.Failure) as failure:
        yield
    cause = failure.value.__cause__
    assert isinstance(cause, error)
    assert failure.value.description == f"{error.__name__}: {cause.message}\nHINT: {cause.hint}"


class Runs:
    """Runs parts of the lab table's graph, as the UI would."""

    def __init__(self, lab: Lab, instance: dg.DagsterInstance, table: TableConfig | None = None) -> None:
        self.table = table or lab.table()
        self.keys: TableKeys = table_keys(self.table)
        self.instance = instance
        self.services = lab.services(self.table)
        self.definitions = build_definitions(self.services.config, self.services)
        self.job = self.definitions.resolve_job_def(shared_job_name(self.table))

    def run(
        self, *selection: dg.AssetKey, day: date = DAY, raise_on_error: bool = True, config: dict[str, Any] | None = None
    ) -> dg.ExecuteInProcessResult:
        """Run a day; `config` is what stands in the launchpad, by the last part of the step's name."""
        ops = {f"{self.table.dagster_name}__{step}": {"config": values} for step, values in (config or {}).items()}
        return self.job.execute_in_process(
            run_config={**QUIET, "ops": ops},
            instance=self.instance,
            partition_key=day.isoformat(),
            asset_selection=list(selection) or None,
            raise_on_error=raise_on_error,
        )

    def materialized(self, key: dg.AssetKey) -> set[str]:
        return set(self.instance.get_materialized_partitions(key))


Evaluations = dict[tuple[str, str], dg.AssetCheckEvaluation]


class Checks:
    """The checks' job of a config, run as the daemon does on the request of a tick."""

    def __init__(self, instance: dg.DagsterInstance, services: Services) -> None:
        self.instance = instance
        self.definitions = build_definitions(services.config, services)
        self.schedule = self.definitions.get_repository_def().get_schedule_def("lab__checks__schedule")

    def tick(self) -> dg.RunRequest | str:
        with dg.build_schedule_context(self.instance) as context:
            data = self.schedule.evaluate_tick(context)
        return data.run_requests[0] if data.run_requests else str(data.skip_message)

    def run(self, request: dg.RunRequest | None = None) -> tuple[dg.ExecuteInProcessResult, Evaluations]:
        """Run what was requested, or all checks."""
        job, tags = self.definitions.resolve_job_def(CHECKS_JOB), {}
        if request:
            keys, tags = set(request.asset_check_keys or ()), dict(request.tags)
            job = job.get_subset(asset_selection=set(request.asset_selection or ()), asset_check_selection=keys)
        result = job.execute_in_process(run_config=QUIET, instance=self.instance, tags=tags, raise_on_error=False)
        return result, {(each.asset_key.path[-1], each.check_name): each for each in result.get_asset_check_evaluations()}

    def backlog(self) -> dg.AssetCheckEvaluation:
        return self.run()[1]["audit_logs", "backlog"]


def checks(lab: Lab, instance: dg.DagsterInstance, *tables: TableConfig) -> Checks:
    return Checks(instance, lab.services(*(tables or (lab.table(),))))


def numbers(evaluation: dg.AssetCheckEvaluation) -> dict[str, object]:
    return {name: value.value for name, value in evaluation.metadata.items() if name not in {"findings", "seen"}}
