"""Progress on a terminal: a bar for each step that is at work. Elsewhere the log has a line now and then.

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
    """The bars of one display; a step that has counted to its end leaves it."""

    def __init__(self, shown: Progress) -> None:
        self._shown = shown
        self._bars: dict[Counted, TaskID] = {}

    @property
    def steps(self) -> list[str]:
        """What has a bar now."""
        return [step.what for step in self._bars]

    def __call__(self, step: Counted) -> None:
        if step not in self._bars:
            self._bars[step] = self._shown.add_task(visible(step.what), total=step.total, rate="")
        self._shown.update(self._bars[step], completed=step.done, rate=f"{step.rate:,.0f} {step.unit}/s")
        if step.done >= step.total:
            self._shown.remove_task(self._bars.pop(step))


@contextmanager
def watching(options: Options, *, terminal: Console | None = None) -> Iterator[Watch]:
    """Yield what draws steps while the block lasts, on stderr if that is a terminal and nobody asked for JSON."""
    console = terminal or Console(file=sys.stderr)
    if not console.is_terminal or options.as_json or options.log_format == "json":
        yield unwatched
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
    with Progress(*columns, TextColumn("{task.fields[rate]}"), TimeRemainingColumn(), console=console, transient=True) as shown:
        # The bars say what lines at the level INFO would; lines go through the display, which now stands in the place of stderr.
        log_to(sys.stderr, options.log_format, logging.WARNING)
        yield _Bars(shown)
    log_to(sys.stderr, options.log_format)
