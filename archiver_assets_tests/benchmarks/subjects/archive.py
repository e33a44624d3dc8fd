"""Compare the archive step with PostgreSQL's fastest output, verify with the archive step, and the object's size with pg_dump's.

Each of the three comparisons runs on several workloads.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from psycopg import sql

from archiver_assets_tests.benchmarks.comparing import Comparison, Method, Target
from archiver_assets_tests.benchmarks.measuring import NotMeasured, Sample
from archiver_assets_tests.benchmarks.site import Site, environ_of_programs
from archiver_assets_tests.benchmarks.workload import WORKLOADS, select_day

DRAIN = "binary COPY to nothing"
ARCHIVE = "archive"
ARCHIVE_BY_TWO = "archive, two readers"
VERIFY = "verify"
DUMP = "pg_dump -Fc"
_ONE_DAY = sql.Identifier("public", "one_day")


def drain(site: Site) -> Sample:
    """Read the day as fast as the server sends it, and discard it."""
    try:
        psql = site.program("psql")
    except NotMeasured:
        psql = ""
    return site.child("drain", select_day(), psql, environ=environ_of_programs())


def archive(site: Site, readers: int = 1, prefix: str = "") -> Sample:
    """Archive the day below a separate prefix."""
    return site.child("archive", prefix or site.fresh_prefix(), str(readers))


@contextmanager
def archiving(site: Site) -> Iterator[Mapping[str, Method]]:
    """The drain, and the archive step with one and with two readers."""
    yield {DRAIN: lambda: drain(site), ARCHIVE: lambda: archive(site), ARCHIVE_BY_TWO: lambda: archive(site, readers=2)}


@contextmanager
def verifying(site: Site) -> Iterator[Mapping[str, Method]]:
    """The archive step, and reading its latest generation back."""
    prefixes: list[str] = []

    def archive_again() -> Sample:
        prefixes.append(site.fresh_prefix())
        return archive(site, prefix=prefixes[-1])

    yield {ARCHIVE: archive_again, VERIFY: lambda: site.child("verify", prefixes[-1])}


@contextmanager
def sizing(site: Site) -> Iterator[Mapping[str, Method]]:
    """The object, and a dump of a table with only the day's rows."""

    def dump() -> Sample:
        pg_dump = site.program("pg_dump")
        return site.child("dump", pg_dump, "public.one_day", str(site.folder / "dump"), str(rows), environ=environ_of_programs())

    with site.connect() as connection:
        rows = connection.execute(sql.SQL("CREATE TABLE {} AS {}").format(_ONE_DAY, sql.SQL(select_day()))).rowcount
        yield {DUMP: dump, ARCHIVE: lambda: archive(site)}
        connection.execute(sql.SQL("DROP TABLE {}").format(_ONE_DAY))


_ARCHIVE_TARGETS = (Target(ARCHIVE, "wall", 2.0), Target(ARCHIVE_BY_TWO, "wall", 1.7, stretch=1.4))
_VERIFY_TARGETS = (Target(VERIFY, "wall", 0.5),)
_SIZE_TARGETS = (Target(ARCHIVE, "bytes", 0.8),)

COMPARISONS = tuple(
    comparison
    for workload in WORKLOADS.values()
    for comparison in (
        Comparison("archive", workload, "The archive step", archiving, DRAIN, targets=_ARCHIVE_TARGETS, large=True),
        Comparison("verify", workload, "Verify: the whole object, read back", verifying, ARCHIVE, targets=_VERIFY_TARGETS, large=True),
        Comparison("size", workload, "The size of the object", sizing, DUMP, "bytes", targets=_SIZE_TARGETS, rounds=1, large=True),
    )
)
