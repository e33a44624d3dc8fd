"""Inspection: prove the archive from the store alone, as somebody would who has lost the database, or distrusts everybody.

What belongs here: reading every generation that counts back, whole, and what is wrong with the objects around them. What does not: the
comparison of one object with its manifest (`reading_back.py`), and doing anything about what was found: nothing is written,
nothing rejected.

What the store alone cannot tell is whether a whole day, or the newest generation of one, was removed with all its marks: Dagster's
materializations, the bucket's versions and its Object Lock are there for that.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

from archiver_assets.errors import ManifestInvalid
from archiver_assets.lifecycle.generations import Generation, read_generation
from archiver_assets.lifecycle.reading_back import Verification, read_back
from archiver_assets.lifecycle.sources import accepted_source
from archiver_assets.lifecycle.survey import TableObjects
from archiver_assets.lifecycle.task import Task
from archiver_assets.showing import bounded
from archiver_assets.store.keys import Mark
from archiver_assets.store.manifest import Purging, Rejected, decode
from archiver_assets.store.objects import read_whole
from archiver_assets.store.readonly import ReadOnlyStore

_NAMED: Final[dict[Mark, type[Purging | Rejected]]] = {Mark.PURGING: Purging, Mark.REJECTED: Rejected}
"""The marks that name the digest of their manifest, beside the receipt, whose digest is compared wherever it is read."""


@dataclass
class Inspection:
    """What was found of a day: `mismatches` are damage, each a line; `warnings` are what a crash or a running archive leaves as well."""

    label: str
    verifications: list[Verification] = field(default_factory=list)
    mismatches: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """The rows of the generations that were read back."""
        return sum(each.rows_in_object for each in self.verifications)

    @property
    def bytes(self) -> int:
        """The bytes that were read back."""
        return sum(each.bytes_in_object for each in self.verifications)


def inspect_day(task: Task) -> Inspection:
    """Read back every generation of the day that counts, and compare all of its objects with each other. Raises the errors of the store."""
    task = replace(task, store=ReadOnlyStore(task.store))
    keys = [found.key for found in task.store.list(task.keys.folder)]
    marks = {mark for key in keys if (mark := task.keys.parse_mark(key))}
    found, named, unknown = Inspection(task.label), set[str](), set[int]()
    for number in sorted({number for _, number in marks}):
        try:
            generation = read_generation(task, number, marks)
        except ManifestInvalid as error:
            found.mismatches.append(error.message)
            unknown.add(number)
            continue
        named.add(generation.object_key)
        found.mismatches += _wrong_marks(task, generation, marks)
        found.warnings += _strange_marks(task, generation)
        if generation.live:
            _read_back(task, generation, found)
    found.warnings += _gaps(task, {each for key in keys if (each := task.keys.number(key)) is not None})
    found.warnings += _unnamed(task, [key for key in keys if key not in named], unknown)
    return found


def inspect_table(task: Task, objects: TableObjects) -> Inspection:
    """Look at what lies in the table's folder and in that of no day. `task` is of any day."""
    found = Inspection(task.table.label)
    try:
        accepted_source(task.store, task.table_keys)
    except ManifestInvalid as error:
        found.mismatches.append(error.message)
    found.warnings += [f"{task.store.uri(key)} is none of the archive's objects" for key in objects.strays]
    return found


def _read_back(task: Task, generation: Generation, found: Inspection) -> None:
    with read_back(task, generation) as copy:
        verification = copy.verification
    found.verifications.append(verification)
    found.mismatches += [f"generation {generation.number}: {line}" for line in verification.mismatches]


def _wrong_marks(task: Task, generation: Generation, marks: set[tuple[Mark, int]]) -> Iterator[str]:
    number = generation.number
    for mark, kind in _NAMED.items():
        if (mark, number) in marks:
            yield from _wrong_mark(task, generation, mark, kind)
    if generation.receipt is not None and not generation.purging:
        yield f"generation {number}: expected {task.keys.mark(Mark.PURGING, number)} beside the receipt, found none: it was removed"


def _wrong_mark(task: Task, generation: Generation, mark: Mark, kind: type[Purging | Rejected]) -> Iterator[str]:
    key = task.keys.mark(mark, generation.number)
    try:
        said = decode(kind, read_whole(task.store, key), key=key)
    except ManifestInvalid as error:
        yield error.message
        return
    if said.manifest_sha256 != generation.manifest_sha256:
        yield (
            f"generation {generation.number}: {task.keys.mark(Mark.MANIFEST, generation.number)} was changed: "
            f"expected {said.manifest_sha256}, of which {key} speaks, found {generation.manifest_sha256}"
        )


def _strange_marks(task: Task, generation: Generation) -> Iterator[str]:
    if generation.rejected and generation.purging:
        yield f"generation {generation.number} was rejected after its purge had begun, which is void: it counts, and purges nothing"
    elif generation.rejected:
        key = task.keys.mark(Mark.REJECTED, generation.number)
        with suppress(ManifestInvalid):  # named as a mismatch already
            said = decode(Rejected, read_whole(task.store, key), key=key)
            yield f"generation {generation.number} does not count since {said.at:%Y-%m-%d %H:%M} UTC: {'; '.join(said.mismatches)}"


def _gaps(task: Task, numbers: set[int]) -> Iterator[str]:
    missing = sorted(set(range(1, max(numbers, default=0))) - numbers)
    if missing:
        yield (
            f"{task.keys.folder} has no generation {bounded(', '.join(map(str, missing)))}, and newer ones: "
            "left out by an archive that crashed, or removed with all its marks"
        )


def _unnamed(task: Task, keys: Sequence[str], unknown: set[int]) -> Iterator[str]:
    for key in keys:
        number = task.keys.number(key)
        if number is None:
            yield f"{task.store.uri(key)} is none of the archive's objects"
        elif task.keys.parse_mark(key) is None and number not in unknown:
            yield f"{task.store.uri(key)} is named by no manifest: left by a crash, or of an archive that is running"
