"""Ctrl-C and SIGTERM: both end a command in the same way, whichever handlers are installed meanwhile.

What belongs here: noticing the signals. What does not: interrupted work, which the lifecycle undoes or leaves whole.
"""

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def stoppable() -> Iterator[Callable[[], bool]]:
    """Let SIGTERM raise KeyboardInterrupt too while the block lasts, and yield whether either signal has come.

    Dagster has handlers of its own while a run lasts, and misses a signal between its steps; the wakeup descriptor does not.
    """
    ear, mouth = socket.socketpair()
    ear.setblocking(False)  # noqa: FBT003 - positional in the standard library
    mouth.setblocking(False)  # noqa: FBT003 - as above
    before, earlier = signal.signal(signal.SIGTERM, signal.default_int_handler), signal.set_wakeup_fd(mouth.fileno())

    def stopped() -> bool:
        try:
            return bool({signal.SIGINT, signal.SIGTERM} & set(ear.recv(100)))
        except BlockingIOError:
            return False

    try:
        yield stopped
    finally:
        signal.set_wakeup_fd(earlier)
        signal.signal(signal.SIGTERM, before)
        ear.close()
        mouth.close()
