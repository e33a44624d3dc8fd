"""Running the days of a table in this process, as Dagster runs them: the same job, recorded in the same place, with the same tags.

What belongs here: running a day, and its result in words and numbers. What does not: choosing the days (`schedules.py`), and the progress
that a user sees while they run (`cli/run.py`).
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any, Final
from uuid import uuid4

import dagster as dg

from archiver_assets.config import TableConfig
from archiver_assets.errors import ArchiverError, NotExpired, PartitionBusy
from archiver_assets.orchestration.assets import scheduled_keys
from archiver_assets.orchestration.build import build_definitions
from archiver_assets.orchestration.history import runs_of_table
from archiver_assets.orchestration.metadata import Metadata
from archiver_assets.orchestration.partitions import PartitionsCatalog, shared_job_name
from archiver_assets.orchestration.tags import COMMAND_TAG, run_tags
from archiver_assets.services import Services
from archiver_assets.source.session import is_alive, mark_alive

_SILENT: Final[dict[str, Any]] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
"""Dagster's own lines say of each event what the archiver's say once; they are among the run's events all the same."""


_MARKED, _UNMARKED = "run", "run, not marked alive"
"""The values of the command's tag: nobody can tell of an unmarked one that its process is gone."""
PROCESS_GONE: Final = (
    "The process of this run is gone, killed or lost with its machine. What it committed stays, and the next run continues from there."
)
"""What ends the record of a run that could not do so itself."""


class Scope(IntEnum):
    """What a failure speaks of, and what need not be tried after it."""

    DAY = 0
    TABLE = 1
    DATABASE = 2
    EVERYTHING = 3


_SCOPES: Final = {
    "TableRefused": Scope.TABLE,
    "SourceChanged": Scope.TABLE,
    "SourceUnavailable": Scope.DATABASE,
    "SourceLoginRefused": Scope.DATABASE,
    "SourceStrained": Scope.DATABASE,
    "ConfigError": Scope.DATABASE,
    "StoreError": Scope.EVERYTHING,
    "StoreUnavailable": Scope.EVERYTHING,
    "HoldsUnreadable": Scope.EVERYTHING,
}
"""By the class of the error; that of any other is a day's own."""


@dataclass(frozen=True)
class Failed:
    """Why a day, or the choice of a table's days, failed."""

    error: str
    message: str
    hint: str
    transient: bool

    @classmethod
    def by(cls, error: ArchiverError) -> "Failed":
        """Return what an error says."""
        return cls(type(error).__name__, error.message, error.hint, error.transient)

    @property
    def scope(self) -> Scope:
        """What need not be tried any more."""
        return _SCOPES.get(self.error, Scope.DAY)


@dataclass(frozen=True)
class DayRun:
    """What became of a day. `steps` are the numbers of each step that ended well, by its name; in a dry run they are what it would do."""

    run_id: str
    steps: Mapping[str, Metadata]
    described: tuple[str, ...]
    failed: Failed | None
    interrupted: bool


