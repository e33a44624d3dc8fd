"""The right to VACUUM and ANALYZE a table.

What belongs here: reading it from the catalog. What does not: running either (`lifecycle/purging/vacuum.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from archiver_assets.source import sql, sql_catalog
from archiver_assets.source.catalog import Connection
from archiver_assets.source.sql_roles import MAINTAIN_VERSION

_SHOWN = 3


@dataclass(frozen=True)
class NotMaintained:
    """A relation with rows that the role may not VACUUM and ANALYZE; `usage` is whether the role may use its schema."""

    relation: sql.Relation
    usage: bool


def not_maintained(connection: Connection, oid: int) -> list[NotMaintained]:
    """Return what the role may not VACUUM and ANALYZE: the table, or those of its leaves, ordered by name."""
    knows_maintain = connection.info.server_version >= MAINTAIN_VERSION
    statement = sql_catalog.NOT_MAINTAINED if knows_maintain else sql_catalog.NOT_MAINTAINED_AS_OWNER
    return [NotMaintained(sql.Relation(row["schema"], row["name"]), usage=row["usage"]) for row in connection.execute(statement, [oid])]


def missing_right(connection: Connection, lacking: Sequence[NotMaintained]) -> str:
    """Return, as text, what to grant so that the role may VACUUM and ANALYZE these relations."""
    role = connection.info.user
    schemas = sorted({sql.quoted(each.relation.schema) for each in lacking if not each.usage})
    tables = ", ".join(each.relation.identifier.as_string() for each in lacking[:_SHOWN])
    more = f" and so on for {len(lacking) - _SHOWN} more" if len(lacking) > _SHOWN else ""
    usage = f"GRANT USAGE ON SCHEMA {', '.join(schemas)} TO {sql.quoted(role)}; " if schemas else ""
    if connection.info.server_version >= MAINTAIN_VERSION:
        return f"the role {role} lacks the right: {usage}GRANT MAINTAIN ON {tables} TO {sql.quoted(role)}{more}"
    return f"the role {role} lacks the right: {usage}before PostgreSQL 17 only members of the owner of {tables}{more} have it"
