"""Inspection: prove the archive from the store alone, for use when the database is lost or nothing else is trusted.

What belongs here: reading back every live generation completely, and finding problems in the objects around it. What does not: comparing
one object with its manifest (`readback.py`), the bucket's own history (`bucket_history.py`), an earlier report (`witness.py`), and reacting
to the findings: nothing is written, nothing rejected.

How the objects are bound: a manifest binds its object's bytes, the object's footer its identity, the marks of a purge the manifest, and a
later manifest of the day all earlier ones. Someone with full write access can forge all of these together, or remove a whole day. The
bucket's versions reveal that, its Object Lock prevents it, and a report kept elsewhere detects it.
"""

import tempfile
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final

import pyarrow as pa
from pydantic import ValidationError

from archiver_assets.errors import ManifestInvalid, ObjectDamaged, ObjectMissing
from archiver_assets.lifecycle.generations import Generation, read_generation
from archiver_assets.lifecycle.source_identity import accepted_source
from archiver_assets.lifecycle.task import Task
from archiver_assets.lifecycle.verifying.archive_listing import TableObjects
from archiver_assets.lifecycle.verifying.bucket_history import History, changes, changes_of_sources
from archiver_assets.lifecycle.verifying.readback import Verification, read_back
from archiver_assets.store.keys import Mark
from archiver_assets.store.manifest import PartitionFacts, Purging, Rejected, decode, sha256_of
from archiver_assets.store.objects import StoredObject, read_whole
from archiver_assets.store.parquet import open_parquet
from archiver_assets.store.readonly import ReadOnlyStore
from archiver_assets.untrusted_text import bounded

_NAMED: Final[dict[Mark, type[Purging | Rejected]]] = {Mark.PURGING: Purging, Mark.REJECTED: Rejected}
"""The marks that name their manifest's digest, except the receipt, whose digest is compared wherever it is read."""


@dataclass
class Inspection:
    """The findings for a day: `mismatches` are damage, one line each; `warnings` can also come from a crash or a running archive.

    `digests` are those of its manifests and marks, by key relative to the table's folder.
    """

    label: str
    verifications: list[Verification] = field(default_factory=list)
    mismatches: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """The number of rows in the generations that were read back."""
        return sum(each.rows_in_object for each in self.verifications)

    @property
    def bytes(self) -> int:
        """The number of bytes that were read back."""
        return sum(each.bytes_in_object for each in self.verifications)


def inspect_day(task: Task, history: History, *, copied: bool = False) -> Inspection:
    """Read back every live generation of the day, and compare all of the day's objects with each other and with their history.

    A bucket `copied` from the archive's has different versions and etags; these are not compared. Raises the errors of the store.
    """
    objects = list(task.store.list(task.keys.folder))
    marks = {mark for each in objects if (mark := task.keys.parse_mark(each.key))}
    contents = _contents(task, [task.keys.mark(*mark) for mark in marks])
    task = replace(task, store=ReadOnlyStore(task.store, contents))
    found = Inspection(task.label, digests=_digests(task, contents))
    generations, unknown = dict[int, Generation](), set[int]()
    for number in sorted({number for _, number in marks}):
        try:
            generations[number] = read_generation(task, number, marks)
        except ManifestInvalid as error:
            found.mismatches.append(error.message)
            unknown.add(number)
    for generation in generations.values():
        found.mismatches += _wrong_marks(task, generation, marks)
        found.mismatches += _wrong_place(task, generation)
        found.mismatches += _wrong_chain(task, generation, generations, unknown)
        found.warnings += _rejections(task, generation)
        if generation.live:
            _read_back(task, generation, found, copied=copied)
    found.warnings += _unknown_to_later(task, generations)
    numbers = {each for item in objects if (each := task.keys.number(item.key)) is not None}
    found.warnings += _gaps(task, numbers, generations, history)
    _look_at_unnamed(task, [each for each in objects if task.keys.parse_mark(each.key) is None], generations, unknown, found)
    found.mismatches += changes(task, history, generations)
    return found


