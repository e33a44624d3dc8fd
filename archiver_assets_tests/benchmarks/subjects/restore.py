"""Compare loading a day back into a table with the server's own binary COPY FROM of the same rows."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from psycopg import sql

from archiver_assets_tests.benchmarks.comparing import Comparison, Method, Target
from archiver_assets_tests.benchmarks.site import Site
from archiver_assets_tests.benchmarks.subjects.archive import archive
from archiver_assets_tests.benchmarks.workload import WORKLOADS, select_day

COPY = "binary COPY FROM"
RESTORE = "restore, load only"


@contextmanager
def restoring(site: Site) -> Iterator[Mapping[str, Method]]:
    """The load of a restore, and a COPY of the same rows from a file."""
    prefix, file = site.fresh_prefix(), site.folder / "day.copy"
    archive(site, prefix=prefix)
    with site.connect() as connection:
        copy = sql.SQL("COPY ({}) TO STDOUT (FORMAT binary)").format(sql.SQL(select_day()))
        with connection.cursor().copy(copy) as chunks, file.open("wb") as target:
            for chunk in chunks:
                target.write(chunk)
        site.child("restore", "restore", prefix)  # creates the table whose shape the COPY uses
        yield {COPY: lambda: site.child("restore", "copy", str(file)), RESTORE: lambda: site.child("restore", "restore", prefix)}
        connection.execute("DROP TABLE public.audit_logs_restored, public.audit_logs_copied")
    file.unlink()


COMPARISONS = (
    Comparison(
        "restore", WORKLOADS["wide"], "Restore, the load alone", restoring, COPY, targets=(Target(RESTORE, "wall", 2.0),), large=True
    ),
)
