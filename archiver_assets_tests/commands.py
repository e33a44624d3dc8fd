"""Config files of a lab on disk, for tests that run `archiver` as people do. What does not belong here: assertions."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from archiver_assets.cli.app import archiver
from archiver_assets_tests.lab import PASSWORD_VARIABLE, PREFIX, Lab

AUDIT_LOGS_TABLE = {"name": "audit_logs", "timestamp_column": "created_at", "primary_key": "id", "retention_days": 30}


def write_config(
    lab: Lab,
    folder: Path,
    *tables: Mapping[str, Any],
    s3: Mapping[str, Any] | None = None,
    others: Sequence[Mapping[str, Any]] = (),
    top: Mapping[str, Any] | None = None,
    **database: object,
) -> str:
    """Write the config of a lab, and return its path. The database's password is in the variable PASSWORD_VARIABLE."""
    own = {
        "name": "lab",
        "host": lab.database.host,
        "port": lab.database.port,
        "user": lab.database.user,
        "password_env": PASSWORD_VARIABLE,
        "database": lab.database.name,
        "tables": list(tables or (AUDIT_LOGS_TABLE,)),
        **database,
    }
    store = {"endpoint": lab.endpoint, "bucket": lab.bucket, "prefix": PREFIX, "region": "us-east-1", "path_style": True, **(s3 or {})}
    path = folder / "config.yaml"
    # As JSON, which is YAML, and knows no aliases for what stands in it twice.
    path.write_text(json.dumps({"version": "2.0", "s3": store, "databases": [own, *others], **(top or {})}, indent=2))
    return str(path)


def parsed(arguments: list[str]) -> click.Context:
    """Parse a command line as the command does, without running it. Raises UsageError."""
    name, *rest = arguments
    with click.Context(archiver, info_name="archiver") as group:
        command = archiver.get_command(group, name)
        assert command is not None
        return command.make_context(name, rest, parent=group)
