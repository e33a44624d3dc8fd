"""Every way to write an object, and headers that are changed on their way to the store."""

import pytest

from archiver_assets.store.objects import StoredObject
from archiver_assets.store.s3 import S3ObjectStore
from archiver_assets.store.s3_upload import PART_SIZE

WRITES = {"create": None, "upload": 10, "upload in parts": PART_SIZE + 10}
every_write = pytest.mark.parametrize("size", WRITES.values(), ids=WRITES)


def write(store: S3ObjectStore, size: int | None) -> StoredObject:
    """Create the object `a`, or upload that many bytes to it."""
    if size is None:
        return store.create("a", b"x")
    with store.upload("a") as writer:
        writer.write(bytes(size))
        return writer.commit()


def keys(store: S3ObjectStore) -> list[str]:
    return [each.key for each in store.list("")]


def spoil(store: S3ObjectStore, prefix: str = "x-amz-server-side-encryption", **changes: str) -> None:
    """Change the headers of the writes on their way, as a store that does not know them would ignore them; "" removes one."""

    def change(params: dict[str, dict[str, str]], **_: object) -> None:
        for name, value in changes.items():
            header = prefix + name.replace("_", "-")
            params["headers"].pop(header, None)
            if value:
                params["headers"][header] = value

    for call in ("PutObject", "CreateMultipartUpload"):
        store.client.meta.events.register(f"before-call.s3.{call}", change)
