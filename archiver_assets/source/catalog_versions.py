"""Whether a table is still as its facts say, asked of the versions of the catalog's rows: for a fifth of what reading the facts takes.

What belongs here: remembering these versions, and comparing. What does not: which rows they are of (`sql_catalog_versions.py`), the facts
(`catalog.py`), and what follows from a change (`deleting.py`).

A purge looks at the table under the lock of every batch, and mostly nothing has changed. What has is never judged here: then the facts
are read and compared, as they are at first.
"""

from dataclasses import dataclass, field

from psycopg import sql as composed

from archiver_assets.config import TableConfig
from archiver_assets.source import sql_catalog_versions
from archiver_assets.source.catalog import Connection, Table, read_facts


@dataclass
class Footprint:
    """What the catalog's rows were when the facts were last found to be those of the table; nothing at first."""

    _statement: composed.SQL | None = field(default=None, repr=False)
    _versions: str = field(default="", repr=False)

    def is_unchanged(self, connection: Connection) -> bool:
        """Tell whether all rows are still the same, as a statement of the caller's transaction sees them."""
        return self._statement is not None and _versions(connection, self._statement) == self._versions

    def proves(self, connection: Connection, config: TableConfig, table: Table) -> bool:
        """Tell whether the table has the facts that `table` has, and remember the rows that they are made of if so.

        What changes meanwhile is remembered with its new rows by nobody: the facts are read before and after, and so are the roots. A
        change that is undone in between leaves other rows than those that were seen of it.
        """
        self._statement = None
        if read_facts(connection, config) != table.facts:
            return False
        roots = _roots(connection, table)
        statement = sql_catalog_versions.versions(roots)
        found = _versions(connection, statement)
        if read_facts(connection, config) != table.facts:
            return False
        if _roots(connection, table) == roots:
            self._statement, self._versions = statement, found
        return True


def _roots(connection: Connection, table: Table) -> dict[str, str]:
    return dict(connection.execute(sql_catalog_versions.ROOTS, [table.oid]).fetchall()[0])


def _versions(connection: Connection, statement: composed.SQL) -> str:
    return "".join(row["versions"] for row in connection.execute(statement, prepare=True))
