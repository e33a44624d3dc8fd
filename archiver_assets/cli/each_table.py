"""What the commands that look at many tables share: going on after one that fails, and writing numbers for people.

What belongs here: that. What does not: what any command looks for, and how tables are chosen (`selection.py`).
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from textwrap import wrap
from typing import Generic, TypeVar

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from archiver_assets.cli.common import Answer, Json
from archiver_assets.config import TableConfig
from archiver_assets.errors import ArchiverError, SourceLoginRefused, SourceUnavailable, StoreUnavailable
from archiver_assets.untrusted_text import visible

Found = TypeVar("Found")

WIDTH = 100
"""Columns that text for people is wrapped at."""

_MARGIN = 16
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def first_line(error: Exception) -> str:
    """Return the first line of an error, for one line of people's text."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


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
                    if isinstance(raised, SourceUnavailable | SourceLoginRefused):
                        unreachable[table.database] = raised
                    elif isinstance(raised, StoreUnavailable):
                        unreachable[""] = raised
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


def error_facts(error: ArchiverError) -> Json:
    """Return an error for a program."""
    return {"error": type(error).__name__, "message": error.message, "hint": error.hint, "transient": error.transient}


def in_bytes(size: float) -> str:
    """Write a size for people: `1.4 GiB`."""
    power = 0
    while size >= 1024 and power < len(_UNITS) - 1:  # noqa: PLR2004 - a KiB
        size, power = size / 1024, power + 1
    return f"{size:,.0f} {_UNITS[power]}" if power == 0 or size >= 100 else f"{size:,.1f} {_UNITS[power]}"  # noqa: PLR2004 - three digits


def in_dollars(amount: float) -> str:
    """Write a price for people: `about 1.40 USD`."""
    return "less than 0.01 USD" if 0 < amount < 0.005 else f"about {amount:,.2f} USD"  # noqa: PLR2004 - half a cent


def in_time(seconds: float) -> str:
    """Write a length of time for people: `3 min`."""
    for unit, length in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{seconds:,.0f} s"


def ago(at: datetime | None, now: datetime) -> str:
    """Write how long ago something was: `3 h ago`."""
    return "never" if at is None else f"{in_time(max(now - at, timedelta(0)).total_seconds())} ago"


def minute(at: datetime) -> str:
    """Write a time for people: `2026-08-01 02:00 UTC`, in its own zone."""
    return f"{at:%Y-%m-%d %H:%M} {at.tzname()}"


def some(days: Sequence[str], most: int = 3) -> str:
    """Name the first few days."""
    return ", ".join(days[:most]) + (f" and {len(days) - most} more" if len(days) > most else "")


def plural(number: int, what: str) -> str:
    """Write `1 day`, `2 days`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
