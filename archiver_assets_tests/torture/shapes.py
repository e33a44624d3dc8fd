"""The tables that are tortured: an ordinary one, and a natively partitioned one whose leaves are dropped.

What belongs here: what makes them, their config, and where a job on them can die. What does not: what happens to them (`rounds.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from signal import SIGKILL, SIGTERM, Signals

from archiver_assets.lifecycle.task import Step
from archiver_assets_tests.lab import AUDIT_LOGS

Kind = tuple[Step | None, Signals]
"""Where and how a job dies; None: at a random moment, by the parent."""

DROP = "DROP TABLE IF EXISTS public.audit_logs, public.audit_logs_restored;"
PARTITIONED = """
CREATE TABLE public.audit_logs (
    id bigserial,
    created_at timestamptz NOT NULL,
    actor uuid,
    action text NOT NULL,
    address inet,
    amount numeric(18,4),
    tags text[],
    details jsonb,
    PRIMARY KEY (id, created_at)
) PARTITION BY RANGE (created_at);
CREATE INDEX ON public.audit_logs (created_at);
"""
# A day in two leaves, a day in one, and a leaf that is larger than its day.
LEAVES = """
SET TIME ZONE 'UTC';
CREATE TABLE IF NOT EXISTS leaf_04_am PARTITION OF public.audit_logs FOR VALUES FROM ('2024-03-04 00:00') TO ('2024-03-04 12:00');
CREATE TABLE IF NOT EXISTS leaf_04_pm PARTITION OF public.audit_logs FOR VALUES FROM ('2024-03-04 12:00') TO ('2024-03-05 00:00');
CREATE TABLE IF NOT EXISTS leaf_05 PARTITION OF public.audit_logs FOR VALUES FROM ('2024-03-05 00:00') TO ('2024-03-06 00:00');
CREATE TABLE IF NOT EXISTS leaf_06_and_07 PARTITION OF public.audit_logs FOR VALUES FROM ('2024-03-06 00:00') TO ('2024-03-08 00:00');
CREATE TABLE IF NOT EXISTS leaf_recent PARTITION OF public.audit_logs FOR VALUES FROM ('2099-01-01 00:00') TO ('2100-01-01 00:00');
"""
EXPIRED_LEAVES = """
SELECT inhrelid::regclass::text FROM pg_inherits
WHERE inhparent = to_regclass('public.audit_logs') AND inhrelid <> to_regclass('public.leaf_recent')
"""


@dataclass(frozen=True)
class Shape:
    """A table: what makes it, what makes the leaves that are missing, its config, and the steps that a job on it can reach."""

    ddl: str
    leaves: str
    config: Mapping[str, object]
    steps: tuple[Step, ...]

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """All the ways in which a job can die."""
        return tuple(product((*self.steps, None, None), (SIGKILL, SIGTERM)))


ORDINARY = Shape(AUDIT_LOGS, "", {}, tuple(step for step in Step if step is not Step.LEAF_DROPPED))
LEAFED = Shape(PARTITIONED, LEAVES, {"primary_key": ("id", "created_at"), "purge_method": "drop_partition"}, tuple(Step))
SHAPES = (ORDINARY, LEAFED)


def shape_of(seed: int) -> Shape:
    """Return the table of a run: seeds that follow each other alternate."""
    return SHAPES[seed % len(SHAPES)]


def kind_of_round(seed: int, number: int, rounds: int) -> Kind:
    """Return how the job of a round dies: seeds that follow each other, each with so many `rounds`, take turns at all kinds."""
    kinds = shape_of(seed).kinds
    return kinds[(seed // len(SHAPES) * rounds + number) * 7 % len(kinds)]
