"""The keys of the config: their descriptions and defaults, from its models.

What belongs here: one table for each model. What does not: what the keys do, which the page says.
"""

from collections.abc import Mapping
from datetime import date
from enum import Enum
from types import MappingProxyType
from typing import Final

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from archiver_assets.config import (
    Compliance,
    Config,
    DatabaseConfig,
    Hold,
    HoldCondition,
    HoldsTable,
    LegalHolds,
    Notifications,
    NotificationTarget,
    ObjectLock,
    Prices,
    ReplicaConfig,
    S3Config,
    ScratchConfig,
    TableConfig,
)
from archiver_assets.config.kubernetes import NodeAffinity, Quantities, Resources, Toleration
from archiver_assets.config.models import Settings
from archiver_assets_tests.reference.parts import REFERENCE, Part, table

TITLES: Final[Mapping[type[BaseModel], str]] = MappingProxyType(
    {
        Config: "key",
        Settings: "key",
        Resources: "key of `resources`",
        Quantities: "key of `requests` and `limits`",
        NodeAffinity: "key of `node_affinity`",
        Toleration: "key of a toleration",
        S3Config: "key",
        ObjectLock: "key of `object_lock`",
        DatabaseConfig: "key",
        ReplicaConfig: "key",
        ScratchConfig: "key",
        TableConfig: "key",
        LegalHolds: "key",
        Hold: "key",
        HoldCondition: "key",
        HoldsTable: "key",
        Compliance: "key",
        Notifications: "key",
        NotificationTarget: "key",
        Prices: "key",
    }
)
"""What the first column of each model's table is called."""
PARTS = tuple(
    Part(REFERENCE / "configuration.md", f"keys of {model.__name__}", lambda model=model: keys(model))  # type: ignore[misc]
    for model in TITLES
)


def keys(model: type[BaseModel]) -> str:
    """Return the keys that may stand in the file where this model is, in the model's order."""
    hidden = {*Settings.model_fields, "database"} if model is TableConfig else set()
    shown = {_key(name, field): field for name, field in model.model_fields.items() if name not in hidden}
    rows = [(f"`{key}`", field.description or "", _default(field)) for key, field in shown.items()]
    if model is Config:
        rows.insert(2, ("`defaults`", "a mapping of settings for all tables", "none"))
    return table((TITLES[model], "what", "default"), rows)


def _key(name: str, field: FieldInfo) -> str:
    return field.serialization_alias or name


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if (field.description or "").startswith("the name of the environment variable that holds the password"):
        return "required, and not with `auth: aws_iam`"
    if isinstance(value, BaseModel) or value in ((), {}):
        return "none"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Enum):
        return str(value.value)
    return value.isoformat() if isinstance(value, date) else str(value) or "empty"
