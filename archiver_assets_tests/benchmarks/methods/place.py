"""The table, database and bucket of a method, from the environment variables of its process (`site.py`).

What belongs here: creating the archiver's own objects for them, and importing early what the archiver imports late, because imports are not
measured. What does not: any work.
"""

import os

import adbc_driver_postgresql.dbapi  # noqa: F401 - otherwise imported with the first row that is read

from archiver_assets.config import DatabaseConfig, TableConfig
from archiver_assets.lifecycle.task import Task
from archiver_assets.partition import Partition
from archiver_assets.source.session import Source
from archiver_assets.store.s3 import S3ObjectStore
from archiver_assets_tests.benchmarks.site import BUCKET, ENDPOINT, WORKLOAD
from archiver_assets_tests.benchmarks.workload import DAY, WORKLOADS

PARTITION = Partition(DAY, "UTC")


def table(**changes: object) -> TableConfig:
    """Return the config of the workload's table."""
    name = os.environ[WORKLOAD]
    values = {
        "database": "bench",
        "schema_name": "public",
        "name": "audit_logs",
        "timestamp_column": "created_at",
        "primary_key": WORKLOADS[name].primary_key if name in WORKLOADS else ("id",),
        "retention_days": 30,
    }
    return TableConfig.model_validate(values | changes)


def source(config: TableConfig | None = None) -> Source:
    """Return the server named by libpq's environment variables."""
    database = DatabaseConfig(
        name="bench",
        host=os.environ["PGHOST"],
        port=int(os.environ["PGPORT"]),
        user=os.environ["PGUSER"],
        password_env="PGPASSWORD",  # noqa: S106 - the name of a variable
        database=os.environ["PGDATABASE"],
        tables=(config or table(),),
    )
    return Source(database)


def store() -> S3ObjectStore:
    """Return the bucket on the S3 server."""
    return S3ObjectStore.connect(bucket=os.environ[BUCKET], endpoint=os.environ[ENDPOINT], region="us-east-1", path_style=True)


def task(prefix: str, **changes: object) -> Task:
    """Return the day's task, with objects below a prefix and with changes to the table's config."""
    config = table(**changes)
    return Task(config, PARTITION, source(config), store(), "bench", prefix)
