"""The rows that a partition still has in the table while its purge goes on: how many, and how many of them legal holds keep.

What belongs here: when they are counted, and when subtraction will do. What does not: deleting (`deletion.py`), and what follows from the
numbers (`purge.py`).

Counting deleted rows costs far more than counting live ones: a million of them took 0.42 s of the server's CPU, which is two thirds of
deleting them, because each is looked up in the heap and its page pruned; before the deletes an index-only scan took 0.06 s.
"""

from dataclasses import dataclass, replace

from archiver_assets.config import Hold
from archiver_assets.lifecycle.purging.deletion import Session
from archiver_assets.source.catalog import Counted, count_held
from archiver_assets.source.deleting import Deleted
from archiver_assets.source.hold_rows import held_rows


@dataclass(frozen=True)
class Left:
    """The rows that the table has of the partition, and the holds that were in force on it then."""

    rows: Counted
    holds: tuple[Hold, ...] = ()


def count_left(session: Session) -> Left:
    """Count the rows that the table has of the partition at this moment."""
    holds = session.holds()
    held = held_rows(session.connection, session.task.table, session.table, holds)
    return Left(count_held(session.connection, session.table.days(session.task.partition), held), holds)


@dataclass
class Remaining:
    """What is left of a partition, counted before the first row is deleted and after the last one, or after it by subtraction."""

    session: Session
    before: Left | None = None

    def count_before(self) -> None:
        """Count what there is before the first batch; further calls do nothing.

        A partition whose leaves are dropped is counted only for its holds: what is left of it costs nothing to count.
        """
        if self.before is None and (self.session.task.table.purge_method == "delete" or self.session.holds()):
            self.before = count_left(self.session)

    @property
    def held_before(self) -> int:
        """The rows that legal holds kept before the first batch."""
        return self.before.rows.held if self.before else 0

    def after(self, deleted: Deleted) -> Left:
        """Return what is left once `deleted` is all that became of the rows since `count_before`.

        It is counted, unless each of the rows went by its version and no hold is in force, then or now: then it is the
        difference. This leaves out rows that others inserted or deleted while the batches ran; the backlog finds those that came.
        """
        before, gone = self.before, deleted.by_version
        plain = replace(deleted, blocked=0) == Deleted(by_version=gone)
        if before and not before.holds and plain and 0 < gone <= before.rows.all and not self.session.holds():
            return Left(Counted(before.rows.all - gone, 0))
        return count_left(self.session)
