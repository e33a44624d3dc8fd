"""From the path of a config file to the config.

What belongs here: the order of the steps. Text becomes nodes (syntax.py), nodes become a tree with variables resolved (document.py), the
tree becomes drafts (layout.py), and drafts become models (models.py). A file with any problem is refused as a whole.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from archiver_assets.config.collisions import note_collisions
from archiver_assets.config.document import Document
from archiver_assets.config.layout import DatabaseDraft, FileDraft, TableDraft, read_file
from archiver_assets.config.limits import note_limits
from archiver_assets.config.models import Config, DatabaseConfig, TableConfig
from archiver_assets.config.problems import Problems
from archiver_assets.config.syntax import compose, read_text

DEFAULT_PATH: Final = Path("/etc/archiver/config.yaml")
PATH_VARIABLE: Final = "ARCHIVER_CONFIG"


def config_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the path that the variable ARCHIVER_CONFIG holds, or `/etc/archiver/config.yaml` if it is unset or empty."""
    return Path(environ.get(PATH_VARIABLE) or DEFAULT_PATH)


def load_config(path: Path | str, environ: Mapping[str, str] = os.environ) -> Config:
    """Return the config that the file at `path` holds, with `${VAR}` resolved from `environ`; passwords are not read.

    Raises ConfigError if the file cannot be read or is not valid: one error, with a line for each problem, in the order of the file.
    """
    problems = Problems(str(path))
    root = compose(read_text(Path(path), problems), problems)
    if root is None:
        problems.fail(0, "expected a mapping, found an empty file", hint='begin with version: "2.0", s3 and databases')
    draft = read_file(Document(environ, problems).tree(root), problems)
    note_collisions(draft.databases, problems)
    note_limits(draft, problems)
    problems.raise_if_any()
    return _config(draft)


def _config(draft: FileDraft) -> Config:
    return Config.model_validate({**draft.values, "databases": tuple(map(_database, draft.databases))})


def _database(draft: DatabaseDraft) -> DatabaseConfig:
    tables = tuple(_table(table, draft.label) for table in draft.tables)
    return DatabaseConfig.model_validate(
        {**draft.values, "read_replica": draft.replica, "scratch_database": draft.scratch, "tables": tables}
    )


def _table(draft: TableDraft, database: str | None) -> TableConfig:
    return TableConfig.model_validate({**draft.values, "database": database, "columns": draft.columns})
