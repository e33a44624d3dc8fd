"""Dropping leaves of a natively partitioned table (`purge_method: drop_partition`).

What belongs here: which leaves are tried, what proves that a leaf may go, and how often it is tried. What does not: the transaction that
drops one (`source/leaves.py`).

A leaf inside the day goes whole if each of its rows is, by version, in a generation that this very call has proven. Any other leaf goes
when it is empty and all its days have expired. Where a leaf cannot go so, its rows are deleted as those of any table are.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from archiver_assets.lifecycle.coverage import Coverage
from archiver_assets.lifecycle.emptying import Proven, Session, batches_of, target_of
from archiver_assets.lifecycle.task import Step, log
from archiver_assets.partition import newest_expired
from archiver_assets.source.catalog import XMIN, find_relation, read_findings
from archiver_assets.source.deleting import Target, count_versions
from archiver_assets.source.leaves import DayLeaf, LeafBusy, LeafKept, day_leaves, drop_leaf, is_empty, rows_of

_PAUSES = (0.0, 0.5, 1.0, 2.0, 4.0)
"""Seconds before each try at a leaf. Whoever uses the table waits for at most half a second of each try."""


@dataclass
class Dropped:
    """The leaves that went, and how many rows of each generation, by its number, went with them."""

    leaves: list[str] = field(default_factory=list)
    rows: dict[int, int] = field(default_factory=dict)


def drop_proven_leaves(session: Session, proven: Sequence[Proven]) -> Dropped:
    """Drop the leaves inside the partition all of whose rows are in the proven generations.

    Raises SourceChanged or TableRefused if the table is altered meanwhile, and what else the source raises.
    """
    dropped = Dropped()
    if not proven or not _may_drop(session) or not _all_different(session, proven):
        return dropped
    for leaf in _leaves(session):
        if not leaf.inside or is_empty(session.connection, leaf):
            continue
        found: dict[int, int] = {}
        if _drop(session, leaf, partial(_proves, session, proven, leaf, found)):
            dropped.leaves.append(leaf.relation.name)
            for number, rows in found.items():
                dropped.rows[number] = dropped.rows.get(number, 0) + rows
    return dropped


def drop_empty_leaves(session: Session) -> list[str]:
    """Drop the leaves that are empty and wholly expired, whatever emptied them, and return their names."""
    if not _may_drop(session):
        return []
    leaves = [leaf for leaf in _leaves(session) if leaf.expired and is_empty(session.connection, leaf)]
    return [leaf.relation.name for leaf in leaves if _drop(session, leaf, partial(_empty, session, leaf))]


def _empty(session: Session, leaf: DayLeaf, _target: Target) -> bool:
    return is_empty(session.connection, leaf)


def _may_drop(session: Session) -> bool:
    """Tell whether a drop does what deletes would do: no trigger of the table would miss them."""
    config = session.task.table
    relation = find_relation(session.connection, config)
    findings = read_findings(session.connection, config) if relation else []
    triggers = [each.what for each in findings if each.name == "after_delete_trigger"]
    if triggers:
        log.warning("%s: no leaf is dropped, because its rows are to pass triggers: %s", config.label, "; ".join(triggers))
    return bool(relation) and not triggers


def _leaves(session: Session) -> list[DayLeaf]:
    task = session.task
    newest = newest_expired(now=session.server.now, retention_days=task.table.retention_days, timezone=task.table.timezone)
    return day_leaves(session.connection, _target(session), session.table.days(newest).upper)


def _target(session: Session) -> Target:
    return Target(session.task.table, session.table, session.table.days(session.task.partition), session.table.leaves)


def _all_different(session: Session, proven: Sequence[Proven]) -> bool:
    """Tell whether no version is in the objects twice: only then may rows be counted instead of compared one by one."""
    names = [*(column.name for column in session.table.key), XMIN]
    versions = Coverage(batch.select(names) for each in proven for batch in each.copy.batches(names))
    if versions.distinct == len(versions):
        return True
    log.warning("%s: no leaf is dropped, because generations hold some row versions twice", session.task.label)
    return False


def _proves(session: Session, proven: Sequence[Proven], leaf: DayLeaf, found: dict[int, int], target: Target) -> bool:
    """Tell whether the generations hold all rows of the leaf, and put into `found` how many each of them holds."""
    found.clear()
    if session.held_rows():
        log.info("%s: leaf %s is not dropped: legal holds keep rows of the day", session.task.label, leaf.relation.name)
        return False
    rows = rows_of(session.connection, leaf)
    for each in proven:
        mine = target_of(session, each.generation)
        now = Target(target.config, target.table, mine.days, tuple(known for known in mine.leaves if known in target.leaves))
        found[each.generation.number] = sum(
            count_versions(session.connection, now, leaf.relation, batch) for batch in batches_of(session, each)
        )
    known = sum(found.values())
    if known != rows:
        log.info("%s: leaf %s is not dropped: %s of its %s rows are archived", session.task.label, leaf.relation.name, known, rows)
    return known == rows


def _drop(session: Session, leaf: DayLeaf, proves: Callable[[Target], bool]) -> bool:
    task, name = session.task, leaf.relation.name
    for pause in _PAUSES:
        if pause:
            log.info("%s: leaf %s is in use; trying again in %s s", task.label, name, pause)
            task.sleep(pause)
        try:
            gone = drop_leaf(session.connection, _target(session), leaf, proves)
        except LeafKept as error:
            log.warning("%s: leaf %s stays: %s", task.label, name, error)
            return False
        except LeafBusy:
            continue
        if gone:
            log.info("%s: leaf %s, from %s to %s, was dropped", task.label, name, leaf.lower, leaf.upper)
            task.reached(Step.LEAF_DROPPED)
        return gone
    log.warning("%s: leaf %s is in use and stays: its locks were not granted in %s tries", task.label, name, len(_PAUSES))
    return False
