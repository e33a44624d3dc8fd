"""What is asked of a restore, and what it answers.

What belongs here: the choices a person has, in the words of the launchpad and of the command, and the result in numbers. What does not:
restoring (`restore.py`).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

from archiver_assets.config import TableConfig

if TYPE_CHECKING:  # a code server imports this module, and neither Arrow nor the driver
    from archiver_assets.lifecycle.generations import Generation
    from archiver_assets.source.destination import TargetColumn


class Conflict(StrEnum):
    """What becomes of another row that the target has under an archived key."""

    fail = "fail"
    skip = "skip"
    overwrite = "overwrite"


class Drift(StrEnum):
    """What becomes of a target of another shape."""

    refuse = "refuse"
    by_name = "by_name"


class Triggers(StrEnum):
    """What triggers on INSERT of the target do."""

    refuse = "refuse"
    fire = "fire"
    disable = "disable"


class Versions(StrEnum):
    """Which of the archived versions of a key are restored."""

    latest = "latest"
    all = "all"


@dataclass(frozen=True)
class RestoreRequest:
    """What is restored, and where to. `schema_name` None means the archived table's schema, `table_name` None means `{T}_restored` there.

    `columns` are those restored, the key's always among them, and none means all; so do no `generations`, of which some are restored as if
    there were no others. `versions` "all" keeps every archived version of a key, in a table whose key has the column `_xmin` too.
    `conflict` says what becomes of another row under an archived key, `drift` whether a table of another shape is refused or filled by the
    columns' names, `triggers` what those on INSERT do. `hold_days` is how long the rows are held from the next purge if the target is the
    archived table itself.
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
        """Return the schema and the name of the table that rows of `table` are restored into."""
        return self.schema_name or table.schema_name, self.table_name or f"{table.name}_restored"


@dataclass(frozen=True)
class RestoreTally:
    """What became of archived rows: `loaded`; `present` in the table before, byte for byte; `skipped` for another row of their key.

    `overwritten` counts other rows that gave way to loaded ones, `superseded` older versions that were not restored.
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

    `hold` is the id of the hold that was placed, `sequences` are those that were moved on past restored numbers. `newest` is the newest of
    the restored generations, and `columns` are those restored of it.
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
