"""The demo's stage with Dagster on it: what the user opens in the browser.

What belongs here: both together, with the schedules quiet. What does not: the browser (`chromium.py`), and its user (`user.py`).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from archiver_assets.demo.stage import Stage, open_stage
from archiver_assets_tests.dagster_processes import Dagster, open_dagster


@dataclass(frozen=True)
class Site:
    """What is up: databases, bucket and config, and Dagster on them."""

    stage: Stage
    dagster: Dagster


@contextmanager
def open_site(*, days: int, rows_per_day: int) -> Iterator[Site]:
    """Put everything up on filled tables, where no schedule ticks; take it all down at the end of the block."""
    with _kept_environment(), open_stage(days, rows_per_day) as stage:
        _keep_schedules_quiet(Path(stage.environ["ARCHIVER_CONFIG"]))
        with open_dagster(stage.folder, stage.environ) as dagster:
            yield Site(stage, dagster)


def _keep_schedules_quiet(config: Path) -> None:
    # They are there, and running, but at the time of day of their default they would archive what the user is about to look at.
    far = (datetime.now(UTC).month + 5) % 12 + 1
    config.write_text(config.read_text().replace("defaults:\n", f'defaults:\n  schedule: "0 2 1 {far} *"\n'))


@contextmanager
def _kept_environment() -> Iterator[None]:
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
