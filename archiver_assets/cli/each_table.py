"""Reading many tables, whichever of them fail, and printing a block of text for each.

How tables are chosen is in `selection.py`.
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
from archiver_assets.errors import ArchiverError, SourceLoginRefused, SourceUnavailable, StoreUnavailable
from archiver_assets.untrusted_text import visible

Found = TypeVar("Found")

WIDTH = 100
"""Columns that text for people is wrapped at."""

_MARGIN = 16


@dataclass(frozen=True)
class Looked(Generic[Found]):
    """What was read of a table, or the error."""

    table: TableConfig
    found: Found | None
    error: ArchiverError | None = None


def look_at_each(tables: Sequence[TableConfig], look: Callable[[TableConfig], Found]) -> list[Looked[Found]]:
    """Call `look` for every table, even if others fail, and show progress on stderr.

    A database that could not be reached is not tried for its other tables, and an unreachable store for none.
    """
    unreachable: dict[str, ArchiverError] = {}
    results: list[Looked[Found]] = []
    with working("reading the tables") as at:
        for number, table in enumerate(tables, start=1):
            at(f"reading {table.label}, {number} of {len(tables)}")
            error = unreachable.get(table.database) or unreachable.get("")
            if error is None:
                try:
                    results.append(Looked(table, look(table)))
                    continue
                except ArchiverError as raised:
                    error = raised
                    if isinstance(raised, SourceUnavailable | SourceLoginRefused):
                        unreachable[table.database] = raised
                    elif isinstance(raised, StoreUnavailable):
                        unreachable[""] = raised
            results.append(Looked(table, None, error))
    return results


@contextmanager
def working(what: str) -> Iterator[Callable[[str], None]]:
    """Show an activity on a terminal until the block ends; yield a function that changes its text. Without a terminal, show nothing.

    It is drawn on stderr. The block's output stays on stdout: rich would redirect it, out of the file that it was meant for.
    """
    if not sys.stderr.isatty():
        yield lambda _what: None
        return
    spinner = Spinner("dots", Text(visible(what)))
    with Live(spinner, console=Console(file=sys.stderr), transient=True, redirect_stdout=False, redirect_stderr=False):
        yield lambda text: spinner.update(text=Text(visible(text)))


def say_error(answer: Answer, error: ArchiverError) -> None:
    """Print a table's error and hint in its block."""
    entry(answer, "error", error.message)
    entry(answer, "HINT", error.hint)


def entry(answer: Answer, name: str, text: str) -> None:
    """Print an entry of a block, wrapped, with `name` in the margin."""
    paragraph(answer, f"  {name}", text, margin=_MARGIN)


def paragraph(answer: Answer, name: str, text: str, *, margin: int) -> None:
    """Print a text, wrapped, with `name` in the margin of its first line."""
    first, *rest = wrap(text, WIDTH - margin, break_on_hyphens=False, break_long_words=False) or [""]
    answer.line(f"{name:<{margin}}{first}")
    for line in rest:
        answer.line(f"{'':<{margin}}{line}")
