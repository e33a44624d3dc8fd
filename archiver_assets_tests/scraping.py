"""Metrics of an instance as Prometheus gets them: over HTTP, and parsed by the client library's own parser.

What belongs here: asking. What does not: assertions about numbers.
"""

import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import dagster as dg
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from archiver_assets.config import Config
from archiver_assets.telemetry.exporter import Exporter, serving
from archiver_assets.telemetry.keeping import Keeper
from archiver_assets.telemetry.subjects import Subjects

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
