"""Fixtures that several kinds of tests share: real servers, one of each per xdist worker, and fresh databases and buckets on them.

What does not belong here: tables, rows and configurations, which live beside the tests that need them.

The embedded servers die with the *thread* that started them, so they are started by fixtures, which pytest runs in the main thread.
"""

import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql

from archiver_assets.demo.postgres import EmbeddedPostgres
from archiver_assets.demo.seaweed import EmbeddedS3
from archiver_assets.source import deleting
from archiver_assets.store.s3 import S3ObjectStore
from archiver_assets_tests.lab import AUDIT_LOGS, Lab
from archiver_assets_tests.servers import Database, PostgresServer

if TYPE_CHECKING:
    import dagster as dg

_FIRST_WITH_STRATEGY = 150_000
_MEMORY, _ENOUGH = Path("/dev/shm"), 2 << 30  # noqa: S108 -- a file system, and bytes
LONGEST = (
    "/browser/",
    "/e2e/test_demo.py",
    "/e2e/test_runs_that_die.py",
    "/torture/",
    "/e2e/test_wheel.py",
    "/e2e/test_first_hour.py",
    "/e2e/test_docs.py",
    "/e2e/test_secrets.py",
    "/integration/test_majors.py",
)
"""Parts of the names of tests that take 5 s and more."""
TOGETHER = ("/e2e/test_runs_that_die.py", "/torture/", "/e2e/test_wheel.py", "/e2e/test_secrets.py")
"""Parts of the names of tests that share a server of forks, an installed wheel, or a long story."""
DSN_VARIABLE = "ARCHIVER_TEST_DSN"
"""Points the tests at the user's own server: a connection string of a role that may create databases."""


def _keep_temporary_files_in_memory() -> None:
    """Let all servers and tests write to memory where there is plenty, unless TMPDIR says where to.

    A new database is 300 files: 10 ms in memory, and 60 to 120 ms on a virtual disk. At most 500 MB lie there at a time.
    """
    if "TMPDIR" not in os.environ and _MEMORY.is_dir():
        place = os.statvfs(_MEMORY)
        if place.f_bavail * place.f_frsize >= _ENOUGH and not place.f_flag & os.ST_NOEXEC:
            os.environ["TMPDIR"] = str(_MEMORY)
            tempfile.tempdir = None


_keep_temporary_files_in_memory()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest, after any shuffling: at the end the other workers would wait for them."""
    items.sort(key=lambda item: next((rank for rank, part in enumerate(LONGEST) if part in item.nodeid), len(LONGEST)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:  # noqa: ANN401 -- xdist's own
    """Give each test to whichever worker is free, but those that share what is dear to make to one. xdist's groups need an older pytest."""
    from xdist.scheduler import LoadScopeScheduling  # noqa: PLC0415 -- only where there are workers

    class Scheduling(LoadScopeScheduling):  # type: ignore[misc] # without types
        def _split_scope(self, nodeid: str) -> str:
            return next((part for part in TOGETHER if part in nodeid), nodeid)

    return Scheduling(config, log)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server whose data survive no crash of the machine, or the user's own."""
    if own := os.environ.get(DSN_VARIABLE):
        with with_lab_template(PostgresServer(own)) as server:
            yield server
        return
    with EmbeddedPostgres() as embedded:
        embedded.make_logins_cheap()
        with with_lab_template(PostgresServer(embedded.dsn())) as server:
            yield server


@contextmanager
def with_lab_template(server: PostgresServer) -> Iterator[PostgresServer]:
    """Have a database with the table of labs on the server, to be copied: that takes half the time of making an empty one and the table.

    The copy also has the catalog's cache file, which the first session of any other new database makes.
    """
    with fresh_database(server) as made:
        with psycopg.connect(made.dsn) as connection:
            connection.execute(AUDIT_LOGS)
        yield replace(server, lab_template=made.name)


