"""Metrics of an instance as Prometheus gets them: over HTTP, and parsed by the client library's own parser.

What belongs here: making a past, and asking. What does not: assertions about numbers.
"""

import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import dagster as dg
from dagster._core.events import DagsterEvent, DagsterEventType, EventSpecificData, StepMaterializationData
from dagster._core.events.log import EventLogEntry
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from archiver_assets.config import Config
from archiver_assets.telemetry.exporter import Exporter, serving
from archiver_assets.telemetry.figures import Backlog, Figures, Left, RunFigures, TableFigures
from archiver_assets.telemetry.log_follower import Keeper
from archiver_assets.telemetry.subjects import CHECKS, Subject, Subjects

LATER = 60.0
"""Seconds that the clocks of tests are ahead, so that every event has settled."""
OWN = ("archiver_exporter_", "archiver_scrape_", "archiver_build_")


@dataclass(frozen=True)
class Scrape:
    """The answer to one scrape."""

    text: str
    metrics: dict[str, Metric] = field(init=False)

    def __post_init__(self) -> None:
        """Parse it."""
        object.__setattr__(self, "metrics", {each.name: each for each in text_string_to_metric_families(self.text)})

    def __getitem__(self, name: str) -> float:
        """Return the value of the only sample of a name."""
        (value,) = self.by(name).values()
        return value

    def by(self, name: str, *labels: str) -> dict[tuple[str, ...], float]:
        """Return the values of a name by some of its labels, that have to tell its samples apart."""
        samples = [each for metric in self.metrics.values() for each in metric.samples if each.name == name]
        found = {tuple(each.labels[label] for label in labels): each.value for each in samples}
        assert len(found) == len(samples)
        return found

    @property
    def counted(self) -> list[str]:
        """All lines but those about the exporter's own process."""
        return [line for line in self.text.splitlines() if not any(own in line for own in OWN)]


def keeper_of(instance: dg.DagsterInstance, config: Config | None, page: int = 500) -> Keeper:
    """Return a new keeper for which everything in the storage has settled."""
    return Keeper(instance, Subjects(config), page, clock=lambda: time.time() + LATER)


@contextmanager
def scraped(keeper: Keeper) -> Iterator[str]:
    """Serve what a keeper has while the block lasts, which begins when it is up to date; yield the address."""
    while keeper.read():
        pass
    with serving(Exporter(keeper), "127.0.0.1", 0) as address:
        yield address


def scrape(instance: dg.DagsterInstance, config: Config | None, page: int = 500) -> Scrape:
    """Return what a new exporter answers when it is up to date."""
    with scraped(keeper_of(instance, config, page)) as address:
        return Scrape(get(f"{address}/metrics")[1])


def get(url: str) -> tuple[int, str]:
    """Return the status and the text of an answer."""
    try:
        with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310 - http on loopback
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@dataclass
class Past:
    """Writes events of one table, `shop.s-1.log`, as Dagster does."""

    instance: dg.DagsterInstance
    at: float = field(default_factory=time.time)

    def archive(self, table: str = "log", day: str = "2026-05-01", rows: int = 10, **metadata: dg.MetadataValue) -> str:
        """Store the run of an archive from its start to its end; return its id."""
        key = dg.AssetKey(["shop", "s_1", table, "archive"])
        run = dg.DagsterRun("any", asset_selection=frozenset({key}), tags={"dagster/partition": day})
        self.instance.add_run(run)
        made = dg.AssetMaterialization(key, partition=day, metadata={"rows_archived": rows, "bytes": rows * 10, **metadata})
        self.store(run, DagsterEventType.RUN_START)
        self.store(run, DagsterEventType.ASSET_MATERIALIZATION, StepMaterializationData(made, []))
        self.store(run, DagsterEventType.RUN_SUCCESS)
        return run.run_id

    def store(self, run: dg.DagsterRun, kind: DagsterEventType, data: EventSpecificData | None = None) -> None:
        """Store an event of a run."""
        event = DagsterEvent(kind.value, run.job_name, event_specific_data=data)
        entry = EventLogEntry(None, 10, "", run.run_id, self.at, None, run.job_name, event)  # type: ignore[no-untyped-call] # Dagster's own
        self.instance.handle_new_event(entry)


def full(instance: dg.DagsterInstance) -> Scrape:
    """Return a scrape in which every metric has a sample."""
    keeper = keeper_of(instance, None)
    past = Past(instance)
    past.archive()
    while keeper.read():
        pass
    with keeper.figures() as figures:
        fill(figures, 1)
    with serving(Exporter(keeper), "127.0.0.1", 0) as address:
        return Scrape(get(f"{address}/metrics")[1])


def fill(figures: Figures, tables: int) -> None:
    """Give so many tables figures of every kind."""
    for number in range(tables):
        subject = Subject("shop", "public", f"audit_log_{number}")
        table = TableFigures(1234567, 123456789, 1234567, 12345, 0, 0, 0, dict.fromkeys(("archive", "verify", "purge"), time.time()))
        table.left = {f"day{day}": Left(1, 2, 3) for day in range(10)}
        table.backlog = Backlog(3, 0, time.time(), 7)
        table.checked = dict.fromkeys(CHECKS, time.time())
        figures.tables[subject] = table
        figures.runs[subject] = RunFigures(Counter(success=500), Counter(SourceUnavailable=3), 500, 1234.5)
