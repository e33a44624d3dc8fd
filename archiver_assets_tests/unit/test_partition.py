"""Days, their bounds and their expiry, in every time zone there is."""

import re
from datetime import UTC, date, datetime, timedelta
from importlib import resources
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from dagster import DailyPartitionsDefinition
from dagster._core.definitions.partitions.context import partition_loading_context
from hypothesis import given
from hypothesis import strategies as st

from archiver_assets.errors import NotExpired
from archiver_assets.partition import Partition, newest_expired, stretches

MICROSECOND = timedelta(microseconds=1)
DAY = timedelta(days=1)
ZONES = sorted(available_timezones())
MISSING_DAYS = {
    ("Pacific/Apia", date(2011, 12, 30)),
    ("Pacific/Fakaofo", date(2011, 12, 30)),
    ("Pacific/Enderbury", date(1994, 12, 31)),
    ("Pacific/Kanton", date(1994, 12, 31)),
    ("Pacific/Kiritimati", date(1994, 12, 31)),
    ("Pacific/Kwajalein", date(1993, 8, 21)),
    ("Kwajalein", date(1993, 8, 21)),
}
"""Days that a zone left out when it crossed the date line: partitions without any instant."""

CLOCK_CHANGES = [
    ("Europe/Berlin", date(2024, 3, 31), 23),
    ("Europe/Berlin", date(2024, 10, 27), 25),
    ("America/New_York", date(2024, 3, 10), 23),
    ("America/New_York", date(2024, 11, 3), 25),
    ("America/Sao_Paulo", date(2017, 10, 15), 23),
    ("America/Sao_Paulo", date(2018, 2, 17), 25),
    ("Africa/Cairo", date(2024, 4, 26), 23),
    ("Africa/Cairo", date(2024, 10, 31), 25),
    ("Asia/Beirut", date(2022, 3, 27), 23),
    ("Asia/Beirut", date(2022, 10, 29), 25),
    ("America/Havana", date(2023, 3, 12), 23),
    ("America/Havana", date(2023, 11, 5), 25),
    ("Australia/Lord_Howe", date(2024, 4, 7), 24.5),
    ("Pacific/Apia", date(2011, 12, 29), 24),
    ("Pacific/Apia", date(2011, 12, 30), 0),
    ("Pacific/Apia", date(2011, 12, 31), 24),
]

