"""The config of a code location with the workload's table, from the environment variables of a method's process (`site.py`).

This module does not import Arrow, because a code location does not need it until a step runs.
"""

import os

from archiver_assets.config import Config
from archiver_assets_tests.benchmarks.site import BUCKET, ENDPOINT


def config(prefix: str) -> Config:
    """Return the config, with objects below `prefix`."""
    reach = {"host": os.environ["PGHOST"], "port": int(os.environ["PGPORT"]), "user": os.environ["PGUSER"], "password_env": "PGPASSWORD"}
    table = {"database": "bench", "name": "audit_logs", "timestamp_column": "created_at", "primary_key": ("id",), "retention_days": 30}
    database = {"name": "bench", **reach, "database": os.environ["PGDATABASE"], "tables": (table,)}
    s3 = {"bucket": os.environ[BUCKET], "endpoint": os.environ[ENDPOINT], "prefix": prefix, "region": "us-east-1", "path_style": True}
    return Config.model_validate({"version": "2.0", "s3": s3, "databases": (database,)})
