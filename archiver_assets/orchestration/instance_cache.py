"""Dagster's storage in a code server: the first tick opens it, and later ticks use it again.

What belongs here: opening and keeping the instance. What does not: the queries (`history.py`).

Dagster would open the storage again in every tick, even for a function that does not use it. With PostgreSQL that takes six connections:
nine tenths of the time of a tick without expired days. The kept instance holds no connection open between two queries.
"""

import threading

import dagster as dg
from dagster._core.instance.ref import InstanceRef


class KeptInstance:
    """The instance that ticks use. Safe for threads, as Dagster's instances are."""

    def __init__(self) -> None:
        """Begin with none."""
        self._lock = threading.Lock()
        self._kept: tuple[InstanceRef, dg.DagsterInstance] | None = None

    def give_to(self, context: dg.ScheduleEvaluationContext) -> None:
        """Let `context.instance` be the kept one, if it is the one that the daemon names; a context that has one already keeps that."""
        reference = context.instance_ref
        # Private: Dagster has no other place for it. A test holds on to it.
        if reference is not None and context._instance is None:  # noqa: SLF001
            context._instance = self._of(reference)  # type: ignore[assignment]  # noqa: SLF001 - as Dagster itself does

    def _of(self, reference: InstanceRef) -> dg.DagsterInstance:
        with self._lock:
            if self._kept is None or self._kept[0] != reference:
                self._kept = (reference, dg.DagsterInstance.from_ref(reference))
            return self._kept[1]
