"""Which days a tick takes: nobody starves, whatever fails, and the rest is said in words."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archiver_assets.lifecycle.backlog import ExpiredDay
from archiver_assets.orchestration.day_selection import LONGEST_WAIT, Choice, choose, wait_after
from archiver_assets.orchestration.history import Past
from archiver_assets.partition import Partition

NOW = datetime(2026, 8, 1, 2, tzinfo=UTC)
FIRST = date(2024, 1, 1)


def keys(count: int) -> list[str]:
    return [(FIRST + timedelta(days=number)).isoformat() for number in range(count)]


def chosen(days: Sequence[str], *, at_most: int = 10, held: Sequence[str] = (), **known: object) -> Choice:
    values = {"in_progress": (), "past": {}, "repeated": False, **known}
    return choose(
        (ExpiredDay(Partition.from_key(day, "UTC"), day in held) for day in days),
        at_most=at_most,
        now=NOW,
        in_progress=lambda _: values["in_progress"],  # type: ignore[arg-type,return-value] # as given above
        past_of=lambda some: {day: past for day, past in values["past"].items() if day in some},  # type: ignore[attr-defined] # as given
        last_was_a_repetition=lambda: bool(values["repeated"]),
    )


@dataclass
class World:
    """Days with rows, those that fail whenever they are run, and what Dagster remembers of the runs. One more day expires each day."""

    at_most: int
    failing: Callable[[str], bool]
    days: list[str]
    now: datetime = NOW
    runs: list[tuple[datetime, str]] = field(default_factory=list)

    def tick(self) -> None:
        tried = Counter(day for _, day in self.runs)
        ended = {day: at for at, day in self.runs}
        choice = choose(
            (ExpiredDay(Partition.from_key(day, "UTC"), held=False) for day in sorted(self.days)),
            at_most=self.at_most,
            now=self.now,
            in_progress=lambda _: (),
            past_of=lambda some: {day: Past(ended[day], tried[day]) for day in some if day in ended},
            last_was_a_repetition=lambda: bool(self.runs) and tried[self.runs[-1][1]] > 1,
        )
        assert len(choice.chosen) <= self.at_most
        self.runs += [(self.now, day) for day in choice.chosen]
        self.days = [day for day in self.days if day not in choice.chosen or self.failing(day)]
        self.now += timedelta(days=1)

    def longest_gap(self, day: str) -> timedelta:
        times = [*(at for at, each in self.runs if each == day), self.now]
        return max(after - before for before, after in pairwise(times))


@given(at_most=st.integers(1, 4), failing=st.sets(st.integers(0, 29), max_size=3))
@settings(max_examples=30, deadline=None)
def test_failing_days_starve_no_others_and_are_tried_for_ever_at_a_bounded_interval(at_most: int, failing: set[int]) -> None:
    days = keys(30)
    broken = {days[number] for number in failing}
    world = World(at_most, broken.__contains__, days)

    for number in range(160):
        if number < 100 and number % 3 == 0:
            world.days.append((FIRST + timedelta(days=30 + number)).isoformat())
        world.tick()

    assert set(world.days) == broken
    # One place in two, shared by three days at most, is enough for each to come at its own time.
    assert all(world.longest_gap(day) <= LONGEST_WAIT + timedelta(days=2 * len(broken)) for day in broken)


def test_where_everything_fails_a_tick_with_one_place_takes_new_days_and_failed_ones_in_turn() -> None:
    world = World(1, lambda _: True, keys(20))
    for _ in range(20):
        world.tick()

    tried = Counter(day for _, day in world.runs)
    assert len(tried) >= 9
    assert max(tried.values()) >= 2


def test_a_day_waits_twice_as_long_after_each_run_that_did_not_get_on_and_never_longer_than_a_week() -> None:
    hours = [wait_after(stuck) / timedelta(hours=1) for stuck in range(12)]
    assert hours == [0, 1, 2, 4, 8, 16, 32, 64, 128, 168, 168, 168]
    assert wait_after(10_000) == LONGEST_WAIT


@pytest.mark.parametrize(("ago", "again"), [(timedelta(hours=4), True), (timedelta(hours=3, minutes=59), False)])
def test_a_day_that_failed_three_times_comes_again_after_four_hours(ago: timedelta, *, again: bool) -> None:
    choice = chosen(keys(2), past={keys(1)[0]: Past(NOW - ago, 3)})
    assert choice.first == keys(2)[1:]
    assert choice.again == (keys(1) if again else [])


def test_a_day_whose_last_run_got_on_comes_at_once_and_after_the_days_that_no_run_has_tried() -> None:
    choice = chosen(keys(3), past={keys(1)[0]: Past(NOW, 0)})
    assert choice.chosen == [*keys(3)[1:], keys(1)[0]]


def test_days_that_are_due_again_come_in_the_order_of_their_last_runs() -> None:
    one, two, three = keys(3)
    past = {one: Past(NOW - timedelta(hours=30), 1), two: Past(NOW - timedelta(hours=50), 1), three: Past(NOW - timedelta(hours=40), 1)}
    assert chosen([one, two, three], at_most=2, past=past).again == [two, three]


def test_one_place_of_a_full_tick_is_for_a_day_that_is_due_again() -> None:
    choice = chosen(keys(9), at_most=3, past={keys(9)[5]: Past(NOW - timedelta(days=1), 1)})
    assert (choice.first, choice.again) == (keys(2), [keys(9)[5]])


def test_no_more_days_are_looked_at_than_fill_the_tick_and_the_rest_of_their_hundred() -> None:
    days = iter([ExpiredDay(Partition.from_key(day, "UTC"), held=False) for day in keys(500)])
    choice = choose(days, at_most=101, now=NOW, in_progress=lambda _: (), past_of=lambda _: {}, last_was_a_repetition=lambda: False)
    assert next(days).partition.key == keys(201)[200]
    assert choice.words == f"at least 200 days expired: 101 requested, 99 left to the next tick; requested: {keys(1)[0]} to {keys(101)[-1]}"


def test_what_is_not_asked_for_is_said_in_words() -> None:
    one, two, three, four = keys(4)
    assert chosen([]).words == "no expired day has rows"
    assert chosen([one, two, three], in_progress=(one, two), held=[three]).words == "3 days expired: 2 running, 1 held"
    assert chosen([one], held=[one]).words == "1 day expired: 1 held"
    assert chosen([one, two, three, four], past={one: Past(NOW, 2), two: Past(NOW, 0)}, in_progress=(three,), held=[four]).words == (
        "4 days expired: 1 requested, 1 running, 1 held, 1 put off; requested again: 2024-01-02; "
        "put off: 2024-01-01 after 2 runs that failed or left its rows, until 2026-08-01 04:00 UTC"
    )
    assert chosen(keys(9), past={day: Past(NOW, 1) for day in keys(9)}).words.endswith("until 2026-08-01 03:00 UTC, and 6 more")
