"""The ObjectStore for S3 and stores that implement its protocol.

What belongs here: the calls, in the order that fulfils the contract of `objects.py`. What does not: the meaning of errors (`s3_errors.py`),
uploads (`s3_upload.py`), the names of objects (`keys.py`), and their contents.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
"""

import base64
import logging
import random
import re
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Self, TypeVar

from botocore.exceptions import ClientError

from archiver_assets.aws import new_session
from archiver_assets.errors import ObjectDamaged, ObjectExists, StoreError, StoreUnavailable
from archiver_assets.store.encryption import Encryption, EncryptionKind
from archiver_assets.store.object_lock import ObjectLock, Retention
from archiver_assets.store.objects import StoredObject, Version
from archiver_assets.store.s3_confirming import kept_if_as_asked, require_as_asked_if_own
from archiver_assets.store.s3_errors import AGAIN, Attempt, code_of, translated
from archiver_assets.store.s3_upload import MIB, S3Upload, or_none, stored

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CHUNK_SIZE = MIB
CONFLICT_PAUSES = (0.1, 0.2, 0.4, 0.8)
"""Seconds between tries for a key that another call is writing (409)."""

RESUME_PAUSES = (0.2, 0.5, 1.0, 2.0)
"""Average seconds before a stream that ended early is resumed; the last value repeats."""

LOCKING = ("s3:PutObjectRetention", "s3:GetObjectRetention")

log = logging.getLogger("archiver.s3")
Answer = TypeVar("Answer")
Sleep = Callable[[float], None]


