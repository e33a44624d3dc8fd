"""Work beside the caller: order, bounds, the first error, and that nothing goes on after the end."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from archiver_assets import threads
from archiver_assets.threads import Behind, gathered


class Gate:
    """A stream that yields some numbers, then waits until it is interrupted, as a reader does whose server sends nothing."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = numbers
        self.interrupted = threading.Event()
        self.closed = threading.Event()

    def __call__(self) -> Iterator[int]:
        try:
            yield from self.numbers
            assert self.interrupted.wait(10)
            message = "a secondary error"
            raise OSError(message)
        finally:
            self.closed.set()


def never() -> None:
    pytest.fail("nothing was to be interrupted")


def failing() -> Iterator[int]:
    yield 1
    message = "the first error"
    raise ValueError(message)


def raising(error: BaseException) -> Callable[[], object]:
    def call() -> object:
        raise error

    return call


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def test_calls_are_made_in_their_order() -> None:
    made: list[int] = []
    with Behind("counting", depth=3) as behind:
        for number in range(100):
            behind.call(lambda number=number: made.append(number))  # type: ignore[misc]
        behind.wait()
    assert made == list(range(100))


def test_the_caller_is_never_further_ahead_than_the_depth() -> None:
    go, made = threading.Event(), []
    with Behind("waiting", depth=2) as behind:
        behind.call(lambda: go.wait(10))
        behind.call(lambda: made.append("second"))
        caller = threading.Thread(target=lambda: behind.call(lambda: made.append("third")))
        caller.start()
        caller.join(0.05)
        assert caller.is_alive()
        go.set()
        caller.join(10)
        behind.wait()
    assert made == ["second", "third"]


@pytest.mark.parametrize("error", [ValueError("wrong"), KeyboardInterrupt()])
def test_after_an_error_no_call_is_made_and_everything_raises_it(error: BaseException) -> None:
    made: list[int] = []
    behind = Behind("failing", depth=3)
    go = threading.Event()
    behind.call(lambda: go.wait(10))
    behind.call(raising(error))
    behind.call(lambda: made.append(1))
    go.set()
    for attempt in (behind.wait, lambda: behind.call(lambda: made.append(2)), behind.wait):
        with pytest.raises(type(error)) as raised:
            attempt()
        assert raised.value is error
    behind.end()
    assert made == []


def test_the_end_makes_one_fail_who_waits_for_room_and_begins_nothing_more() -> None:
    go = threading.Event()
    made: list[int] = []
    errors: list[str] = []

    def wait_for_room() -> None:
        try:
            behind.call(lambda: made.append(1))
        except RuntimeError as error:
            errors.append(str(error))

    behind = Behind("ending")
    behind.call(lambda: go.wait(10))
    caller = threading.Thread(target=wait_for_room)
    caller.start()
    caller.join(0.05)
    ending = threading.Thread(target=behind.end)
    ending.start()
    caller.join(10)
    go.set()
    ending.join(10)
    assert (made, errors) == ([], ["ending has ended"])


def test_items_of_all_streams_come_each_once_and_each_stream_s_in_order() -> None:
    streams = [lambda first=first: iter(range(first, first + 100)) for first in (0, 100, 200)]
    found = list(gathered(streams, never))
    assert sorted(found) == list(range(300))
    assert [number for number in found if number < 100] == list(range(100))


def test_the_error_of_one_stream_ends_the_others_and_is_the_one_that_is_raised() -> None:
    gates = [Gate(2, 3), Gate()]

    def interrupt() -> None:
        for gate in gates:
            gate.interrupted.set()

    streams: list[Callable[[], Iterator[int]]] = [gates[0], failing, gates[1]]
    with pytest.raises(ValueError, match="the first error"):
        list(gathered(streams, interrupt))
    assert all(gate.closed.is_set() for gate in gates)


def test_a_consumer_that_stops_ends_all_streams() -> None:
    gate = Gate(1, 2, 3, 4, 5, 6)
    items = gathered([gate, gate], gate.interrupted.set)
    next(items)
    items.close()
    assert gate.closed.is_set()


def test_a_stream_is_one_item_ahead_and_no_more() -> None:
    made: list[int] = []
    third = threading.Event()

    def counting() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            if number == 2:
                third.set()
            yield number

    items = gathered([counting], lambda: None)
    next(items)
    assert third.wait(10)
    items.close()
    assert made == [0, 1, 2]  # one was taken, one waits, and one is in the stream's own hands


def test_an_interrupt_that_hangs_keeps_nobody_from_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a cancellation does that nobody answers."""
    monkeypatch.setattr(threads, "END_SECONDS", 0.2)
    released = threading.Event()
    gate = Gate(1)

    def hang() -> None:
        assert released.wait(10)
        gate.interrupted.set()

    items = gathered([gate], hang)
    assert next(items) == 1
    started = time.monotonic()
    items.close()
    assert time.monotonic() - started < 2
    assert not gate.closed.is_set()
    released.set()
    for thread in threading.enumerate():
        if thread.name in {"reading 0", "interrupting"}:
            thread.join(10)
    assert gate.closed.is_set()
