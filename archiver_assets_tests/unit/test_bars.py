"""Bars on a terminal, drawn from what the lifecycle counts."""

import io

import pytest
from rich.console import Console

from archiver_assets.cli.common import Options
from archiver_assets.cli.progress_bars import watching
from archiver_assets.lifecycle.progress import Progress, unwatched


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=120)


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_step_has_a_bar_until_it_has_counted_to_its_end() -> None:
    console = terminal()
    with watching(Options(), terminal=console) as watch:
        step = Progress("archive d/s/t 2026-08-01", 100, lambda: 0.0, "rows", watch)
        step.add(50)
        assert watch.steps == ["archive d/s/t 2026-08-01"]  # type: ignore[attr-defined]
        step.add(50)
        assert watch.steps == []  # type: ignore[attr-defined]
    assert "archive d/s/t 2026-08-01" in shown(console)


@pytest.mark.parametrize("options", [Options(as_json=True), Options(log_format="json")])
def test_programs_get_no_bars(options: Options) -> None:
    console = terminal()
    with watching(options, terminal=console) as watch:
        Progress("archive d/s/t 2026-08-01", 100, lambda: 0.0, "rows", watch).add(50)
    assert (watch, shown(console)) == (unwatched, "")
