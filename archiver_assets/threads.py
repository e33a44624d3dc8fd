"""Background threads for a caller: `gathered` reads items in several threads, and `Behind` makes calls in order in one thread.

What belongs here: handing over items and calls, the limits on how many wait, and shutdown. What does not: the work itself. Both hold few
items, which bounds memory by their size. Both end with their block, and raise the first error rather than its consequences elsewhere.

The threads are daemons, so one that hangs in a call to a dead server does not keep an interrupted process from exiting. They run in the
caller's context, so that their log lines name the partition and the run.
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
"""How long the end of a block waits for a thread that hangs in a call, in seconds."""
_NUDGE_SECONDS = 0.2
_LISTEN_SECONDS = 0.5
"""The longest delay before the main thread notices a Ctrl-C: ADBC's own SIGINT handler, unlike Python's, does not interrupt a wait."""


def _wait_for(changed: threading.Condition, met: Callable[[], bool]) -> None:
    while not met():
        changed.wait(_LISTEN_SECONDS)


class Behind:
    """Makes calls in order in a separate thread, with at most `depth` calls outstanding.

    After an error, no further call is made, and `call` and `wait` raise the error. Use as a context manager: calls that have not begun when
    the block ends are dropped.
    """

    def __init__(self, name: str, depth: int = 1) -> None:
        """Create it without a thread; the first call starts the thread."""
        self._name = name
        self._depth = depth
        self._changed = threading.Condition()
        self._calls: deque[Callable[[], object]] = deque()  # the first one is in progress
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
        """Queue `function` to be called after the earlier ones. Blocks while `depth` calls are outstanding."""
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
        """Start no more calls, make waiting callers fail, and wait up to END_SECONDS for the call in progress."""
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
            message = f"{self._name} has ended"
            raise RuntimeError(message)

    def _work(self) -> None:
        while (call := self._next()) is not None:
            try:
                call()
            except BaseException as error:  # noqa: BLE001 -- the caller must receive every kind of error
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
    """Yield the items of all streams. A separate thread reads each stream, and is at most one item ahead of the items taken.

    When the generator is closed or a stream fails, the other streams are ended: another thread calls `interrupt`, possibly several times,
    which must make a stream that is waiting for its next item fail. Each thread closes its iterator if that has a `close` method.
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
            interrupt()  # repeatedly: a stream that was only starting missed an earlier interrupt
            over.wait(_NUDGE_SECONDS)

    # In another thread: cancelling a statement is a request to its server, which may not answer either.
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
        except BaseException as error:  # noqa: BLE001 -- the consumer must receive every kind of error
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
