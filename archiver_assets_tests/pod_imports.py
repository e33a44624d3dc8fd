"""What a run's process imports, for the server that runs are forked from. Not for tests, which it would cost seconds."""

import adbc_driver_postgresql.dbapi  # noqa: F401
import boto3
import dagster as dg
import dagster._cli.api

from archiver_assets.orchestration import build, steps  # noqa: F401
from archiver_assets_tests import local_cluster  # noqa: F401

boto3.session.Session("-", "-", region_name="us-east-1").client("s3", endpoint_url="http://127.0.0.1:1")


@dg.job
def _any() -> None:
    """Nothing."""


# Much of Dagster is imported by its first run, and its storage by the first instance on disk.
with dg.DagsterInstance.local_temp() as _instance:
    _any.execute_in_process(instance=_instance, run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}})
