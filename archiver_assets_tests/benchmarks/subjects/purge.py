"""Compare ways to purge a day: batches of deletes with one DELETE of the same rows, and dropping its leaf with a scan of the leaf.

What belongs here: these comparisons, and copying the workload's database for each run.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from archiver_assets_tests.benchmarks.comparing import Comparison, Method, Target
from archiver_assets_tests.benchmarks.measuring import Sample
from archiver_assets_tests.benchmarks.site import Site
from archiver_assets_tests.benchmarks.workload import WORKLOADS

DELETE = "one DELETE by range"
PURGE = "purge, batches of 10,000, without its verification"
SCAN = "scan of keys and xmins, and DROP"
DROP = "purge by drop_partition, without its verification"

FRESH = "bench_fresh"


def on_a_copy(site: Site, module: str, *arguments: str, environ: Mapping[str, str] | None = None) -> Sample:
    """Run a method on a file-by-file copy of the workload's database, so that every run finds identical rows and pages."""
    with _admin(site) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(FRESH)))
        copy = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
        connection.execute(copy.format(sql.Identifier(FRESH), sql.Identifier(site.database.name)))
    try:
        return site.child(module, *arguments, environ={"PGDATABASE": FRESH, **(environ or {})})
    finally:
        with _admin(site) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(FRESH)))


def _admin(site: Site) -> "psycopg.Connection[tuple[object, ...]]":
    # A database can be copied only while no session is connected to it.
    return psycopg.connect(make_conninfo(site.database.dsn, dbname="template1"), autocommit=True)


@contextmanager
def deleting(site: Site) -> Iterator[Mapping[str, Method]]:
    """One DELETE, and the purge."""
    yield {
        DELETE: partial(on_a_copy, site, "purging", "statement"),
        PURGE: lambda: on_a_copy(site, "purging", "delete", site.fresh_prefix()),
    }


@contextmanager
def dropping(site: Site) -> Iterator[Mapping[str, Method]]:
    """A scan followed by a DROP, and the purge by dropping leaves."""
    yield {
        SCAN: partial(on_a_copy, site, "purging", "scan"),
        DROP: lambda: on_a_copy(site, "purging", "drop_partition", site.fresh_prefix()),
    }


COMPARISONS = (
    Comparison(
        "purge",
        WORKLOADS["wide"],
        "Purge by deletes",
        deleting,
        DELETE,
        targets=(Target(PURGE, "cpu", 1.6), Target(PURGE, "wall", 2.0), Target(PURGE, "wal", 1.05)),
    ),
    Comparison("drop_partition", WORKLOADS["leaves"], "Purge by dropping the leaf", dropping, SCAN, targets=(Target(DROP, "wall", 1.5),)),
)
