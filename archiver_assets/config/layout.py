"""The sections of a config file, and their values before they become models.

What belongs here: the keys of each section, and which level's setting wins. What does not: the rules of single values (fields.py).
"""

from dataclasses import dataclass
from typing import Final

from archiver_assets.config.document import INVALID, Entries, Items, Node, Scalar
from archiver_assets.config.fields import identifier_problem
from archiver_assets.config.identity import IN_DATABASE, IN_S3, IN_TARGET, note_endpoint, note_identity
from archiver_assets.config.kubernetes import PodSettings
from archiver_assets.config.labels import tag_problem
from archiver_assets.config.legal import Compliance, Hold, HoldCondition, HoldsTable, LegalHolds
from archiver_assets.config.models import (
    ColumnConfig,
    Config,
    DatabaseConfig,
    ReplicaConfig,
    S3Config,
    ScratchConfig,
    Settings,
    TableConfig,
)
from archiver_assets.config.naming import TableName
from archiver_assets.config.nested import parts, read_parts
from archiver_assets.config.notifications import Notifications, NotificationTarget
from archiver_assets.config.prices import Prices
from archiver_assets.config.problems import Problems, joined_path
from archiver_assets.config.sections import Section, Values, child, found, items, read

_PODS: Final = frozenset(parts(PodSettings))
_PODS_HINTS: Final = {"nodeselector": "use node_affinity, with a condition for each label"}

DEFAULTS = Section(models=(Settings,), required=frozenset(), nested=_PODS, hints=IN_DATABASE | _PODS_HINTS)
S3 = Section(
    models=(S3Config,),
    required=frozenset({"bucket"}),
    nested=frozenset(parts(S3Config)),
    hints=IN_S3,
)
DATABASE = Section(
    models=(DatabaseConfig, Settings),
    required=frozenset({"name", "host", "user", "tables"}),
    nested=_PODS | {"tables", "read_replica", "scratch_database"},
    hints=IN_DATABASE | _PODS_HINTS,
)
REPLICA = Section(models=(ReplicaConfig,), required=frozenset({"host"}), hints=IN_DATABASE)
SCRATCH = Section(models=(ScratchConfig,), required=frozenset({"host"}), hints=IN_DATABASE)
TABLE = Section(
    models=(TableConfig,),
    required=frozenset({"name", "timestamp_column", "primary_key"}),
    nested=_PODS | {"columns", "tags"},
    derived=frozenset({"database"}),
    hints=IN_DATABASE | _PODS_HINTS,
)
COLUMN = Section(models=(ColumnConfig,), required=frozenset({"store_as"}))
LEGAL_HOLDS = Section(models=(LegalHolds,), required=frozenset(), nested=frozenset({"holds", "table"}))
# The keys of a hold are the same in a config, in an object and in a table of holds.
HOLD = Section(models=(Hold,), required=frozenset({"id", "reason", "table_name"}), nested=frozenset({"conditions"}), renamed={})
CONDITION = Section(models=(HoldCondition,), required=frozenset({"column", "operator"}))
HOLDS_TABLE = Section(models=(HoldsTable,), required=frozenset({"database", "name"}))
COMPLIANCE = Section(models=(Compliance,), required=frozenset())
NOTIFICATIONS = Section(models=(Notifications,), required=frozenset(), nested=frozenset({"targets"}))
NOTIFICATION_TARGET = Section(models=(NotificationTarget,), required=frozenset({"name", "url_env"}), hints=IN_TARGET)
PRICES = Section(models=(Prices,), required=frozenset())
FILE = Section(
    models=(Config,),
    required=frozenset({"version", "s3", "databases"}),
    nested=frozenset({"s3", "defaults", "databases", "legal_holds", "compliance", "notifications", "prices"}),
    hints=IN_DATABASE,
)


