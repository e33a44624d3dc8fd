"""One upload to S3: parts are sent while the content is produced, and the object appears only when it is complete.

What belongs here: the calls of a multipart upload, their order, and the handling of a lost answer. What does not: the other calls
(`s3.py`), and the object's contents.

It uses the low-level calls: boto3's `upload_fileobj` refuses `If-None-Match` and treats a short read as the end, and the writers of pyarrow
and s3fs publish a partial object if an error leaves their block.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html
"""

import hashlib
import logging
import re
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from archiver_assets.errors import ObjectExists, ObjectMissing, StoreError, StoreUnavailable
from archiver_assets.store.object_lock import Retention
from archiver_assets.store.objects import NULL_VERSION, StoredObject
from archiver_assets.store.s3_confirming import kept_if_as_asked, require_as_asked
from archiver_assets.store.s3_errors import code_of, refusal, translated
from archiver_assets.threads import Behind

if TYPE_CHECKING:
    from archiver_assets.store.s3 import S3ObjectStore

MIB = 1 << 20
PART_SIZE = 16 * MIB
"""In bytes. All parts except the last have the same size, which some stores require."""
MAX_PARTS = 10_000
"""https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html"""

log = logging.getLogger("archiver.s3")


class _UploadGone(StoreUnavailable):
    """A multipart upload that the store no longer has: completed or aborted."""


