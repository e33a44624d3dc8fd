"""The demo's scenario: run the main job for every table and day through Dagster, with rows changed between archive and purge.

What belongs here: launching runs as the schedules do, and the summary: the counts that runs report, and the rows left and the bytes, which
are counted in the tables and the bucket. What does not: anything that archives or deletes.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import dagster as dg

from archiver_assets.config import TableConfig
from archiver_assets.demo.sample import TABLES, Day, change_meanwhile, count_rows, expired_days
from archiver_assets.demo.stage import BUCKET, Stage
from archiver_assets.orchestration.assets import TableKeys, table_keys
from archiver_assets.orchestration.partitions import shared_job_name
from archiver_assets.orchestration.tags import run_tags
from archiver_assets.services import Services

LATE_ROWS = 3
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class Line:
    """One line of the summary: one day of a table, its row counts, and its object."""

    label: str
    day: str
    archived: int
    verified: int
    purged: int
    left: int
    uri: str
    bytes: int

    @property
    def ok(self) -> bool:
        """Return whether the day adds up: all archived row versions were verified, and no row is left."""
        return self.archived == self.verified and self.left == 0


@dataclass(frozen=True)
class Outcome:
    """What one run reported for a day."""

    archived: int = 0
    verified: int = 0
    purged: int = 0
    uri: str = ""


class Play:
    """Runs the shared jobs of the code location in this process, and records them in the embedded instance."""

    def __init__(self, stage: Stage, services: Services, definitions: dg.Definitions) -> None:
        """Use a stage that is running."""
        self._stage = stage
        self._definitions = definitions
        self._tables: dict[str, TableConfig] = {table.label: table for _, table in services.config.tables()}
        self._instance = dg.DagsterInstance.get()

    def days(self, days: int) -> list[Day]:
        """Return the expired days of all tables."""
        return [day for table in TABLES for day in expired_days(table, days)]

    def archive_only(self, day: Day) -> None:
        """Archive and check a day, without purging it."""
        self._run(day, [self._keys(day).archive])

    def change(self, day: Day) -> None:
        """Change a day as an application would: insert late rows and update one row."""
        with self._stage.connect(day.table.database) as connection:
            change_meanwhile(connection, day, LATE_ROWS)

    def main_job(self, day: Day) -> Line:
        """Run archive, check and purge for a day, and return its line of the summary."""
        keys = self._keys(day)
        outcome = self._run(day, [keys.archive, keys.purge])
        with self._stage.connect(day.table.database) as connection:
            left = count_rows(connection, day)
        size = self._bytes_in_bucket(outcome.uri)
        return Line(day.table.label, day.day.isoformat(), outcome.archived, outcome.verified, outcome.purged, left, outcome.uri, size)

    def _keys(self, day: Day) -> TableKeys:
        return table_keys(self._tables[day.table.label])

    def _run(self, day: Day, selection: list[dg.AssetKey]) -> Outcome:
        table = self._tables[day.table.label]
        job = self._definitions.resolve_job_def(shared_job_name(table))
        result = job.execute_in_process(
            run_config=QUIET, instance=self._instance, partition_key=day.day.isoformat(), asset_selection=selection, tags=run_tags(table)
        )
        keys = table_keys(table)
        archived = _metadata(result, keys.archive)
        purged = _metadata(result, keys.purge) if keys.purge in selection else {}
        (check,) = result.get_asset_check_evaluations()
        return Outcome(
            archived=_whole(archived["dagster/row_count"]),
            verified=_whole(check.metadata["rows_in_object"]) if check.passed else 0,
            purged=_whole(purged["rows_purged"]) if purged else 0,
            uri=str(archived["dagster/uri"].value),
        )

    def _bytes_in_bucket(self, uri: str) -> int:
        """Return the total size of the data objects in the folder of the one at `uri`: those of all generations of the day."""
        prefix = uri.removeprefix(f"s3://{BUCKET}/").rpartition("/")[0] + "/rows-"
        return sum(each["Size"] for each in self._stage.s3.client().list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", []))


def perform(play: Play, days: int) -> Iterator[Line]:
    """Archive the first day of each table and change it; then run the main job on all days, and yield their lines."""
    everything = play.days(days)
    changed = _changed_days(days)
    print(
        f"== archiving {len(changed)} of {len(everything)} days; then the application inserts {LATE_ROWS} late rows and updates one in each"
    )
    for day in changed:
        play.archive_only(day)
        play.change(day)
        print(f"   {day.table.label} {day.day}: archived, then changed", flush=True)
    print(f"== the main job (archive, check, purge) on {len(everything)} days")
    for number, day in enumerate(everything, start=1):
        started = time.monotonic()
        line = play.main_job(day)
        seconds = time.monotonic() - started
        print(f"   [{number:>2}/{len(everything)}] {line.label} {line.day}: {line.purged:,} rows purged, {seconds:.1f} s", flush=True)
        yield line


def _changed_days(days: int) -> list[Day]:
    return [day for table in TABLES for day in expired_days(table, days)[:1]]


def summary(lines: list[Line], days: int) -> str:
    """Return the table of all lines, their totals, and the outcome for the rows that changed between archive and purge."""
    width = max(len(line.label) for line in lines)
    head = f"{'table':<{width}} {'day':<10} {'archived':>9} {'verified':>9} {'purged':>9} {'left':>6} {'bytes':>9}  object"
    rows = [f"{line.label:<{width}} {line.day:<10} {_numbers(line)}  {line.uri}" for line in lines]
    total = Line(
        label="total",
        day="",
        archived=sum(line.archived for line in lines),
        verified=sum(line.verified for line in lines),
        purged=sum(line.purged for line in lines),
        left=sum(line.left for line in lines),
        uri="",
        bytes=sum(line.bytes for line in lines),
    )
    foot = f"{total.label:<{width + 11}} {_numbers(total)}"
    changed = len(_changed_days(days))
    survived = (
        f"{changed} days changed between archive and purge: {changed * LATE_ROWS} late rows and {changed} updated rows became "
        f"generation 2; expected {changed} archived row versions that the updates had replaced, found {total.archived - total.purged}; "
        f"expected 0 rows left in the tables, found {total.left}"
    )
    return "\n".join([head, *rows, foot, "", survived])


def _numbers(line: Line) -> str:
    return f"{line.archived:>9,} {line.verified:>9,} {line.purged:>9,} {line.left:>6,} {line.bytes:>9,}"


def adds_up(lines: list[Line], days: int) -> bool:
    """Return whether every day adds up, and every archived row version was purged except those that an update had replaced."""
    return all(line.ok for line in lines) and sum(line.archived - line.purged for line in lines) == len(_changed_days(days))


def _metadata(result: dg.ExecuteInProcessResult, key: dg.AssetKey) -> dict[str, dg.MetadataValue]:
    (event,) = result.asset_materializations_for_node(key.to_python_identifier())
    return dict(event.metadata)


def _whole(value: dg.MetadataValue) -> int:
    return int(str(value.value))
