"""What every verb is given: one partition of one table, and the means to work on it.

What belongs here: the frozen bundle of those means, the names of the steps, and progress lines. What does not: any step of the protocol.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Literal

from archiver_assets.config import Compliance, Encryption, LegalHolds, TableConfig
from archiver_assets.lifecycle.holds import HoldPlaces
from archiver_assets.partition import Partition
from archiver_assets.source.session import Source
from archiver_assets.store.keys import PartitionKeys, TableKeys
from archiver_assets.store.objects import ObjectStore

log = logging.getLogger("archiver")

Unit = Literal["rows", "bytes"]


class Step(StrEnum):
    """The points between which a crash can fall, in the order in which a run passes them; `BATCH_...` ones come again and again."""

    LOCKED = "locked"
    SNAPSHOT_TAKEN = "snapshot taken"
    BATCH_STREAMED = "batch streamed"
    OBJECT_ENCODED = "object encoded"
    OBJECT_UPLOADED = "object uploaded"
    WAL_FLUSHED = "wal flushed"
    MANIFEST_CREATED = "manifest created"
    READ_BACK = "read back"
    REJECTED = "rejected"
    PURGE_MARKED = "purge marked"
    LEAF_DROPPED = "leaf dropped"
    BATCH_DELETED = "batch deleted"
    RECEIPT_WRITTEN = "receipt written"
    ROWS_LOADED = "rows loaded"
    ROWS_RESTORED = "rows restored"
    UNLOCKED = "unlocked"


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _pass_by(step: Step) -> None:
    log.debug("reached: %s", step)


def unwatched(_progress: "Progress") -> None:
    """Nobody looks: the log has a line now and then."""


@dataclass(frozen=True)
class Task:
    """One partition of one table.

    `prefix` is what all keys begin with, empty or ending in a slash. `clock` gives aware times and stamps documents only: expiry goes by
    the clock of the database. `legal_holds` are those of the config, and `holds_source` is the database of their table, if it names one.
    `watch` is told of a step that counts, when it begins and whenever it gets on.
    """

    table: TableConfig
    partition: Partition
    source: Source
    store: ObjectStore
    run_id: str
    prefix: str = ""
    legal_holds: LegalHolds = field(default_factory=LegalHolds)
    holds_source: Source | None = None
    compliance: Compliance = field(default_factory=Compliance)
    encryption: Encryption = "none"
    clock: Callable[[], datetime] = _utc_now
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic
    reached: Callable[[Step], None] = _pass_by
    watch: Callable[["Progress"], None] = unwatched

    @property
    def keys(self) -> PartitionKeys:
        """The keys of the partition's objects."""
        return self.table_keys.partition(self.partition.key)

    @property
    def table_keys(self) -> TableKeys:
        """The keys of the table's objects that are of no partition."""
        table = self.table
        return TableKeys.of(prefix=self.prefix, database=table.database, schema=table.schema_name, table=table.name)

    def hold_places(self) -> HoldPlaces:
        """Return where holds are kept."""
        return HoldPlaces(self.legal_holds, self.holds_source, self.store, self.prefix)

    @property
    def label(self) -> str:
        """The partition in messages: `D/S/T 2026-08-01`."""
        return f"{self.table.label} {self.partition.key}"

    def progress(self, step: str, total: int, unit: Unit = "rows") -> "Progress":
        """Begin to count the rows, or the bytes, of a step."""
        return Progress(f"{step} {self.label}", total, self.monotonic, unit, self.watch)


@dataclass(eq=False)
class Progress:
    """Counts rows or bytes, tells `watch`, and logs a line with their number, rate and time left at most every 10 seconds."""

    what: str
    total: int
    monotonic: Callable[[], float]
    unit: Unit = "rows"
    watch: Callable[["Progress"], None] = unwatched
    done: int = 0
    started: float = field(init=False)
    _logged: float = field(init=False)

    def __post_init__(self) -> None:
        """Start the clock."""
        self.started = self._logged = self.monotonic()
        self.watch(self)

    @property
    def seconds(self) -> float:
        """The time since the start."""
        return self.monotonic() - self.started

    @property
    def rate(self) -> float:
        """The mean so far, a second."""
        return self.done / self.seconds if self.seconds > 0 else 0.0

    def add(self, number: int) -> None:
        """Count so many more."""
        self.done += number
        self.watch(self)
        if self.monotonic() - self._logged >= 10:  # noqa: PLR2004 - seconds, as the docstring says
            self._logged = self.monotonic()
            rate, unit = max(self.rate, 1e-9), self.unit
            left = max(self.total - self.done, 0) / rate
            log.info("%s: %s of %s %s, %.0f %s/s, %.0f s left", self.what, f"{self.done:,}", f"{self.total:,}", unit, rate, unit, left)
