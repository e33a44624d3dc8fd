"""An application that goes on writing to the audit table while it is archived and purged, and keeps a log of what it committed.

What belongs here: seeded transactions, and the log in the same transactions. What does not: judging what became of the rows.

Every content is new, so that two versions of a row are never equal. Which rows a seed meets depends on the clock, what it tries does not.
"""

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from archiver_assets_tests.torture.checker import CONTENT

RECENT = datetime(2099, 1, 1, tzinfo=UTC)
"""A day that never expires."""

_LOG = f"""
INSERT INTO torture.versions (id, version, op, content)
SELECT t.id, t.xmin::text::bigint, %s, {CONTENT} FROM public.audit_logs t WHERE t.id = ANY(%s)
"""
_INSERT = """
INSERT INTO public.audit_logs (id, created_at, action, amount, details)
VALUES (coalesce(%s, nextval(pg_get_serial_sequence('public.audit_logs', 'id'))), %s, %s, %s, jsonb_build_object('by', %s::text))
ON CONFLICT DO NOTHING RETURNING id
"""
# What a writer may meet because another one, or the archiver, holds the same rows.
_CONFLICTS = (
    psycopg.errors.DeadlockDetected,
    psycopg.errors.UniqueViolation,
    psycopg.errors.SerializationFailure,  # a row that moved to another leaf
    psycopg.errors.CheckViolation,  # a day whose leaf was dropped
)


def log_all(connection: psycopg.Connection[Any]) -> None:
    """Log every row of the table, which nobody has logged yet."""
    connection.execute(_LOG.replace("WHERE t.id = ANY(%s)", "").encode(), ["fill"])


@dataclass
class _Transaction:
    """The rows that one transaction wrote, and that are still there."""

    connection: psycopg.Connection[Any]
    ops: list[str] = field(default_factory=list)
    written: set[int] = field(default_factory=set)

    def take(self, row: int) -> bool:
        """Lock a row that is about to change, and log the version that will be gone. Return whether there is one."""
        if self.connection.execute("SELECT FROM public.audit_logs WHERE id = %s FOR UPDATE", [row]).fetchone() is None:
            return False
        # In a statement of its own, whose snapshot is younger than the lock. What this transaction wrote itself was never committed.
        found = self.connection.execute("SELECT xmin::text::bigint FROM public.audit_logs WHERE id = %s", [row]).fetchone()
        if found is not None and row not in self.written:
            self.connection.execute("INSERT INTO torture.superseded VALUES (%s, %s)", [row, found[0]])
        return found is not None

    def execute(self, statement: str, parameters: list[Any]) -> None:
        """Run a statement that returns the ids of what it wrote."""
        self.written |= {each[0] for each in self.connection.execute(statement.encode(), parameters)}

    def log(self) -> None:
        """Log what will be there when this commits."""
        self.connection.execute(_LOG.encode(), [" ".join(self.ops), sorted(self.written)])