@contextmanager
def fresh_database(server: PostgresServer, template: str = "template1") -> Iterator[Database]:
    """Create a database, an empty one or a copy of another, and drop it afterwards whoever is still connected."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(server.maintenance_dsn, autocommit=True) as admin:
        # Without fsync, copying files takes half the time of logging them, which 15 and later would do.
        strategy = sql.SQL("STRATEGY file_copy" if admin.info.server_version >= _FIRST_WITH_STRATEGY else "")
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {} {}").format(sql.Identifier(name), sql.Identifier(template), strategy))
        try:
            yield server.database(name)
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[Database]:
    """A fresh, empty database."""
    with fresh_database(postgres_server) as made:
        yield made


@pytest.fixture
def scratch(postgres_server: PostgresServer) -> Iterator[Database]:
    """Another fresh, empty database, to load objects into."""
    with fresh_database(postgres_server) as made:
        yield made


@pytest.fixture
def postgres_dsn(database: Database) -> str:
    """The connection string of a fresh, empty database."""
    return database.dsn


@pytest.fixture(scope="session")
def s3_server() -> Iterator[EmbeddedS3]:
    """An S3 server that checks signatures and conditions."""
    with EmbeddedS3() as server, pytest.MonkeyPatch.context() as patch:
        _read_service_descriptions_once(patch)
        yield server


def _read_service_descriptions_once(patch: pytest.MonkeyPatch) -> None:
    """Keep botocore's descriptions of S3. It parses them anew for every client, which is most of the 80 ms of making one."""
    from botocore.loaders import JSONFileLoader  # noqa: PLC0415 -- slow to import

    read, kept = JSONFileLoader.load_file, {}

    def read_once(loader: JSONFileLoader, path: str) -> object:
        if path not in kept:
            kept[path] = read(loader, path)
        return kept[path]

    patch.setattr(JSONFileLoader, "load_file", read_once)


@pytest.fixture(scope="session")
def moto_server() -> Iterator[str]:
    """The URL of an S3 server that accepts everything; for what the real one cannot do."""
    from moto.server import ThreadedMotoServer  # noqa: PLC0415 -- importing it takes 2 s, which few workers need

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws_environment(s3_server: EmbeddedS3, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Make AWS's default chain find the embedded server's credentials and nothing of the developer's own."""
    return isolate_aws(monkeypatch, s3_server)


def isolate_aws(environment: pytest.MonkeyPatch, server: EmbeddedS3) -> dict[str, str]:
    """Give AWS's default chain the server's credentials, and hide the machine's own, and those that boto3's default session has kept."""
    import boto3  # noqa: PLC0415 -- importing it costs 0.3 s, which a worker without a store saves

    environment.setattr(boto3, "DEFAULT_SESSION", None)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        environment.delenv(name)
    isolation = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull, "AWS_EC2_METADATA_DISABLED": "true"}
    variables = isolation | server.environ()
    for name, value in variables.items():
        environment.setenv(name, value)
    environment.setenv("NO_PROXY", "127.0.0.1,localhost")
    return variables


@contextmanager
def fresh_bucket(server: EmbeddedS3) -> Iterator[str]:
    """Create a bucket, and remove it afterwards with what is in it."""
    name = f"test-{uuid.uuid4().hex}"
    server.create_bucket(name)
    yield name
    server.remove_bucket(name)


@pytest.fixture
def bucket(s3_server: EmbeddedS3) -> Iterator[str]:
    """A fresh bucket on the S3 server."""
    with fresh_bucket(s3_server) as name:
        yield name


@pytest.fixture(scope="session")
def s3_store(s3_server: EmbeddedS3) -> S3ObjectStore:
    """The store of no bucket yet: making its client takes 0.2 s, and one is enough for all tests that do not look at clients."""
    with pytest.MonkeyPatch.context() as environment:
        isolate_aws(environment, s3_server)
        return S3ObjectStore.connect(bucket="none", endpoint=s3_server.endpoint, region="us-east-1", path_style=True)


@contextmanager
def fresh_lab(postgres: PostgresServer, s3: EmbeddedS3, store: S3ObjectStore) -> Iterator[Lab]:
    """Make a lab, for a test or a module of them: who looks for AWS's credentials in the environment finds none."""
    with fresh_bucket(s3) as bucket, fresh_database(postgres, postgres.lab_template) as database:
        yield Lab(database, replace(store, bucket=bucket), bucket, s3.endpoint)


@pytest.fixture
def lab(
    postgres_server: PostgresServer,
    s3_server: EmbeddedS3,
    s3_store: S3ObjectStore,
    aws_environment: dict[str, str],  # noqa: ARG001 - credentials
) -> Iterator[Lab]:
    """A database with an empty audit table, and an empty bucket."""
    with fresh_lab(postgres_server, s3_server, s3_store) as made:
        yield made


@pytest.fixture
def short_row_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a purge wait for rows that others have locked for a moment in place of 5 s."""
    monkeypatch.setattr(deleting, "_ROW_LOCK_MILLISECONDS", 200)
    monkeypatch.setattr(deleting, "_SECOND_LOCK_MILLISECONDS", 50)


@pytest.fixture
def instance() -> "Iterator[dg.DagsterInstance]":
    """Dagster's storage in memory."""
    import dagster as dg  # noqa: PLC0415 -- importing it takes 1.4 s, which few workers' first tests need

    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def kept_instance(tmp_path: Path) -> "Iterator[dg.DagsterInstance]":
    """Dagster's storage on disk, and slower: the context of a schedule takes none in memory."""
    import dagster as dg  # noqa: PLC0415 -- as above

    with dg.DagsterInstance.local_temp(str(tmp_path)) as made:
        yield made