@dataclass(frozen=True)
class TableDraft:
    """A table of the file, its settings resolved; complete and valid only if no problem was noted."""

    path: str
    line: int
    values: Values
    columns: dict[str, Values]

    def table_name(self, database: str) -> TableName | None:
        """Return the true names in the database with that label, None if they are not valid."""
        schema, name = self.values.get("schema_name", "public"), self.values.get("name")
        return TableName(database, schema, name) if isinstance(schema, str) and isinstance(name, str) else None


@dataclass(frozen=True)
class DatabaseDraft:
    """A database of the file; complete and valid only if no problem was noted."""

    path: str
    line: int
    values: Values
    replica: Values | None
    scratch: Values | None
    tables: tuple[TableDraft, ...]

    @property
    def label(self) -> str | None:
        """The label, None if it is not valid."""
        name = self.values.get("name")
        return name if isinstance(name, str) else None


@dataclass(frozen=True)
class PlacedValues:
    """The values of one mapping, and its place; complete and valid only if no problem was noted."""

    path: str
    line: int
    values: Values


@dataclass(frozen=True)
class FileDraft:
    """The whole file; complete and valid only if no problem was noted."""

    values: Values
    s3: Values
    databases: tuple[DatabaseDraft, ...]
    holds: tuple[PlacedValues, ...]
    holds_table: PlacedValues | None
    compliance: Values
    notifications: Values
    notification_targets: tuple[PlacedValues, ...]
    prices: Values


def read_file(root: Node, problems: Problems) -> FileDraft:
    """Read the whole tree; whatever is wrong with it is noted in `problems`, except for collisions."""
    values = read(root, FILE, problems)
    s3, defaults = child(root, "s3"), child(root, "defaults")
    inherited = _settings(defaults, DEFAULTS, {}, problems) if defaults else {}
    databases = items(child(root, "databases"), FILE.expected("databases"), problems)
    legal_holds, compliance = child(root, "legal_holds"), child(root, "compliance")
    if legal_holds:
        read(legal_holds, LEGAL_HOLDS, problems)
    holds_table = child(legal_holds, "table") if legal_holds else None
    notifications, prices = child(root, "notifications"), child(root, "prices")
    return FileDraft(
        values=values,
        s3=_s3(s3, problems) if s3 else {},
        databases=tuple(_database(node, inherited, problems) for node in databases),
        holds=_holds(child(legal_holds, "holds") if legal_holds else None, problems),
        holds_table=None if holds_table is None or _is_null(holds_table) else _placed(holds_table, HOLDS_TABLE, problems),
        compliance=read(compliance, COMPLIANCE, problems) if compliance else {},
        notifications=read(notifications, NOTIFICATIONS, problems) if notifications else {},
        notification_targets=_targets(child(notifications, "targets") if notifications else None, problems),
        prices=read(prices, PRICES, problems) if prices else {},
    )


def _placed(node: Node, section: Section, problems: Problems) -> PlacedValues:
    return PlacedValues(node.path, node.line, read(node, section, problems))


def _holds(node: Node | None, problems: Problems) -> tuple[PlacedValues, ...]:
    if node is None or _is_empty(node):
        return ()
    return tuple(_hold(each, problems) for each in items(node, LEGAL_HOLDS.expected("holds"), problems))


def _hold(node: Node, problems: Problems) -> PlacedValues:
    hold, conditions = _placed(node, HOLD, problems), child(node, "conditions")
    if conditions is not None and not _is_empty(conditions):
        found_conditions = items(conditions, HOLD.expected("conditions"), problems)
        hold.values["conditions"] = [read(each, CONDITION, problems) for each in found_conditions]
    return hold


def _targets(node: Node | None, problems: Problems) -> tuple[PlacedValues, ...]:
    if node is None or _is_empty(node):
        return ()
    return tuple(_placed(each, NOTIFICATION_TARGET, problems) for each in items(node, NOTIFICATIONS.expected("targets"), problems))


def _is_empty(node: Node) -> bool:
    return isinstance(node, Items) and not node.items


