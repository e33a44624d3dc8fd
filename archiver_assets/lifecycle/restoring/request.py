"""The request and the result of a restore.

What belongs here: the user's choices, as named in the launchpad and the command, and the resulting numbers. What does not: restoring
(`restore.py`).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

from archiver_assets.config import TableConfig

if TYPE_CHECKING:  # a code server imports this module, and neither Arrow nor the driver
    from archiver_assets.lifecycle.generations import Generation
    from archiver_assets.source.destination import TargetColumn


class Conflict(StrEnum):
    """How to treat a different row of the target with an archived key."""

    fail = "fail"
    skip = "skip"
    overwrite = "overwrite"


class Drift(StrEnum):
    """How to treat a target of another shape."""

    refuse = "refuse"
    by_name = "by_name"


class Triggers(StrEnum):
    """How to treat the target's triggers on INSERT."""

    refuse = "refuse"
    fire = "fire"
    disable = "disable"


class Versions(StrEnum):
    """Which of the archived versions of a key are restored."""

    latest = "latest"
    all = "all"


@dataclass(frozen=True)
class RestoreRequest:
    """What to restore, and where. `schema_name` None means the archived table's schema, `table_name` None means `{T}_restored` there.

    `columns` are the columns to restore, in addition to the key's; empty means all. Empty `generations` also means all; named ones are
    restored as if there were no others. `versions` "all" keeps every archived version of a key, in a table whose key also has the column
    `_xmin`. `conflict` decides what happens to a different row with an archived key, `drift` whether a table of another shape is refused or
    filled by column name, and `triggers` what triggers on INSERT do. If the target is the archived table itself, `hold_days` is how long
    the rows are held, so that no purge deletes them.
    """

    table_name: str | None = None
    schema_name: str | None = None
    columns: tuple[str, ...] = ()
    versions: Versions = Versions.latest
    generations: tuple[int, ...] = ()
    conflict: Conflict = Conflict.fail
    drift: Drift = Drift.refuse
    triggers: Triggers = Triggers.refuse
    dry_run: bool = False
    hold_days: int = 30

    def target(self, table: TableConfig) -> tuple[str, str]:
        """Return the schema and name of the table into which rows of `table` are restored."""
        return self.schema_name or table.schema_name, self.table_name or f"{table.name}_restored"


@dataclass(frozen=True)
class RestoreTally:
    """Numbers of archived rows: `loaded`; already `present`, byte for byte; `skipped` because of a different row with their key.

    `overwritten` counts the different rows that loaded ones replaced, `superseded` the older versions that were not restored.
    """

    loaded: int = 0
    present: int = 0
    skipped: int = 0
    overwritten: int = 0
    superseded: int = 0

    def __add__(self, other: "RestoreTally") -> "RestoreTally":
        """Add each number."""
        return RestoreTally(**{name: getattr(self, name) + getattr(other, name) for name in RestoreTally.__dataclass_fields__})


@dataclass(frozen=True)
class Restored:
    """What a restore did, or with `dry_run` would do. `target` is the table's quoted name; `drift` has a line for each differing column.

    `hold` is the id of the hold that was placed; `sequences` are those advanced past restored numbers. `newest` is the newest restored
    generation, and `columns` are its restored columns.
    """

    outcome: Literal["restored", "already there", "empty", "dry run"]
    target: str
    generations: tuple[int, ...]
    tally: RestoreTally
    seconds: float
    drift: tuple[str, ...] = ()
    hold: str | None = None
    sequences: tuple[str, ...] = ()
    newest: "Generation | None" = None
    columns: "tuple[TargetColumn, ...]" = ()
