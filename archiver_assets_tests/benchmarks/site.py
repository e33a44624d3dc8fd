"""Where a workload lies: a PostgreSQL and an S3 server on loopback, filled, and how a method's process finds them.

What belongs here: putting the servers up, and the environment of children. What does not: what the tables hold (`workload.py`). Children
find PostgreSQL by libpq's own variables (https://www.postgresql.org/docs/current/libpq-envars.html), which psql knows too.
"""

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from archiver_assets.demo.postgres import EmbeddedPostgres, find_binaries, icu_data
from archiver_assets.demo.seaweed import EmbeddedS3
from archiver_assets_tests.benchmarks.measuring import POSTGRES_PID, STORE_PID, Meter, NotMeasured, Sample, run_child
from archiver_assets_tests.benchmarks.workload import Workload

BUCKET = "audit-archives"
WORKLOAD = "BENCH_WORKLOAD"
ENDPOINT = "BENCH_ENDPOINT"


@dataclass(frozen=True)
class Site:
    """A workload on running servers, with `rows` rows a day; `folder` is for files of the methods, `s3.bucket` for objects."""

    workload: Workload
    rows: int
    postgres: EmbeddedPostgres
    s3: EmbeddedS3
    folder: Path

    @property
    def environ(self) -> dict[str, str]:
        """The environment of a process that is to reach the servers."""
        own = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "AWS_"))}
        server = self.postgres
        reach = {"PGHOST": server.host, "PGPORT": str(server.port), "PGUSER": server.user, "PGPASSWORD": server.password}
        isolation = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull, "AWS_EC2_METADATA_DISABLED": "true"}
        names = {"PGDATABASE": "postgres", WORKLOAD: self.workload.name, ENDPOINT: self.s3.endpoint, "NO_PROXY": "127.0.0.1,localhost"}
        pids = {POSTGRES_PID: str(self.postgres.pid or ""), STORE_PID: str(self.s3.pid or "")}
        return own | isolation | reach | self.s3.environ() | names | pids

    def child(self, module: str, *arguments: str, environ: Mapping[str, str] | None = None) -> Sample:
        """Run a module of `methods` in a process of its own, and return its sample."""
        return run_child(module, arguments, {**self.environ, **(environ or {})})

    def meter(self) -> Meter:
        """Return the clocks for a method that this process itself runs, such as a statement: the client's CPU is this process'."""
        return Meter(self.environ)

    def connect(self) -> "psycopg.Connection[tuple[object, ...]]":
        """Connect in autocommit."""
        return psycopg.connect(self.postgres.dsn(), autocommit=True)

    def fresh_prefix(self) -> str:
        """Return a prefix of keys below which nothing lies yet, so that a day can be archived again and again."""
        return f"{uuid.uuid4().hex}/"

    def program(self, name: str) -> str:
        """Return the path of psql, pg_dump or pgbench beside the server's binaries. Raises NotMeasured if there is none."""
        return find_program(name)


def find_program(name: str) -> str:
    """Return a program beside the server's binaries, of the same version. Raises NotMeasured if there is none."""
    beside = find_binaries() / name
    if not beside.exists():
        message = f"no {name} beside the server's binaries in {beside.parent}"
        raise NotMeasured(message)
    return str(beside)


def environ_of_programs() -> dict[str, str]:
    """Return what the programs beside the server's binaries need to run."""
    return icu_data(find_binaries())


@contextmanager
def open_site(workload: Workload, rows: int) -> Iterator[Site]:
    """Start the servers and fill them."""
    server = EmbeddedPostgres(durable=workload.durable, settings=workload.settings)
    with server as postgres, EmbeddedS3() as s3, tempfile.TemporaryDirectory(prefix="archiver-bench-") as folder:
        s3.create_bucket(BUCKET)
        workload.fill(postgres.dsn(), rows)
        yield Site(workload, rows, postgres, s3, Path(folder))


def require_room(rows: int, folder: str = tempfile.gettempdir()) -> None:
    """Raise NotMeasured if the temporary folder has no room for the table, its WAL and its objects."""
    needed = (rows + 2_000_000) * 2500
    free = shutil.disk_usage(folder).free
    if free < needed:
        message = f"expected {needed / 1e9:.0f} GB free in {folder}, found {free / 1e9:.0f}; set TMPDIR to a larger disk"
        raise NotMeasured(message)
