"""Progress of a verb in the log: counts while it processes rows or bytes, and regular signs of life while it does not.

What belongs here: counting, deciding when a line is due, and its text. What does not: any step of the protocol, and the log format.

A line is due every 9 seconds, so that even on a busy machine at most 10 seconds pass between two lines. Counting checks the clock once per
batch. During long statements and store requests, a separate thread of the verb logs instead.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Literal, Self

from structlog.contextvars import bound_contextvars

from archiver_assets.threads import END_SECONDS

log = logging.getLogger("archiver")

Unit = Literal["rows", "bytes"]
Clock = Callable[[], float]

EVERY: Final = 9.0
"""Seconds between two log lines."""


def unwatched(_progress: "Progress") -> None:
    """Do nothing: the default for `watch`, where only the log shows progress."""


@dataclass
class Activity:
    """One call of a verb: what it is counting, the step it reached last, and when it last logged a line."""

    what: str
    clock: Clock = time.monotonic
    every: float = EVERY
    reached: str = "begun"
    counting: "Progress | None" = None
    started: float = field(init=False)
    _said: float = field(init=False)
    _context: Context = field(init=False, repr=False)
    _turn: threading.RLock = field(default_factory=threading.RLock, init=False, repr=False)

    def __post_init__(self) -> None:
        """Start the clock."""
        self.started = self._said = self.clock()
        self._context = copy_context()

    def note(self, reached: str | None = None) -> None:
        """Record the step reached, and the caller's context, whose log fields later lines carry."""
        self.reached = reached or self.reached
        self._context = copy_context()

    def has_said(self) -> None:
        """Record that a line was just logged."""
        self._said = self.clock()

    def due_in(self) -> float:
        """Return the number of seconds until the next line is due, at least 0."""
        return max(self._said + self.every - self.clock(), 0.0)

    def beat(self) -> None:
        """Log that the verb is still at work, if a line is due. Called from a separate thread."""
        with self._turn:
            if self.due_in() > 0:
                return
            self.has_said()
            counting, reached = self.counting, self.reached
            if counting is not None:
                self._context.run(counting.say, reached)
            else:
                seconds = self.clock() - self.started
                facts = {"elapsed_seconds": round(seconds, 3), "reached": reached}
                self._context.run(log.info, "%s: at work for %.0f s, last reached: %s", self.what, seconds, reached, extra=facts)


_activity: ContextVar[Activity | None] = ContextVar("activity", default=None)


def note(reached: str) -> None:
    """Record the step that the verb running in this context has reached."""
    activity = _activity.get()
    if activity is not None:
        activity.note(reached)


@contextmanager
def at_work(what: str, step: str, **facts: str) -> Iterator[Activity]:
    """Add the `facts` and the `step` to every log line of the block, and log its progress every 9 seconds.

    A nested block joins the outer one and yields its activity.
    """
    outer = _activity.get()
    if outer is not None:
        yield outer
        return
    with bound_contextvars(**{"step": step, **facts}):
        activity = Activity(what, every=EVERY)
        token = _activity.set(activity)
        try:
            with beating(activity):
                yield activity
        finally:
            _activity.reset(token)


@contextmanager
def of_generation(number: int) -> Iterator[None]:
    """Add the number of the generation to every log line of the block, including those of the progress thread."""
    activity = _activity.get()
    try:
        with bound_contextvars(generation=number):
            if activity is not None:
                activity.note()
            yield
    finally:
        if activity is not None:
            activity.note()


@contextmanager
def beating(activity: Activity) -> Iterator[None]:
    """Call `beat` from a separate thread whenever it is due, until the block ends."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(activity.due_in()):
            activity.beat()

    thread = threading.Thread(target=beat, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(END_SECONDS)  # the thread may hang in Dagster's storage, which also receives the line


@dataclass(eq=False)
class Progress:
    """Counts the rows or bytes of a step, calls `watch`, and logs progress at least every 9 seconds and at the end of the step.

    Each line gives both rows and bytes. `beside` is the total of the unit that is not counted; its current value is estimated pro rata.
    Without `beside`, the value of that unit is `others`. Use as a context manager that spans the step.
    """

    what: str
    total: int
    monotonic: Clock
    unit: Unit = "rows"
    watch: Callable[["Progress"], None] = unwatched
    beside: int | None = None
    done: int = 0
    others: int = 0
    started: float = field(init=False)
    _logged: float = field(init=False)
    _outer: "Progress | None" = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        """Start the clock."""
        self.started = self._logged = self.monotonic()
        self.watch(self)

    def __enter__(self) -> Self:
        """Become what the verb is counting."""
        activity = _activity.get()
        if activity is not None:
            activity.note()
            activity.counting, self._outer = self, activity.counting
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Log the final counts."""
        activity = _activity.get()
        if activity is not None:
            activity.counting = self._outer
            activity.note()
            activity.has_said()
        ended, seconds = "stopped" if error is not None else "done", self.seconds
        line = f"{self.what}: {ended} after {seconds:.1f} s, {self._counted()}, {self.rate:,.0f} {self.unit}/s"
        log.info("%s", line, extra={**self.facts(), "eta_seconds": 0.0 if error is None else None})

    @property
    def seconds(self) -> float:
        """The seconds since the start."""
        return self.monotonic() - self.started

    @property
    def rate(self) -> float:
        """The mean number of units per second so far."""
        return self.done / seconds if (seconds := self.seconds) > 0 else 0.0

    def add(self, number: int) -> None:
        """Add `number` units to the count, and log a line if one is due."""
        self.done += number
        self.watch(self)
        if self.monotonic() - self._logged >= EVERY:
            activity = _activity.get()
            if activity is not None:
                activity.has_said()
            self.say()

    def say(self, reached: str | None = None) -> None:
        """Log a line with the counts, the rate and the time left, and `reached` if given."""
        self._logged = self.monotonic()
        facts = self.facts()
        left = "time left unknown" if facts["eta_seconds"] is None else f"{facts['eta_seconds']:.0f} s left"
        line = f"{self.what}: {self._counted()}, {self.rate:,.0f} {self.unit}/s, {left}"
        if reached is not None:
            line += f", last reached: {reached}"
            facts["reached"] = reached
        log.info("%s", line, extra=facts)

    def facts(self) -> dict[str, object]:
        """Return the numbers by their field names in the log; None if unknown."""
        seconds, done, other = self.seconds, self.done, self._other()
        eta = max(self.total - done, 0) * seconds / done if done and seconds > 0 else None
        totals = (self.total, self.beside) if self.unit == "rows" else (self.beside, self.total)
        rows, size = (done, other) if self.unit == "rows" else (other, done)
        return {
            "rows": rows,
            "rows_total": totals[0],
            "bytes": size,
            "bytes_total": totals[1],
            "rows_per_second": _per(rows, seconds),
            "bytes_per_second": _per(size, seconds),
            "eta_seconds": None if eta is None else round(eta, 3),
            "elapsed_seconds": round(seconds, 3),
        }

    def _other(self) -> int:
        if self.beside is None:
            return self.others
        return min(self.beside * self.done // self.total, self.beside) if self.total else 0

    def _counted(self) -> str:
        other = f"{self._other():,} {'bytes' if self.unit == 'rows' else 'rows'}"
        return f"{self.done:,} of {self.total:,} {self.unit}, {other}"


def _per(number: int, seconds: float) -> float:
    return round(number / seconds, 1) if seconds > 0 else 0.0
