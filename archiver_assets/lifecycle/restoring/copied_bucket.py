"""Reading a generation back from a bucket that is a copy of the archive's, for uses that delete nothing.

What belongs here: recognizing such a bucket, and deciding what to trust in it. What does not: the comparison itself
(`verifying/readback.py`), and any use that rejects or purges; these trust only the version that the manifest names.

`aws s3 sync` or a backup tool gives each object a new version, and a bucket without versioning has none. The manifest's digests still prove
the same bytes there: proven rows may be read, and loaded into a table.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from archiver_assets.errors import NotVerified, ObjectMissing, StoreError, StoreUnavailable
from archiver_assets.lifecycle.generations import Generation
from archiver_assets.lifecycle.task import Task, log
from archiver_assets.lifecycle.verifying.readback import LocalCopy, proven


@contextmanager
def readable(task: Task, generation: Generation) -> Iterator[LocalCopy]:
    """Read a generation back, also from a copied bucket: there every value of the current object is verified, whatever `verification` is.

    Raises NotVerified if the object does not match its manifest.
    """
    differing = _other_version(task, generation)
    if differing is not None:
        log.warning("%s: generation %s is read from a copy, and proven by its digests: %s", task.label, generation.number, differing)
        task = replace(task, table=task.table.model_copy(update={"verification": "full"}))
    with proven(task, generation, copied=differing is not None) as copy:
        yield copy


@contextmanager
def original(task: Task, generation: Generation) -> Iterator[LocalCopy]:
    """Read a generation back for a use that deletes rows it contains. Raises NotVerified, even for an exact copy."""
    differing = _other_version(task, generation)
    if differing is not None:
        message = f"{task.label}: expected generation {generation.number} as it was archived, to overwrite rows by it: {differing}"
        hint = "a copy deletes no row: restore with conflict: skip, or bring the version back that the manifest names"
        raise NotVerified(message, hint=hint)
    with proven(task, generation) as copy:
        yield copy


def _other_version(task: Task, generation: Generation) -> str | None:
    """Describe how the current version differs from the manifest's; None if it does not, without versioning, or without an object."""
    expected, key = generation.manifest.object.version_id, generation.object_key
    if expected is None:
        return None
    try:
        found = task.store.head(key).version_id
    except ObjectMissing:
        return None  # reading it back reports this with more detail
    if found == expected or (found is not None and _is_there(task, key, expected)):
        return None
    return f"its manifest names the version {expected} of {task.store.uri(key)}, and the bucket has {found or 'no versions'}"


def _is_there(task: Task, key: str, version_id: str) -> bool:
    """Return whether the store has that version: then the current one was written over it, and the bucket is not a copy.

    Stores that never had the version answer with various errors, AWS also with InvalidArgument. A bucket mistaken for a copy must still
    match the manifest's digests.
    """
    try:
        next(task.store.read(key, version_id=version_id), None)
    except StoreUnavailable:
        raise
    except StoreError:
        return False
    return True
