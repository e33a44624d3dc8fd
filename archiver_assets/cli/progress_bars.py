"""Progress on a terminal: a bar for each step in progress. Without a terminal, the log has lines about progress.

What belongs here: drawing what `lifecycle/progress.py` counts. What does not: counting.
"""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from archiver_assets.cli.common import Options
from archiver_assets.lifecycle.progress import Progress as Counted
from archiver_assets.lifecycle.progress import unwatched
from archiver_assets.telemetry.lines import log_to
from archiver_assets.untrusted_text import visible

Watch = Callable[[Counted], None]


class _Bars:
    """The bars of one display; a finished step is removed."""

    def __init__(self, shown: Progress) -> None:
        self._shown = shown
        self._bars: dict[Counted, TaskID] = {}

    @property
    def steps(self) -> list[str]:
        """The steps with a bar."""
        return [step.what for step in self._bars]

    def __call__(self, step: Counted) -> None:
        if step not in self._bars:
            self._bars[step] = self._shown.add_task(visible(step.what), total=step.total, rate="")
        self._shown.update(self._bars[step], completed=step.done, rate=f"{step.rate:,.0f} {step.unit}/s")
        if step.done >= step.total:
            self._shown.remove_task(self._bars.pop(step))


@contextmanager
def watching(options: Options, *, terminal: Console | None = None) -> Iterator[Watch]:
    """Yield a function that draws steps until the block ends, on stderr if it is a terminal and no JSON was requested."""
    console = terminal or Console(file=sys.stderr)
    if not console.is_terminal or options.as_json or options.log_format == "json":
        yield unwatched
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
    with Progress(*columns, TextColumn("{task.fields[rate]}"), TimeRemainingColumn(), console=console, transient=True) as shown:
        # The bars replace the lines of level INFO; other lines go through the display, which now replaces stderr.
        log_to(sys.stderr, options.log_format, logging.WARNING)
        yield _Bars(shown)
    log_to(sys.stderr, options.log_format)
