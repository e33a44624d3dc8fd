"""Whether a table still has its known facts, by the versions of catalog rows: a fifth of the cost of reading the facts again.

What belongs here: recording these versions and comparing them. What does not: which rows they belong to (`sql_catalog_versions.py`), the
facts (`catalog.py`), and what follows from a change (`deleting.py`).

A purge checks the table under the lock of every batch, and usually nothing has changed. When a version has changed, the facts are read and
compared, as they are the first time.
"""

from dataclasses import dataclass, field

from psycopg import sql as composed

from archiver_assets.config import TableConfig
from archiver_assets.source import sql_catalog_versions
from archiver_assets.source.catalog import Connection, Table, read_facts


@dataclass
class Footprint:
    """The versions of the catalog rows when the table's facts were last confirmed; empty at first."""

    _statement: composed.SQL | None = field(default=None, repr=False)
    _versions: str = field(default="", repr=False)

    def is_unchanged(self, connection: Connection) -> bool:
        """Return whether all these rows have the same versions, as a statement of the caller's transaction sees them."""
        return self._statement is not None and _versions(connection, self._statement) == self._versions

    def proves(self, connection: Connection, config: TableConfig, table: Table) -> bool:
        """Return whether the table has the facts in `table`; if so, record the versions of the rows that these facts are read from.

        Facts and roots are read before and after the versions, so that the versions of a concurrent change are never taken for those of
        `table`. A change that is undone in between leaves versions other than those recorded.
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
