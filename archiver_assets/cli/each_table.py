"""What the commands that look at many tables share: going on after one that fails, and writing numbers for people.

What belongs here: that. What does not: what any command looks for, and how tables are chosen (`selection.py`).
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from textwrap import wrap
from typing import Generic, TypeVar

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from archiver_assets.cli.common import Answer
from archiver_assets.config import TableConfig
from archiver_assets.errors import ArchiverError, SourceUnavailable, StoreUnavailable
from archiver_assets.untrusted_text import visible

Found = TypeVar("Found")

WIDTH = 100
"""Columns that text for people is wrapped at."""

_MARGIN = 16


@dataclass(frozen=True)
class Looked(Generic[Found]):
    """What was found of a table, or why nothing was."""

    table: TableConfig
    found: Found | None
    error: ArchiverError | None = None


def look_at_each(tables: Sequence[TableConfig], look: Callable[[TableConfig], Found]) -> list[Looked[Found]]:
    """Look at every table, whatever becomes of another, and say on stderr how far it is.

    A server that was not reached is not tried again for its next table, nor the store for any.
    """
    unreachable: dict[str, ArchiverError] = {}
    results: list[Looked[Found]] = []
    with working("looking at the tables") as at:
        for number, table in enumerate(tables, start=1):
            at(f"looking at {table.label}, {number} of {len(tables)}")
            error = unreachable.get(table.database) or unreachable.get("")
            if error is None:
                try:
                    results.append(Looked(table, look(table)))
                    continue
                except ArchiverError as raised:
                    error = raised
                    if isinstance(raised, SourceUnavailable | StoreUnavailable):
                        unreachable[table.database if isinstance(raised, SourceUnavailable) else ""] = raised
            results.append(Looked(table, None, error))
    return results


@contextmanager
def working(what: str) -> Iterator[Callable[[str], None]]:
    """Show on a terminal what is being done until the block ends; yield what changes it. Elsewhere say nothing.

    On stderr, and what the block says on stdout stays there: rich would take it along, out of the file that it was redirected to.
    """
    if not sys.stderr.isatty():
        yield lambda _what: None
        return
    spinner = Spinner("dots", Text(visible(what)))
    with Live(spinner, console=Console(file=sys.stderr), transient=True, redirect_stdout=False, redirect_stderr=False):
        yield lambda text: spinner.update(text=Text(visible(text)))


def say_error(answer: Answer, error: ArchiverError) -> None:
    """Say why there is nothing to say of a table, and the next step, as part of its block."""
    entry(answer, "error", error.message)
    entry(answer, "HINT", error.hint)


def entry(answer: Answer, name: str, text: str) -> None:
    """Say a line of a block, `name` in the margin, wrapped for people."""
    paragraph(answer, f"  {name}", text, margin=_MARGIN)


def paragraph(answer: Answer, name: str, text: str, *, margin: int) -> None:
    """Say a text, wrapped for people, with `name` in the margin beside its first line."""
    first, *rest = wrap(text, WIDTH - margin, break_on_hyphens=False, break_long_words=False) or [""]
    answer.line(f"{name:<{margin}}{first}")
    for line in rest:
        answer.line(f"{'':<{margin}}{line}")
