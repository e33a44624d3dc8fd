"""The state of one try of a restore: the session that holds the lock, the generations, and their columns.

What belongs here: facts from the manifests that the request needs. What does not: reading or writing rows (`loading.py`, `restore.py`).
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa

from archiver_assets.errors import NotRestored
from archiver_assets.lifecycle.generations import Generation
from archiver_assets.lifecycle.restoring.copied_bucket import original, readable
from archiver_assets.lifecycle.restoring.request import Conflict, RestoreRequest, Versions
from archiver_assets.lifecycle.task import Task
from archiver_assets.lifecycle.verifying.readback import LocalCopy
from archiver_assets.source import sql
from archiver_assets.source.catalog import XMIN, Connection
from archiver_assets.source.destination import TargetColumn
from archiver_assets.source.literals import input_texts
from archiver_assets.store.manifest import Manifest
from archiver_assets.untrusted_text import bounded

_XMIN_COLUMN = TargetColumn(XMIN, "bigint", not_null=True)
"""The version column in a table that keeps all versions. Its type is not `xid`, which an index cannot order."""


@dataclass(frozen=True)
class Session:
    """A session that holds the lock, and the `generations` to restore out of the `live` ones, both newest first."""

    task: Task
    request: RestoreRequest
    connection: Connection
    generations: tuple[Generation, ...]
    live: tuple[Generation, ...]
    relation: sql.Relation

    @property
    def key(self) -> tuple[str, ...]:
        """The columns that identify a restored row."""
        key = self.generations[0].manifest.primary_key
        return (*key, XMIN) if self.request.versions == Versions.all else key

    @property
    def used(self) -> tuple[Generation, ...]:
        """The generations that are read: those to restore, or, to overwrite rows, all: any may contain the overwritten rows."""
        return self.live if self.request.conflict == Conflict.overwrite else self.generations

    def proven(self, generation: Generation) -> AbstractContextManager[LocalCopy]:
        """Read a generation back. A copied bucket is accepted, except to overwrite rows. Raises NotVerified."""
        reading = original if self.request.conflict == Conflict.overwrite else readable
        return reading(self.task, generation)

    def keys(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Return the key of each row in a form that is the same in all generations used.

        A key column whose type differs between generations is compared as text: 7 as integer and 7 as bigint are the same key.
        """
        retyped = self._retyped
        columns = [input_texts(rows.column(name)) if name in retyped else rows.column(name) for name in self.key]
        return pa.RecordBatch.from_arrays(columns, names=list(self.key))

    @cached_property
    def _retyped(self) -> set[str]:
        types = {(column.name, column.arrow_type) for each in self.used for column in each.manifest.columns if column.name in self.key}
        names = [name for name, _ in types]
        return {name for name in names if names.count(name) > 1}


def archived_columns(session: Session, manifest: Manifest) -> list[TargetColumn]:
    """Return the columns of a generation that are asked for, as a table of restored rows has them. Raises NotRestored if it lacks one."""
    chosen = session.request.columns
    names = [column.name for column in manifest.columns]
    key = session.generations[0].manifest.primary_key  # an older generation may lack some of its columns
    if unknown := [name for name in (*chosen, *key) if name not in names]:
        message = f"expected columns of the archive of {session.task.label}, found {bounded(', '.join(unknown))}"
        raise NotRestored(message, hint=f"generation {manifest.generation} has: {bounded(', '.join(names))}")
    wanted = {*chosen, *key} if chosen else set(names)
    columns = [TargetColumn(each.name, each.pg_type, each.not_null) for each in manifest.columns if each.name in wanted]
    return [*columns, _XMIN_COLUMN] if session.request.versions == Versions.all else columns


def whole_rows(session: Session, manifest: Manifest) -> dict[str, str]:
    """Return the types of all columns of a generation by name, whether requested or not."""
    types = {column.name: column.pg_type for column in manifest.columns}
    return {**types, XMIN: _XMIN_COLUMN.pg_type} if session.request.versions == Versions.all else types
