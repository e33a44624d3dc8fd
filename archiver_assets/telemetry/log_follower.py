"""Keeping figures up to date with Dagster's event log: first all of it, in pages, and then only what is new.

What belongs here: positions in the log, the thread that reads it, and whether the figures are current. What does not: counting
(`figures.py`), and serving (`exporter.py`).

A scrape returns the figures in memory and never waits for the storage. Each kind of event has a position of its own, because no figure
depends on the order of events of two kinds.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import dagster as dg
from dagster._core.events.log import EventLogEntry

from archiver_assets.telemetry.figures import KINDS, Figures
from archiver_assets.telemetry.log import OLD_AFTER, SETTLED_AFTER, entries_after, last_id
from archiver_assets.telemetry.subjects import Subjects

PAGE: Final = 500
"""Events of one kind that are read at once, and runs that one query asks for."""
PAUSE: Final = 5.0
"""Seconds between two looks at the log once all of it is read."""
_SHORT_PAUSE: Final = 1.0
"""Seconds between two looks while all that is left to read has not settled."""
SILENT_AFTER: Final = 60.0
"""Seconds without an answer of the storage after which the figures count as old."""

log = logging.getLogger("archiver.metrics")


@dataclass
class _Settling:
    """Which events may be taken: no event with a lower id is still to come.

    Clocks of run pods differ, and an event may wait for the storage before its id is drawn. So an event is settled if its id was there long
    ago by our clock, or if its own time is so long ago that neither explains it.
    """

    sure: int = 0
    seen: int = 0
    seen_at: float = 0.0

    def look(self, end: int, now: float) -> None:
        """Note the highest id of this moment."""
        if now - self.seen_at >= SETTLED_AFTER:
            self.sure, self.seen, self.seen_at = self.seen, end, now

    def __call__(self, number: int, entry: EventLogEntry, now: float) -> bool:
        return number <= self.sure or entry.timestamp <= now - OLD_AFTER


@dataclass
class Keeper:
    """Figures, and how far in the log they are. `clock` gives seconds of the epoch, `stopwatch` measures silence."""

    instance: dg.DagsterInstance
    subjects: Subjects
    page: int = PAGE
    clock: Callable[[], float] = time.time
    stopwatch: Callable[[], float] = time.monotonic
    events_read: int = 0
    last_event_at: float | None = None
    _caught_up: bool = False
    _problem: str = ""
    _end: int = 0
    _first_end: int = 0
    _unsettled: set[dg.DagsterEventType] = field(default_factory=set)
    """The kinds of which an event that was there at the beginning is still to be taken: an exporter before this one may have counted it."""
    _settling: _Settling = field(default_factory=_Settling)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        """Begin at the beginning of the log."""
        self._begin()
        self._answered_at = self.stopwatch()

    @contextmanager
    def figures(self) -> Iterator[Figures]:
        """Give the figures as they are, while nothing is taken in."""
        with self._lock:
            yield self._figures

    @property
    def trouble(self) -> str:
        """What keeps the figures from being those of this moment; empty if nothing does."""
        silence = self.stopwatch() - self._answered_at
        if self._problem:
            return f"Dagster's storage does not answer: {self._problem}"
        if silence > SILENT_AFTER:
            return f"Dagster's storage has not answered for {silence:.0f} s"
        return "" if self._caught_up else f"reading Dagster's event log: {self.events_read:,} events so far"

    @property
    def caught_up(self) -> bool:
        """Whether all that is in the log was read once."""
        return self._caught_up

    def read(self) -> bool:
        """Take in the next page of each kind; return whether there may be more at once. Raises whatever the storage raises."""
        end, now = last_id(self.instance), self.clock()
        if end < self._end:  # the log was wiped, and its ids start again
            log.warning(
                "the event log ends at %s, and ended at %s before: it was wiped, and the figures start again from zero", end, self._end
            )
            self._begin()
        self._end, self._first_end = end, self._first_end or end
        self._settling.look(end, now)
        full = [self._read_kind(kind, now) for kind in KINDS]
        if not any(full) and not self._unsettled and not self._caught_up:
            self._caught_up = True
            log.info("read all of Dagster's event log, %s events of the archiver's", f"{self.events_read:,}")
        self._answered_at, self._problem = self.stopwatch(), ""
        return any(full)

    def read_on(self, stopped: threading.Event) -> None:
        """Read until `stopped`, whatever the storage does."""
        pause = 0.0
        while not stopped.wait(pause):
            try:
                pause = 0.0 if self.read() else PAUSE if self._caught_up else _SHORT_PAUSE
            except Exception as error:  # noqa: BLE001 -- the boundary to whatever storage the instance has: its errors have no common root
                pause, problem = PAUSE, type(error).__name__
                if problem != self._problem:
                    log.warning("Dagster's storage does not answer: %s", problem)
                self._problem = problem

    def _begin(self) -> None:
        with self._lock:
            self._figures = Figures(self.subjects)
            self._positions = dict.fromkeys(KINDS, 0)
            # Within the lock: a scrape that saw new figures as those of a whole log would see counters fall to 0.
            self._caught_up = False
        self._settling, self._end, self._first_end, self._unsettled = _Settling(), 0, 0, set()

    def _read_kind(self, kind: dg.DagsterEventType, now: float) -> bool:
        page = entries_after(self.instance, self._positions[kind], kind, self.page)
        taken: dict[int, EventLogEntry] = {}
        self._unsettled.discard(kind)
        for number, entry in page.items():
            if not self._settling(number, entry, now):
                if number <= self._first_end:
                    self._unsettled.add(kind)
                break
            taken[number] = entry
        records = self._records(self._figures.runs_needed(taken.values()))
        with self._lock:
            for number, entry in taken.items():
                self._positions[kind] = number  # before, so that an event that cannot be taken is neither the end nor counts others twice
                self._figures.take(entry, records)
        if taken:
            self.events_read += len(taken)
            self.last_event_at = max(self.last_event_at or 0.0, *(entry.timestamp for entry in taken.values()))
        return len(taken) == self.page

    def _records(self, run_ids: set[str]) -> Mapping[str, dg.RunRecord]:
        found = self.instance.get_run_records(dg.RunsFilter(run_ids=sorted(run_ids))) if run_ids else ()
        return {record.dagster_run.run_id: record for record in found}
