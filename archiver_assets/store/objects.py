"""The ObjectStore protocol: all that the lifecycle asks of a store.

What belongs here: the protocol, whose comments are the contract that every implementation is tested against, and its plain values.
What does not: S3 (`s3.py`), the names of objects (`keys.py`), what is inside them.
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
"""Bytes of the largest manifest or mark that is read. One of 1,600 columns has 300 kB."""
NULL_VERSION: Final = "null"
"""S3's word for the version that was there before the bucket kept any; it is read by that name once there are newer ones."""


@dataclass(frozen=True)
class StoredObject:
    """One object as the store reports it: `key` as it was given, size in `bytes`; `version_id` is None where versions are off.

    `expires_at` is when the bucket's rules will remove it, as far as the store announces that; `modified_at` is when it was stored, as far
    as a listing tells: two reports of one object are equal without it.
    """

    key: str
    bytes: int
    etag: str
    version_id: str | None
    expires_at: datetime | None = None
    modified_at: datetime | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Version:
    """One version of an object, or a delete marker over it; `version_id` is None where versions are off."""

    key: str
    version_id: str | None
    current: bool
    marker: bool
    at: datetime


class Upload(Protocol):
    """A streaming upload that has not been committed."""

    def write(self, data: bytes, /) -> None:
        """Append `data`. At most two parts are in memory at a time, whatever the size of the whole."""

    def commit(self) -> StoredObject:
        """Make the object appear, whole, under its key. Nothing was visible before.

        Raises ObjectExists if the key is taken, unless by this very upload, whose answer was lost: that is a success.
        """


class ObjectStore(Protocol):
    """A flat space of immutable objects. Keys are those of one bucket, whole.

    Every method raises StoreUnavailable when the store does not answer after a bounded number of tries, and StoreError when it refuses.
    """

    def uri(self, key: str) -> str:
        """Return the address of `key` as other tools know it, such as `s3://bucket/key`."""

    def create(self, key: str, data: bytes, *, locked: bool = True) -> StoredObject:
        """Store a small object if and only if `key` is free; of two concurrent calls exactly one succeeds.

        Where the store locks what it is given, `locked=False` is for what has to stay removable.

        Raises ObjectExists if the key is taken, also by a first try of this very call whose answer was lost: the caller compares contents.
        """

    def upload(self, key: str) -> AbstractContextManager[Upload]:
        """Open a streaming upload. Leaving the block without `commit`, by an error or not, discards it: no object, no stray parts."""

    def read(self, key: str, *, version_id: str | None = None) -> Iterator[bytes]:
        """Yield the content in order, in chunks of at most 1 MiB; with `version_id`, of exactly that version.

        Raises ObjectMissing, at the call or at the first chunk, if there is no such object. A stream that ends early is
        taken up again where it ended; at last it raises StoreUnavailable, and is never a short result. Raises ObjectDamaged, after the
        last chunk, if the store sent a checksum of the content and that is another.
        """

    def head(self, key: str) -> StoredObject:
        """Return what is known of the current version. Raises ObjectMissing if there is none, also where a delete marker hides it."""

    def remove(self, key: str) -> None:
        """Remove the current version; where versions are kept, this adds a delete marker. No error if there is no such object."""

    def abort_uploads(self, prefix: str) -> int:
        """End all unfinished uploads whose keys begin with `prefix`, whoever began them, and return how many there were."""

    def list(self, prefix: str, *, at_most: int | None = None) -> Iterator[StoredObject]:
        """Yield the objects whose keys begin with `prefix`, in the order of their keys (UTF-8 bytes); what was created is listed at once.

        With `at_most` these are only so many of them, whichever the store names first.

        `version_id` is None in a listing.
        """

    def history(self, prefix: str) -> "Iterator[Version]":
        """Yield all versions and delete markers below `prefix`, newest first for each key; the objects alone where versions are off."""


def read_whole(store: ObjectStore, key: str, *, version_id: str | None = None) -> bytes:
    """Return the content of a small object, read a second time if its checksum is wrong.

    Raises ObjectMissing, and ManifestInvalid if the checksum is wrong again or, without having read more, if it has over 16 MiB.
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
