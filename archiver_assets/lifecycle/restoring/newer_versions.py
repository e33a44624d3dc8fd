"""The row versions of a day's newer generations, which identify duplicates in older ones.

What belongs here: which key identifies rows in two generations, and keeping the versions of each generation read, so that none is read
again for every older one. What does not: reading generations, and the use of the remaining rows (`datasets.py`).
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
    """The facts that decide which key identifies rows in two generations."""

    source: Identity
    primary_key: Key
    columns: frozenset[str]

    def key_shared_with(self, newer: "_Shape") -> Key:
        for one, other in ((newer, self), (self, newer)):
            if self.source == newer.source and set(one.primary_key) <= other.columns:
                return one.primary_key
        return ()


def shared_key(older: Generation, newer: Generation) -> Key:
    """Return the key of either generation whose columns the other has too; empty without such a key, or for two sources."""
    return _shape(older).key_shared_with(_shape(newer))


def _shape(generation: Generation) -> _Shape:
    manifest = generation.manifest
    return _Shape(identity(manifest.source), manifest.primary_key, frozenset(column.name for column in manifest.columns))


class NewerVersions:
    """The versions of the generations read so far: one growing list for all generations of the same shape."""

    def __init__(self) -> None:
        """Start with no versions."""
        self._held: dict[tuple[_Shape, Key], Coverage] = {}

    def shared_with(self, older: Generation) -> list[tuple[list[str], Coverage]]:
        """Return the versions that an older generation may also contain, with the columns to compare."""
        shape = _shape(older)
        return [([*key, XMIN], held) for (newer, key), held in self._held.items() if shape.key_shared_with(newer) == key]

    def add(self, generation: Generation, keys: Iterable[Key], copy: LocalCopy) -> None:
        """Add a generation's versions, by each of the keys. A version occupies the bytes of its key plus 4, or 16 bytes, in memory."""
        for key in keys:
            names = [*key, XMIN]
            held = self._held.setdefault((_shape(generation), key), Coverage())
            held.add(batch.select(names) for batch in copy.batches(names))