def inspect_table(task: Task, objects: TableObjects, history: History) -> Inspection:
    """Inspect the objects in the table's folder that belong to no day. `task` is for any day."""
    found, keys = Inspection(task.table.label), task.table_keys
    sources = [each.key for each in task.store.list(keys.sources) if keys.source_number(each.key)]
    found.digests = _digests(task, _contents(task, sources))
    try:
        accepted_source(task.store, keys)
    except ManifestInvalid as error:
        found.mismatches.append(error.message)
    missing = _missing({keys.source_number(key) or 0 for key in sources})
    found.mismatches += [f"{task.store.uri(keys.source(each[0]))} is missing: a later one is there" for each in missing]
    found.mismatches += [f"{task.store.uri(key)} is none of the archive's objects" for key in objects.strays if not key.endswith("/")]
    found.mismatches += changes_of_sources(task, history)
    if history.problem:
        found.warnings.append(history.problem)
    return found


def _contents(task: Task, keys: Iterable[str]) -> dict[str, bytes]:
    """Return the contents of small objects by key; one that is too large or damaged is omitted, and reported where it is needed."""
    contents = {}
    for key in keys:
        with suppress(ManifestInvalid):
            contents[key] = read_whole(task.store, key)
    return contents


def _missing(numbers: Iterable[int]) -> Iterator[range]:
    """Yield the missing numbers from 1 up to the highest present one, as ranges: whoever writes an object may choose a huge number."""
    for before, after in pairwise((0, *sorted(numbers))):
        if after > before + 1:
            yield range(before + 1, after)


def _digests(task: Task, contents: Mapping[str, bytes]) -> dict[str, str]:
    return {key.removeprefix(task.table_keys.folder): sha256_of(data) for key, data in contents.items()}


def _read_back(task: Task, generation: Generation, found: Inspection, *, copied: bool) -> None:
    uri = task.store.uri(generation.object_key)
    with read_back(task, generation, copied=copied) as copy:
        verification = copy.verification
    found.verifications.append(verification)
    found.mismatches += [f"generation {generation.number}: {line if uri in line else f'{uri}: {line}'}" for line in verification.mismatches]


def _wrong_marks(task: Task, generation: Generation, marks: set[tuple[Mark, int]]) -> Iterator[str]:
    number, receipt = generation.number, generation.receipt
    for mark, kind in _NAMED.items():
        if (mark, number) in marks:
            yield from _wrong_mark(task, generation, mark, kind)
    if generation.rejected and generation.purging:
        key = task.keys.mark(Mark.REJECTED, number)
        yield f"generation {number}: {key} was put beside a purge that had begun, where it is void: the generation counts"
    if receipt is None:
        return
    key = task.keys.mark(Mark.PURGED, number)
    if not generation.purging:
        yield f"generation {number}: expected {task.keys.mark(Mark.PURGING, number)} beside the receipt, found none: it was removed"
    if receipt.generation != number:
        yield f"generation {number}: expected {key} to be of generation {number}, found {receipt.generation}"
    rows = receipt.rows_purged_by_version + receipt.rows_purged_by_content + receipt.rows_gone
    if rows > generation.manifest.rows:
        yield f"generation {number}: expected {key} to tell of at most {generation.manifest.rows} rows, found {rows}"


def _wrong_mark(task: Task, generation: Generation, mark: Mark, kind: type[Purging | Rejected]) -> Iterator[str]:
    key, number = task.keys.mark(mark, generation.number), generation.number
    try:
        said = decode(kind, read_whole(task.store, key), key=key)
    except ManifestInvalid as error:
        yield error.message
        return
    if said.generation != number:
        yield f"generation {number}: expected {key} to be of generation {number}, found {said.generation}"
    if said.manifest_sha256 != generation.manifest_sha256:
        yield _changed_manifest(task, generation, said.manifest_sha256, key)


def _changed_manifest(task: Task, generation: Generation, expected: str, witness: str) -> str:
    key, found = task.keys.mark(Mark.MANIFEST, generation.number), generation.manifest_sha256
    return f"generation {generation.number}: {key} was changed: expected {expected}, of which {witness} speaks, found {found}"


def _wrong_place(task: Task, generation: Generation) -> Iterator[str]:
    """Compare the key after the prefix only, since an archive may be copied to another prefix."""
    named, here = generation.manifest.object.key, generation.object_key.removeprefix(task.prefix)
    if not f"/{named}".endswith(f"/{here}"):
        named = bounded(named)
        key = task.keys.mark(Mark.MANIFEST, generation.number)
        yield f"generation {generation.number}: expected {key} to name {here} below some prefix, found {named}: it was changed"


