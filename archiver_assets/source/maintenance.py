"""The right to VACUUM and ANALYZE a table.

What belongs here: asking the catalog for it. What does not: running them (`lifecycle/vacuum.py`).
"""

from archiver_assets.config import TableConfig
from archiver_assets.source import sql, sql_catalog
from archiver_assets.source.catalog import Connection

_MAINTAIN_VERSION = 170_000


def missing_right(connection: Connection, config: TableConfig, oid: int) -> str | None:
    """Return what is to be granted so that the role may VACUUM and ANALYZE the table; None if it may."""
    knows_maintain = connection.info.server_version >= _MAINTAIN_VERSION
    statements = [sql_catalog.OWNS, *([sql_catalog.MAINTAINS] if knows_maintain else [])]
    rows = [connection.execute(statement, [oid]).fetchone() for statement in statements]
    if any(row and row["allowed"] for row in rows):
        return None
    role, table = connection.info.user, sql.Relation(config.schema_name, config.name).identifier.as_string()
    if knows_maintain:
        return f"the role {role} has no right to it: GRANT MAINTAIN ON {table} TO {sql.quoted(role)}"
    return f"the role {role} has no right to it: before PostgreSQL 17 only a member of the owner of {table} has"
