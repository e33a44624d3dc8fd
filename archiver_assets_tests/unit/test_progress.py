"""Progress lines, by a clock that the test moves."""

import logging

import pytest

from archiver_assets.lifecycle.task import Progress


class FakeClock:
    """A monotonic clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(autouse=True)
def _log_everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="archiver")


def begin(clock: FakeClock, total: int = 10_000) -> Progress:
    return Progress("archive d/s/t 2026-08-01", total, clock)


def test_the_rate_is_the_mean_since_the_start(clock: FakeClock) -> None:
    progress = begin(clock)
    progress.add(100)
    clock.now += 4
    progress.add(300)
    assert (progress.done, progress.seconds, progress.rate) == (400, 4.0, 100.0)


def test_without_time_there_is_no_rate(clock: FakeClock) -> None:
    progress = begin(clock)
    progress.add(100)
    assert progress.rate == 0.0


def test_nothing_is_logged_in_the_first_ten_seconds(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    progress = begin(clock)
    clock.now += 9.999
    progress.add(100)
    assert caplog.messages == []


def test_a_line_has_rows_rate_and_time_left(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    progress = begin(clock)
    clock.now += 10
    progress.add(2_000)
    assert caplog.messages == ["archive d/s/t 2026-08-01: 2,000 of 10,000 rows, 200 rows/s, 40 s left"]


def test_a_line_is_logged_at_most_every_ten_seconds(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    progress = begin(clock)
    for _ in range(250):
        clock.now += 0.5
        progress.add(1)
    assert len(caplog.messages) == 12


def test_a_long_silence_is_followed_by_one_line(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    progress = begin(clock)
    clock.now += 3_600
    progress.add(1)
    progress.add(1)
    clock.now += 9
    progress.add(1)
    assert len(caplog.messages) == 1


def test_more_rows_than_expected_leave_no_time(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    progress = begin(clock, total=10)
    clock.now += 10
    progress.add(20)
    assert caplog.messages == ["archive d/s/t 2026-08-01: 20 of 10 rows, 2 rows/s, 0 s left"]


def test_a_clock_that_stands_still_divides_nothing_by_zero(clock: FakeClock) -> None:
    progress = begin(clock, total=0)
    progress.add(0)
    assert (progress.done, progress.seconds, progress.rate) == (0, 0.0, 0.0)
