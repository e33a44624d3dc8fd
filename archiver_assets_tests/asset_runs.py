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
from archiver_assets.orchestration.partitions import shared_job_name
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
