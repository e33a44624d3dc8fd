"""Since when an overdue day waits: since it expired, or since rows came back into it."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from archiver_assets.config import TableConfig
from archiver_assets.lifecycle.backlog import Backlog
from archiver_assets.orchestration.backlog_age import Seen, Stalling, find_stalled
from archiver_assets.partition import Partition

NOW = datetime(2026, 8, 1, 8, tzinfo=UTC)
OLD, NEW = date(2024, 3, 5), date(2026, 6, 30)  # NEW expired on 2026-07-31, yesterday


def table(**changes: Any) -> TableConfig:  # noqa: ANN401 - values of any key
    values = {"database": "d", "name": "t", "timestamp_column": "at", "primary_key": ("id",), "retention_days": 30, "max_backlog_days": 7}
    return TableConfig.model_validate({**values, **changes})


def found(days: Sequence[date], before: Seen | None = None, now: datetime = NOW, **changes: Any) -> Stalling:  # noqa: ANN401 - as above
    backlog = Backlog(now, tuple(Partition(day, "UTC") for day in days), 0, 1, 0, 0)
    return find_stalled(backlog, table(**changes), before)


def stalled(*arguments: Any, **changes: Any) -> list[date]:  # noqa: ANN401 - those of `found`
    return [each.day for each in found(*arguments, **changes).stalled]


def test_a_day_is_stalled_from_the_very_end_of_the_grace_on() -> None:
    day = Partition(date(2026, 6, 24), "Europe/Berlin")
    overdue = day.expires_at(30) + timedelta(days=7)
    for now, expected in ((overdue, 1), (overdue - timedelta(microseconds=1), 0)):
        assert len(find_stalled(Backlog(now, (day,), 0, 1, 0, 0), table(timezone="Europe/Berlin"), None).stalled) == expected


def test_a_table_without_waiting_days_or_without_a_limit_is_never_stalled() -> None:
    assert stalled([]) == []
    assert stalled([OLD], max_backlog_days=None) == []


def test_at_the_first_look_every_overdue_day_is_stalled() -> None:
    assert stalled([OLD, NEW]) == [OLD]


def test_rows_that_came_back_into_an_old_day_wait_since_they_were_first_seen() -> None:
    clean = Seen(NOW - timedelta(days=1), stalled=False)
    first = found([OLD, NEW], clean)
    assert (first.stalled, first.back_since) == ((), {str(OLD): NOW})

    for days, expected in ((6, []), (7, [OLD])):
        later = NOW + timedelta(days=days)
        seen = Seen(later - timedelta(hours=1), stalled=False, back_since=first.back_since)
        assert stalled([OLD], seen, later) == expected


def test_rows_that_are_seen_back_every_day_in_days_that_were_purged_in_between_are_not_stalled() -> None:
    seen = Seen(NOW, stalled=False)
    for number in range(1, 30):
        now = NOW + timedelta(days=number)
        days = [OLD] if number % 2 else []
        result = found(days, seen, now)
        assert result.stalled == ()
        seen = Seen(now, bool(result.stalled), result.back_since)


def test_a_day_that_became_overdue_since_the_last_look_is_stalled_although_it_is_new() -> None:
    day = date(2026, 6, 24)
    overdue = Partition(day, "UTC").expires_at(30) + timedelta(days=7)
    assert stalled([day], Seen(overdue - timedelta(hours=1), stalled=False), overdue + timedelta(hours=1)) == [day]


def test_a_table_that_was_stalled_stays_so_until_none_of_its_days_is_overdue() -> None:
    before = Seen(NOW - timedelta(days=1), stalled=True)
    assert stalled([OLD, date(2024, 3, 6)], before) == [OLD, date(2024, 3, 6)]
    assert stalled([NEW], before) == []