TWENTY_DAYS_APART = [datetime(1970, 1, 3, 12, tzinfo=UTC) + number * 20 * DAY for number in range(68 * 365 // 20)]

zones = st.sampled_from(ZONES)
days = st.dates(date(1970, 1, 1), date(2037, 12, 31))
instants = st.datetimes(datetime(1970, 1, 2), datetime(2037, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis wants naive bounds
retentions = st.integers(0, 4_000)


def require_a_sound_day(partition: Partition) -> None:
    """Check that exactly the instants of the local day lie in `[start, end)`."""
    start, end, day, timezone = partition.start, partition.end, partition.day, partition.timezone
    assert end == Partition(partition.next_day, timezone).start
    if (timezone, day) in MISSING_DAYS:
        assert start == end
        return
    assert start < end
    assert Partition.containing(start, timezone) == partition
    assert Partition.containing(end - MICROSECOND, timezone) == partition
    assert Partition.containing(start - MICROSECOND, timezone).day < day
    assert Partition.containing(end, timezone).day > day


def one_of_each() -> list[str]:
    """Return one name of each zone that has several."""
    folder = resources.files("tzdata") / "zoneinfo"
    files = {timezone: folder.joinpath(*timezone.split("/")) for timezone in ZONES}
    return list({file.read_bytes() if file.is_file() else timezone: timezone for timezone, file in files.items()}.values())


def days_of_clock_changes(timezone: str) -> set[date]:
    """Find the days around every change of the offset that lasts for twenty days or longer."""
    zone = ZoneInfo(timezone)
    offsets = [(instant, instant.astimezone(zone).utcoffset()) for instant in TWENTY_DAYS_APART]
    return {
        bisect_change(zone, before, after) + number * DAY
        for (before, offset), (after, later_offset) in pairwise(offsets)
        if offset != later_offset
        for number in (-1, 0, 1, 2)
    }


def bisect_change(zone: ZoneInfo, before: datetime, after: datetime) -> date:
    """Return the day, by noon in UTC, after which the offset is another one."""
    while (after - before) > DAY:
        middle = before + (after - before) // DAY // 2 * DAY
        if middle.astimezone(zone).utcoffset() == before.astimezone(zone).utcoffset():
            before = middle
        else:
            after = middle
    return before.date()


@pytest.mark.parametrize(("timezone", "day", "hours"), CLOCK_CHANGES)
def test_a_day_of_a_clock_change_is_as_long_as_it_was(timezone: str, day: date, hours: float) -> None:
    partition = Partition(day, timezone)
    assert partition.end - partition.start == timedelta(hours=hours)


@pytest.mark.parametrize(
    ("timezone", "day", "start"),
    [
        ("Europe/Berlin", date(2024, 3, 31), "2024-03-30T23:00:00+00:00"),
        ("America/Sao_Paulo", date(2017, 10, 15), "2017-10-15T03:00:00+00:00"),  # 00:00 was skipped; the day began at 01:00
        ("Asia/Beirut", date(2022, 3, 27), "2022-03-26T22:00:00+00:00"),
        ("Africa/Cairo", date(2014, 5, 16), "2014-05-15T22:00:00+00:00"),
        ("America/Havana", date(2023, 11, 5), "2023-11-05T04:00:00+00:00"),  # 00:00 came twice; the first one counts
        ("Asia/Amman", date(2021, 10, 29), "2021-10-28T21:00:00+00:00"),
        ("Pacific/Apia", date(2011, 12, 30), "2011-12-30T10:00:00+00:00"),  # the day that never was
        ("Pacific/Apia", date(2011, 12, 31), "2011-12-30T10:00:00+00:00"),
    ],
)
def test_a_day_starts_at_its_first_instant(timezone: str, day: date, start: str) -> None:
    assert Partition(day, timezone).start.isoformat() == start
    assert Partition(day - DAY, timezone).end.isoformat() == start


def test_the_days_around_all_clock_changes_of_all_zones_tile_time() -> None:
    for timezone in one_of_each():
        for day in days_of_clock_changes(timezone):
            # The cheap half of require_a_sound_day, for there are more than 100,000 such days.
            start = Partition(day, timezone).start
            if (timezone, day) not in MISSING_DAYS:
                assert Partition.containing(start, timezone).day == day
                assert Partition.containing(start - MICROSECOND, timezone).day < day


@given(timezone=zones, day=days)
def test_partitions_tile_time_without_gap_or_overlap(timezone: str, day: date) -> None:
    require_a_sound_day(Partition(day, timezone))


@pytest.mark.parametrize(("timezone", "day"), sorted({(zone, day) for zone, day, _ in CLOCK_CHANGES} | MISSING_DAYS))
def test_partitions_tile_time_around_the_strangest_days(timezone: str, day: date) -> None:
    for number in range(-2, 3):
        require_a_sound_day(Partition(day + number * DAY, timezone))


@given(timezone=zones, instant=instants)
def test_every_instant_lies_in_the_partition_that_contains_it(timezone: str, instant: datetime) -> None:
    partition = Partition.containing(instant, timezone)
    assert partition.start <= instant < partition.end


@given(timezone=zones, other=zones, instant=instants)
def test_the_zone_in_which_an_instant_is_written_does_not_matter(timezone: str, other: str, instant: datetime) -> None:
    assert Partition.containing(instant.astimezone(ZoneInfo(other)), timezone) == Partition.containing(instant, timezone)


def require_agreement_on_expiry(now: datetime, retention_days: int, timezone: str) -> None:
    """Check that the newest expired partition is expired, and the next one is not."""
    newest = newest_expired(now=now, retention_days=retention_days, timezone=timezone)
    newest.require_expired(now=now, retention_days=retention_days, table="d/s/t")
    with pytest.raises(NotExpired):
        Partition(newest.next_day, timezone).require_expired(now=now, retention_days=retention_days, table="d/s/t")


@given(now=instants, retention_days=retentions, timezone=zones)
def test_the_newest_expired_partition_is_expired_and_the_next_is_not(now: datetime, retention_days: int, timezone: str) -> None:
    require_agreement_on_expiry(now, retention_days, timezone)


@given(day=days, retention_days=retentions, timezone=zones, off=st.sampled_from([-MICROSECOND, timedelta(0), MICROSECOND]))
def test_expiry_begins_with_the_very_microsecond(day: date, retention_days: int, timezone: str, off: timedelta) -> None:
    require_agreement_on_expiry(Partition(day, timezone).expires_at(retention_days) + off, retention_days, timezone)


@pytest.mark.parametrize(("timezone", "day"), sorted({(zone, day) for zone, day, _ in CLOCK_CHANGES} | MISSING_DAYS))
@pytest.mark.parametrize("retention_days", [0, 1, 30])
def test_expiry_agrees_around_the_strangest_days(timezone: str, day: date, retention_days: int) -> None:
    for number in range(-2, 3):
        begins = Partition(day + number * DAY, timezone).expires_at(retention_days)
        for off in (-MICROSECOND, timedelta(0), MICROSECOND, timedelta(hours=1)):
            require_agreement_on_expiry(begins + off, retention_days, timezone)


def test_retention_counts_calendar_days_and_not_hours() -> None:
    # Over the change to summer time 30 days are an hour short of 720 hours.
    partition = Partition(date(2024, 3, 9), "America/New_York")
    assert partition.expires_at(30) - partition.end == timedelta(hours=719)


def test_a_partition_that_is_not_expired_says_when_it_will_be() -> None:
    partition = Partition(date(2026, 8, 1), "Europe/Berlin")
    with pytest.raises(NotExpired) as caught:
        partition.require_expired(now=datetime(2026, 8, 31, 21, 59, 59, tzinfo=UTC), retention_days=30, table="d/s/t")
    assert caught.value.message == (
        "partition 2026-08-01 of d/s/t is not expired: expected the database's clock to have reached 2026-08-31 22:00:00 UTC "
        "(30 days of retention, Europe/Berlin), found 2026-08-31 21:59:59 UTC"
    )
    partition.require_expired(now=datetime(2026, 8, 31, 22, tzinfo=UTC), retention_days=30, table="d/s/t")


@pytest.mark.parametrize("retention_days", [0, 1, 30])
@pytest.mark.parametrize(("timezone", "day"), sorted({(zone, day) for zone, day, _ in CLOCK_CHANGES}))
def test_the_newest_expired_partition_is_dagsters_last_one(timezone: str, day: date, retention_days: int) -> None:
    definition = DailyPartitionsDefinition(start_date="2010-01-01", timezone=timezone, end_offset=-retention_days)
    for number in (-1, 0, 1, 2):
        begins = Partition(day + number * DAY, timezone).expires_at(retention_days)
        for off in (-timedelta(hours=1), -MICROSECOND, timedelta(0), timedelta(minutes=30)):
            now = begins + off
            with partition_loading_context(effective_dt=now):
                last = definition.get_last_partition_key()
            assert newest_expired(now=now, retention_days=retention_days, timezone=timezone).key == last, now


@pytest.mark.parametrize(("timezone", "day"), sorted({(zone, day) for zone, day, _ in CLOCK_CHANGES} - MISSING_DAYS))
def test_the_bounds_are_dagsters_time_window(timezone: str, day: date) -> None:
    partition = Partition(day, timezone)
    window = DailyPartitionsDefinition(start_date="2010-01-01", timezone=timezone).time_window_for_partition_key(partition.key)
    assert (window.start.astimezone(UTC), window.end.astimezone(UTC)) == (partition.start, partition.end)


@given(day=st.dates(), timezone=zones)
def test_a_key_reads_back_as_its_partition(day: date, timezone: str) -> None:
    partition = Partition(day, timezone)
    assert Partition.from_key(partition.key, timezone) == partition


@given(key=st.text() | st.text("0123456789-W", max_size=11) | st.from_regex(r"\s?\d{1,4}-?\d{1,2}-?\d{1,2}\s?", fullmatch=True))
def test_a_key_of_any_other_form_is_refused(key: str) -> None:
    try:
        partition = Partition.from_key(key, "UTC")
    except ValueError:
        return
    assert re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", key)
    assert partition.key == key


@pytest.mark.parametrize(
    "key",
    [
        "",
        "20260801",
        "2026-W31-6",
        "2026-8-1",
        "2026-08-01\n",
        " 2026-08-01",
        "2026-02-30",
        "2026-08-01T00:00",
        "\u0662026-08-01",
        "0000-01-01",
    ],
)
def test_a_key_that_is_nearly_right_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Partition.from_key(key, "UTC")


@given(st.lists(days, min_size=2))
def test_partitions_of_a_table_sort_by_day(unsorted: list[date]) -> None:
    assert [partition.day for partition in sorted(Partition(day, "UTC") for day in unsorted)] == sorted(unsorted)


@given(st.integers(-3, 40), st.sets(st.integers(-5, 45)))
def test_stretches_are_the_days_that_are_not_left_out_as_few_as_they_can_be(length: int, without: set[int]) -> None:
    def day(number: int) -> date:
        return date(2024, 2, 20) + number * DAY

    first, last = (Partition(day(number), "Europe/Berlin") for number in (0, length))

    found = list(stretches(first, last, {day(number) for number in without}))

    days = [day(number) for begin, end in found for number in range((begin.day - first.day).days, (end.day - first.day).days + 1)]
    assert days == [day(number) for number in range(length + 1) if number not in without]
    assert all(begin <= end for begin, end in found)
    assert all(end.next_day < begin.day for (_, end), (begin, _) in pairwise(found))
    assert {each.timezone for stretch in found for each in stretch} <= {"Europe/Berlin"}
