"""Pacing: between two batches a purge rests, and gives way to the application and its replicas.

What belongs here: when to pause and for how long. What does not: asking the server (`source/strain.py`), and what a batch does. Nothing is
open while it pauses: no transaction, and no lock but that of the partition, which only other runs of the archiver ask for.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from archiver_assets.errors import SourceStrained
from archiver_assets.lifecycle.task import Task, log
from archiver_assets.source.catalog import Connection
from archiver_assets.source.strain import Lag, read_strain

LONGEST_PAUSE_SECONDS = 900.0
"""What a purge waits at one batch boundary until it leaves the rest to a later run."""

_LOOK_SECONDS = 1.0
_UNSEEN_SECONDS = 0.25
"""What may pass between two looks. A quick batch holds its locks for less, and asking at each took a twelfth of a purge's CPU."""


@dataclass
class Pace:
    """When the purge of one generation looks for strain: with its first batch, and whenever a quarter of a second has passed since."""

    task: Task
    connection: Connection
    _looked: float | None = None

    def is_time_to_look(self) -> bool:
        """Tell whether to look again. A batch that took long is one at whose end it is time."""
        return self._looked is None or self.task.monotonic() - self._looked >= _UNSEEN_SECONDS

    def pause_between_batches(self, blocked: int) -> None:
        """Rest as configured; then, if it is time, pause while a replica lags too far, or sessions of others wait for ours.

        `blocked` is how many of them waited for the batch before. The pause after that lasts a second at least: they are behind a lock that
        was released with the batch, and the next one shall not take another at once.

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
            message = f"{task.label}: expected the purge to go on within {LONGEST_PAUSE_SECONDS:.0f} s, found that {'; '.join(reasons)}"
            hint = "mend that, or raise its limit; every batch so far is complete, and the next purge of the day goes on with the rest"
            raise SourceStrained(message, hint=hint)
        task.sleep(_LOOK_SECONDS)
        reasons = _reasons(task, connection)
    log.info("%s: the purge goes on after a pause of %.0f s", task.label, task.monotonic() - started)


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
