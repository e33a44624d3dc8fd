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
from archiver_assets.config.legal import Compliance, Hold, HoldsTable, LegalHolds
from archiver_assets.config.limits import note_limits
from archiver_assets.config.models import ColumnConfig, Config, DatabaseConfig, ReplicaConfig, S3Config, ScratchConfig, TableConfig
from archiver_assets.config.notifications import Notifications, NotificationTarget
from archiver_assets.config.prices import Prices
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
    databases = tuple(map(_database, draft.databases))
    sections = {
        "s3": S3Config.model_validate(draft.s3),
        "databases": databases,
        "legal_holds": _legal_holds(draft),
        "compliance": Compliance.model_validate(draft.compliance),
        "notifications": _notifications(draft),
        "prices": Prices.model_validate(draft.prices),
    }
    return Config.model_validate({**draft.values, **sections})


def _notifications(draft: FileDraft) -> Notifications:
    targets = tuple(NotificationTarget.model_validate(target.values) for target in draft.notification_targets)
    return Notifications.model_validate({**draft.notifications, "targets": targets})


def _legal_holds(draft: FileDraft) -> LegalHolds:
    holds = tuple(Hold.model_validate(hold.values) for hold in draft.holds)
    table = None if draft.holds_table is None else HoldsTable.model_validate(draft.holds_table.values)
    return LegalHolds(holds=holds, table=table)


def _database(draft: DatabaseDraft) -> DatabaseConfig:
    tables = tuple(_table(table, draft.label) for table in draft.tables)
    replica = None if draft.replica is None else ReplicaConfig.model_validate(draft.replica)
    scratch = None if draft.scratch is None else ScratchConfig.model_validate(draft.scratch)
    return DatabaseConfig.model_validate({**draft.values, "read_replica": replica, "scratch_database": scratch, "tables": tables})


def _table(draft: TableDraft, database: str | None) -> TableConfig:
    columns = {name: ColumnConfig.model_validate(values) for name, values in draft.columns.items()}
    return TableConfig.model_validate({**draft.values, "database": database, "columns": columns})
