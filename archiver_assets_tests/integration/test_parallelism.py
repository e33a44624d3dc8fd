"""One day read by several sessions: the same rows, parted where the rows are."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.task import Task
from archiver_assets.lifecycle.verifying.verify import verify
from archiver_assets.source import sql
from archiver_assets.source.catalog import count_rows, read_table, split
from archiver_assets_tests.lab import Lab

DAYS = {
    "rows all day long": (
        "2024-03-05",
        "UTC",
        "SELECT timestamptz '2024-03-05 00:00Z' + n * interval '7 min' FROM generate_series(0, 205) n",
    ),
    "nearly all rows within a second": (
        "2024-03-05",
        "UTC",
        "SELECT timestamptz '2024-03-05 17:00Z' + n * interval '1 ms' FROM generate_series(0, 199) n UNION ALL SELECT '2024-03-05 00:00Z'",
    ),
    "all rows in one microsecond": ("2024-03-05", "UTC", "SELECT timestamptz '2024-03-05 17:00:00.000001Z' FROM generate_series(0, 199)"),
    "most rows at the first instant": (
        "2024-03-05",
        "UTC",
        "SELECT timestamptz '2024-03-05 00:00Z' FROM generate_series(0, 99) UNION ALL SELECT '2024-03-05 23:59:59.999999Z'",
    ),
    "one row": ("2024-03-05", "UTC", "SELECT timestamptz '2024-03-05 12:00Z'"),
    "two rows": ("2024-03-05", "UTC", "SELECT timestamptz '2024-03-05 00:00Z' UNION ALL SELECT '2024-03-05 23:59:59.999999Z'"),
    "23 hours": (
        "2024-03-31",
        "Europe/Berlin",
        "SELECT timestamptz '2024-03-30 23:00Z' + n * interval '5 min' FROM generate_series(-3, 23 * 12 + 3) n",
    ),
    "25 hours": (
        "2024-10-27",
        "Europe/Berlin",
        "SELECT timestamptz '2024-10-26 22:00Z' + n * interval '5 min' FROM generate_series(-3, 25 * 12 + 3) n",
    ),
}
EXPECTED = {"23 hours": 23 * 12, "25 hours": 25 * 12, "one row": 1, "two rows": 2}


def archived(lab: Lab, task: Task) -> pa.Table:
    """Archive, verify, and return the object's rows in the order of their keys."""
    generation = archive(task).generation
    assert generation is not None
    assert verify(task).passed
    return pq.read_table(lab.file(generation.object_key)).replace_schema_metadata(None).sort_by("id")


@pytest.mark.parametrize("name", DAYS)
def test_any_number_of_readers_archives_the_same_rows(lab: Lab, name: str) -> None:
    day, timezone, instants = DAYS[name]
    lab.execute(f"INSERT INTO public.audit_logs (created_at, action, details) SELECT at, 'x', '[1]' FROM ({instants}) AS _ (at)")

    one, *others = [
        archived(lab, lab.task(day, lab.table(timezone=timezone, parallelism=readers), prefix=f"{readers}/")) for readers in (1, 2, 4)
    ]

    assert one.num_rows == EXPECTED.get(name, one.num_rows) > 0
    assert all(other.equals(one) for other in others)


@pytest.mark.parametrize("name", DAYS)
def test_ranges_meet_and_hold_about_equally_many_rows(lab: Lab, name: str) -> None:
    day, timezone, instants = DAYS[name]
    lab.execute(f"INSERT INTO public.audit_logs (created_at, action) SELECT at, 'x' FROM ({instants}) AS _ (at)")
    task = lab.task(day, lab.table(timezone=timezone))
    with task.source.connect() as connection:
        days = read_table(connection, task.table).days(task.partition)
        rows = count_rows(connection, days)
        ranges = split(connection, days, rows, 4)
        counts = [count_rows(connection, each) for each in ranges]

    assert (ranges[0].lower, ranges[-1].upper) == (days.lower, days.upper)
    assert [each.upper for each in ranges[:-1]] == [each.lower for each in ranges[1:]]
    assert (sum(counts), min(counts) > 0) == (rows, True)
    if name in {"rows all day long", "nearly all rows within a second", "23 hours", "25 hours"}:
        assert len(ranges) == 4
        assert max(counts) - min(counts) <= 4


def test_the_day_of_a_date_is_read_by_one(lab: Lab) -> None:
    lab.execute("CREATE TABLE public.dated (id int PRIMARY KEY, at date NOT NULL)")
    lab.execute("INSERT INTO public.dated SELECT n, '2024-03-05' FROM generate_series(1, 50) n")
    task = lab.task(table=lab.table(name="dated", timestamp_column="at", parallelism=4))

    assert archived(lab, task)["id"].to_pylist() == list(range(1, 51))
    with task.source.connect() as connection:
        days = read_table(connection, task.table).days(task.partition)
        assert split(connection, days, 50, 4) == [days]


def test_the_leaves_of_a_partitioned_table_are_parted_by_time_too(lab: Lab) -> None:
    lab.execute("CREATE TABLE public.parted (id int, at timestamp NOT NULL, PRIMARY KEY (id, at)) PARTITION BY RANGE (at)")
    for hour in range(0, 24, 6):
        bounds = [datetime(2024, 3, 5, tzinfo=UTC).replace(tzinfo=None) + timedelta(hours=number) for number in (hour, hour + 6)]
        lab.execute(f"CREATE TABLE public.parted_{hour} PARTITION OF public.parted FOR VALUES FROM ('{bounds[0]}') TO ('{bounds[1]}')")
    lab.execute("INSERT INTO public.parted SELECT n, timestamp '2024-03-05' + n * interval '1 min' FROM generate_series(0, 1439) n")
    task = lab.task(table=lab.table(name="parted", timestamp_column="at", primary_key=("id", "at"), parallelism=3))

    assert archived(lab, task)["id"].to_pylist() == list(range(1440))
    with task.source.connect() as connection:
        ranges = split(connection, read_table(connection, task.table).days(task.partition), 1440, 3)
        assert [count_rows(connection, each) for each in ranges] == [480, 480, 480]
    assert ranges[1] == sql.Days(sql.Relation("public", "parted"), "at", datetime(2024, 3, 5, 8), datetime(2024, 3, 5, 16))  # noqa: DTZ001
