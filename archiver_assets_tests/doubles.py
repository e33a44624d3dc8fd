"""Stand-ins with behaviour, for tests that need no server. What does not belong here: mocks, and fixtures (`conftest.py`)."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice

from archiver_assets.errors import ObjectExists, ObjectMissing
from archiver_assets.store.objects import StoredObject, Version

CHUNK_SIZE = 1 << 20


class MemoryObjectStore:
    """An ObjectStore in a dict. `contents` may be read and changed by tests: it is what a listing shows, by key."""

    def __init__(self, contents: dict[str, bytes] | None = None) -> None:
        self.contents = dict(contents or {})
        self.uploads: list[MemoryUpload] = []
        self._lock = threading.Lock()

    def uri(self, key: str) -> str:
        return f"memory://{key}"

    def create(self, key: str, data: bytes, *, locked: bool = True) -> StoredObject:  # noqa: ARG002 - it locks nothing
        with self._lock:
            if key in self.contents:
                msg = f"could not create {self.uri(key)}: the key is taken"
                raise ObjectExists(msg, hint="compare its content")
            self.contents[key] = bytes(data)
        return self._stored(key)

    @contextmanager
    def upload(self, key: str) -> Iterator["MemoryUpload"]:
        upload = MemoryUpload(self, key)
        self.uploads.append(upload)
        try:
            yield upload
        finally:
            upload.discard()

    def read(self, key: str, *, version_id: str | None = None) -> Iterator[bytes]:
        if key not in self.contents or version_id is not None:
            msg = f"could not read {self.uri(key)}, version {version_id}: there is no such object"
            raise ObjectMissing(msg, hint="this store has no versions")
        data = self.contents[key]
        for start in range(0, len(data), CHUNK_SIZE):
            yield data[start : start + CHUNK_SIZE]

    def head(self, key: str) -> StoredObject:
        if key not in self.contents:
            msg = f"could not look at {self.uri(key)}: there is no such object"
            raise ObjectMissing(msg, hint="create it first")
        return self._stored(key)

    def remove(self, key: str) -> None:
        self.contents.pop(key, None)

    def abort_uploads(self, prefix: str) -> int:
        ended = [upload for upload in self.uploads if upload.key.startswith(prefix)]
        for upload in ended:
            upload.discard()
        return len(ended)

    def list(self, prefix: str, *, at_most: int | None = None) -> Iterator[StoredObject]:
        found = (self._stored(key) for key in sorted(self.contents, key=str.encode) if key.startswith(prefix))
        yield from islice(found, at_most)

    def history(self, prefix: str) -> Iterator[Version]:
        return (Version(each.key, None, current=True, marker=False, at=datetime.now(UTC)) for each in self.list(prefix))

    def _stored(self, key: str) -> StoredObject:
        data = self.contents[key]
        return StoredObject(key, len(data), hashlib.md5(data, usedforsecurity=False).hexdigest(), None)


class MemoryUpload:
    """One Upload: everything is kept until the commit."""

    def __init__(self, store: MemoryObjectStore, key: str) -> None:
        self._store = store
        self.key = key
        self._buffer = bytearray()
        self._open = True

    def write(self, data: bytes, /) -> None:
        self._check_open()
        self._buffer += data

    def commit(self) -> StoredObject:
        self._check_open()
        self._open = False
        return self._store.create(self.key, bytes(self._buffer))

    def discard(self) -> None:
        self._open = False
        self._buffer = bytearray()
        if self in self._store.uploads:
            self._store.uploads.remove(self)

    def _check_open(self) -> None:
        if not self._open:
            msg = f"the upload of {self._store.uri(self.key)} is over"
            raise ValueError(msg)
