"""Processes forked from a server that has imported everything and connected to nothing: they start in milliseconds, and can be killed.

What belongs here: the server's life. What does not: what the processes do.
"""

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver


def _wait_for_imports() -> None:
    """Be forked, which happens when the server has imported everything."""


@contextmanager
def fork_server(*modules: str) -> Iterator[None]:
    """Have a process from which others are forked, for the block. It ends with us in any case, when its pipe from us closes."""
    context = multiprocessing.get_context("forkserver")
    # pytest too, because each child imports our main module again, which may be pytest's script.
    context.set_forkserver_preload([*modules, "pytest"])
    try:
        first = context.Process(target=_wait_for_imports)
        first.start()
        first.join()
        yield
    finally:
        forkserver._forkserver._stop()  # type: ignore[attr-defined]
