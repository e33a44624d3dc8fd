"""ObjectStores that fail, or do something else, where a test wants it. A store without a server is in `doubles.py`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from archiver_assets.errors import ObjectExists, StoreUnavailable
from archiver_assets.store.objects import ObjectStore, StoredObject, Upload, Version
from archiver_assets_tests.lab import Lab


@dataclass
class FaultyStore:
    """Passes everything on to a real store, and fails where a test wants it to: before or after the real store has done its work."""

    real: ObjectStore
    lab: Lab
    fail_create: str = ""
    answer_lost: bool = False
    on_write: str = ""

    def uri(self, key: str) -> str:
        return self.real.uri(key)

    def create(self, key: str, data: bytes, *, locked: bool = True) -> StoredObject:
        if self.fail_create not in key or not self.fail_create:
            return self.real.create(key, data, locked=locked)
        if self.answer_lost:
            # What a client sees that tries again after a lost answer: the key is taken, by its own first try.
            self.real.create(key, data)
            message = "taken"
            raise ObjectExists(message, hint="-")
        message = "no answer"
        raise StoreUnavailable(message, hint="-")

    @contextmanager
    def upload(self, key: str) -> Iterator[Upload]:
        with self.real.upload(key) as upload:
            yield FaultyUpload(upload, self)

    def read(self, key: str, *, version_id: str | None = None) -> Iterator[bytes]:
        return self.real.read(key, version_id=version_id)

    def head(self, key: str) -> StoredObject:
        return self.real.head(key)

    def remove(self, key: str) -> None:
        self.real.remove(key)

    def abort_uploads(self, prefix: str) -> int:
        return self.real.abort_uploads(prefix)

    def list(self, prefix: str, *, at_most: int | None = None) -> Iterator[StoredObject]:
        return self.real.list(prefix, at_most=at_most)

    def history(self, prefix: str) -> Iterator[Version]:
        return self.real.history(prefix)


@dataclass
class FaultyUpload:
    """An upload during which something happens at the first write."""

    real: Upload
    store: FaultyStore

    def write(self, data: bytes, /) -> None:
        if self.store.on_write == "cut":
            # Every other session of the database ends, as when the server fails over.
            self.store.lab.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        if self.store.on_write == "interrupt":
            raise KeyboardInterrupt
        self.real.write(data)

    def commit(self) -> StoredObject:
        return self.real.commit()


@dataclass
class WatchedStore:
    """Passes everything on to a real store, and does something before the holds are listed for the n-th time."""

    real: ObjectStore
    do: Callable[[], object]
    nth: int = 1
    times: int = field(default=0, init=False)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as the store has it
        return getattr(self.real, name)

    def list(self, prefix: str, *, at_most: int | None = None) -> Iterator[StoredObject]:
        if prefix.endswith("_holds/"):
            self.times += 1
            if self.times == self.nth:
                self.do()
        return self.real.list(prefix, at_most=at_most)
