"""Drop leaves of a natively partitioned table (`purge_method: drop_partition`).

What belongs here: choosing the leaves, proving that a leaf may be dropped, and retrying. What does not: the transaction that drops a leaf
(`source/leaves.py`).

A leaf inside the day is dropped whole if the version of each of its rows is in a generation that this call has proven. Any other leaf is
dropped once it is empty and all its days have expired. The rows of a leaf that cannot be dropped are deleted as in any other table.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from archiver_assets.lifecycle.archive_only import require_purge
from archiver_assets.lifecycle.coverage import Coverage
from archiver_assets.lifecycle.purging.deletion import Proven, Session, batches_of, target_of
from archiver_assets.lifecycle.task import Step, log
from archiver_assets.partition import newest_expired
from archiver_assets.source import identities
from archiver_assets.source.catalog import XMIN, find_relation, read_findings
from archiver_assets.source.deleting import Target, count_versions
from archiver_assets.source.leaves import DayLeaf, LeafBusy, LeafKept, day_leaves, drop_leaf, is_empty, rows_of

_PAUSES = (0.0, 0.5, 1.0, 2.0, 4.0)
"""Seconds before each attempt at a leaf. While an attempt waits for its locks, others queue behind it for at most half a second.

Once the locks are granted, users of the leaf wait until its rows have been scanned and the holds read (`leaves.py` bounds that time).
"""


NoteLeaf = Callable[[str, Mapping[int, int]], None]
"""Takes the name of a leaf that was just dropped, and the number of rows that went with it per generation number."""


def drop_proven_leaves(session: Session, proven: Sequence[Proven], note: NoteLeaf) -> None:
    """Drop the leaves inside the partition whose rows are all in the proven generations, and note each as soon as it is dropped.

    Raises SourceChanged or TableRefused if the table is altered meanwhile, and the other errors of the source.
    """
    require_purge(session.task.table)
    if not proven or not _may_drop(session):
        return
    leaves = [leaf for leaf in _leaves(session) if leaf.inside and not is_empty(session.connection, leaf)]
    count = _counting(session, proven) if leaves else None
    if count is None:
        return
    for leaf in leaves:
        found: dict[int, int] = {}
        if _drop(session, leaf, partial(_proves, session, count, leaf, found)):
            note(leaf.relation.name, found)
            session.task.reached(Step.LEAF_DROPPED)


def drop_empty_leaves(session: Session, note: NoteLeaf) -> None:
    """Drop the leaves that are empty and entirely expired, however they became empty, and note each as soon as it is dropped."""
    require_purge(session.task.table)
    if not _may_drop(session):
        return
    for leaf in [leaf for leaf in _leaves(session) if leaf.expired and is_empty(session.connection, leaf)]:
        if _drop(session, leaf, partial(_empty, session, leaf)):
            note(leaf.relation.name, {})
            session.task.reached(Step.LEAF_DROPPED)


def _empty(session: Session, leaf: DayLeaf, _target: Target) -> bool:
    return is_empty(session.connection, leaf)


def _may_drop(session: Session) -> bool:
    """Return whether dropping a leaf is equivalent to deleting its rows: the table has no trigger that fires after a delete."""
    config = session.task.table
    relation = find_relation(session.connection, config)
    findings = read_findings(session.connection, config) if relation else []
    triggers = [each.what for each in findings if each.name == "after_delete_trigger"]
    if triggers:
        log.warning("%s: no leaf is dropped, because a drop would bypass triggers: %s", config.label, "; ".join(triggers))
    return bool(relation) and not triggers


def _leaves(session: Session) -> list[DayLeaf]:
    task = session.task
    newest = newest_expired(now=session.server.now, retention_days=task.table.retention_days, timezone=task.table.timezone)
    return day_leaves(session.connection, _target(session), session.table.days(newest).upper)


def _target(session: Session) -> Target:
    return Target(session.task.table, session.table, session.table.days(session.task.partition), session.table.leaves)


@dataclass(frozen=True)
class _Counts:
    """The number of rows in a leaf, of those that some generation holds (`covered`), and of those in each generation, by its number."""

    rows: int
    covered: int
    of: dict[int, int]


_Count = Callable[[Target, DayLeaf], _Counts]


def _counting(session: Session, proven: Sequence[Proven]) -> _Count | None:
    """Return a function that counts the rows of a leaf; None if counting would prove nothing. Does whatever needs no lock on the leaf."""
    if identities.have_one_width(column.arrow_type for column in session.table.key):
        held = {each.generation.number: _coverage(session, each) for each in proven}
        return partial(_count_here, session, proven, held)
    return partial(_count_there, session, proven) if _all_different(session, proven) else None


def _coverage(session: Session, proven: Proven) -> Coverage:
    """Read the believed row versions that a generation holds."""
    names = [*(column.name for column in session.table.key), XMIN]
    return Coverage(batch.versions.filter(batch.believed).select(names) for batch in batches_of(session, proven))


def _count_here(session: Session, proven: Sequence[Proven], held: Mapping[int, Coverage], target: Target, leaf: DayLeaf) -> _Counts:
    """Read the leaf's versions once, and compare them in this process. A part with rows outside the range counts as not covered."""
    days = [target_of(session, each.generation).days for each in proven]
    tightest = replace(days[0], lower=max(each.lower for each in days), upper=min(each.upper for each in days))
    believed = [each.generation.number for each in proven if _believes(session, each, target, leaf)]
    rows, covered, of = 0, 0, dict.fromkeys(held, 0)
    for part in identities.of_leaf(session.connection, session.table, tightest, leaf.relation):
        rows += len(part.versions)
        if part.inside < len(part.versions):
            continue
        found = {number: held[number].covers(part.versions) for number in believed}
        covered += int(np.logical_or.reduce([np.zeros(len(part.versions), bool), *found.values()]).sum())
        for number, mask in found.items():
            of[number] += int(mask.sum())
    return _Counts(rows, covered, of)


