"""One tick of the notifications: read what is new, send the targets what is due, and report what was done.

What belongs here: the order of these steps, their limits, and the treatment of a target that cannot be reached. What does not: Dagster's
sensor.

The state that a tick returns becomes the cursor after every message was sent. If a tick dies before that, the next one sends the same
again: at least once, and never lost. Messages are made from the state when they are sent, so that nothing queues for a target that cannot
be reached: the next message that arrives covers everything. Attempts become rarer, and after a day the message is dropped.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cronsim import CronSim
from pydantic import ValidationError

from archiver_assets.config import Notifications, NotificationTarget
from archiver_assets.telemetry.delivery import Delivery
from archiver_assets.telemetry.events import EventLog
from archiver_assets.telemetry.incidents import Incident, State, TargetState
from archiver_assets.telemetry.log import SETTLED_AFTER
from archiver_assets.telemetry.messages import Message, combined_message, digest_message, incident_message

READING_SECONDS: Final = 15.0
SENDING_SECONDS: Final = 20.0
"""Together with one more page and one more message they end a tick before the 60 s that Dagster gives it."""
SINGLE_MESSAGES: Final = 5
"""More incidents than these at once are one message to a target."""
LONGEST_PAUSE: Final = 3600.0
GIVEN_UP_AFTER: Final = 86_400.0

_FIRST_PAUSE: Final = 60.0


@dataclass(frozen=True)
class Tick:
    """The cursor after a tick, and what it did, in words that hold no secret."""

    cursor: str
    said: str


@dataclass(frozen=True)
class Notifier:
    """Tells the targets of a config what an event log holds. `clock` gives seconds of the epoch, `stopwatch` measures the tick itself."""

    notifications: Notifications
    log: EventLog
    delivery: Delivery
    clock: Callable[[], float] = time.time
    stopwatch: Callable[[], float] = time.monotonic

    def tick(self, cursor: str | None) -> Tick:
        """Take in what is new after `cursor`, and send what is due. Without a cursor the log's past is no news."""
        now = self.clock()
        state = self._state(cursor)
        state.settle(self.notifications.targets, now)
        self._take_in(state, now)
        said = list(self._tell_all(state, now))
        state.settle(self.notifications.targets, now)
        unresolved = sum(1 for _ in state.open_incidents)
        return Tick(state.model_dump_json(exclude_defaults=True), "; ".join([*said, f"{unresolved} kinds of failures are open"]))

    def _state(self, cursor: str | None) -> State:
        end = self.log.end()
        try:
            state = State.model_validate_json(cursor or "")
        except ValidationError:  # none yet, or one of another version: what it knew of is told again when it fails again
            return State(position=end)
        # The log was wiped: its ids begin again.
        return State(position=end) if state.position > end else state

    def _take_in(self, state: State, now: float) -> None:
        end, started = self.log.end(), self.stopwatch()
        more = True
        while more and self.stopwatch() - started < READING_SECONDS:
            page = self.log.after(state.position, now)
            for event in page.events:
                state.take(event, self.notifications.targets)
            state.position, more = page.position, page.more
        if not more and now - state.seen_at > 2 * SETTLED_AFTER:
            # Nothing of ours is left up to the end that the last tick saw: the next read need not begin before it.
            state.position, state.seen, state.seen_at = max(state.position, state.seen), end, now

    def _tell_all(self, state: State, now: float) -> Iterator[str]:
        started = self.stopwatch()
        # Those that could be reached last time come first, so that the others take no time from them.
        for target in sorted(self.notifications.targets, key=lambda each: state.targets[each.name].attempts):
            ours = state.targets[target.name]
            if now < ours.next_try:
                yield f"target {target.name}: {ours.attempts} attempts failed ({ours.problem}), the next at {_clock_time(ours.next_try)}"
                continue
            for message, sent in self._due(state, target, now):
                if self.stopwatch() - started >= SENDING_SECONDS:
                    yield f"target {target.name}: the rest follows in the next tick"
                    break
                problem = self.delivery.send(target, message)
                yield _after(target, ours, problem, now)
                if problem is None or _gives_up(ours, now):
                    sent()
                if problem is not None:
                    break

    def _due(self, state: State, target: NotificationTarget, now: float) -> Iterator[tuple[Message, Callable[[], None]]]:
        """Yield each message that is due, with what to call once the target needs it no more."""
        incidents = state.due(target, now)
        if len(incidents) > SINGLE_MESSAGES:
            yield combined_message(incidents, self.notifications), lambda: _tell(incidents, target, now)
        else:
            for incident in incidents:
                yield incident_message(incident, target, self.notifications), lambda told=(incident,): _tell(told, target, now)  # type: ignore[misc]
        ours = state.targets[target.name]
        if target.digest and _cron_after(target.digest, ours.digest_since) <= now:
            unresolved = [each for each in state.open_incidents if target.wants(each.database)]
            yield digest_message(ours.totals, ours.digest_since, unresolved), lambda: _begin_digest(ours, now)


def _tell(incidents: list[Incident], target: NotificationTarget, now: float) -> None:
    for incident in incidents:
        incident.tell(target, now)


def _begin_digest(ours: TargetState, now: float) -> None:
    ours.digest_since, ours.totals = now, {}


def _after(target: NotificationTarget, ours: TargetState, problem: str | None, now: float) -> str:
    """Note how sending went, and return it in words."""
    if problem is None:
        ours.attempts, ours.failing_since, ours.next_try, ours.problem = 0, 0.0, 0.0, ""
        return f"target {target.name}: sent"
    ours.failing_since = ours.failing_since or now
    ours.attempts, ours.problem = ours.attempts + 1, problem
    ours.next_try = now + min(_FIRST_PAUSE * 2 ** (ours.attempts - 1), LONGEST_PAUSE)
    end = "; given up after a day, this message is lost" if _gives_up(ours, now) else f", the next attempt at {_clock_time(ours.next_try)}"
    return f"target {target.name}: not sent, {problem}{end}"


def _gives_up(ours: TargetState, now: float) -> bool:
    return ours.attempts > 0 and now - ours.failing_since >= GIVEN_UP_AFTER


def _cron_after(cron: str, at: float) -> float:
    return next(CronSim(cron, datetime.fromtimestamp(at, UTC))).timestamp()


def _clock_time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M UTC")
