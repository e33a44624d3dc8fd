"""Config files for the tests of the config, and what loading them gives."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from archiver_assets.config import Config, TableConfig, load_config
from archiver_assets.errors import ConfigError

SEED = """\
version: "2.0"

s3:
  endpoint: null  # null for AWS S3
  bucket: audit-archives
  prefix: archives/
  region: us-east-1
  storage_class: STANDARD_IA

defaults:
  retention_days: 90
  batch_size: 10000

databases:
  - name: production_db
    host: db.example.com
    port: 5432
    user: archiver
    password_env: DB_PASSWORD  # From Secret
    tables:
      - name: audit_logs
        schema: public
        timestamp_column: created_at
        primary_key: id
        retention_days: 90
"""

HEAD = """\
version: "2.0"
s3: {bucket: archives}
"""
SHORTEST = (
    HEAD
    + """\
databases:
  - name: app
    host: db
    user: archiver
    password_env: PW
    tables:
      - name: log
        timestamp_column: at
        primary_key: id
        retention_days: 30
"""
)


def config_from(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> Config:
    """Load `text` from a file in `folder`."""
    path = folder / "config.yaml"
    path.write_bytes(text.encode())
    return load_config(path, environ or {})


def only_table(config: Config) -> TableConfig:
    """Return the config's one table."""
    [(_, table)] = config.tables()
    return table


def problems_of(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> list[str]:
    """Return the problems of `text`, a line each, without the folder: `config.yaml:17: …`."""
    with pytest.raises(ConfigError) as caught:
        config_from(folder, text, environ)
    return caught.value.message.replace(f"{folder}/", "").splitlines()


def problem_of(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> str:
    """Return the only problem of `text`."""
    [problem] = problems_of(folder, text, environ)
    return problem


def with_database_key(line: str) -> str:
    """Return the shortest config with one more line in its database: line 8."""
    return SHORTEST.replace("    tables:\n", f"    {line}\n    tables:\n")


def with_table_key(line: str) -> str:
    """Return the shortest config with one more line in its table: line 13."""
    return f"{SHORTEST}        {line}\n"


def with_s3_key(entry: str) -> str:
    """Return the shortest config with one more entry in s3: line 2."""
    return SHORTEST.replace("{bucket: archives}", f"{{bucket: archives, {entry}}}")


def with_table_keys(text: str) -> str:
    """Return the shortest config with more lines in its table: from line 13 on."""
    return SHORTEST + "".join(f"        {line}\n" for line in text.splitlines())
