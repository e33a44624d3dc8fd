"""The sections of a config file, and their values before they become models.

What belongs here: the keys of each section, and which level's setting wins. What does not: the rules of single values (fields.py).
"""

from dataclasses import dataclass, replace
from typing import Final

from archiver_assets.config.base import Model
from archiver_assets.config.document import INVALID, Entries, Items, Node, Scalar
from archiver_assets.config.fields import identifier_problem
from archiver_assets.config.identity import IN_DATABASE, IN_S3, IN_TARGET, note_endpoint, note_identity
from archiver_assets.config.kubernetes import PodSettings
from archiver_assets.config.labels import tag_problem
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
from archiver_assets.config.nested import Hints, parts, read_model, read_parts, section_of
from archiver_assets.config.notifications import NotificationTarget
from archiver_assets.config.problems import Problems, joined_path
from archiver_assets.config.sections import Section, Values, child, found, items, read

HINTS: Final[Hints] = {S3Config: IN_S3, ReplicaConfig: IN_DATABASE, ScratchConfig: IN_DATABASE, NotificationTarget: IN_TARGET}

_PODS: Final = frozenset(parts(PodSettings))
_IN_TABLES: Final = IN_DATABASE | {"nodeselector": "use node_affinity, with a condition for each label"}
_INHERITED: Final = {"retention_days"}
"""Without a default, and required where nothing is inherited."""

FILE = replace(section_of(Config), nested=section_of(Config).nested | {"defaults"}, hints=IN_DATABASE)
DEFAULTS = replace(section_of(Settings), required=section_of(Settings).required - _INHERITED, hints=_IN_TABLES)
DATABASE = replace(
    section_of(DatabaseConfig), models=(DatabaseConfig, Settings), nested=section_of(DatabaseConfig).nested | _PODS, hints=_IN_TABLES
)
TABLE = replace(
    section_of(TableConfig),
    required=section_of(TableConfig).required - _INHERITED - {"database"},
    nested=_PODS | {"columns", "tags"},
    derived=frozenset({"database"}),
    hints=_IN_TABLES,
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
    """The whole file; complete and valid only if no problem was noted. `values` has all sections but the databases."""

    values: Values
    databases: tuple[DatabaseDraft, ...]
    holds: tuple[PlacedValues, ...]
    holds_table: PlacedValues | None
    targets: tuple[PlacedValues, ...]

    def section(self, name: str) -> Values:
        """Return the values of a section, none if the file does not have it."""
        values = self.values.get(name, {})
        return values if isinstance(values, dict) else {}


def read_file(root: Node, problems: Problems) -> FileDraft:
    """Read the whole tree; whatever is wrong with it is noted in `problems`, except for collisions."""
    values, defaults = read(root, FILE, problems), child(root, "defaults")
    for key, part in parts(Config).items():
        if part.name != "databases" and (node := child(root, key)):
            values[part.name] = _s3(node, problems) if part.model is S3Config else read_model(node, part.model, problems, HINTS)
    inherited = _settings(defaults, DEFAULTS, {}, problems) if defaults else {}
    databases = items(child(root, "databases"), FILE.expected("databases"), problems)
    holds, targets = _placed_items(root, "legal_holds", "holds", values), _placed_items(root, "notifications", "targets", values)
    return FileDraft(values, tuple(_database(node, inherited, problems) for node in databases), holds, _placed_table(root, values), targets)


def _placed_items(root: Node, section: str, key: str, values: Values) -> tuple[PlacedValues, ...]:
    """Return the values of the items of a list with their places."""
    node, read_values = child(root, section), values.get(section)
    listed = child(node, key) if node else None
    if not isinstance(listed, Items) or not isinstance(read_values, dict):
        return ()
    return tuple(PlacedValues(each.path, each.line, of_item) for each, of_item in zip(listed.items, read_values[key], strict=True))


def _placed_table(root: Node, values: Values) -> PlacedValues | None:
    node, read_values = child(root, "legal_holds"), values.get("legal_holds")
    table = child(node, "table") if node else None
    if table is None or not isinstance(read_values, dict) or not read_values["table"]:
        return None
    return PlacedValues(table.path, table.line, read_values["table"])


def _s3(node: Node, problems: Problems) -> Values:
    values = read_model(node, S3Config, problems, HINTS)
    kind, key = values.get("encryption", "none"), values.get("kms_key_id")
    if INVALID in (kind, key) or (kind == "SSE-KMS") == (key is not None):
        return values
    place = child(node, "encryption" if key is None else "kms_key_id") or node
    missing = f"missing key; expected {section_of(S3Config).expected('kms_key_id')}; encryption is SSE-KMS"
    surplus = "expected none, because encryption is not SSE-KMS; remove it, or set encryption to SSE-KMS"
    problems.add(place.line, joined_path(node.path, "kms_key_id"), missing if key is None else surplus)
    return values


def _database(node: Node, inherited: Values, problems: Problems) -> DatabaseDraft:
    values = _settings(node, DATABASE, inherited, problems)
    own = {name: value for name, value in values.items() if name in Settings.model_fields}
    tables = items(child(node, "tables"), DATABASE.expected("tables"), problems)
    note_identity(node, DATABASE, values, problems)
    standby = child(node, "read_replica")
    replica = _optional(standby, ReplicaConfig, problems)
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


def _optional(node: Node | None, model: type[Model], problems: Problems) -> Values | None:
    return None if node is None or _is_null(node) else read_model(node, model, problems, HINTS)


def _scratch(node: Node | None, sslmode: object, problems: Problems) -> Values | None:
    values = _optional(node, ScratchConfig, problems)
    if node is not None and values is not None:
        note_identity(node, section_of(ScratchConfig), values, problems, sslmode)
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
    return {column: read_model(entry, ColumnConfig, problems) for column, entry in node.entries.items()}


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
