"""Pacing: pauses between batches, so that a purge yields to the application and its replicas.

What belongs here: when to pause and for how long. What does not: querying the server (`source/strain.py`), and the batches. A pause holds
no transaction open, and no lock except that of the partition, which only other runs of the archiver request.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from archiver_assets.errors import SourceStrained
from archiver_assets.lifecycle.task import Task, log
from archiver_assets.source.catalog import Connection
from archiver_assets.source.strain import Lag, read_strain

LONGEST_PAUSE_SECONDS = 900.0
"""The longest pause between two batches; after it, the purge leaves the rest to a later run."""

_LOOK_SECONDS = 1.0
_UNSEEN_SECONDS = 0.25
"""Seconds between two checks. A quick batch holds its locks for less time, and a check after each took a twelfth of a purge's CPU."""


@dataclass
class Pace:
    """When the purge of one generation checks for strain: at its first batch, then whenever a quarter of a second has passed."""

    task: Task
    connection: Connection
    _looked: float | None = None

    def is_time_to_look(self) -> bool:
        """Return whether a check is due. After a long batch, it always is."""
        return self._looked is None or self.task.monotonic() - self._looked >= _UNSEEN_SECONDS

    def pause_between_batches(self, blocked: int) -> None:
        """Sleep as configured; then, if a check is due, pause while a replica lags too far or other sessions wait for the archiver.

        `blocked` is the number of other sessions that waited for the last batch. If it is not 0, the pause lasts at least a second:
        the batch has released its locks, and these sessions should proceed before the next batch takes new ones.

        Raises SourceStrained when the pause has lasted 15 minutes.
        """
        task = self.task
        if task.table.sleep_between_batches:
            task.sleep(task.table.sleep_between_batches)
        if not blocked and not self.is_time_to_look():
            return
        reasons = [*_blocked(blocked)] or _reasons(task, self.connection)
        if reasons:
            _pause(task, self.connection, reasons)
        self._looked = task.monotonic()


def _pause(task: Task, connection: Connection, reasons: list[str]) -> None:
    started = task.monotonic()
    log.info("%s: the purge pauses: %s", task.label, "; ".join(reasons))
    while reasons:
        if task.monotonic() - started >= LONGEST_PAUSE_SECONDS:
            message = f"{task.label}: expected the purge to resume within {LONGEST_PAUSE_SECONDS:.0f} s, found that {'; '.join(reasons)}"
            hint = "fix the cause, or raise the limit; every batch so far is complete, and the next purge of the day continues from there"
            raise SourceStrained(message, hint=hint)
        task.sleep(_LOOK_SECONDS)
        reasons = _reasons(task, connection)
    log.info("%s: the purge resumes after a pause of %.0f s", task.label, task.monotonic() - started)


def _reasons(task: Task, connection: Connection) -> list[str]:
    limit = task.table.max_replication_lag_seconds
    with task.source.errors():
        strain = read_strain(connection, limit)
    return [*_lagging(strain.lag, limit), *_blocked(strain.sessions)]


def _lagging(lag: Lag | None, limit: float | None) -> Iterator[str]:
    if lag and limit is not None:
        behind = f"the replica {lag.name!r} lags by {lag.seconds:.1f} s and {lag.bytes / (1 << 20):,.1f} MiB"
        yield f"{behind}, where max_replication_lag_seconds is {limit:g}"


def _blocked(sessions: int) -> Iterator[str]:
    if sessions:
        yield f"{sessions} sessions of others wait for a lock of the archiver"
