"""A legal hold on a day while a job purges it, and the row versions that are gone in spite of it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date

from archiver_assets.config import Hold
from archiver_assets.store.hold_objects import place_hold, release_hold
from archiver_assets_tests.lab import Lab
from archiver_assets_tests.torture.checker import read_table

_SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'audit-archiver'"
_ENDS = 30.0


@contextmanager
def held_day(lab: Lab, prefix: str, day: str) -> Iterator[Callable[[], list[str]]]:
    """Hold a day during the block; yield what returns its row versions that were there and that no writer replaced or deleted."""
    _await_the_dead(lab)
    hold = Hold(
        id=f"held-{day}", reason="torture", table_name="audit_logs", first_day=date.fromisoformat(day), last_day=date.fromisoformat(day)
    )
    place_hold(lab.store, prefix, hold)
    before = {version: content for version, content in read_table(lab.database.dsn).rows.items() if f"|{day}T" in content}

    def gone() -> list[str]:
        state = read_table(lab.database.dsn)
        lost = before.keys() - state.rows.keys() - state.superseded
        return [f"HELD, and gone: id {version[0]} xmin {version[1]}, {before[version]!r}" for version in sorted(lost)]

    try:
        yield gone
    finally:
        release_hold(lab.store, prefix, hold.id)


def _await_the_dead(lab: Lab) -> None:
    """Wait for the sessions of killed jobs: the batch that one is deleting was begun before the hold."""
    deadline = time.monotonic() + _ENDS
    while lab.execute(_SESSIONS) != [(0,)]:
        if time.monotonic() > deadline:
            message = f"sessions of killed jobs are there after {_ENDS} s"
            raise TimeoutError(message)
        time.sleep(0.05)
