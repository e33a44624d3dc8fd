"""A store that refuses writes. A dry run gets this store, so that none of its calls can change anything.

What belongs here: passing on reads, and refusing everything else. What does not: any store.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from archiver_assets.errors import StoreError
from archiver_assets.store.objects import ObjectStore, StoredObject, Upload, Version


@dataclass(frozen=True)
class ReadOnlyStore:
    """An ObjectStore whose writing methods always raise StoreError. The objects in `known` are not read again."""

    store: ObjectStore
    known: Mapping[str, bytes] = field(default_factory=dict)

    def uri(self, key: str) -> str:
        """See ObjectStore."""
        return self.store.uri(key)

    def create(self, key: str, data: bytes, *, locked: bool = True) -> StoredObject:  # noqa: ARG002 - the protocol's
        """Refuse."""
        raise self._refusal(key)

    def upload(self, key: str) -> AbstractContextManager[Upload]:
        """Refuse."""
        raise self._refusal(key)

    def read(self, key: str, *, version_id: str | None = None) -> Iterator[bytes]:
        """See ObjectStore."""
        if version_id is None and key in self.known:
            return iter((self.known[key],))
        return self.store.read(key, version_id=version_id)

    def head(self, key: str) -> StoredObject:
        """See ObjectStore."""
        return self.store.head(key)

    def remove(self, key: str) -> None:
        """Refuse."""
        raise self._refusal(key)

    def abort_uploads(self, prefix: str) -> int:
        """Refuse."""
        raise self._refusal(prefix)

    def list(self, prefix: str, *, at_most: int | None = None) -> Iterator[StoredObject]:
        """See ObjectStore."""
        return self.store.list(prefix, at_most=at_most)

    def history(self, prefix: str) -> Iterator[Version]:
        """See ObjectStore."""
        return self.store.history(prefix)

    def _refusal(self, key: str) -> StoreError:
        message = f"expected a dry run to change nothing, found an attempt to write to {self.uri(key)}"
        return StoreError(message, hint="report this; nothing was written")
