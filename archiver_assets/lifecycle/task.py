"""The input of every verb: one partition of one table, and the dependencies needed to work on it.

What belongs here: the frozen bundle of these dependencies, and the names of the steps. What does not: the steps themselves, and their
progress (`progress.py`).
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from archiver_assets.config import Compliance, Encryption, LegalHolds, TableConfig
from archiver_assets.lifecycle.holding.holds import HoldPlaces
from archiver_assets.lifecycle.progress import Progress, Unit, note, unwatched
from archiver_assets.partition import Partition
from archiver_assets.source.session import Source
from archiver_assets.store.keys import PartitionKeys, TableKeys
from archiver_assets.store.objects import ObjectStore

log = logging.getLogger("archiver")


class Step(StrEnum):
    """The points of a run between which a crash can occur, in order; the `BATCH_...` steps repeat."""

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
    note(step)


@dataclass(frozen=True)
class Task:
    """One partition of one table, and the dependencies of a verb.

    All keys begin with `prefix`, which is empty or ends in a slash. `clock` returns aware times, used only as timestamps in documents;
    expiry uses the clock of the database. `legal_holds` are those of the config, and `holds_source` is the database of the hold table, if
    the config names one. `watch` is called when a step begins to count, and each time its count grows.
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
    watch: Callable[[Progress], None] = unwatched

    @property
    def keys(self) -> PartitionKeys:
        """The keys of the partition's objects."""
        return self.table_keys.partition(self.partition.key)

    @property
    def table_keys(self) -> TableKeys:
        """The keys of the table's objects outside any partition's folder."""
        table = self.table
        return TableKeys.of(prefix=self.prefix, database=table.database, schema=table.schema_name, table=table.name)

    def hold_places(self) -> HoldPlaces:
        """Return the places where holds are kept."""
        return HoldPlaces(self.legal_holds, self.holds_source, self.store, self.prefix)

    @property
    def label(self) -> str:
        """The partition's name in messages: `D/S/T 2026-08-01`."""
        return f"{self.table.label} {self.partition.key}"

    def progress(self, step: str, total: int, unit: Unit = "rows", *, beside: int | None = None) -> Progress:
        """Begin to count the rows or bytes of a step; `beside` is the total of the other unit, if known."""
        return Progress(f"{step} {self.label}", total, self.monotonic, unit, self.watch, beside)
