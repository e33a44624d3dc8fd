"""The config file: `config.yaml`, version "2.0", read into frozen and validated models.

What belongs here: the models, the rules of each key, reading the file, and the names of tables in Dagster, since two names that collide are
an error of the file. What does not: connections, Dagster itself, and secrets: the file has only the names of their variables.
"""

from archiver_assets.config.fields import ACCEPTABLE_RISKS
from archiver_assets.config.kubernetes import PodSettings
from archiver_assets.config.legal import Compliance, Hold, HoldCondition, HoldsTable, LegalHolds
from archiver_assets.config.load import config_path, load_config
from archiver_assets.config.models import (
    Auth,
    ColumnConfig,
    Config,
    DatabaseConfig,
    Encryption,
    ReplicaConfig,
    S3Config,
    ScratchConfig,
    Settings,
    TableConfig,
    VerificationLevel,
)
from archiver_assets.config.naming import TableName, checks_schedule_name, dagster_name
from archiver_assets.config.notifications import Notifications, NotificationTarget
from archiver_assets.config.object_lock import ObjectLock
from archiver_assets.config.prices import Prices, billed_bytes

__all__ = [
    "ACCEPTABLE_RISKS",
    "Auth",
    "ColumnConfig",
    "Compliance",
    "Config",
    "DatabaseConfig",
    "Encryption",
    "Hold",
    "HoldCondition",
    "HoldsTable",
    "LegalHolds",
    "NotificationTarget",
    "Notifications",
    "ObjectLock",
    "PodSettings",
    "Prices",
    "ReplicaConfig",
    "S3Config",
    "ScratchConfig",
    "Settings",
    "TableConfig",
    "TableName",
    "VerificationLevel",
    "billed_bytes",
    "checks_schedule_name",
    "config_path",
    "dagster_name",
    "load_config",
]
