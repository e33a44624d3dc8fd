"""The site of a workload: a filled PostgreSQL and an S3 server on loopback, and how a method's process finds them.

What belongs here: starting the servers, and the environment of child processes. What does not: the contents of the tables (`workload.py`).
Children find PostgreSQL by libpq's own variables (https://www.postgresql.org/docs/current/libpq-envars.html), which psql also uses.
"""

import os
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
from archiver_assets_tests.servers import Database

WORKLOAD = "BENCH_WORKLOAD"
ENDPOINT = "BENCH_ENDPOINT"
BUCKET = "BENCH_BUCKET"
_BUCKET = "audit-archives"


@dataclass(frozen=True)
class Site:
    """A workload in a database, with `rows` rows per day. Methods store objects in `bucket` on the S3 server, and files in `folder`.

    `postgres_pid` is the id of the server's main process; None if it is not on this machine, so that its CPU time is unknown.
    """

    workload: Workload
    rows: int
    database: Database
    postgres_pid: int | None
    s3: EmbeddedS3
    bucket: str
    folder: Path

    @property
    def environ(self) -> dict[str, str]:
        """The environment of a process that connects to the servers."""
        own = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "AWS_"))}
        at = self.database
        reach = {"PGHOST": at.host, "PGPORT": str(at.port), "PGUSER": at.user, "PGPASSWORD": at.password, "PGDATABASE": at.name}
        isolation = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull, "AWS_EC2_METADATA_DISABLED": "true"}
        names = {WORKLOAD: self.workload.name, ENDPOINT: self.s3.endpoint, BUCKET: self.bucket, "NO_PROXY": "127.0.0.1,localhost"}
        pids = {POSTGRES_PID: str(self.postgres_pid or ""), STORE_PID: str(self.s3.pid or "")}
        return own | isolation | reach | self.s3.environ() | names | pids

    def child(self, module: str, *arguments: str, environ: Mapping[str, str] | None = None) -> Sample:
        """Run a module of `methods` in a separate process, and return its sample."""
        return run_child(module, arguments, {**self.environ, **(environ or {})})

    def meter(self) -> Meter:
        """Return a meter for a method that this process runs itself, such as a statement; the client's CPU is that of this process."""
        return Meter(self.environ)

    def connect(self) -> "psycopg.Connection[tuple[object, ...]]":
        """Return a connection in autocommit mode."""
        return psycopg.connect(self.database.dsn, autocommit=True)

    def fresh_prefix(self) -> str:
        """Return an unused prefix of keys, so that a day can be archived repeatedly."""
        return f"{uuid.uuid4().hex}/"

    def program(self, name: str) -> str:
        """Return the path of psql, pg_dump or pgbench in the server's folder. Raises NotMeasured if it is missing."""
        return find_program(name)


def find_program(name: str) -> str:
    """Return the path of a program in the server's folder, with the same version. Raises NotMeasured if it is missing."""
    beside = find_binaries() / name
    if not beside.exists():
        message = f"no {name} beside the server's binaries in {beside.parent}"
        raise NotMeasured(message)
    return str(beside)


def environ_of_programs() -> dict[str, str]:
    """Return the environment that the programs in the server's folder need."""
    return icu_data(find_binaries())


@contextmanager
def open_site(workload: Workload, rows: int) -> Iterator[Site]:
    """Start the servers and fill them."""
    server = EmbeddedPostgres(durable=workload.durable, settings=workload.settings)
    with server as postgres, EmbeddedS3() as s3, tempfile.TemporaryDirectory(prefix="archiver-bench-") as folder:
        s3.create_bucket(_BUCKET)
        database = Database("postgres", postgres.host, postgres.port, postgres.user, postgres.password, postgres.dsn())
        workload.fill(database.dsn, rows)
        yield Site(workload, rows, database, postgres.pid, s3, _BUCKET, Path(folder))