class Writer:
    """Writes rows of `days`, in a thread of its own, until it is stopped. Without `unique` the table itself lets an id be there twice."""

    def __init__(self, dsn: str, days: list[str], seed: str, *, unique: bool = True) -> None:
        self.transactions = 0
        self._unique = unique
        self._thread = threading.Thread(target=self._run, name=f"writer {seed}", daemon=True)
        self._dsn = dsn
        self._days = [datetime.fromisoformat(day).replace(tzinfo=UTC) for day in days]
        self._random = random.Random(seed)
        self._seed = seed
        self._texts = 0
        self._over = threading.Event()
        self._turn = threading.Lock()
        self._error: BaseException | None = None
        self._actions: list[Callable[[_Transaction], None]] = [
            self._insert,
            self._insert,
            self._update,
            self._update_twice,
            self._update_key,
            self._move,
            self._delete,
            self._insert_again,
            self._in_savepoint,
        ]

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the current transaction. Raises what ended it before."""
        self._over.set()
        self._thread.join(30)
        if self._error is not None:
            raise self._error
        if self._thread.is_alive():
            message = f"{self._thread.name} hangs"
            raise TimeoutError(message)

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Begin no transaction during the block, and be in none."""
        with self._turn:
            yield

    def _run(self) -> None:
        try:
            with psycopg.connect(self._dsn, autocommit=True) as connection:
                while not self._over.is_set():
                    with self._turn:
                        self._transact(connection)
                    self._over.wait(self._random.uniform(0, 0.01))
        except Exception as error:  # noqa: BLE001 - raised again by `stop`
            self._error = error

    def _transact(self, connection: psycopg.Connection[Any]) -> None:
        try:
            with connection.transaction() as block:
                transaction = _Transaction(connection)
                for _ in range(self._random.randint(1, 5)):
                    self._act(transaction, self._random.choice(self._actions))
                self._linger(0.2)
                transaction.log()
                self._linger(0.1)
                if self._random.random() < 0.15:
                    raise psycopg.Rollback(block)
            self.transactions += 1
        except _CONFLICTS:
            return

    def _linger(self, probability: float) -> None:
        if self._random.random() < probability:
            self._over.wait(self._random.uniform(0, 0.5))

    def _act(self, transaction: _Transaction, action: Callable[[_Transaction], None]) -> None:
        transaction.ops.append(action.__name__.strip("_"))
        action(transaction)

    def _in_savepoint(self, transaction: _Transaction) -> None:
        """Do something in a subtransaction, whose id the rows get as their xmin; some are rolled back."""
        before = set(transaction.written)
        with transaction.connection.transaction() as savepoint:
            self._act(transaction, self._random.choice(self._actions[:-1]))
            if self._random.random() < 0.4:
                transaction.written = before
                raise psycopg.Rollback(savepoint)

    def _insert(self, transaction: _Transaction) -> None:
        for _ in range(self._random.randint(1, 4)):
            transaction.execute(_INSERT, [None, self._instant(), self._text(), self._amount(), self._seed])

    def _insert_again(self, transaction: _Transaction) -> None:
        """Insert a row under the key of one that may be gone, with whatever became of it."""
        row = self._random.randint(1, 700)
        if self._unique or self._is_free(transaction.connection, row):
            transaction.execute(_INSERT, [row, self._instant(), self._text(), self._amount(), self._seed])

    def _is_free(self, connection: psycopg.Connection[Any], row: int) -> bool:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [row])
        # In a statement of its own, whose snapshot is younger than the lock.
        return connection.execute("SELECT FROM public.audit_logs WHERE id = %s", [row]).fetchone() is None

    def _update(self, transaction: _Transaction) -> None:
        self._change(transaction, "action = %s", self._text)

    def _update_twice(self, transaction: _Transaction) -> None:
        row = self._pick(transaction)
        if row is not None and transaction.take(row):
            for _ in range(2):
                transaction.execute("UPDATE public.audit_logs SET action = %s WHERE id = %s RETURNING id", [self._text(), row])

    def _move(self, transaction: _Transaction) -> None:
        self._change(transaction, "created_at = %s", self._instant)

    def _update_key(self, transaction: _Transaction) -> None:
        row = self._pick(transaction)
        if row is not None and transaction.take(row):
            transaction.written.discard(row)
            new = "nextval(pg_get_serial_sequence('public.audit_logs', 'id'))"
            transaction.execute(f"UPDATE public.audit_logs SET id = {new} WHERE id = %s RETURNING id", [row])

    def _delete(self, transaction: _Transaction) -> None:
        row = self._pick(transaction)
        if row is not None and transaction.take(row):
            transaction.written.discard(row)
            transaction.connection.execute("DELETE FROM public.audit_logs WHERE id = %s", [row])

    def _change(self, transaction: _Transaction, assignment: str, value: Callable[[], object]) -> None:
        row = self._pick(transaction)
        if row is not None and transaction.take(row):
            transaction.execute(f"UPDATE public.audit_logs SET {assignment} WHERE id = %s RETURNING id", [value(), row])

    def _pick(self, transaction: _Transaction) -> int | None:
        found = transaction.connection.execute(
            "SELECT id FROM public.audit_logs WHERE id >= %s AND created_at < %s ORDER BY id LIMIT 1",
            [self._random.randint(1, 900), RECENT],
        ).fetchone()
        return found and int(found[0])

    def _instant(self) -> datetime:
        day = RECENT if self._random.random() < 0.1 else self._random.choice(self._days)
        return day + timedelta(microseconds=self._random.randrange(86_400_000_000))

    def _text(self) -> str:
        self._texts += 1
        return f"text {self._texts} of {self._seed}" + " é\u2028" * self._random.randint(0, 3)

    def _amount(self) -> int | None:
        return self._random.choice([None, self._texts])