def _believes(session: Session, proven: Proven, target: Target, leaf: DayLeaf) -> bool:
    """Return whether the generation archived this leaf, and the leaf still has the same columns."""
    return any(known.oid == leaf.oid and known in target.leaves for known in target_of(session, proven.generation).leaves)


def _count_there(session: Session, proven: Sequence[Proven], target: Target, leaf: DayLeaf) -> _Counts:
    """Have the server look up each version."""
    of = {}
    for each in proven:
        mine = target_of(session, each.generation)
        now = Target(target.config, target.table, mine.days, tuple(known for known in mine.leaves if known in target.leaves))
        of[each.generation.number] = sum(
            count_versions(session.connection, now, leaf.relation, batch) for batch in batches_of(session, each)
        )
    return _Counts(rows_of(session.connection, leaf), sum(of.values()), of)


def _all_different(session: Session, proven: Sequence[Proven]) -> bool:
    """Return whether no version is in the objects twice. Only then may rows be counted instead of compared one by one."""
    names = [*(column.name for column in session.table.key), XMIN]
    versions = Coverage(batch.select(names) for each in proven for batch in each.copy.batches(names))
    if versions.distinct == len(versions):
        return True
    log.warning("%s: no leaf is dropped, because generations hold some row versions twice", session.task.label)
    return False


def _proves(session: Session, count: _Count, leaf: DayLeaf, found: dict[int, int], target: Target) -> bool:
    """Return whether the generations hold all rows of the leaf, and store in `found` how many rows each of them holds."""
    found.clear()
    if session.held_rows():
        log.info("%s: leaf %s is not dropped: legal holds keep rows of the day", session.task.label, leaf.relation.name)
        return False
    counts = count(target, leaf)
    found.update(counts.of)
    if counts.covered != counts.rows:
        known = f"{counts.covered} of its {counts.rows} rows are archived"
        log.info("%s: leaf %s is not dropped: %s", session.task.label, leaf.relation.name, known)
    elif sum(counts.of.values()) != counts.rows:
        log.warning("%s: leaf %s is not dropped: generations hold some of its row versions twice", session.task.label, leaf.relation.name)
    return counts.covered == counts.rows == sum(counts.of.values())


def _drop(session: Session, leaf: DayLeaf, proves: Callable[[Target], bool]) -> bool:
    task, name = session.task, leaf.relation.name
    for pause in _PAUSES:
        if pause:
            log.info("%s: leaf %s is in use; trying again in %s s", task.label, name, pause)
            task.sleep(pause)
        try:
            gone = drop_leaf(session.connection, _target(session), leaf, proves)
        except LeafKept as error:
            log.warning("%s: leaf %s is not dropped: %s", task.label, name, error)
            return False
        except LeafBusy:
            continue
        if gone:
            log.info("%s: leaf %s, from %s to %s, was dropped", task.label, name, leaf.lower, leaf.upper)
        return gone
    log.warning("%s: leaf %s is in use and is not dropped: its locks were not granted in %s attempts", task.label, name, len(_PAUSES))
    return False
