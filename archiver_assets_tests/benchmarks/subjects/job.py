"""The complete job of a table (archive, check and purge): its speed compared with a row-by-row archiver, and the memory of its process.

What belongs here: these comparisons, the config of the run and Dagster's home.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import yaml

from archiver_assets_tests.benchmarks.comparing import Comparison, Method, Target
from archiver_assets_tests.benchmarks.measuring import Sample
from archiver_assets_tests.benchmarks.site import Site
from archiver_assets_tests.benchmarks.subjects.purge import FRESH, on_a_copy
from archiver_assets_tests.benchmarks.workload import WORKLOADS

MIB = 1024 * 1024
JOB = "archive, check and purge, by Dagster"
ROW_BY_ROW = "rows as JSON Lines with gzip, by asyncpg"
RUN = "run process"


@contextmanager
def competing(site: Site) -> Iterator[Mapping[str, Method]]:
    """The job, and a row-by-row archiver."""
    yield {ROW_BY_ROW: lambda: on_a_copy(site, "row_by_row", site.fresh_prefix()), JOB: lambda: run(site)}


@contextmanager
def running(site: Site) -> Iterator[Mapping[str, Method]]:
    """The job alone."""
    yield {RUN: lambda: run(site)}


def run(site: Site) -> Sample:
    """Run the job on a copy of the rows, with a new Dagster home."""
    with tempfile.TemporaryDirectory(dir=site.folder) as home:
        return on_a_copy(site, "run", environ=write_files(site, Path(home)))


def write_files(site: Site, home: Path) -> Mapping[str, str]:
    """Write the config of the day's table and Dagster's config, and return the environment variables for them."""
    reach = {"host": site.database.host, "port": site.database.port, "user": site.database.user, "password_env": "PGPASSWORD"}
    table = {"name": "audit_logs", "timestamp_column": "created_at", "primary_key": list(site.workload.primary_key)}
    config = {
        "version": "2.0",
        "s3": {"bucket": site.bucket, "endpoint": site.s3.endpoint, "path_style": True, "prefix": site.fresh_prefix()},
        "defaults": {"retention_days": 30},
        "databases": [{"name": "bench", "database": FRESH, **reach, "tables": [table]}],
    }
    (home / "config.yaml").write_text(yaml.safe_dump(config))
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    return {"ARCHIVER_CONFIG": str(home / "config.yaml"), "DAGSTER_HOME": str(home)}


COMPARISONS = (
    Comparison(
        "whole_job",
        WORKLOADS["wide"],
        "The whole job",
        competing,
        ROW_BY_ROW,
        targets=(Target(JOB, "rows_per_second", 6.0, least=True),),
    ),
    Comparison(
        "memory",
        WORKLOADS["wide"],
        "Memory of a run process",
        running,
        targets=(Target(RUN, "peak_rss", 400 * MIB, of="value"),),
        rounds=1,
        large=True,
    ),
    Comparison(
        "memory",
        WORKLOADS["large"],
        "Memory of a run process",
        running,
        targets=(Target(RUN, "peak_rss", 500 * MIB, of="value"),),
        rounds=1,
    ),
)
