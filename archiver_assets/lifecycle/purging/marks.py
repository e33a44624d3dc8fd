"""The marks of a purge in the store: the purging mark, written before the first delete, and the receipt.

What belongs here: writing them, and stopping a purge whose generation was rejected meanwhile. What does not: when to do so (`purge.py`).
"""

from datetime import datetime

from archiver_assets.errors import ManifestInvalid, NotVerified, ObjectExists
from archiver_assets.lifecycle.generations import Generation, was_rejected
from archiver_assets.lifecycle.purging.deletion import Tally
from archiver_assets.lifecycle.task import Task, log
from archiver_assets.store.keys import Mark
from archiver_assets.store.manifest import PurgeSettings, Purging, Receipt, decode, encode
from archiver_assets.store.objects import read_whole


def require_not_rejected(task: Task, generation: Generation) -> None:
    """Raise NotVerified if the generation was rejected while its purge began.

    The purging mark makes such a rejection void, so that the generation stays live, but this purge still deletes nothing.
    """
    if was_rejected(task, generation):
        message = f"{task.label}: generation {generation.number} was rejected while its purge began"
        raise NotVerified(message, hint="archive the partition again, then purge; nothing was deleted by this generation")


def mark_purging(task: Task, generation: Generation) -> None:
    """Write the purging mark of the generation, with the purge's settings.

    Raises ManifestInvalid if an earlier mark has the digest of another manifest.
    """
    table = task.table
    settings = PurgeSettings(
        batch_size=table.batch_size,
        sleep_between_batches=table.sleep_between_batches,
        retention_days=table.retention_days,
        purge_method=table.purge_method,
        verification=table.verification,
    )
    mark = Purging(
        generation=generation.number,
        manifest_sha256=generation.manifest_sha256,
        at=task.clock(),
        run_id=task.run_id,
        settings=settings,
    )
    try:
        task.store.create(task.keys.mark(Mark.PURGING, generation.number), encode(mark))
    except ObjectExists as error:
        key = task.keys.mark(Mark.PURGING, generation.number)
        earlier = decode(Purging, read_whole(task.store, key), key=key)
        if earlier.manifest_sha256 != generation.manifest_sha256:
            message = f"expected {key} to hold the digest of the manifest of {task.label}, found the digest of another manifest"
            raise ManifestInvalid(message, hint="compare both with their older versions or a copy; nothing was deleted") from error
        log.info("%s: continuing an earlier purge of generation %s", task.label, generation.number)


def write_receipt(task: Task, generation: Generation, tally: Tally, *, started_at: datetime, late: int, held_before: int) -> None:
    """Write the receipt: none of the generation's rows is left in the table, and its counts show what happened to them."""
    receipt = Receipt(
        generation=generation.number,
        manifest_sha256=generation.manifest_sha256,
        at=task.clock(),
        run_id=task.run_id,
        started_at=started_at,
        rows_purged_by_version=tally.rows.by_version,
        rows_purged_by_content=tally.rows.by_content,
        rows_gone=tally.rows.gone,
        rows_late=late,
        rows_held_before=held_before,
        batches=tally.batches,
        wal_bytes=None,
    )
    try:
        task.store.create(task.keys.mark(Mark.PURGED, generation.number), encode(receipt))
    except ObjectExists:
        log.info("%s: the receipt already exists: an earlier attempt wrote it, but its answer was lost", task.label)
