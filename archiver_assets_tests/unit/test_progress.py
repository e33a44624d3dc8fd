"""Progress lines, by a clock that the test moves."""

import logging
import threading
from contextlib import suppress

import pytest
from structlog.contextvars import bound_contextvars, get_contextvars

from archiver_assets.lifecycle.progress import EVERY, Activity, Progress, at_work, beating, note, of_generation
from archiver_assets.threads import Behind, gathered

LABEL = "d/s/t 2026-08-01"


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


def begin(clock: FakeClock, total: int = 10_000, beside: int | None = 500_000) -> Progress:
    return Progress(f"archive {LABEL}", total, clock, beside=beside)


def facts(record: logging.LogRecord) -> dict[str, object]:
    """Return what the log has as fields, by the names that docs/reference/logging.md gives them."""
    names = ("rows", "rows_total", "bytes", "bytes_total", "rows_per_second", "bytes_per_second", "eta_seconds", "elapsed_seconds")
    return {name: getattr(record, name) for name in names}


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


def test_lines_are_at_most_ten_seconds_apart_with_a_second_to_spare() -> None:
    assert EVERY == 9


def test_nothing_is_logged_before_a_line_is_due(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    progress = begin(clock)
    clock.now += 8.999
    progress.add(100)
    assert caplog.messages == []


def test_a_line_has_rows_bytes_rate_and_time_left_as_text_and_as_fields(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    progress = begin(clock)
    clock.now += 10
    progress.add(2_000)
    assert caplog.messages == [f"archive {LABEL}: 2,000 of 10,000 rows, 100,000 bytes, 200 rows/s, 40 s left"]
    assert facts(caplog.records[0]) == {
        "rows": 2_000,
        "rows_total": 10_000,
        "bytes": 100_000,
        "bytes_total": 500_000,
        "rows_per_second": 200.0,
        "bytes_per_second": 10_000.0,
        "eta_seconds": 40.0,
        "elapsed_seconds": 10.0,
    }


def test_bytes_are_counted_where_their_total_is_not_known(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    progress = begin(clock, beside=None)
    progress.others += 4_321
    clock.now += 10
    progress.add(2_000)
    assert "2,000 of 10,000 rows, 4,321 bytes, " in caplog.text
    assert facts(caplog.records[0])["bytes"] == 4_321
    assert facts(caplog.records[0])["bytes_total"] is None


def test_of_a_step_that_counts_bytes_rows_are_told_in_proportion(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    progress = Progress(f"read back {LABEL}", 1_000, clock, "bytes", beside=30)
    clock.now += 10
    progress.add(500)
    assert caplog.messages == [f"read back {LABEL}: 500 of 1,000 bytes, 15 rows, 50 bytes/s, 10 s left"]
    assert (facts(caplog.records[0])["rows"], facts(caplog.records[0])["rows_total"]) == (15, 30)


def test_while_rows_are_counted_no_two_lines_are_ten_seconds_apart(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    progress = begin(clock)
    for _ in range(250):
        clock.now += 0.5
        progress.add(1)
    assert len(caplog.messages) == 13


def test_a_long_silence_is_followed_by_one_line(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    progress = begin(clock)
    clock.now += 3_600
    progress.add(1)
    progress.add(1)
    clock.now += 8
    progress.add(1)
    assert len(caplog.messages) == 1


def test_more_rows_than_expected_leave_no_time(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    progress = begin(clock, total=10, beside=100)
    clock.now += 10
    progress.add(20)
    assert caplog.messages == [f"archive {LABEL}: 20 of 10 rows, 100 bytes, 2 rows/s, 0 s left"]


def test_a_clock_that_stands_still_divides_nothing_by_zero(clock: FakeClock) -> None:
    progress = begin(clock, total=0)
    progress.add(0)
    assert (progress.done, progress.seconds, progress.rate) == (0, 0.0, 0.0)
    assert progress.facts()["eta_seconds"] is None


def test_the_end_of_a_step_is_a_line(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    with begin(clock, total=100) as progress:
        clock.now += 2
        progress.add(100)
    assert caplog.messages == [f"archive {LABEL}: done after 2.0 s, 100 of 100 rows, 500,000 bytes, 50 rows/s"]
    assert facts(caplog.records[0])["eta_seconds"] == 0.0


def test_a_step_that_fails_says_how_far_it_got(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    with suppress(OSError), begin(clock, total=100) as progress:
        progress.add(25)
        clock.now += 5
        raise OSError
    assert caplog.messages == [f"archive {LABEL}: stopped after 5.0 s, 25 of 100 rows, 125,000 bytes, 5 rows/s"]
    assert facts(caplog.records[0])["eta_seconds"] is None


def test_a_verb_that_counts_nothing_says_what_it_reached_last(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    activity = Activity(f"purge {LABEL}", clock)
    activity.note("purge marked")
    clock.now += 8.999
    activity.beat()
    assert caplog.messages == []
    clock.now += 0.001
    activity.beat()
    activity.beat()
    clock.now += 9
    activity.beat()
    assert caplog.messages == [f"purge {LABEL}: at work for {seconds} s, last reached: purge marked" for seconds in (9, 18)]


def test_a_step_that_counts_says_its_numbers_also_while_nothing_gets_on(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    with at_work(f"archive {LABEL}", "archive") as activity, begin(clock) as progress:
        activity.clock = clock
        activity.has_said()
        progress.add(10_000)
        note("object encoded")
        clock.now += 10
        activity.beat()
        progress.add(0)  # what the thread said is not said again
    assert (
        caplog.messages[0] == f"archive {LABEL}: 10,000 of 10,000 rows, 500,000 bytes, 1,000 rows/s, 0 s left, last reached: object encoded"
    )
    assert len(caplog.messages) == 2


def test_counting_and_signs_of_life_take_turns(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    with at_work(f"archive {LABEL}", "archive") as activity, begin(clock) as progress:
        activity.clock = clock
        activity.has_said()
        clock.now += 9
        progress.add(1)
        clock.now += 1
        activity.beat()
        assert activity.due_in() == 8
        assert len(caplog.messages) == 1


def test_a_thread_of_the_verb_says_so_with_the_context_of_what_it_does() -> None:
    said = threading.Event()
    seen: list[dict[str, object]] = []

    class Watched(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append({**get_contextvars(), "thread": record.threadName})
            said.set()

    watched = Watched()
    logging.getLogger("archiver").addHandler(watched)
    try:
        activity = Activity("purge", every=0.02)
        with bound_contextvars(generation=7):
            activity.note("purge marked")
        with beating(activity):
            assert said.wait(5)
    finally:
        logging.getLogger("archiver").removeHandler(watched)
    assert seen[0] == {"generation": 7, "thread": "progress"}
    assert "progress" not in {thread.name for thread in threading.enumerate()}


def test_signs_of_life_have_the_generation_of_their_block_and_none_after_it() -> None:
    seen: list[object] = []

    class Beating(Progress):
        def say(self, reached: str | None = None) -> None:
            seen.append((reached, get_contextvars().get("generation")))

    with at_work("purge", "purge") as activity, Beating("purge", 1, FakeClock()):
        activity.every = 0
        note("locked")
        for number in (3, 4):
            with suppress(OSError), of_generation(number):
                activity.beat()
                raise OSError
            activity.beat()
    assert seen == [("locked", 3), ("locked", None), ("locked", 4), ("locked", None)]


def test_a_verb_within_a_verb_is_part_of_it() -> None:
    with at_work("purge", "purge", table="d/s/t") as outer:
        assert get_contextvars() == {"step": "purge", "table": "d/s/t"}
        with at_work("verify", "verify", table="another") as inner:
            assert inner is outer
            assert get_contextvars() == {"step": "purge", "table": "d/s/t"}
    assert get_contextvars() == {}


def test_threads_that_work_for_a_verb_have_its_context() -> None:
    seen: list[object] = []
    with bound_contextvars(run_id="r"):
        with Behind("encoding") as behind:
            behind.call(lambda: seen.append(get_contextvars()))
            behind.wait()
        seen += gathered([lambda: [get_contextvars()], lambda: [get_contextvars()]], lambda: None)
    assert seen == [{"run_id": "r"}] * 3