@dataclass(frozen=True)
class Patience:
    """The limits of one call: the total number of tries, and the timeouts in seconds for connecting and between two bytes of an answer."""

    max_attempts: int = 5
    connect_timeout: float = 10.0
    read_timeout: float = 60.0


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class S3ObjectStore:
    """Objects in `bucket`; threads may share the store. `connect` makes one.

    `storage_class` applies only to uploads. `create` stores small marks that are read often, and cheaper classes would bill each as 128 KiB
    for 30 days, so these stay in STANDARD. `patience.max_attempts` also limits the requests of one read. `lock` is requested with every
    write that is to be locked, counted from `clock`.
    """

    client: "S3Client"
    bucket: str
    storage_class: str
    sleep: Sleep
    patience: Patience = Patience()
    encryption: Encryption = field(default_factory=Encryption)
    lock: ObjectLock | None = None
    clock: Callable[[], datetime] = _utc_now

    @classmethod
    def connect(  # noqa: PLR0913 -- one keyword for each key of the config, and two for tests
        cls,
        *,
        bucket: str,
        endpoint: str | None = None,
        region: str | None = None,
        storage_class: str = "STANDARD",
        path_style: bool = False,
        patience: Patience = Patience(),
        sleep: Sleep = time.sleep,
        encryption: EncryptionKind = "none",
        kms_key_id: str | None = None,
        lock: ObjectLock | None = None,
    ) -> Self:
        """Return a store whose credentials come from AWS's default chain; nothing is sent yet. Raises StoreError for unusable settings.

        `kms_key_id`, only for SSE-KMS, is a key's id or ARN, not an alias, which could not be compared with what S3 reports.
        """
        wanted = Encryption(encryption, kms_key_id)
        with translated(Attempt("prepare for", f"s3://{bucket}", "s3:ListBucket")):
            client = make_client(endpoint, region, path_style=path_style, patience=patience)
        return cls(client, bucket, storage_class, sleep, patience, wanted, lock)

    def uri(self, key: str) -> str:
        """See ObjectStore."""
        return f"s3://{self.bucket}/{key}"

    def create(self, key: str, data: bytes, *, locked: bool = True) -> StoredObject:
        """See ObjectStore."""
        retention = self.retention() if locked else None
        attempt = self.writing("create", key, retention, "s3:PutObject")
        try:
            return self.put(attempt, key, data, retention)
        except ObjectExists:
            require_as_asked_if_own(self, attempt, key, data, retention)
            raise

    def retention(self) -> Retention | None:
        """Return the retention for an object whose write begins now, or None without a lock."""
        return self.lock.at(self.clock()) if self.lock else None

    def writing(self, verb: str, key: str, retention: Retention | None, *rights: str) -> Attempt:
        """Return the attempt to write an object. It needs `rights`, and more for a lock."""
        *needed, last = [*rights, *LOCKING] if retention else rights
        right = f"{', '.join(needed)} and {last}" if needed else last
        return Attempt(verb, self.uri(key), right, locking=retention is not None)

    @contextmanager
    def upload(self, key: str) -> Iterator[S3Upload]:
        """See ObjectStore."""
        upload = S3Upload(self, key)
        try:
            yield upload
        finally:
            upload.discard()

    def read(self, key: str, *, version_id: str | None = None) -> Iterator[bytes]:
        """See ObjectStore."""
        version: dict[str, Any] = {"VersionId": version_id} if version_id else {}
        attempt = Attempt("read", self.uri(key), "s3:GetObjectVersion" if version_id else "s3:GetObject")
        with translated(attempt):
            answer: Any = self.client.get_object(Bucket=self.bucket, Key=key, **version)
        size, etag, done = answer["ContentLength"], answer["ETag"], 0
        for pause in (*self._resume_pauses(), None):
            try:
                for chunk in _chunks(attempt, answer):
                    done += len(chunk)
                    yield chunk
            except StoreUnavailable as error:
                log.info("%s", error.message)
            except ObjectDamaged as error:
                if "ContentRange" not in answer:
                    raise
                # Some stores send the whole object's checksum with a partial answer, which proves nothing about either.
                raise StoreUnavailable(error.message, hint=AGAIN) from error
            if done >= size:
                return
            if pause is not None:
                self.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
                answer = self._rest(attempt, {"Bucket": self.bucket, "Key": key, **version}, etag, done)
        msg = f"{attempt.failed}: expected {size} bytes, but the stream ended {size - done} bytes early, again and again"
        raise StoreUnavailable(msg, hint=AGAIN)

    def _resume_pauses(self) -> Iterator[float]:
        for number in range(self.patience.max_attempts - 1):
            yield RESUME_PAUSES[min(number, len(RESUME_PAUSES) - 1)]

    def _rest(self, attempt: Attempt, place: dict[str, Any], etag: str, done: int) -> Any:  # noqa: ANN401 -- boto3's own type
        """Request what follows the first `done` bytes of the same object, to which the bytes read so far belong."""
        try:
            with translated(attempt):
                answer = self.client.get_object(**place, IfMatch=etag, Range=f"bytes={done}-")
        except ObjectExists as error:
            msg = f"{attempt.failed}: it was replaced while it was read (PreconditionFailed at byte {done}, expected the ETag {etag})"
            raise StoreUnavailable(msg, hint="read again, and look at who else writes to the bucket") from error
        if not answer.get("ContentRange", "").startswith(f"bytes {done}-"):
            answer["Body"].close()
            msg = f"{attempt.failed}: the stream ended early, and the store does not continue it from byte {done}"
            raise StoreUnavailable(msg, hint=AGAIN)
        return answer

    def head(self, key: str) -> StoredObject:
        """See ObjectStore."""
        with translated(Attempt("look at", self.uri(key), "s3:GetObject")):
            answer = self.client.head_object(Bucket=self.bucket, Key=key)
        found = stored(key, answer["ContentLength"], answer)
        return replace(found, expires_at=_expiry(answer.get("Expiration")))

    def remove(self, key: str) -> None:
        """See ObjectStore."""
        with translated(Attempt("remove", self.uri(key), "s3:DeleteObject")):
            self.client.delete_object(Bucket=self.bucket, Key=key)

    def abort_uploads(self, prefix: str) -> int:
        """See ObjectStore."""
        aborted = 0
        with translated(Attempt("end the unfinished uploads of", self.uri(prefix), "s3:ListBucketMultipartUploads")):
            pages = self.client.get_paginator("list_multipart_uploads").paginate(Bucket=self.bucket, Prefix=prefix)
            for each in [upload for page in pages for upload in page.get("Uploads", [])]:
                aborted += each["Key"].startswith(prefix) and self._aborted(each["Key"], each["UploadId"])
        return aborted

    def _aborted(self, key: str, upload_id: str) -> bool:
        """Abort an upload, and return whether it still existed."""
        try:
            self.client.abort_multipart_upload(Bucket=self.bucket, Key=key, UploadId=upload_id)
        except ClientError as error:
            if code_of(error) != "NoSuchUpload":
                raise
            return False
        return True

    def list(self, prefix: str, *, at_most: int | None = None) -> Iterator[StoredObject]:
        """See ObjectStore. The listing is gathered first (about 0.4 kB an object)."""
        # AWS lists in order, but SeaweedFS and others list folder by folder, with `a/b` before `a-b`. Sorting a sorted list is cheap.
        yield from sorted(islice(self._listed(prefix), at_most), key=lambda each: each.key.encode())

    def _listed(self, prefix: str) -> Iterator[StoredObject]:
        with translated(Attempt("list", self.uri(prefix), "s3:ListBucket")):
            # botocore requests URL-encoded keys and decodes them, because XML cannot represent every character.
            pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
            for each in (entry for page in pages for entry in page.get("Contents", [])):
                yield StoredObject(each["Key"], each["Size"], each["ETag"].strip('"'), None, modified_at=each.get("LastModified"))

    def history(self, prefix: str) -> Iterator[Version]:
        """See ObjectStore. The listing is gathered first."""
        found: list[Version] = []
        with translated(Attempt("list the versions of", self.uri(prefix), "s3:ListBucketVersions")):
            pages = self.client.get_paginator("list_object_versions").paginate(Bucket=self.bucket, Prefix=prefix)
            for page in pages:
                found += [_of_history(each, marker=False) for each in page.get("Versions", [])]
                found += [_of_history(each, marker=True) for each in page.get("DeleteMarkers", [])]
        yield from sorted(found, key=lambda each: (each.key.encode(), not each.current, -each.at.timestamp()))

    def put(
        self,
        attempt: Attempt,
        key: str,
        data: bytes | bytearray,
        retention: Retention | None,
        **options: Any,  # noqa: ANN401 -- boto3's own keywords
    ) -> StoredObject:
        """Store all of `data` if `key` is free, with the configured encryption, and locked with `retention`."""
        place: dict[str, Any] = {"Bucket": self.bucket, "Key": key, "Body": data, "IfNoneMatch": "*", **self.asked(retention)}
        with translated(attempt):
            answer = self.past_conflicts(lambda: self.client.put_object(**place, **options, **self.checksum(data)))
        return kept_if_as_asked(self, attempt, stored(key, len(data), answer), retention)

    def asked(self, retention: Retention | None) -> dict[str, Any]:
        """Return the encryption and lock keywords for boto3's calls that begin a write."""
        return self.encryption.options | (retention.options if retention else {})

    def past_conflicts(self, call: Callable[[], Answer]) -> Answer:
        """Return the answer of `call`, retried while another call is writing the same key."""
        for pause in CONFLICT_PAUSES:
            try:
                return call()
            except ClientError as error:
                if code_of(error) != "ConditionalRequestConflict":
                    raise
            self.sleep(pause)
        return call()

    def checksum(self, data: bytes | bytearray) -> dict[str, Any]:
        """Return the keyword with the CRC of `data`, so that the store refuses data damaged in transit.

        By default, botocore sends the CRC after the content (a trailer) over TLS; a store that does not support trailers then writes it
        into the object (boto/boto3#4435). A header never becomes part of the object.
        """
        crc = zlib.crc32(data).to_bytes(4, "big")
        return {"ChecksumCRC32": base64.b64encode(crc).decode()} if self.wants_checksums else {}

    @property
    def wants_checksums(self) -> bool:
        """Whether to send checksums: AWS_REQUEST_CHECKSUM_CALCULATION=when_required disables them, for stores that refuse them.

        With a lock, S3 requires a checksum in a header, also for each part.
        """
        return self.lock is not None or getattr(self.client.meta.config, "request_checksum_calculation", None) != "when_required"


