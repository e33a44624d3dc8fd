"""The demo's environment: embedded servers, the sample data, the config, and a Dagster instance, all in temporary folders.

What belongs here: setting it up and taking it down. What does not: the scenario (`main_job.py`).
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from archiver_assets.demo.postgres import EmbeddedPostgres
from archiver_assets.demo.sample import AUDIT_LOGS, CONFIG, DATABASES, TABLES, expired_days, fill
from archiver_assets.demo.seaweed import EmbeddedS3

BUCKET = "audit-archives"

# A separate instance: without DAGSTER_HOME, Dagster would use the production dagster.yaml in the current folder.
DAGSTER_YAML = """\
telemetry:
  enabled: false
nux:
  enabled: false
python_logs:
  managed_python_loggers: [archiver]
  python_log_level: INFO
storage:
  postgres:
    postgres_db:
      hostname: 127.0.0.1
      port:
        env: DEMO_DB_PORT
      username: postgres
      password:
        env: DEMO_DB_PASSWORD
      db_name: dagster
      scheme: postgresql+psycopg2
run_coordinator:
  module: archiver_assets.orchestration.coordinator
  class: ArchiverRunCoordinator
concurrency:
  runs:
    max_concurrent_runs: 2
run_monitoring:
  enabled: true
  max_runtime_seconds: 85200
"""


@dataclass(frozen=True)
class Stage:
    """The running servers, config file and DAGSTER_HOME. `environ` is all that a process needs to use them, and includes the passwords."""

    folder: Path
    postgres: EmbeddedPostgres
    s3: EmbeddedS3
    environ: dict[str, str]

    @property
    def env_file(self) -> Path:
        """The path of a file to source in a shell: `. FILE`."""
        return self.folder / "env"

    def connect(self, database: str) -> psycopg.Connection:
        """Open a database session for the demo itself."""
        return psycopg.connect(self.postgres.dsn(database), autocommit=True)


@contextmanager
def open_stage(days: int, rows_per_day: int) -> Iterator[Stage]:
    """Start the servers, set the environment of this process and fill the tables; remove everything at the end of the block."""
    folder = Path(tempfile.mkdtemp(prefix="archiver-demo-"))
    try:
        print("== starting PostgreSQL and S3 on loopback", flush=True)
        # Not durable: the data is thrown away, and Dagster's own storage commits about fifty times per run.
        with EmbeddedPostgres() as postgres, EmbeddedS3() as s3:
            print(f"   PostgreSQL at 127.0.0.1:{postgres.port}, S3 at {s3.endpoint}", flush=True)
            s3.create_bucket(BUCKET)
            stage = Stage(folder, postgres, s3, _environ(folder, postgres, s3, days))
            _write_files(stage)
            os.environ.update(stage.environ)
            _fill_tables(stage, days, rows_per_day)
            yield stage
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _environ(folder: Path, postgres: EmbeddedPostgres, s3: EmbeddedS3, days: int) -> dict[str, str]:
    # Near midnight UTC the oldest days of tables in other time zones differ by one.
    oldest = {table.name: expired_days(table, days)[0].day for table in TABLES}
    return {
        **s3.environ(),
        "ARCHIVER_CONFIG": str(folder / "config.yaml"),
        "DAGSTER_HOME": str(folder / "dagster_home"),
        "DEMO_DB_PASSWORD": postgres.password,
        "DEMO_DB_PORT": str(postgres.port),
        "DEMO_S3_ENDPOINT": s3.endpoint,
        "DEMO_FIRST_DAY": oldest[AUDIT_LOGS.name].isoformat(),
        "DEMO_START_DATE": min(oldest.values()).isoformat(),
    }


def _write_files(stage: Stage) -> None:
    (stage.folder / "config.yaml").write_text(CONFIG)
    (stage.folder / "dagster_home").mkdir()
    (stage.folder / "dagster_home" / "dagster.yaml").write_text(DAGSTER_YAML)
    stage.env_file.touch(mode=0o600)
    stage.env_file.write_text(
        "".join(f"export {name}='{value}'\n" for name, value in [*stage.environ.items(), *_for_people(stage.postgres)])
    )


def _for_people(postgres: EmbeddedPostgres) -> list[tuple[str, str]]:
    """Return the extra variables for a shell: psql and psycopg find the server, and this environment's commands come first on PATH."""
    server = {"PGHOST": postgres.host, "PGPORT": str(postgres.port), "PGUSER": postgres.user, "PGPASSWORD": postgres.password}
    return [*server.items(), ("PGDATABASE", DATABASES[0]), ("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")]


def _fill_tables(stage: Stage, days: int, rows_per_day: int) -> None:
    print("== filling the tables", flush=True)
    with stage.connect("postgres") as connection:
        for database in (*DATABASES, "dagster"):
            connection.execute(f'CREATE DATABASE "{database}"')
    stage.postgres.make_logins_cheap()
    for table in TABLES:
        with stage.connect(table.database) as connection, connection.transaction():
            rows = fill(connection, table, days, rows_per_day)
        print(f"   {table.label}: {rows:,} rows, {days} days of them expired", flush=True)