class S3Upload:
    """One Upload: sends each part of PART_SIZE once full, or uses a single PUT if no part fills up (S3 has no empty parts).

    A thread sends one part while the next one fills. Its error is raised by a later `write` or by `commit`.
    """

    def __init__(self, store: "S3ObjectStore", key: str) -> None:
        self._store = store
        self._key = key
        self._attempt = store.writing("upload", key, store.retention(), "s3:PutObject", "s3:AbortMultipartUpload")
        self._retention: Retention | None = None
        self._place: dict[str, Any] = {"Bucket": store.bucket, "Key": key}
        self._storage: dict[str, Any] = {"StorageClass": store.storage_class}
        self._upload_id: str | None = None
        self._parts: list[dict[str, Any]] = []
        self._begun = 0
        self._sent = 0
        self._buffer = bytearray()
        self._sending = Behind("uploading")
        self._open = True
        self._given_up = False

    def write(self, data: bytes, /) -> None:
        """See Upload."""
        self._check_open()
        rest = memoryview(data)
        while rest:
            room = PART_SIZE - len(self._buffer)
            self._buffer += rest[:room]
            rest = rest[room:]
            if len(self._buffer) == PART_SIZE:
                self._send_part()

    def commit(self) -> StoredObject:
        """See Upload."""
        self._check_open()
        if self._begun and self._buffer:
            self._send_part()
        self._open = False
        self._sending.wait()
        try:
            done = self._complete() if self._parts else self._put()
        except (ObjectExists, _UploadGone) as error:
            done = self._own_object(error)
        self._upload_id = None
        return done

    def _own_object(self, error: StoreError) -> StoredObject:
        """Return the object if this upload created it and the answer was lost; otherwise raise `error`."""
        try:
            found = self._store.head(self._key)
        except ObjectMissing:
            raise error from None
        if found.bytes != self._sent or (self._store.encryption.keeps_etags and found.etag != self._etag()):
            raise error
        require_as_asked(self._store, self._attempt, found, self._retention)
        log.info("%s exists: a try whose answer was lost created it", self._attempt.uri)
        return found

    def _etag(self) -> str | None:
        """Return the ETag that S3 gives the object, from its MD5 or those of its parts; None if the parts' ETags are not MD5s."""
        if not self._parts:
            return hashlib.md5(self._buffer, usedforsecurity=False).hexdigest()
        tags = [part["ETag"].strip('"') for part in self._parts]
        if not all(re.fullmatch("[0-9a-f]{32}", tag) for tag in tags):
            return None
        of_parts = bytes.fromhex("".join(tags))
        return f"{hashlib.md5(of_parts, usedforsecurity=False).hexdigest()}-{len(self._parts)}"

    def _put(self) -> StoredObject:
        self._sent, self._retention = len(self._buffer), self._store.retention()
        return self._store.put(self._attempt, self._key, self._buffer, self._retention, **self._storage)

    def discard(self) -> None:
        """Abort an uncommitted upload. A failure to abort is only logged, so that it does not hide the original error."""
        self._open = False
        self._given_up = True
        self._sending.end()
        self._abort()

    def _abort(self) -> None:
        upload_id, self._upload_id = self._upload_id, None
        if upload_id is None:
            return
        try:
            self._store.client.abort_multipart_upload(**self._place, UploadId=upload_id)
        except (ClientError, BotoCoreError) as error:
            log.warning(
                "could not abort the upload of %s, whose parts stay until the bucket's rules remove them: %s", self._attempt.uri, error
            )

    def _check_open(self) -> None:
        if not self._open:
            msg = f"the upload of {self._attempt.uri} is over, by a commit or by an error"
            raise ValueError(msg)

    def _send_part(self) -> None:
        if self._begun == MAX_PARTS:
            msg = f"{self._attempt.failed}: S3 takes {MAX_PARTS} parts of {PART_SIZE // MIB} MiB, and the content is longer"
            raise StoreError(msg, hint="one day of this table does not fit into one object; archive it in smaller tables or partitions")
        # If this fails, the upload stays closed: a commit after a lost part would publish an object with a gap.
        self._open = False
        self._begun += 1
        self._sending.wait()
        part = bytes(self._buffer)  # bytes, because botocore would copy a bytearray again
        self._buffer.clear()
        self._sending.call(partial(self._send, self._begun, part))
        self._open = True

    def _send(self, number: int, part: bytes) -> None:
        try:
            with translated(self._attempt):
                self._parts.append(self._sent_part(number, part))
            self._sent += len(part)
        finally:
            if self._given_up:
                self._abort()  # the upload began after `discard` had stopped waiting for this call

    def _sent_part(self, number: int, part: bytes) -> dict[str, Any]:
        if self._upload_id is None:
            algorithm: dict[str, Any] = {"ChecksumAlgorithm": "CRC32"} if self._store.wants_checksums else {}
            self._retention = self._store.retention()
            options = {**self._storage, **algorithm, **self._store.asked(self._retention)}
            self._upload_id = self._store.client.create_multipart_upload(**self._place, **options)["UploadId"]
        checksum = self._store.checksum(part)
        place = {**self._place, "UploadId": self._upload_id, "PartNumber": number, "Body": part}
        answer = self._store.client.upload_part(**place, **checksum)
        return {"PartNumber": number, "ETag": answer["ETag"], **checksum}

    def _complete(self) -> StoredObject:
        # After a 409 or a lost answer, the next try fails with NoSuchUpload: then the stored object shows whether the upload succeeded.
        call = {**self._place, "UploadId": self._upload_id, "MultipartUpload": {"Parts": self._parts}, "IfNoneMatch": "*"}
        try:
            answer = self._store.past_conflicts(lambda: self._store.client.complete_multipart_upload(**call))
        except ClientError as error:
            if code_of(error) == "NoSuchUpload":
                msg = f"{self._attempt.failed}: its parts are gone"
                raise _UploadGone(msg, hint="run again; if it persists, a rule that aborts incomplete uploads may be too short") from error
            raise refusal(self._attempt, error) from error
        except BotoCoreError as error:
            with translated(self._attempt):
                raise error from None
        self._upload_id = None
        return kept_if_as_asked(self._store, self._attempt, stored(self._key, self._sent, answer), self._retention)


def stored(key: str, size: int, answer: Any) -> StoredObject:  # noqa: ANN401 -- boto3 has a type of its own for each call
    """Return the object that a successful write reports."""
    return StoredObject(key, size, answer["ETag"].strip('"'), or_none(answer.get("VersionId")))


def or_none(version: str | None) -> str | None:
    """Return a version's id, or None for the id that means no version."""
    return None if version == NULL_VERSION else version