def _chunks(attempt: Attempt, answer: Any) -> Iterator[bytes]:  # noqa: ANN401 -- boto3 has a type of its own for each call
    with translated(attempt), closing(answer["Body"]) as body:
        yield from body.iter_chunks(CHUNK_SIZE)


def _of_history(each: Any, *, marker: bool) -> Version:  # noqa: ANN401 -- boto3's own type, of two kinds
    return Version(each["Key"], or_none(each["VersionId"]), each["IsLatest"], marker, each["LastModified"])


def _expiry(header: str | None) -> datetime | None:
    """Return the date in `x-amz-expiration`: `expiry-date="Fri, 21 Dec 2012 00:00:00 GMT", rule-id="..."`."""
    found = re.search(r'expiry-date="([^"]+)"', header or "")
    try:
        date = parsedate_to_datetime(found[1]) if found else None
    except ValueError:
        log.warning("expected a date in the store's x-amz-expiration, found %r", header)
        return None
    return date.replace(tzinfo=date.tzinfo or UTC) if date else None


def make_client(endpoint: str | None, region: str | None, *, path_style: bool, patience: Patience) -> "S3Client":
    """Return a boto3 client with its own session, which looks up the credentials again."""
    from botocore.config import Config  # noqa: PLC0415 -- importing it costs time, and the code location loads without it

    settings = Config(
        s3={"addressing_style": "path" if path_style else "auto"},
        retries={"mode": "standard", "total_max_attempts": patience.max_attempts},
        connect_timeout=patience.connect_timeout,
        read_timeout=patience.read_timeout,
    )
    try:
        return new_session().client("s3", endpoint_url=endpoint, region_name=region, config=settings)
    except ValueError as error:  # raised by botocore for an endpoint that is not a URL
        msg = f"expected a URL as the store's endpoint, found {endpoint!r}: {error}"
        raise StoreError(msg, hint="correct s3.endpoint in the config, such as https://minio.example:9000") from error
