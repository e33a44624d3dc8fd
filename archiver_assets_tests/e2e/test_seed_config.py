"""The config file of the Kubernetes deployment guide, unchanged, from the file to the purged table.

It names db.example.com:5432 and AWS's own S3. Both are led to this machine from outside the file: the database by libpq's PGHOSTADDR and a
forwarder on a loopback address of its own, the store by botocore's AWS_ENDPOINT_URL_S3.
"""

import contextlib
import random
import socket
import socketserver
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import psycopg
import pyarrow.parquet as pq
import pytest
from psycopg import sql

from archiver_assets.config import load_config
from archiver_assets.demo.seaweed import EmbeddedS3
from archiver_assets.orchestration.build import build_definitions
from archiver_assets.orchestration.partitions import shared_job_name
from archiver_assets.services import Services
from archiver_assets_tests.asset_runs import QUIET
from archiver_assets_tests.lab import AUDIT_LOGS, INSERT
from archiver_assets_tests.servers import PostgresServer
from archiver_assets_tests.unit.config_files import SEED

PASSWORD = "a password of the test"  # noqa: S105


class Forwarder(socketserver.ThreadingTCPServer):
    """Passes every connection on to a port on this machine."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], port: int) -> None:
        self.port = port
        super().__init__(address, Connection)


class Connection(socketserver.BaseRequestHandler):
    """One connection, until either side ends it."""

    server: Forwarder

    def handle(self) -> None:
        with self.request as client, socket.create_connection(("127.0.0.1", self.server.port)) as upstream:
            back = threading.Thread(target=_pump, args=(upstream, client))
            back.start()
            _pump(client, upstream)
            back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@pytest.fixture
def forwarded_address(postgres_server: PostgresServer) -> Iterator[str]:
    """A loopback address on whose port 5432 the server under test answers."""
    # All of 127.0.0.0/8 is loopback on Linux; elsewhere only 127.0.0.1 is up.
    address = f"127.{random.randint(1, 254)}.{random.randint(0, 254)}.{random.randint(1, 254)}" if sys.platform == "linux" else "127.0.0.1"
    with Forwarder((address, 5432), postgres_server.database("postgres").port) as forwarder:
        thread = threading.Thread(target=forwarder.serve_forever)
        thread.start()
        yield address
        forwarder.shutdown()
        thread.join()


@pytest.fixture
def production_db(postgres_server: PostgresServer) -> Iterator[str]:
    """The database of the file, its table, and a role with the rights that the job needs and no others."""
    with psycopg.connect(postgres_server.maintenance_dsn, autocommit=True) as admin:
        admin.execute("CREATE DATABASE production_db")
        admin.execute(sql.SQL("CREATE ROLE archiver LOGIN PASSWORD {}").format(sql.Literal(PASSWORD)))
        dsn = postgres_server.dsn("production_db")
        with psycopg.connect(dsn) as owner:
            owner.execute(AUDIT_LOGS)
            owner.execute("GRANT SELECT, DELETE ON audit_logs TO archiver")
        try:
            yield dsn
        finally:
            admin.execute("DROP DATABASE production_db WITH (FORCE)")
            admin.execute("DROP ROLE archiver")


@pytest.mark.usefixtures("aws_environment")
def test_the_config_of_the_guide_archives_and_purges_a_day_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forwarded_address: str, production_db: str, s3_server: EmbeddedS3
) -> None:
    expired = datetime.now(UTC).date() - timedelta(days=91)
    fresh = expired + timedelta(days=1)
    with psycopg.connect(production_db) as owner:
        for day in (expired, fresh):
            start = datetime(day.year, day.month, day.day, tzinfo=UTC)
            owner.execute(INSERT, {"start": start, "every": timedelta(minutes=10), "rows": 144})
    s3_server.create_bucket("audit-archives")
    path = tmp_path / "config.yaml"
    path.write_text(SEED)
    config = load_config(path)
    definitions = build_definitions(config, Services(config, {"DB_PASSWORD": PASSWORD}))
    job = definitions.resolve_job_def(shared_job_name(config.table("production_db", "public", "audit_logs")))

    with dg.DagsterInstance.ephemeral() as instance, monkeypatch.context() as environment:
        environment.setenv("PGHOSTADDR", forwarded_address)
        environment.setenv("AWS_ENDPOINT_URL_S3", s3_server.endpoint)
        result = job.execute_in_process(run_config=QUIET, instance=instance, partition_key=expired.isoformat())

    assert result.success
    with psycopg.connect(production_db) as owner:
        left = owner.execute("SELECT count(*), min(created_at)::date FROM audit_logs").fetchone()
    assert left == (144, fresh)
    listed = s3_server.client().list_objects_v2(Bucket="audit-archives", Prefix=f"archives/production_db/public/audit_logs/dt={expired}/")
    (data,) = [each for each in listed["Contents"] if each["Key"].endswith(".parquet")]
    assert data["StorageClass"] == "STANDARD_IA"
    local = tmp_path / "rows.parquet"
    s3_server.client().download_file("audit-archives", data["Key"], str(local))
    assert pq.read_metadata(local).num_rows == 144
    s3_server.remove_bucket("audit-archives")
