"""Compare the cost of a run that finds nothing to do with a plain Dagster run that does nothing."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from archiver_assets_tests.benchmarks.comparing import Comparison, Method, Target
from archiver_assets_tests.benchmarks.site import Site
from archiver_assets_tests.benchmarks.workload import WIDE, WIDE_ROWS, Workload, days

NOTHING = "an asset that does nothing"
EMPTY_DAY = "archive, check and purge of an empty day"


@contextmanager
def running(site: Site) -> Iterator[Mapping[str, Method]]:
    """One process per run, measured from its first import to its end."""
    yield {
        NOTHING: lambda: site.child("empty_day", "nothing"),
        EMPTY_DAY: lambda: site.child("empty_day", "empty", site.fresh_prefix()),
    }


COMPARISONS = (
    Comparison(
        "empty_day",
        Workload("few", "a thousand rows", days(WIDE, WIDE_ROWS), weight=1000),
        "A run of a day without rows, in one process, imports included",
        running,
        NOTHING,
        targets=(Target(EMPTY_DAY, "wall", 1.5, of="more"),),
    ),
)
