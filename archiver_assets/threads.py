"""Work that goes on beside the caller: items from several threads, and calls made in order by one.

What belongs here: handing over, its bounds, and its end. What does not: what the work is. Both hold few items, so that memory is bounded by
their size; both end with their block, and the first error is the one that is raised, not what it led to elsewhere.

The threads are daemons: one that hangs in a call to a dead server ends with the process, and keeps no interrupted run from ending. They
have the context of the caller, so that their lines in the log say of which partition and run they are.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from contextvars import copy_context
from types import TracebackType
from typing import Generic, Self, TypeVar

Item = TypeVar("Item")

END_SECONDS = 10.0
"""How long the end of a block waits for a thread that hangs in a call."""
_NUDGE_SECONDS = 0.2
_LISTEN_SECONDS = 0.5
"""How long the main thread waits before it hears of a Ctrl-C: ADBC's own handler of SIGINT, unlike Python's, interrupts no wait."""


def _wait_for(changed: threading.Condition, met: Callable[[], bool]) -> None:
    while not met():
        changed.wait(_LISTEN_SECONDS)


class Behind:
    """Makes calls in their order, in a thread of its own, at most `depth` of them behind the caller.

    After an error no further call is made, and every method raises it. Use as a context manager: what was not waited for when the block
    ends is not begun any more.
    """

    def __init__(self, name: str, depth: int = 1) -> None:
        """Begin with no thread: the first call starts it."""
        self._name = name
        self._depth = depth
        self._changed = threading.Condition()
        self._calls: deque[Callable[[], object]] = deque()  # the first one is being made
        self._error: BaseException | None = None
        self._over = False
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """See `end`."""
        self.end()

    def call(self, function: Callable[[], object]) -> None:
        """Have `function` called after those before it, as soon as there is room."""
        with self._changed:
            self._wait_until(lambda: len(self._calls) < self._depth)
            self._calls.append(function)
            self._changed.notify_all()
            if self._thread is None:
                self._thread = threading.Thread(target=copy_context().run, args=[self._work], name=self._name, daemon=True)
                self._thread.start()

    def wait(self) -> None:
        """Return when all calls are done."""
        with self._changed:
            self._wait_until(lambda: not self._calls)

    def end(self) -> None:
        """Begin no more calls, let whoever waits here fail, and wait for the call that is being made."""
        with self._changed:
            self._over = True
            self._changed.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(END_SECONDS)

    def _wait_until(self, done: Callable[[], bool]) -> None:
        _wait_for(self._changed, lambda: self._error is not None or self._over or done())
        if self._error is not None:
            raise self._error
        if self._over:
            message = f"{self._name} is over"
            raise RuntimeError(message)

    def _work(self) -> None:
        while (call := self._next()) is not None:
            try:
                call()
            except BaseException as error:  # noqa: BLE001 -- whatever it is, the caller is to hear of it
                with self._changed:
                    self._error = error
            with self._changed:
                self._calls.popleft()
                self._changed.notify_all()

    def _next(self) -> Callable[[], object] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._over or self._error is not None or bool(self._calls))
            return None if self._over or self._error is not None else self._calls[0]


def gathered(streams: Sequence[Callable[[], Iterable[Item]]], interrupt: Callable[[], None]) -> Generator[Item, None, None]:
    """Yield the items of all streams, each read by a thread of its own, which is at most one item ahead of what was taken.

    When the generator is closed, or a stream fails, the others are ended: `interrupt` is called, perhaps several times, by one more thread,
    and has to make a stream that waits for its next item fail. Iterators that can be closed are closed by their threads.
    """
    meeting: _Meeting[Item] = _Meeting(len(streams))
    threads = [
        threading.Thread(target=copy_context().run, args=[meeting.bring, stream], name=f"reading {number}", daemon=True)
        for number, stream in enumerate(streams)
    ]
    try:
        for thread in threads:
            thread.start()
        yield from meeting.items()
    finally:
        meeting.end()
        _await_end([thread for thread in threads if thread.ident is not None], interrupt)


def _await_end(threads: Sequence[threading.Thread], interrupt: Callable[[], None]) -> None:
    deadline, over = time.monotonic() + END_SECONDS, threading.Event()

    def nudge() -> None:
        while not over.is_set() and any(thread.is_alive() for thread in threads):
            interrupt()  # again and again: a stream that was about to begin did not hear it
            over.wait(_NUDGE_SECONDS)

    # Not from here: to cancel a statement is to ask its server, which may answer as little as it sends.
    nudging = threading.Thread(target=nudge, name="interrupting", daemon=True)
    nudging.start()
    for thread in threads:
        thread.join(max(deadline - time.monotonic(), 0))
    over.set()
    nudging.join(max(deadline - time.monotonic(), 0))


class _Meeting(Generic[Item]):
    """Where threads leave items and one thread takes them."""

    def __init__(self, members: int) -> None:
        self._changed = threading.Condition()
        self._items: deque[Item] = deque()
        self._room = members
        self._working = members
        self._error: BaseException | None = None
        self._over = False

    def bring(self, stream: Callable[[], Iterable[Item]]) -> None:
        try:
            items = iter(stream())
            try:
                while not self._over and (item := next(items, None)) is not None and self._leave(item):
                    del item
            finally:
                _close(items)
        except BaseException as error:  # noqa: BLE001 -- whatever it is, the taker is to hear of it
            with self._changed:
                self._error = self._error or error
        with self._changed:
            self._working -= 1
            self._changed.notify_all()

    def _leave(self, item: Item) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._over or len(self._items) < self._room)
            if not self._over:
                self._items.append(item)
                self._changed.notify_all()
            return not self._over

    def items(self) -> Iterator[Item]:
        while True:
            with self._changed:
                _wait_for(self._changed, lambda: bool(self._items) or self._error is not None or not self._working)
                if self._error is not None:
                    raise self._error
                if not self._items:
                    return
                item = self._items.popleft()
                self._changed.notify_all()
            yield item
            del item

    def end(self) -> None:
        with self._changed:
            self._over = True
            self._items.clear()
            self._changed.notify_all()


def _close(items: object) -> None:
    close = getattr(items, "close", None)
    if close is not None:
        with suppress(StopIteration):
            close()
