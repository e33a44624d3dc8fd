"""The ObjectStore protocol: everything that the lifecycle needs from a store.

What belongs here: the protocol and its value types; its docstrings are the contract that every implementation is tested against.
What does not: S3 (`s3.py`), the names of objects (`keys.py`), and their contents.
"""

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

from archiver_assets.errors import ManifestInvalid, ObjectDamaged

log = logging.getLogger("archiver")

SMALL: Final = 16 * 1024 * 1024
"""The largest manifest or mark that is read, in bytes. A manifest of 1,600 columns has 300 kB."""
NULL_VERSION: Final = "null"
"""S3's id for a version stored before the bucket kept versions; reads use this id once newer versions exist."""


@dataclass(frozen=True)
class StoredObject:
    """One object as the store reports it: the given `key`, and its size in `bytes`. `version_id` is None where versioning is off.

    `expires_at` is when the bucket's rules will remove the object, if the store reports it. `modified_at` is when the object was stored, if
    a listing reports it; comparing two reports ignores it.
    """

    key: str
    bytes: int
    etag: str
    version_id: str | None
    expires_at: datetime | None = None
    modified_at: datetime | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Version:
    """One version of an object, or a delete marker above it. `version_id` is None where versioning is off."""

    key: str
    version_id: str | None
    current: bool
    marker: bool
    at: datetime


class Upload(Protocol):
    """A streaming upload that has not been committed."""

    def write(self, data: bytes, /) -> None:
        """Append `data`. At most two parts are in memory at a time, whatever the total size."""

    def commit(self) -> StoredObject:
        """Publish the complete object under its key. Nothing is visible before.

        Raises ObjectExists if the key is taken. If this same upload created it and the answer was lost, the commit succeeds.
        """


class ObjectStore(Protocol):
    """A flat namespace of immutable objects. Keys are complete keys of one bucket.

    Every method raises StoreUnavailable if the store does not answer within a bounded number of tries, and StoreError if the store refuses.
    """

    def uri(self, key: str) -> str:
        """Return the address of `key` in the form that other tools use, such as `s3://bucket/key`."""

    def create(self, key: str, data: bytes, *, locked: bool = True) -> StoredObject:
        """Store a small object if and only if `key` is free; of two concurrent calls exactly one succeeds.

        If the store locks new objects, `locked=False` keeps this one removable.

        Raises ObjectExists if the key is taken, even by an earlier try of this call whose answer was lost: the caller compares contents.
        """

    def upload(self, key: str) -> AbstractContextManager[Upload]:
        """Open a streaming upload. Leaving the block without `commit`, with or without an error, discards it: no object, no stray parts."""

    def read(self, key: str, *, version_id: str | None = None) -> Iterator[bytes]:
        """Yield the content in order, in chunks of at most 1 MiB; with `version_id`, of exactly that version.

        Raises ObjectMissing, at the call or at the first chunk, if there is no such object. A stream that ends early is resumed where it
        ended; after the last try it raises StoreUnavailable, and never returns a short result. Raises ObjectDamaged, after the last chunk,
        if the store sent a checksum that the content does not match.
        """

    def head(self, key: str) -> StoredObject:
        """Return the current version's metadata. Raises ObjectMissing if there is none, or if a delete marker hides it."""

    def remove(self, key: str) -> None:
        """Remove the current version; with versioning, this adds a delete marker. No error if there is no such object."""

    def abort_uploads(self, prefix: str) -> int:
        """Abort all unfinished uploads whose keys begin with `prefix`, whoever started them, and return their number."""

    def list(self, prefix: str, *, at_most: int | None = None) -> Iterator[StoredObject]:
        """Yield the objects whose keys begin with `prefix`, ordered by key (UTF-8 bytes). A created object is listed at once.

        `at_most` limits their number to those that the store lists first. `version_id` is None in a listing.
        """

    def history(self, prefix: str) -> "Iterator[Version]":
        """Yield all versions and delete markers below `prefix`, newest first for each key; only the objects if versioning is off."""


def read_whole(store: ObjectStore, key: str, *, version_id: str | None = None) -> bytes:
    """Return the content of a small object. If its checksum is wrong, read it a second time.

    Raises ObjectMissing. Raises ManifestInvalid if the checksum is wrong again, or as soon as the content exceeds 16 MiB.
    """
    try:
        return _read_whole(store, key, version_id)
    except ObjectDamaged as error:
        log.warning("reading %s again: %s", store.uri(key), error.message)
    try:
        return _read_whole(store, key, version_id)
    except ObjectDamaged as error:
        hint = "bring the object back from an older version or a copy; nothing was deleted"
        raise ManifestInvalid(error.message, hint=hint) from error


def _read_whole(store: ObjectStore, key: str, version_id: str | None) -> bytes:
    content = bytearray()
    for chunk in store.read(key, version_id=version_id):
        content += chunk
        if len(content) > SMALL:
            message = f"expected at most {SMALL:,} bytes in {store.uri(key)}, found more"
            raise ManifestInvalid(message, hint="compare the object with its older versions or a copy; nothing was deleted")
    return bytes(content)
