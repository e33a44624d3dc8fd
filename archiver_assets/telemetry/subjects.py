"""Which table or database the figures of a run, an asset or a check belong to.

What belongs here: from Dagster's names to those of databases and tables, with or without a config. What does not: any figure.

Without a config a table has the names in its assets' keys, in which `_` stands for each character that Dagster does not allow.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import dagster as dg

from archiver_assets.config import Config
from archiver_assets.config.naming import dagster_name
from archiver_assets.telemetry.runs import DATABASE_TAG, TABLE_TAG

STEPS: Final = ("archive", "purge", "restore")
"""The last parts of the keys of a table's assets."""
CHECKS: Final = ("preflight", "backlog", "row_counts")

_TABLE_PARTS: Final = 3


@dataclass(frozen=True, order=True)
class Subject:
    """A table; with empty names, what several tables share: a database, or nothing at all."""

    database: str = ""
    schema: str = ""
    table: str = ""


class Subjects:
    """The tables of a config and no others, or without a config all that the storage speaks of."""

    def __init__(self, config: Config | None) -> None:
        """Read the names of a config."""
        tables = [table for _, table in config.tables()] if config else []
        self._by_path: dict[tuple[str, ...], Subject] = {
            table.asset_path: Subject(table.database, table.schema_name, table.name) for table in tables
        }
        self._by_label = {table.label: self._by_path[table.asset_path] for table in tables}
        self._databases: Mapping[str, Subject] = {table.database: Subject(table.database) for table in tables}
        self._open = config is None

    @property
    def tables(self) -> Iterator[Subject]:
        """The tables of the config."""
        return iter(self._by_path.values())

    @property
    def shared(self) -> Iterator[Subject]:
        """What runs on several tables of the config are of: each database, and with several databases nothing in particular."""
        yield from self._databases.values()
        if len(self._databases) > 1:
            yield Subject()

    def of_step(self, key: dg.AssetKey) -> Subject | None:
        """Return the table whose archive, purge or restore an asset is; None if it is none of ours."""
        table, last = tuple(key.path[:_TABLE_PARTS]), key.path[_TABLE_PARTS:]
        return self._named(table) if len(last) == 1 and last[0] in STEPS else None

    def of_check(self, key: dg.AssetCheckKey) -> Subject | None:
        """Return the table that a check is of; None if it is none of ours."""
        return self._named(tuple(key.asset_key.path[:_TABLE_PARTS])) if key.name in CHECKS else None

    def of_run(self, run: dg.DagsterRun) -> Subject | None:
        """Return the table that a run works on, or the database of its tables, or nothing in particular; None if it is none of ours."""
        steps = {self.of_step(key) for key in run.asset_selection or ()}
        checks = {self.of_check(key) for key in run.asset_check_selection or ()}
        found = {each for each in steps | checks if each} or set(self._tagged(run.tags))
        databases = {each.database for each in found}
        if not found:
            return None
        return next(iter(found)) if len(found) == 1 else Subject(*databases) if len(databases) == 1 else Subject()

    def _named(self, path: tuple[str, ...]) -> Subject | None:
        if self._open:
            return Subject(*path) if len(path) == _TABLE_PARTS else None
        return self._by_path.get(path)

    def _tagged(self, tags: Mapping[str, str]) -> Iterator[Subject]:
        """Yield what the tags of a run without a selection name, which is done in true names."""
        label, database = tags.get(TABLE_TAG, ""), tags.get(DATABASE_TAG, "")
        if not self._open:
            found = self._by_label.get(label) or self._databases.get(database)
        elif label.count("/") == _TABLE_PARTS - 1:
            found = Subject(*(dagster_name(part) for part in label.split("/")))
        else:
            found = Subject(dagster_name(database)) if database else None
        if found:
            yield found
