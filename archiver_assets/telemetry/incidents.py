"""Incidents: failures, grouped by database and kind, until everything that failed has succeeded; and what each target was told about them.

What belongs here: the state of the notifications, which is the sensor's cursor, and how an event changes it. What does not: reading events
(`events.py`), the wording (`messages.py`), and sending (`notifier.py`).

The state is bounded: each failed item is kept as a mark of twelve characters. An incident with more items than fit never counts as
recovered.
"""

from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from archiver_assets.config import NotificationTarget
from archiver_assets.telemetry.events import Done, Event, Failed, Item

GROUP_WAIT: Final = 120.0
"""Seconds from the first failure to the first message, so that an outage is one message; and from a recovery to its message."""
FORGOTTEN_AFTER: Final = 30 * 86_400.0
"""Seconds without a failure after which an incident is dropped without a word: its days may never run again."""
MOST_INCIDENTS: Final = 100
MOST_MARKS: Final = 3000
"""Marks of all incidents together: 45 kB of the cursor, which Dagster stores with each tick."""

_TABLE_MARK: Final = 5
_MARK: Final = 12
_TABLES_NAMED: Final = 3


class _State(BaseModel):
    """A part of the cursor."""

    model_config = ConfigDict(extra="forbid")


class Told(_State):
    """What a target was told of an incident last: at that time, of so many failures, and whether it was over."""

    at: float
    failures: int
    closed: bool


class Incident(_State):
    """Failures of one kind in one database, from the first until everything that failed has succeeded (`closed`)."""

    database: str | None
    kind: str
    check: str
    opened: float
    last: float
    failures: int = 0
    marks: list[str] = Field(default_factory=list)
    overflow: bool = False
    tables: list[str] = Field(default_factory=list)
    run_id: str
    text: str
    hint: str
    closed: float | None = None
    told: dict[str, Told] = Field(default_factory=dict)

    def add(self, failed: Failed, *, room: int) -> None:
        """Take a failure in, with a mark if there is room for one more."""
        self.failures += 1
        self.last = failed.at
        self.closed = None
        mark = _mark(failed.item)
        if mark not in self.marks:
            self.overflow = self.overflow or room < 1
            self.marks += [mark] if room >= 1 else []
        if failed.item.table not in self.tables and len(self.tables) < _TABLES_NAMED:
            self.tables.append(failed.item.table)

    def succeed(self, done: Done) -> None:
        """Take a success in; it makes good the failures of the same step of the same table and day."""
        mark = _mark(done.item)
        if self.closed is None and mark in self.marks:
            self.marks.remove(mark)
            if not self.marks and not self.overflow:
                self.closed = done.at

    @property
    def table_count(self) -> int:
        """The number of tables of which something has not succeeded since, at least those named."""
        return max(len({mark[:_TABLE_MARK] for mark in self.marks}), len(self.tables))

    def due(self, target: NotificationTarget, now: float) -> bool:
        """Return whether the target is to be told something of the incident at `now` (seconds of the epoch)."""
        if not target.wants(self.database):
            return False
        told = self.told.get(target.name)
        if told is None:
            return now >= self.opened + GROUP_WAIT
        if self.closed is not None and not told.closed:
            return now >= self.closed + GROUP_WAIT
        return told.failures < self.failures and now >= told.at + target.min_interval_minutes * 60

    def tell(self, target: NotificationTarget, now: float) -> None:
        """Note that the target knows all that there is to know at `now`."""
        self.told[target.name] = Told(at=now, failures=self.failures, closed=self.closed is not None)

    def is_over(self, targets: Sequence[NotificationTarget], now: float) -> bool:
        """Return whether the incident can be forgotten: closed, everybody was told, and a next one would be news."""
        if now - self.last > FORGOTTEN_AFTER:
            return True
        return self.closed is not None and all(self._is_news(target, now) for target in targets if target.wants(self.database))

    def _is_news(self, target: NotificationTarget, now: float) -> bool:
        told = self.told.get(target.name)
        known = told is not None and told.closed and told.failures == self.failures
        return told is not None and known and now >= told.at + target.min_interval_minutes * 60


class Totals(_State):
    """What was done in a database since the last digest."""

    days_archived: int = 0
    rows_archived: int = 0
    bytes_archived: int = 0
    days_purged: int = 0
    rows_purged: int = 0
    failures: int = 0

    def add(self, event: Event) -> None:
        """Count an event."""
        if isinstance(event, Failed):
            self.failures += 1
        elif event.item.step == "archive":
            self.days_archived += 1
            self.rows_archived += event.rows
            self.bytes_archived += event.bytes
        elif event.item.step == "purge":
            self.days_purged += 1
            self.rows_purged += event.rows


class TargetState(_State):
    """What a target has coming: its next digest, and the next try if it could not be reached."""

    digest_since: float
    totals: dict[str, Totals] = Field(default_factory=dict)
    attempts: int = 0
    failing_since: float = 0.0
    next_try: float = 0.0
    problem: str = ""


class State(_State):
    """All that the notifications remember from tick to tick. `position` is the storage id of the last event that was taken in."""

    position: int
    seen: int = 0
    seen_at: float = 0.0
    incidents: list[Incident] = Field(default_factory=list)
    targets: dict[str, TargetState] = Field(default_factory=dict)

    def take(self, event: Event, targets: Sequence[NotificationTarget]) -> None:
        """Take an event in."""
        if isinstance(event, Failed):
            self._incident(event).add(event, room=MOST_MARKS - sum(len(each.marks) for each in self.incidents))
        else:
            for incident in self.incidents:
                incident.succeed(event)
        for target in targets:
            if target.digest and target.wants(event.item.database):
                self.targets[target.name].totals.setdefault(event.item.database or "", Totals()).add(event)

    def settle(self, targets: Sequence[NotificationTarget], now: float) -> None:
        """Make the state that of the configured targets, and forget what is over."""
        known = {target.name for target in targets}
        self.targets = {name: state for name, state in self.targets.items() if name in known}
        for target in targets:
            self.targets.setdefault(target.name, TargetState(digest_since=now))
        for incident in self.incidents:
            incident.told = {name: told for name, told in incident.told.items() if name in known}
        self.incidents = [each for each in self.incidents if not each.is_over(targets, now)][-MOST_INCIDENTS:]

    def due(self, target: NotificationTarget, now: float) -> list[Incident]:
        """Return the incidents that the target is to be told of."""
        return [incident for incident in self.incidents if incident.due(target, now)]

    @property
    def open_incidents(self) -> Iterator[Incident]:
        """The incidents that are not over."""
        return (incident for incident in self.incidents if incident.closed is None)

    def _incident(self, failed: Failed) -> Incident:
        for incident in self.incidents:
            # One that is closed and still remembered is opened again: what comes and goes is no news each time.
            if (incident.database, incident.kind) == (failed.item.database, failed.kind):
                return incident
        made = Incident(
            database=failed.item.database,
            kind=failed.kind,
            check=failed.check,
            opened=failed.at,
            last=failed.at,
            run_id=failed.run_id,
            text=failed.text,
            hint=failed.hint,
        )
        self.incidents.append(made)
        return made


def _mark(item: Item) -> str:
    def digest(text: str, length: int) -> str:
        return sha256(text.encode()).hexdigest()[:length]

    return digest(item.table, _TABLE_MARK) + digest(f"{item.step} {item.partition}", _MARK - _TABLE_MARK)
