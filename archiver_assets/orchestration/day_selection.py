"""Which of the waiting days a tick requests, and how it reports the others.

What belongs here: decisions, without reading anything. What does not: the database, which knows the days (`lifecycle/backlog.py`), and
Dagster's records of runs (`history.py`).

Days that no run has tried come first, oldest first. A day that was tried and still waits comes after them: at once if its last run made
progress, otherwise after a wait that doubles with each run that made none. One place of each tick is reserved for such days, so that
neither kind can starve the other; if a tick has only one place, the two kinds alternate.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING

from archiver_assets.orchestration.history import Past

if TYPE_CHECKING:
    from archiver_assets.lifecycle.backlog import ExpiredDay

FIRST_WAIT = timedelta(hours=1)
LONGEST_WAIT = timedelta(days=7)
_LOOKED_UP_TOGETHER = 100
_NAMED = 3


@dataclass(frozen=True)
class PutOff:
    """A day whose last runs, `stuck` of them in a row, did not get on with it, and which is not asked for before `until`."""

    day: str
    stuck: int
    until: datetime


@dataclass
class Choice:
    """What a tick decided. `first` and `again` are the days to run, in this order; `complete` says that no day was left unlooked at.

    `done` is the number of days that were left out because the archive has them, of a table that is archived only.
    """

    first: list[str] = field(default_factory=list)
    again: list[str] = field(default_factory=list)
    running: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    put_off: list[PutOff] = field(default_factory=list)
    next_tick: list[str] = field(default_factory=list)
    complete: bool = True
    done: int = 0

    @property
    def chosen(self) -> list[str]:
        """The days to run."""
        return [*self.first, *self.again]

    @property
    def words(self) -> str:
        """The decision in a sentence, such as "3 days expired: 2 running, 1 held"."""
        counts = {
            "requested": len(self.chosen),
            "running": len(self.running),
            "held": len(self.held),
            "put off": len(self.put_off),
            "left to the next tick": len(self.next_tick),
        }
        counted = [f"{count} {what}" for what, count in counts.items() if count]
        total = sum(counts.values())
        if not total:
            return f"no expired day has rows to archive; {self.done} are archived already" if self.done else "no expired day has rows"
        at_least = "" if self.complete else "at least "
        details = [*_named("requested", self.first), *_named("requested again", self.again), *_put_off(self.put_off)]
        return "; ".join([f"{at_least}{total} day{'s' if total > 1 else ''} expired: {', '.join(counted)}", *details])


def wait_after(stuck: int) -> timedelta:
    """Return how long a day waits after so many runs in a row that did not get on with it: 1 hour, 2, 4, …, at most 7 days."""
    return min(FIRST_WAIT * 2 ** (min(stuck, 16) - 1), LONGEST_WAIT) if stuck else timedelta(0)


def choose(
    days: "Iterator[ExpiredDay]",
    *,
    at_most: int,
    now: datetime,
    in_progress: Callable[[Sequence[str]], Collection[str]],
    past_of: Callable[[Sequence[str]], Mapping[str, Past]],
    last_was_a_repetition: Callable[[], bool],
) -> Choice:
    """Choose among the expired days, oldest first, of which are looked at as many as fill the tick, and the rest of their hundred.

    `in_progress` and `past_of` are asked for at most 100 days at a time. `last_was_a_repetition` decides whose turn it is where there is
    only one place.
    """
    choice = Choice()
    untried: list[str] = []
    tried: list[tuple[datetime, str]] = []
    while len(untried) < at_most and (some := list(islice(days, _LOOKED_UP_TOGETHER))):
        choice.complete = len(some) < _LOOKED_UP_TOGETHER
        choice.held += [day.partition.key for day in some if day.held]
        waiting = [day.partition.key for day in some if not day.held]
        busy = in_progress(waiting) if waiting else ()
        choice.running += [day for day in waiting if day in busy]
        free = [day for day in waiting if day not in busy]
        past = past_of(free) if free else {}
        untried += [day for day in free if day not in past]
        for day, its in past.items():
            if (until := its.ended + wait_after(its.stuck)) > now:
                choice.put_off.append(PutOff(day, its.stuck, until))
            else:
                tried.append((its.ended, day))
    again = [day for _, day in sorted(tried)]
    own = _places_of_again(len(untried), len(again), at_most, last_was_a_repetition)
    choice.again = again[:own]
    choice.first = untried[: at_most - len(choice.again)]
    choice.next_tick = [*untried[len(choice.first) :], *again[own:]]
    return choice


def _places_of_again(untried: int, again: int, at_most: int, last_was_a_repetition: Callable[[], bool]) -> int:
    left = max(at_most - untried, 0)
    if again == 0 or left > 0:
        return min(again, left)
    return 1 if at_most > 1 or not last_was_a_repetition() else 0


def _named(what: str, days: Sequence[str]) -> list[str]:
    if not days:
        return []
    return [f"{what}: {', '.join(days) if len(days) <= _NAMED else f'{days[0]} to {days[-1]}'}"]


def _put_off(days: Sequence[PutOff]) -> list[str]:
    named = [
        f"{each.day} after {each.stuck} run{'s' if each.stuck > 1 else ''} that failed or left its rows, "
        f"until {each.until.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        for each in days[:_NAMED]
    ]
    more = [f"and {len(days) - _NAMED} more"] if len(days) > _NAMED else []
    return [f"put off: {', '.join([*named, *more])}"] if days else []
