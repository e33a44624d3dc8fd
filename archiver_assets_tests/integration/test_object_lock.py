"""Object Lock: asked for with every write, believed only when the store confirms it, and enforced by the store.

What belongs here: what a store does with one object. What does not: the protocol on a locked bucket (`faults/test_locked_archive.py`), the
keys of the config (`unit/test_config_problems.py`). SeaweedFS enforces locks; what other stores do wrong is played by changed headers.
"""

import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from botocore.exceptions import ClientError
from botocore.model import OperationModel

from archiver_assets.demo.seaweed import EmbeddedS3
from archiver_assets.errors import ObjectExists, StoreError
from archiver_assets.store.hold_objects import place_hold, release_hold
from archiver_assets.store.object_lock import SKEW, LockMode, ObjectLock
from archiver_assets.store.objects import StoredObject
from archiver_assets.store.s3 import Patience, S3ObjectStore
from archiver_assets.store.s3_upload import PART_SIZE
from archiver_assets_tests.holds import hold
from archiver_assets_tests.store_writes import every_write, keys, spoil, write

DAYS = timedelta(days=3)
LOCKING = "x-amz-object-lock-"
MODES: tuple[LockMode, ...] = ("GOVERNANCE", "COMPLIANCE")
every_mode = pytest.mark.parametrize("mode", MODES)

pytestmark = pytest.mark.usefixtures("aws_environment")


@pytest.fixture
def locked(s3_server: EmbeddedS3) -> Callable[[LockMode], S3ObjectStore]:
    """Makes a store that locks, on a bucket of its own that allows it. What is locked in it stays until the server ends."""

    def make(mode: LockMode) -> S3ObjectStore:
        name = f"test-{uuid.uuid4().hex}"
        s3_server.create_bucket(name, locking=True)
        return connected(s3_server, name, mode)

    return make


def connected(server: EmbeddedS3, bucket: str, mode: LockMode) -> S3ObjectStore:
    return S3ObjectStore.connect(
        bucket=bucket,
        endpoint=server.endpoint,
        region="us-east-1",
        path_style=True,
        patience=Patience(max_attempts=1, connect_timeout=5, read_timeout=30),
        lock=ObjectLock(mode, DAYS),
    )


def removal(store: S3ObjectStore, made: StoredObject, *, bypass: bool = False) -> str:
    """Try to remove a version, and return the store's code, or nothing if it did."""
    assert made.version_id is not None
    try:
        store.client.delete_object(Bucket=store.bucket, Key=made.key, VersionId=made.version_id, BypassGovernanceRetention=bypass)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return ""


@every_write
@every_mode
def test_an_object_is_locked_for_the_days_from_its_write_on(
    locked: Callable[[LockMode], S3ObjectStore], size: int | None, mode: LockMode
) -> None:
    store = locked(mode)
    made = write(store, size)
    answer = store.client.head_object(Bucket=store.bucket, Key="a")
    assert answer["ObjectLockMode"] == mode
    assert DAYS <= answer["ObjectLockRetainUntilDate"] - answer["LastModified"] <= DAYS + SKEW + timedelta(seconds=10)
    assert removal(store, made) == "AccessDenied"
    assert removal(store, made, bypass=True) == ("" if mode == "GOVERNANCE" else "AccessDenied")


def test_a_lock_cannot_be_shortened_and_a_locked_key_cannot_be_created_again(locked: Callable[[LockMode], S3ObjectStore]) -> None:
    store = locked("COMPLIANCE")
    made = write(store, None)
    shorter = {"Mode": "COMPLIANCE", "RetainUntilDate": datetime.now(UTC) + timedelta(days=1)}
    with pytest.raises(ClientError, match="AccessDenied"):
        store.client.put_object_retention(Bucket=store.bucket, Key="a", VersionId=made.version_id, Retention=shorter)  # type: ignore[arg-type]
    for size in (None, 10, PART_SIZE + 10):
        with pytest.raises(ObjectExists):
            write(store, size)
    assert [(each.version_id, each.marker) for each in store.history("")] == [(made.version_id, False)]


def test_the_lock_is_counted_from_the_stores_clock_at_the_latest(locked: Callable[[LockMode], S3ObjectStore]) -> None:
    now = datetime.now(UTC) - SKEW  # a machine as far behind as its requests are still taken
    store = replace(locked("COMPLIANCE"), clock=lambda: now)
    write(store, None)
    answer = store.client.head_object(Bucket=store.bucket, Key="a")
    assert answer["ObjectLockRetainUntilDate"] == (now + DAYS + SKEW).replace(microsecond=0)
    assert answer["ObjectLockRetainUntilDate"] >= answer["LastModified"] + DAYS - timedelta(seconds=2)


