"""Encryption by the store: asked for with every write, and believed only when the store confirms it.

What belongs here: what is asked for, and what happens when the answer is another one. What does not: the keys of the config
(`unit/test_config_problems.py`). SeaweedFS does SSE-S3; SSE-KMS needs a KMS, which moto plays.
"""

import uuid
from collections.abc import Callable

import pytest
from botocore.exceptions import EndpointConnectionError

from archiver_assets.demo.seaweed import EmbeddedS3
from archiver_assets.errors import ObjectExists, StoreError, StoreUnavailable
from archiver_assets.store.encryption import Encryption, EncryptionKind
from archiver_assets.store.s3 import Patience, S3ObjectStore
from archiver_assets_tests.store_writes import WRITES, every_write, keys, spoil, write

KEY_ID = "1234abcd-12ab-34cd-56ef-1234567890ab"
KEY_ARN = f"arn:aws:kms:us-east-1:111122223333:key/{KEY_ID}"

pytestmark = pytest.mark.usefixtures("aws_environment")


def connected(endpoint: str, bucket: str, kind: EncryptionKind, key: str | None = None) -> S3ObjectStore:
    return S3ObjectStore.connect(
        bucket=bucket,
        endpoint=endpoint,
        region="us-east-1",
        path_style=True,
        patience=Patience(max_attempts=1, connect_timeout=5, read_timeout=30),
        encryption=kind,
        kms_key_id=key,
    )


@pytest.fixture
def sse_s3(s3_server: EmbeddedS3, bucket: str) -> S3ObjectStore:
    return connected(s3_server.endpoint, bucket, "SSE-S3")


@pytest.fixture
def kms(moto_server: str) -> Callable[[str], S3ObjectStore]:
    """Makes a store, on a bucket of its own, that encrypts with the key that it is given."""

    def make(key: str) -> S3ObjectStore:
        store = connected(moto_server, f"test-{uuid.uuid4().hex}", "SSE-KMS", key)
        store.client.create_bucket(Bucket=store.bucket)
        return store

    return make


@every_write
def test_an_object_is_encrypted_by_the_store_and_read_as_it_was_written(sse_s3: S3ObjectStore, size: int | None) -> None:
    made = write(sse_s3, size)
    assert sse_s3.client.head_object(Bucket=sse_s3.bucket, Key="a")["ServerSideEncryption"] == "AES256"
    assert b"".join(sse_s3.read("a")) == (b"x" if size is None else bytes(size))
    assert sse_s3.head("a") == made


@every_write
@pytest.mark.parametrize("key", [KEY_ID, KEY_ARN])
def test_an_object_is_encrypted_with_the_key_of_kms(kms: Callable[[str], S3ObjectStore], size: int | None, key: str) -> None:
    store = kms(key)
    write(store, size)
    answer = store.client.head_object(Bucket=store.bucket, Key="a")
    assert (answer["ServerSideEncryption"], answer["SSEKMSKeyId"]) == ("aws:kms", key)


@every_write
def test_an_object_that_the_store_did_not_encrypt_is_an_error_and_does_not_stay(sse_s3: S3ObjectStore, size: int | None) -> None:
    spoil(sse_s3, **{"": ""})
    with pytest.raises(StoreError, match="expected the encryption AES256, but the store reports none") as caught:
        write(sse_s3, size)
    assert "s3.encryption" in caught.value.hint
    assert not caught.value.transient
    assert keys(sse_s3) == []
    assert "Uploads" not in sse_s3.client.list_multipart_uploads(Bucket=sse_s3.bucket)


@every_write
@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"": "", "_aws_kms_key_id": ""}, "none"),
        ({"": "AES256", "_aws_kms_key_id": ""}, "AES256"),
        ({"_aws_kms_key_id": f"f{KEY_ID}"}, f"aws:kms with the key f{KEY_ID}"),
        ({"_aws_kms_key_id": KEY_ARN[:-1] + "c"}, "aws:kms with the key arn:aws:kms"),
    ],
    ids=["none", "another kind", "another key", "another ARN"],
)
def test_another_encryption_or_key_is_an_error_and_the_object_does_not_stay(
    kms: Callable[[str], S3ObjectStore], size: int | None, changes: dict[str, str], found: str
) -> None:
    store = kms(KEY_ID)
    spoil(store, **changes)
    with pytest.raises(StoreError, match=f"expected the encryption aws:kms with the key {KEY_ID}, but the store reports {found}"):
        write(store, size)
    assert keys(store) == []


def test_an_unencrypted_version_does_not_stay_either(s3_server: EmbeddedS3) -> None:
    name = f"test-{uuid.uuid4().hex}"
    s3_server.create_bucket(name, versioning=True)
    store = connected(s3_server.endpoint, name, "SSE-S3")
    spoil(store, **{"": ""})
    with pytest.raises(StoreError, match="reports none"):
        store.create("a", b"x")
    found = store.client.list_object_versions(Bucket=name)
    s3_server.remove_bucket(name)
    assert (found.get("Versions", []), found.get("DeleteMarkers", [])) == ([], [])


def test_somebody_elses_unencrypted_object_is_left_alone(sse_s3: S3ObjectStore) -> None:
    sse_s3.client.put_object(Bucket=sse_s3.bucket, Key="a", Body=b"first")
    for size in WRITES.values():
        with pytest.raises(ObjectExists):
            write(sse_s3, size)
    assert b"".join(sse_s3.read("a")) == b"first"


def test_an_unencrypted_object_with_our_own_content_is_not_taken_for_ours(sse_s3: S3ObjectStore) -> None:
    sse_s3.client.put_object(Bucket=sse_s3.bucket, Key="a", Body=b"x")
    with pytest.raises(StoreError, match="expected the encryption AES256, but the store reports none"):
        sse_s3.create("a", b"x")


@every_write
def test_an_object_whose_encryption_cannot_be_seen_is_an_error_and_does_not_stay(sse_s3: S3ObjectStore, size: int | None) -> None:
    def deny(**_: object) -> None:
        raise EndpointConnectionError(endpoint_url="http://nowhere")

    sse_s3.client.meta.events.register("before-send.s3.HeadObject", deny)
    with pytest.raises(StoreUnavailable):
        write(sse_s3, size)
    assert keys(sse_s3) == []


@pytest.mark.parametrize(("kind", "key"), [("SSE-KMS", None), ("SSE-KMS", ""), ("SSE-S3", KEY_ID), ("none", KEY_ID)])
def test_a_key_goes_with_kms_and_with_nothing_else(kind: EncryptionKind, key: str | None) -> None:
    with pytest.raises(StoreError, match="expected a KMS key with SSE-KMS, and with nothing else") as caught:
        connected("http://127.0.0.1:1", "bucket", kind, key)
    assert "s3.kms_key_id" in caught.value.hint


@pytest.mark.parametrize(
    ("asked", "found", "met"),
    [(KEY_ID, KEY_ARN, True), (KEY_ARN, KEY_ARN, True), (KEY_ARN, KEY_ID, False), (KEY_ID[1:], KEY_ARN, False), (KEY_ID, None, False)],
)
def test_the_id_of_a_key_is_met_by_its_arn_alone(asked: str, found: str | None, *, met: bool) -> None:
    answer = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": found}
    assert Encryption("SSE-KMS", asked).is_met_by(answer) is met
