"""Reading a generation back from a bucket that is a copy of the archive's, for uses that delete nothing.

What belongs here: telling such a bucket, and what is believed of it. What does not: the comparison itself (`verifying/readback.py`), and
every use that rejects or purges, which believes only the version that the manifest names.

`aws s3 sync` or a backup tool gives each object a version of its own, and a bucket without versions has none. The manifest's digests bind
the same bytes there: what they prove may be read, and loaded into a table.
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
    """Read a generation back, of a copied bucket too, whose current object is then proven by every value, whatever `verification` says.

    Raises NotVerified if it is not what its manifest says.
    """
    differing = _other_version(task, generation)
    if differing is not None:
        log.warning("%s: generation %s is read from a copy, and proven by its digests: %s", task.label, generation.number, differing)
        task = replace(task, table=task.table.model_copy(update={"verification": "full"}))
    with proven(task, generation, copied=differing is not None) as copy:
        yield copy


@contextmanager
def original(task: Task, generation: Generation) -> Iterator[LocalCopy]:
    """Read a generation back, for a use that deletes rows which it holds. Raises NotVerified, also for a copy, however exact."""
    differing = _other_version(task, generation)
    if differing is not None:
        message = f"{task.label}: expected generation {generation.number} as it was archived, to overwrite rows by it: {differing}"
        hint = "a copy deletes no row: restore with conflict: skip, or bring the version back that the manifest names"
        raise NotVerified(message, hint=hint)
    with proven(task, generation) as copy:
        yield copy


def _other_version(task: Task, generation: Generation) -> str | None:
    """Say how the current version is another than the manifest's; None if it is the same, if there are no versions, or no object."""
    expected, key = generation.manifest.object.version_id, generation.object_key
    if expected is None:
        return None
    try:
        found = task.store.head(key).version_id
    except ObjectMissing:
        return None  # which reading it back says, with all that is known of it
    if found == expected or (found is not None and _is_there(task, key, expected)):
        return None
    return f"its manifest names the version {expected} of {task.store.uri(key)}, and the bucket has {found or 'no versions'}"


def _is_there(task: Task, key: str, version_id: str) -> bool:
    """Tell whether the store has that version: then the current one was put above it, and the bucket is no copy.

    Stores that were never given the version answer in several ways, AWS by InvalidArgument too. What is taken for a copy by mistake has to
    prove its digests all the same.
    """
    try:
        next(task.store.read(key, version_id=version_id), None)
    except StoreUnavailable:
        raise
    except StoreError:
        return False
    return True