def test_a_delete_marker_hides_a_locked_object_and_the_version_stays(locked: Callable[[LockMode], S3ObjectStore]) -> None:
    store = locked("COMPLIANCE")
    made = write(store, 10)
    store.remove("a")
    assert keys(store) == []
    assert [(each.marker, each.current) for each in store.history("")] == [(True, True), (False, False)]
    assert b"".join(store.read("a", version_id=made.version_id)) == bytes(10)


@every_write
@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"mode": "", "retain_until_date": ""}, "none"),
        ({"mode": "GOVERNANCE"}, "GOVERNANCE until "),
        ({"retain_until_date": (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")}, "COMPLIANCE until "),
    ],
    ids=["none", "another mode", "a shorter time"],
)
def test_another_lock_is_an_error_and_the_object_is_out_of_sight(
    locked: Callable[[LockMode], S3ObjectStore], size: int | None, changes: dict[str, str], found: str
) -> None:
    store = locked("COMPLIANCE")
    spoil(store, LOCKING, **changes)
    with pytest.raises(StoreError, match=f"expected the retention COMPLIANCE until .*, but the store reports {found}") as caught:
        write(store, size)
    assert "s3.object_lock" in caught.value.hint
    assert not caught.value.transient
    assert keys(store) == []


def test_a_longer_lock_than_asked_for_is_as_good(locked: Callable[[LockMode], S3ObjectStore]) -> None:
    store = locked("GOVERNANCE")
    spoil(store, LOCKING, mode="COMPLIANCE", retain_until_date=(datetime.now(UTC) + 2 * DAYS).strftime("%Y-%m-%dT%H:%M:%SZ"))
    write(store, None)
    assert keys(store) == ["a"]


@every_write
def test_a_bucket_without_object_lock_is_an_error_that_says_so(s3_server: EmbeddedS3, bucket: str, size: int | None) -> None:
    store = connected(s3_server, bucket, "GOVERNANCE")
    with pytest.raises(StoreError, match="InvalidRequest") as caught:
        write(store, size)
    assert "Object Lock is enabled on the bucket" in caught.value.hint
    assert keys(store) == []


def test_a_store_that_leaves_the_lock_out_of_its_answers_to_head_is_asked_for_it(locked: Callable[[LockMode], S3ObjectStore]) -> None:
    store = locked("GOVERNANCE")

    def forget(parsed: dict[str, object], **_: object) -> None:
        parsed.pop("ObjectLockMode", None)

    store.client.meta.events.register("after-call.s3.HeadObject", forget)
    write(store, None)
    spoil(store, LOCKING, mode="", retain_until_date="")
    with pytest.raises(StoreError, match="the store reports none"):
        store.create("b", b"x")
    assert keys(store) == ["a"]


def test_an_object_with_our_own_content_that_is_not_locked_is_not_taken_for_ours(locked: Callable[[LockMode], S3ObjectStore]) -> None:
    store = locked("GOVERNANCE")
    store.client.put_object(Bucket=store.bucket, Key="a", Body=b"x")
    with pytest.raises(StoreError, match="the store reports none"):
        store.create("a", b"x")
    with pytest.raises(ObjectExists):
        store.create("a", b"y")
    assert b"".join(store.read("a")) == b"x"


def test_a_lock_comes_with_the_checksum_that_s3_demands_for_it_whatever_the_environment_says(
    locked: Callable[[LockMode], S3ObjectStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    store, sent = locked("GOVERNANCE"), list[str]()

    def note(params: dict[str, dict[str, str]], model: OperationModel, **_: object) -> None:
        if "x-amz-checksum-crc32" in params["headers"]:
            sent.append(model.name)

    store.client.meta.events.register("before-call.s3", note)
    store.create("b", b"x")
    write(store, PART_SIZE + 1)
    assert sent == ["PutObject", "UploadPart", "UploadPart"]


def test_a_hold_is_not_locked_and_can_be_removed_for_good(locked: Callable[[LockMode], S3ObjectStore]) -> None:
    store = locked("COMPLIANCE")
    key = place_hold(store, "p/", hold(id="7"))
    made = store.head(key)
    assert "ObjectLockMode" not in store.client.head_object(Bucket=store.bucket, Key=key)
    release_hold(store, "p/", "7")
    assert keys(store) == []
    assert removal(store, made) == ""