def _s3(node: Node, problems: Problems) -> Values:
    values = read(node, S3, problems) | read_parts(node, S3Config, problems)
    kind, key = values.get("encryption", "none"), values.get("kms_key_id")
    if INVALID in (kind, key) or (kind == "SSE-KMS") == (key is not None):
        return values
    place = child(node, "encryption" if key is None else "kms_key_id") or node
    missing = f"missing key; expected {S3.expected('kms_key_id')}; encryption is SSE-KMS"
    surplus = "expected none, because encryption is not SSE-KMS; remove it, or set encryption to SSE-KMS"
    problems.add(place.line, joined_path(node.path, "kms_key_id"), missing if key is None else surplus)
    return values


def _database(node: Node, inherited: Values, problems: Problems) -> DatabaseDraft:
    values = _settings(node, DATABASE, inherited, problems)
    own = {name: value for name, value in values.items() if name in Settings.model_fields}
    tables = items(child(node, "tables"), DATABASE.expected("tables"), problems)
    note_identity(node, DATABASE, values, problems)
    standby = child(node, "read_replica")
    replica = _optional(standby, REPLICA, problems)
    if isinstance(standby, Entries) and replica and values.get("auth") == "aws_iam":
        note_endpoint(standby, replica, problems)
    return DatabaseDraft(
        path=node.path,
        line=node.line,
        values={name: value for name, value in values.items() if name not in own},
        replica=replica,
        scratch=_scratch(child(node, "scratch_database"), values.get("sslmode"), problems),
        tables=tuple(_table(table, own, problems) for table in tables),
    )


def _settings(node: Node, section: Section, inherited: Values, problems: Problems) -> Values:
    """Return the values of the section, and those settings of the level above that it does not have."""
    return inherited | read(node, section, problems) | read_parts(node, PodSettings, problems)


def _optional(node: Node | None, section: Section, problems: Problems) -> Values | None:
    return None if node is None or _is_null(node) else read(node, section, problems)


def _scratch(node: Node | None, sslmode: object, problems: Problems) -> Values | None:
    values = _optional(node, SCRATCH, problems)
    if node is not None and values is not None:
        note_identity(node, SCRATCH, values, problems, sslmode)
    return values


def _is_null(node: Node) -> bool:
    return isinstance(node, Scalar) and node.value is None


def _table(node: Node, inherited: Values, problems: Problems) -> TableDraft:
    values = _settings(node, TABLE, inherited, problems)
    if "retention_days" not in values and isinstance(node, Entries):
        expected = TABLE.expected("retention_days")
        text = f"missing key; expected {expected}; set it here, in the database, or under defaults"
        problems.add(node.line, joined_path(node.path, "retention_days"), text)
    columns, tags = child(node, "columns"), child(node, "tags")
    if tags is not None:
        values["tags"] = _tags(tags, problems)
    return TableDraft(node.path, node.line, values, _columns(columns, problems) if columns else {})


def _columns(node: Node, problems: Problems) -> dict[str, Values]:
    if not isinstance(node, Entries):
        problems.add(node.line, node.path, f"expected {TABLE.expected('columns')}, found {found(node)}")
        return {}
    for column, entry in node.entries.items():
        reason = identifier_problem(column)
        if reason:
            problems.add(entry.line, entry.path, f"expected the name of a column, at most 63 bytes; {reason}")
    return {column: read(entry, COLUMN, problems) for column, entry in node.entries.items()}


def _tags(node: Node, problems: Problems) -> Values:
    if not isinstance(node, Entries):
        problems.add(node.line, node.path, f"expected {TABLE.expected('tags')}, found {found(node)}")
        return {}
    tags = {key: entry.value if isinstance(entry, Scalar) else None for key, entry in node.entries.items()}
    for key, value in tags.items():
        entry = node.entries[key]
        if isinstance(value, str):
            reason = tag_problem(key, value)
        else:
            reason = None if value is INVALID else f"found {found(entry)}; put text in quotes"
        if reason:
            problems.add(entry.line, entry.path, f"expected a tag that Dagster accepts; {reason}")
    return dict(tags)
