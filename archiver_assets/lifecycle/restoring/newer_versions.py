"""The row versions of the newer generations of a day, by which rows of older ones are known as duplicates.

What belongs here: which key tells rows of two generations apart, and keeping the versions of all that were read, so that none is read again
for each older one. What does not: reading them, and what becomes of the other rows (`datasets.py`).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from archiver_assets.lifecycle.coverage import Coverage
from archiver_assets.lifecycle.generations import Generation
from archiver_assets.lifecycle.source_identity import Identity, identity
from archiver_assets.lifecycle.verifying.readback import LocalCopy
from archiver_assets.source.catalog import XMIN

Key = tuple[str, ...]


@dataclass(frozen=True)
class _Shape:
    """What decides by which key rows of two generations are told apart."""

    source: Identity
    primary_key: Key
    columns: frozenset[str]

    def key_shared_with(self, newer: "_Shape") -> Key:
        for one, other in ((newer, self), (self, newer)):
            if self.source == newer.source and set(one.primary_key) <= other.columns:
                return one.primary_key
        return ()


def shared_key(older: Generation, newer: Generation) -> Key:
    """Return the key of one of two generations which the other has the columns of; none if there is none, or they are of two sources."""
    return _shape(older).key_shared_with(_shape(newer))


def _shape(generation: Generation) -> _Shape:
    manifest = generation.manifest
    return _Shape(identity(manifest.source), manifest.primary_key, frozenset(column.name for column in manifest.columns))


class NewerVersions:
    """The versions of the generations read so far: one list, that grows, for all of the same shape."""

    def __init__(self) -> None:
        """Hold none yet."""
        self._held: dict[tuple[_Shape, Key], Coverage] = {}

    def shared_with(self, older: Generation) -> list[tuple[list[str], Coverage]]:
        """Return those that an older generation can hold too, with the columns by which to compare."""
        shape = _shape(older)
        return [([*key, XMIN], held) for (newer, key), held in self._held.items() if shape.key_shared_with(newer) == key]

    def add(self, generation: Generation, keys: Iterable[Key], copy: LocalCopy) -> None:
        """Take those of a generation, by each of the keys. In memory a version takes the bytes of its key and 4, or 16."""
        for key in keys:
            names = [*key, XMIN]
            held = self._held.setdefault((_shape(generation), key), Coverage())
            held.add(batch.select(names) for batch in copy.batches(names))