def _wrong_chain(task: Task, generation: Generation, generations: Mapping[int, Generation], unknown: set[int]) -> Iterator[str]:
    """Compare the day's earlier manifests with those that a later one names."""
    key = task.keys.mark(Mark.MANIFEST, generation.number)
    for each in generation.manifest.earlier or ():
        earlier = generations.get(each.generation)
        if earlier is None and each.generation not in unknown:
            yield f"generation {each.generation} is missing: {key} names its manifest, {each.manifest_sha256}, and nothing of it is left"
        elif earlier is not None and earlier.manifest_sha256 != each.manifest_sha256:
            yield _changed_manifest(task, earlier, each.manifest_sha256, key)


def _unknown_to_later(task: Task, generations: Mapping[int, Generation]) -> Iterator[str]:
    """Report generations unknown to a later one: numbers only grow, so each was hidden then, or added since."""
    unknown = dict[int, int]()
    for later in generations.values():
        if later.manifest.earlier is not None:
            told = {each.generation for each in later.manifest.earlier}
            for number in generations:
                if number < later.number and number not in told:
                    unknown.setdefault(number, later.number)
    for number, last in unknown.items():
        key = task.keys.mark(Mark.MANIFEST, last)
        yield f"generation {number} is not among those of which {key} speaks: it was hidden then, or put there since"


def _rejections(task: Task, generation: Generation) -> Iterator[str]:
    if generation.rejected and not generation.purging:
        key = task.keys.mark(Mark.REJECTED, generation.number)
        with suppress(ManifestInvalid):  # already reported as a mismatch
            said = decode(Rejected, read_whole(task.store, key), key=key)
            yield f"generation {generation.number} does not count since {said.at:%Y-%m-%d %H:%M} UTC: {bounded('; '.join(said.mismatches))}"


def _gaps(task: Task, numbers: set[int], generations: Mapping[int, Generation], history: History) -> Iterator[str]:
    """Report missing numbers that nothing explains: a crashed archive also uses up a number."""
    told = max((each.number for each in generations.values() if each.manifest.earlier is not None), default=0)
    ever = history.numbers(task.keys)
    for missing in _missing(numbers):
        told_by_versions = bisect_left(ever, missing.start) != bisect_left(ever, missing.stop)
        if told < missing.stop and not told_by_versions:  # otherwise reported as missing or removed
            which = str(missing[0]) if len(missing) == 1 else f"{missing[0]} to {missing[-1]}"
            yield (
                f"{task.keys.folder} has no generation {which}, and newer ones: "
                "left out by an archive that crashed, or removed with all its marks"
            )


def _look_at_unnamed(
    task: Task, objects: Sequence[StoredObject], generations: Mapping[int, Generation], unknown: set[int], found: Inspection
) -> None:
    named = {each.object_key for each in generations.values()}
    for each in objects:
        uri, number = task.store.uri(each.key), task.keys.number(each.key)
        if number is None:
            if each.bytes or not each.key.endswith("/"):  # an empty folder object, as consoles create
                found.mismatches.append(f"{uri} is none of the archive's objects")
        elif each.key in named or number in unknown:
            continue
        elif number in generations:
            other = task.store.uri(generations[number].object_key)
            found.mismatches.append(f"{uri} is named by no manifest: that of generation {number} names {other}; engines would read both")
        else:
            with suppress(ObjectMissing):  # an archive that began meanwhile removed a crash's leftovers
                if strange := _why_strange(task, each, number):
                    found.mismatches.append(f"{uri} is named by no manifest, and no archive of this day left it: {strange}")
                else:
                    found.warnings.append(f"{uri} is named by no manifest: left by a crash, or of an archive that is running")


def _why_strange(task: Task, unnamed: StoredObject, number: int) -> str | None:
    """Return why data named by no manifest cannot be a crashed archive's leftover of this day, judging by its footer; None if it can."""
    with tempfile.TemporaryFile(prefix="archiver-") as file:
        try:
            for chunk in task.store.read(unnamed.key):
                file.write(chunk)
        except ObjectDamaged as error:
            return error.message
        file.seek(0)
        try:
            footer = {name.decode(): value.decode() for name, value in (open_parquet(file).metadata.metadata or {}).items()}
            day = PartitionFacts.model_validate_json(footer.get("partition", "")).day.isoformat()
        except (pa.ArrowException, OSError, UnicodeDecodeError, ValidationError):
            return "it is no Parquet file with the footer of an archive"
    table = task.table
    expected = (table.database, table.schema_name, table.name, task.partition.key, str(number))
    said = (*(footer.get(name) for name in ("database", "schema", "table")), day, footer.get("generation"))
    return None if said == expected else f"its footer says {bounded(str(said))}"
