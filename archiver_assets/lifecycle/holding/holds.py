"""Legal holds: which of them are in force on a table now.

What belongs here: reading holds from the config, the bucket and a table, and failing closed. What does not: the form of each
place (`store/hold_objects.py`, `source/hold_rows.py`), and what a purge does with the rows that are held.

A hold that cannot be read or is not valid raises HoldsUnreadable, even if it may be about another table: that cannot be known.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Literal

from pydantic import ValidationError

from archiver_assets.config import Hold, HoldsTable, LegalHolds, TableConfig
from archiver_assets.errors import ArchiverError, HoldsUnreadable
from archiver_assets.partition import Partition
from archiver_assets.source.hold_rows import read_holds_table
from archiver_assets.source.session import Source
from archiver_assets.store.hold_objects import Seen, parse_json, read_hold_objects, why_invalid
from archiver_assets.store.objects import ObjectStore

_OPEN_ENDS = {("start_date", "-infinity"), ("expiration_date", "infinity")}


@dataclass(frozen=True)
class PlacedHold:
    """A hold and its place; `archiver hold remove` removes holds only from the bucket."""

    hold: Hold
    place: Literal["config", "bucket", "table"]


@dataclass(frozen=True)
class HoldPlaces:
    """Where holds are kept. `source` is the database of the table of holds, where the config names one. Remembers objects it has read."""

    config: LegalHolds
    source: Source | None
    store: ObjectStore
    prefix: str
    seen: Seen = field(default_factory=dict, repr=False, compare=False)

    def in_force(self, table: TableConfig, now: datetime) -> tuple[Hold, ...]:
        """Read all places again, and return the holds on a table that are in force at `now`, the clock of its database.

        Raises HoldsUnreadable.
        """
        return tuple(hold for hold in self.on(table) if in_force(hold, now, table.timezone))

    def on(self, table: TableConfig) -> tuple[Hold, ...]:
        """Read all places again, and return the holds on a table, whether they have begun, or ended, or not. Raises HoldsUnreadable."""
        return tuple(placed.hold for placed in self.everywhere() if placed.hold.names(table.schema_name, table.name))

    def everywhere(self) -> tuple["PlacedHold", ...]:
        """Read all places again, and return every hold there is, in force or not. Raises HoldsUnreadable."""
        return (
            *(PlacedHold(hold, "config") for hold in self.config.holds),
            *(PlacedHold(hold, "bucket") for hold in self._read("objects", self._objects)),
            *(PlacedHold(hold, "table") for hold in self._read("table", self._rows)),
        )

    def _objects(self) -> Iterator[Hold]:
        return read_hold_objects(self.store, self.prefix, self.seen)

    def _rows(self) -> Iterator[Hold]:
        table = self.config.table
        if table is None:
            return
        if self.source is None:
            message = f"expected a connection to the database of the table of holds {table.name}, found none"
            raise HoldsUnreadable(message, hint="report this as a bug; every row of every table is held")
        with self.source.connect() as connection:
            rows = read_holds_table(connection, table)
        for number, row in enumerate(rows, start=1):
            yield _hold(table, number, row)

    def _read(self, place: str, read: Callable[[], Iterator[Hold]]) -> list[Hold]:
        try:
            return list(read())
        except HoldsUnreadable:
            raise
        except ArchiverError as error:
            message = f"expected to read the legal holds ({place}), found: {error.message}"
            raise HoldsUnreadable(message, hint=f"{error.hint}; until holds can be read, every row of every table is held") from error


def _hold(table: HoldsTable, number: int, row: dict[str, str | None]) -> Hold:
    place = f"row {number} of {table.schema_name}.{table.name}"
    given = {name: value for name, value in row.items() if value is not None and (name, value) not in _OPEN_ENDS}
    try:
        conditions = parse_json(given.pop("conditions", "null"))
        # A list, or what the model will refuse. JSON's null is what NULL is: no conditions.
        return Hold.model_validate({"id": place, **given, "conditions": () if conditions is None else conditions})
    except (ValueError, RecursionError) as error:
        found = why_invalid(error) if isinstance(error, ValidationError) else f"conditions that are not JSON: {error}"
        message = f"expected a legal hold in {place} in the database {table.database} (id {given.get('id')!r}), found: {found}"
        hint = "correct the row, or delete it if it is not a hold; until then every row of every table is held"
        raise HoldsUnreadable(message, hint=hint) from error


def in_force(hold: Hold, now: datetime, timezone: str) -> bool:
    """Tell whether a hold has begun and has not ended at `now` (aware); days are whole days of `timezone`."""
    begun = hold.start_date is None or _bounds(hold.start_date, timezone)[0] <= now
    ended = hold.expiration_date is not None and _bounds(hold.expiration_date, timezone)[1] <= now
    return begun and not ended


def _bounds(value: date, timezone: str) -> tuple[datetime, datetime]:
    """Return the first instant of a day or time, and the first after it. The first and the last year of the calendar stand for ever."""
    if value.year == date.min.year:
        return datetime.min.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)
    if value.year == date.max.year:
        return datetime.max.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    if not isinstance(value, datetime):
        day = Partition(value, timezone)
        return day.start, day.end
    if value.tzinfo:
        return value, value
    # Of a time that a clock change repeats, the first one begins a hold and the second one ends it.
    local = value.replace(tzinfo=Partition(value.date(), timezone).zone)
    return local.astimezone(UTC), local.replace(fold=1).astimezone(UTC)
