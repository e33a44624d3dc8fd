"""Verify: read a partition's generations back, report whether all are proven, and reject those that failed twice.

What belongs here: the verdict on one generation or several. What does not: reading one back (`readback.py`), and how a purge or an archive
reacts to the verdict.
"""

from collections.abc import Sequence
from dataclasses import replace

from archiver_assets.errors import ManifestInvalid, PartitionBusy
from archiver_assets.lifecycle.generations import Generation, read_generations, reject
from archiver_assets.lifecycle.progress import of_generation
from archiver_assets.lifecycle.retrying import persistently
from archiver_assets.lifecycle.task import Step, Task, log
from archiver_assets.lifecycle.verifying.readback import Verification, read_back
from archiver_assets.source.catalog import count_rows, read_table
from archiver_assets.source.session import partition_lock


def verify(task: Task, *, rejecting: bool = True) -> Verification:
    """Verify the partition's live generations. If there is none, the table must have no rows of the partition.

    A generation that fails is read a second time. If it fails again and its purge has not begun, it is rejected; without `rejecting`, as in
    a dry run, it is only reported. Raises the errors of source and store: after these nothing is known, which is not a mismatch.
    """
    return persistently(task, "verify", lambda: _verify(task, rejecting=rejecting))


def _verify(task: Task, *, rejecting: bool) -> Verification:
    try:
        live = read_generations(task).live
    except ManifestInvalid as error:
        return Verification(None, 0, 0, None, 0, (error.message,), hint=error.hint)
    if not live:
        return _verify_absence(task)
    verification = combined([_verify_one(task, generation, rejecting=rejecting) for generation in live])
    task.reached(Step.READ_BACK)
    number = verification.generation.number if verification.generation else None
    log.info("verify %s: %s", task.label, "; ".join(verification.mismatches) or "passed", extra={"generation": number})
    return verification


def combined(each_of: Sequence[Verification]) -> Verification:
    """Combine the verifications of several generations, given oldest first; each mismatch names its generation."""
    shown = next((each for each in each_of if each.mismatches), each_of[-1])
    return Verification(
        shown.generation,
        sum(each.rows_in_manifest for each in each_of),
        sum(each.rows_in_object for each in each_of),
        None,
        sum(each.bytes_in_object for each in each_of),
        tuple(f"generation {each.generation.number}: {line}" for each in each_of if each.generation for line in each.mismatches),
        tuple(comparison for each in each_of for comparison in each.comparisons),
        sum(each.rejected for each in each_of),
        other_version=any(each.other_version for each in each_of),
        purge_begun=any(each.purge_begun for each in each_of),
    )


def _verify_one(task: Task, generation: Generation, *, rejecting: bool) -> Verification:
    with of_generation(generation.number):
        with read_back(task, generation) as copy:
            verification = copy.verification
        if not verification.passed and generation.open and rejecting:
            return replace(verification, rejected=int(_reject_under_lock(task, generation, verification)))
        return verification


def _reject_under_lock(task: Task, generation: Generation, verification: Verification) -> bool:
    try:
        with task.source.connect() as connection, partition_lock(connection, table=task.table.label, partition=task.partition):
            return reject(task, generation, verification.mismatches)
    except PartitionBusy:
        log.warning("%s: generation %s is damaged, but another session works on it: not rejected", task.label, generation.number)
        return False


def _verify_absence(task: Task) -> Verification:
    with task.source.connect() as connection:
        table = read_table(connection, task.table)
        rows = count_rows(connection, table.days(task.partition))
    mismatches = (f"the table holds {rows} rows of the partition and there is no generation that counts",) if rows else ()
    return Verification(None, 0, 0, rows, 0, mismatches)
