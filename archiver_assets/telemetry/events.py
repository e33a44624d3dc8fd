"""What happened in Dagster since a position in its event log: failures of runs and checks, and successes.

What belongs here: finding the table, the step and the day of an event. What does not: the consequences, and reading the log (`log.py`).

The three kinds of events are read from the same storage id on and merged in order, so that a success that is read after a failure also
happened after it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluation
from dagster._core.events import JobFailureData, RunFailureReason, StepMaterializationData
from dagster._core.events.log import EventLogEntry
from dagster_shared.error import SerializableErrorInfo

from archiver_assets.config import Config, TableConfig
from archiver_assets.telemetry.log import SETTLED_AFTER, entries_after, last_id
from archiver_assets.telemetry.run_endings import ending_of
from archiver_assets.telemetry.runs import DATABASE_TAG, FAILED_CHECK, OWN_ERRORS, TABLE_TAG, root_error

PAGE: Final = 500
"""Events of one kind that are read at once."""

_LONGEST_TEXT: Final = 250


@dataclass(frozen=True)
class Item:
    """What failed or succeeded: a step (an asset's last part, or a check's name) of a table (`D/S/T`), on a day or as a whole."""

    database: str | None
    table: str
    step: str
    partition: str | None


@dataclass(frozen=True)
class Failed:
    """A run that failed (`check` is empty), or a check that did. `text` and `hint` hold no more than our own errors and checks say."""

    at: float
    item: Item
    kind: str
    check: str
    run_id: str
    text: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Done:
    """A materialization, or a check that passed."""

    at: float
    item: Item
    rows: int = 0
    bytes: int = 0


Event = Failed | Done


@dataclass(frozen=True)
class Page:
    """The events after a position, in their order; the position after them; and whether there may be more at once."""

    events: Sequence[Event]
    position: int
    more: bool


@dataclass(frozen=True)
class EventLog:
    """The event log of an instance, as far as it is about the tables of a config. Runs of other code locations are not."""

    instance: dg.DagsterInstance
    config: Config
    page: int = field(default=PAGE)

    def end(self) -> int:
        """Return the highest storage id."""
        return last_id(self.instance)

    def after(self, position: int, now: float) -> Page:
        """Return the next events after the storage id `position` that have settled at `now` (seconds of the epoch)."""
        kinds = (dg.DagsterEventType.RUN_FAILURE, dg.DagsterEventType.ASSET_CHECK_EVALUATION, dg.DagsterEventType.ASSET_MATERIALIZATION)
        pages = [entries_after(self.instance, position, kind, self.page) for kind in kinds]
        # Beyond the end of a full page, another event of its kind may come before the next one of another kind.
        full = [max(page) for page in pages if len(page) == self.page]
        merged = sorted((number, entry) for page in pages for number, entry in page.items() if not full or number <= min(full))
        settled = [(number, entry) for number, entry in merged if entry.timestamp <= now - SETTLED_AFTER]
        if len(settled) < len(merged):
            first = min(number for number, entry in merged if entry.timestamp > now - SETTLED_AFTER)
            settled = [(number, entry) for number, entry in settled if number < first]
        runs = self._runs([entry.run_id for _, entry in settled if _type(entry) is dg.DagsterEventType.RUN_FAILURE])
        events = [event for _, entry in settled if (event := self._event(entry, runs))]
        reached = settled[-1][0] if settled else position
        return Page(events, reached, more=bool(full) and len(settled) == len(merged))

    def _runs(self, run_ids: Sequence[str]) -> Mapping[str, dg.DagsterRun]:
        return {run.run_id: run for run in self.instance.get_runs(dg.RunsFilter(run_ids=list(run_ids)))} if run_ids else {}

    def _event(self, entry: EventLogEntry, runs: Mapping[str, dg.DagsterRun]) -> Event | None:
        data = entry.dagster_event.event_specific_data if entry.dagster_event else None
        if isinstance(data, AssetCheckEvaluation):
            return self._evaluated(entry, data)
        if isinstance(data, StepMaterializationData):
            return self._materialized(entry, data.materialization)
        run = runs.get(entry.run_id)
        return self._failed(entry, data if isinstance(data, JobFailureData) else None, run) if run else None

    def _evaluated(self, entry: EventLogEntry, data: AssetCheckEvaluation) -> Event | None:
        table = self._paths.get(tuple(data.asset_key.path[:3]))
        if table is None:
            return None
        item = Item(table.database, table.label, data.check_name, data.partition)
        if data.passed:
            return Done(entry.timestamp, item)
        if data.severity is dg.AssetCheckSeverity.WARN:
            return None
        text = (data.description or "").partition("\n")[0][:_LONGEST_TEXT]
        return Failed(entry.timestamp, item, f"check {data.check_name}", data.check_name, entry.run_id, text)

    def _materialized(self, entry: EventLogEntry, made: dg.AssetMaterialization) -> Event | None:
        table = self._paths.get(tuple(made.asset_key.path[:3]))
        if table is None or len(made.asset_key.path) == len(table.asset_path):
            return None
        step = made.asset_key.path[-1]
        rows = _whole(made, {"archive": "rows_archived", "purge": "rows_purged"}.get(step, ""))
        item = Item(table.database, table.label, step, made.partition)
        return Done(entry.timestamp, item, rows, _whole(made, "bytes") if step == "archive" and rows else 0)

    def _failed(self, entry: EventLogEntry, data: JobFailureData | None, run: dg.DagsterRun) -> Event | None:
        step_failure = data.first_step_failure_event if data else None
        step_data = step_failure.step_failure_data if step_failure else None
        error = root_error(step_data.error if step_data else data.error if data else None)
        item = self._item(run, step_failure.step_key if step_failure else None)
        if item is None or (error and error.cls_name == FAILED_CHECK):
            return None
        if error is None or (data and data.failure_reason is RunFailureReason.UNEXPECTED_TERMINATION):
            ending = ending_of((entry.dagster_event and entry.dagster_event.message) or "")
            return Failed(entry.timestamp, item, ending.kind, "", entry.run_id, ending.text, ending.hint)
        return Failed(entry.timestamp, item, error.cls_name or "Exception", "", entry.run_id, *_words(error))

    def _item(self, run: dg.DagsterRun, step_key: str | None) -> Item | None:
        selected = sorted(run.asset_selection or ())
        table = self._labels.get(run.tags.get(TABLE_TAG, "")) or self._named(step_key or "")
        if table is None:
            of_selected = (self._paths.get(tuple(key.path[:3])) for key in (*selected, *sorted(_checked(run))))
            table = next((each for each in of_selected if each), None)
        partition = run.tags.get("dagster/partition")
        if table is None:
            ours = run.tags.get(DATABASE_TAG)
            return Item(ours, run.job_name, "purge", partition) if ours else None
        if step_key is not None:
            return Item(table.database, table.label, _step(step_key, table), partition)
        # Without a failed step the whole run has to be made good, which the last of its steps shows.
        steps = [key.path[-1] for key in selected] or [each.name for each in run.asset_check_selection or ()]
        whole = "purge" if table.purge else "archive"
        last = whole if whole in steps or not steps else steps[-1]
        return Item(table.database, table.label, last, partition)

    def _named(self, step_key: str) -> TableConfig | None:
        named = (table for name, table in self._names.items() if step_key.startswith(f"{name}_"))
        return max(named, key=lambda table: len(table.dagster_name), default=None)

    @cached_property
    def _paths(self) -> Mapping[tuple[str, ...], TableConfig]:
        return {table.asset_path: table for _, table in self.config.tables()}

    @cached_property
    def _labels(self) -> Mapping[str, TableConfig]:
        return {table.label: table for _, table in self.config.tables()}

    @cached_property
    def _names(self) -> Mapping[str, TableConfig]:
        return {table.dagster_name: table for _, table in self.config.tables()}


def _type(entry: EventLogEntry) -> dg.DagsterEventType | None:
    return entry.dagster_event_type


def _checked(run: dg.DagsterRun) -> Iterator[dg.AssetKey]:
    return (each.asset_key for each in run.asset_check_selection or ())


def _step(step_key: str, table: TableConfig) -> str:
    """Return `archive` of `D__S__T__archive`, and of a check's step, `D__S__T__archive_row_counts`, the name of the check."""
    rest = step_key.removeprefix(table.dagster_name).lstrip("_")
    for asset in ("archive", "purge", "restore"):
        if rest.startswith(f"{asset}_"):
            return rest.removeprefix(f"{asset}_")
    return rest


def _words(error: SerializableErrorInfo) -> tuple[str, str]:
    """Return the message and the hint of one of our errors. Those of others are left in Dagster: what they hold is not ours to send."""
    if error.cls_name not in OWN_ERRORS:
        return "", "read the error in the run's log"
    message, _, hint = error.message.partition("\nHINT: ")
    return message.partition(": ")[2].partition("\n")[0].strip()[:_LONGEST_TEXT], hint.strip()[:_LONGEST_TEXT]


def _whole(made: dg.AssetMaterialization, name: str) -> int:
    value = made.metadata[name].value if name in made.metadata else 0
    return value if isinstance(value, int) else 0
