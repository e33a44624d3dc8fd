"""The names of a table in Dagster.

What belongs here: pure functions from true names to Dagster's names. What does not: Dagster, and object keys, which have the true names.
Dagster allows `[A-Za-z0-9_]` in the names of ops, schedules and groups
(https://docs.dagster.io/api/dagster/assets, `group_name`); it joins the parts of an asset's key with `__` to name the asset's op.
"""

import re
from dataclasses import dataclass

_NOT_ALLOWED = re.compile(r"[^A-Za-z0-9_]")


def dagster_name(part: str) -> str:
    """Replace every character of `part` that Dagster does not allow in a name by `_`, one for one."""
    return _NOT_ALLOWED.sub("_", part)


def checks_schedule_name(label: str) -> str:
    """Return the name of the schedule that evaluates the checks of all tables of a database: `D__checks__schedule`."""
    return f"{dagster_name(label)}__checks__schedule"


@dataclass(frozen=True)
class TableName:
    """The true names of a table: the label of its database, its schema, and its own."""

    database: str
    schema: str
    table: str

    @property
    def label(self) -> str:
        """`D/S/T`, of the true names: what messages, run tags and reports call the table."""
        return f"{self.database}/{self.schema}/{self.table}"

    @property
    def asset_path(self) -> tuple[str, str, str]:
        """The key of the source table's asset, `[D, S, T]`, in Dagster's characters."""
        return (dagster_name(self.database), dagster_name(self.schema), dagster_name(self.table))

    @property
    def dagster_name(self) -> str:
        """`D__S__T`, in Dagster's characters: what names of ops and schedules begin with."""
        return "__".join(self.asset_path)

    @property
    def all_names(self) -> frozenset[str]:
        """Every name that is made for the table and has to be its own alone."""
        joined = (f"{self.dagster_name}__{suffix}" for suffix in ("archive", "purge", "restore", "schedule"))
        return frozenset({self.label, self.dagster_name, *joined})