@dataclass(frozen=True)
class Runner:
    """Runs days of one table, and records them in `instance`."""

    services: Services
    instance: dg.DagsterInstance
    table: TableConfig

    @cached_property
    def _job(self) -> dg.JobDefinition:
        # Of this table alone: with 1,000 tables the whole code location takes seconds to build.
        config = self.services.config
        databases = tuple(
            each.model_copy(update={"tables": (self.table,)}) for each in config.databases if each.name == self.table.database
        )
        definitions = build_definitions(config.model_copy(update={"databases": databases}), self.services)
        return definitions.resolve_job_def(shared_job_name(self.table))

    def require_free(self) -> None:
        """Raise PartitionBusy if a run of the table is at work in Dagster, or queued: one at a time, as its queue has it.

        One of this command whose process is gone counts no more, and is recorded as failed; to see that, the database is asked.
        """
        for run in runs_of_table(self.instance, self.table, self.services.clock()):
            if _can_be_missed(run) and not self._is_alive(run):
                self._record_end(run)
                continue
            message = f"expected no other run of {self.table.label} in Dagster, found {run.run_id} ({run.status.value})"
            raise PartitionBusy(message, hint="wait for it, or cancel it in the UI; with --force only the locks in the database decide")

    def require_day(self, day: str) -> None:
        """Raise NotExpired for a day that is no partition of the table."""
        partitions = PartitionsCatalog().of(self.table)
        if not partitions.has_partition_key(day):
            newest = partitions.get_last_partition_key()
            expired = f"{self.table.start_date} to {newest}" if newest else "of which there is none yet"
            message = f"expected an expired day of {self.table.label}, {expired}, found {day}"
            raise NotExpired(message, hint="choose one of these days, or change start_date or retention_days if the law allows it")

    def run(self, day: str, *, dry_run: bool = False) -> DayRun:
        """Archive, check and, unless it is archived only, purge a day, or with `dry_run` say what that would do."""
        run_id = str(uuid4())
        dry = {"ops": {f"{self.table.dagster_name}__archive": {"config": {"dry_run": True}}}} if dry_run else {}
        with self._marked_alive(run_id) as marked:
            result = self._job.execute_in_process(
                run_config={**_SILENT, **dry},
                instance=self.instance,
                partition_key=day,
                asset_selection=scheduled_keys(self.table),
                tags={**run_tags(self.table), COMMAND_TAG: _MARKED if marked else _UNMARKED},
                run_id=run_id,
                raise_on_error=False,
            )
        errors = [event.step_failure_data for event in result.all_events if event.is_step_failure]
        return DayRun(
            run_id=result.run_id,
            steps=dict(_steps(result)),
            described=tuple(_described(result)),
            failed=None if result.success else _why(result, errors),
            interrupted=any(_is_interrupt(each) for each in errors),
        )

    @contextmanager
    def _marked_alive(self, run_id: str) -> Iterator[bool]:
        """Let the table's database know that this process lives, for the time of the block: of a record alone nobody could tell.

        The block learns whether it knows. Of a database that cannot be reached the run itself says more, and it may be there again by then.
        """
        with ExitStack() as session:
            marked, source = False, self.services.source(self.table)
            if not self.instance.is_ephemeral:
                with suppress(ArchiverError), source.errors():
                    mark_alive(session.enter_context(source.connect()), run_id)
                    marked = True
            yield marked

    def _record_end(self, run: dg.DagsterRun) -> None:
        # It may have ended well since its record was read: it is recorded before its process is no longer marked alive.
        now = self.instance.get_run_by_id(run.run_id)
        if now is not None and not now.is_finished:
            self.instance.report_run_failed(now, PROCESS_GONE)

    def _is_alive(self, run: dg.DagsterRun) -> bool:
        with self.services.source(self.table).connect() as connection:
            return is_alive(connection, run.run_id)


def _can_be_missed(run: dg.DagsterRun) -> bool:
    # One that is executed again brings the tags of its parent; only what Dagster itself launches says where its job lies.
    return run.tags.get(COMMAND_TAG) == _MARKED and run.remote_job_origin is None


def _steps(result: dg.ExecuteInProcessResult) -> Iterator[tuple[str, Metadata]]:
    for event in result.get_asset_materialization_events():
        materialization = event.step_materialization_data.materialization
        yield materialization.asset_key.path[-1], materialization.metadata
    for observed in result.get_asset_observation_events():
        observation = observed.asset_observation_data.asset_observation
        yield observation.asset_key.path[-1], observation.metadata
    for evaluation in result.get_asset_check_evaluations():
        yield evaluation.check_name, evaluation.metadata


def _described(result: dg.ExecuteInProcessResult) -> Iterator[str]:
    for observed in result.get_asset_observation_events():
        yield observed.asset_observation_data.asset_observation.description or ""


def _why(result: dg.ExecuteInProcessResult, errors: list[Any]) -> Failed:
    for evaluation in result.get_asset_check_evaluations():
        if not evaluation.passed:
            what = f"{evaluation.check_name}: {evaluation.description}"
            return Failed("NotVerified", what, str(evaluation.metadata["next_step"].value), transient=False)
    for each in errors:
        said = each.user_failure_data.metadata if each.user_failure_data else {}
        if "next_step" in said:
            return Failed(*(said[name].value for name in ("error", "what", "next_step", "transient")))
        return Failed(
            each.error.cls_name or "error",
            each.error.to_string().strip(),
            "report this as a bug; the run's events have the trace",
            transient=False,
        )
    return Failed("error", "the run failed before its first step", "look at its events in Dagster", transient=False)


def _is_interrupt(failure: Any) -> bool:  # noqa: ANN401 - Dagster's StepFailureData, which is not public
    return failure.error is not None and failure.error.cls_name in {"DagsterExecutionInterruptedError", "KeyboardInterrupt"}
