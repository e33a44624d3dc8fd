"""Tests a bucket with a probe object: each right that the archiver uses, and each guarantee that it relies on.

What belongs here: one call for each of them. What does not: their order, and the report (`lifecycle/reporting/doctor.py`).
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from secrets import token_hex
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from archiver_assets.errors import ObjectExists, ObjectMissing
from archiver_assets.store.encryption import described
from archiver_assets.store.object_lock import Retention
from archiver_assets.store.objects import StoredObject
from archiver_assets.store.s3 import S3ObjectStore
from archiver_assets.store.s3_confirming import read_retention
from archiver_assets.store.s3_errors import Attempt, translated

LOCKED_FOR = timedelta(minutes=1)
CONTENT = b"archiver doctor was here; this object means nothing and may be removed\n"


@dataclass
class Probe:
    """An object directly below the prefix, `_probe-{16 hex}`: in no database's folder, and skipped by all readers of the archive.

    Every method raises what the store's own calls raise.
    """

    store: S3ObjectStore
    prefix: str
    key: str = field(init=False)

    def __post_init__(self) -> None:
        """Choose an unused name, and a lock that ends soon, since the object is only a probe."""
        if self.store.lock is not None:
            self.store = replace(self.store, lock=replace(self.store.lock, length=LOCKED_FOR))
        self.key = f"{self.prefix}_probe-{token_hex(8)}"

    @property
    def endpoint(self) -> str:
        """The URL of the store, whether it comes from the config, the environment, or AWS's client."""
        return self.store.client.meta.endpoint_url

    def list(self) -> datetime | None:
        """List below the prefix, and return the store's clock, if the store reports it."""
        with translated(Attempt("list", self.store.uri(self.prefix), "s3:ListBucket")):
            answer = self.store.client.list_objects_v2(Bucket=self.store.bucket, Prefix=self.prefix, MaxKeys=1)
        return _clock(answer)

    def put(self) -> StoredObject:
        """Store the object, encrypted as the config says."""
        return self.store.create(self.key, CONTENT)

    def conditions_are_kept(self) -> bool:
        """Return whether the store refuses a second object under the same key, as `If-None-Match: *` requires."""
        try:
            self.store.create(self.key, CONTENT)
        except ObjectExists:
            return True
        return False

    def reads_back(self, made: StoredObject) -> bool:
        """Return whether the object reads back as it was written, by its version where the bucket keeps versions."""
        return b"".join(self.store.read(self.key, version_id=made.version_id)) == CONTENT

    def encryption(self) -> str:
        """Return the encryption that the store reports for the object."""
        with translated(Attempt("read the metadata of", self.store.uri(self.key), "s3:GetObject")):
            answer: Any = self.store.client.head_object(Bucket=self.store.bucket, Key=self.key)
        return described(answer)

    def retention(self, made: StoredObject) -> Retention | None:
        """Return the retention that the store reports for the object."""
        return read_retention(self.store, made)

    def default_lock(self) -> str | None:
        """Return the bucket's default retention, for objects whose write requests none, as text; None without one.

        Raises StoreError if the bucket has no Object Lock, or if reading its settings is not allowed.
        """
        with translated(Attempt("read the Object Lock settings of", self.store.uri(""), "s3:GetBucketObjectLockConfiguration")):
            answer = self.store.client.get_object_lock_configuration(Bucket=self.store.bucket)
        rule = answer["ObjectLockConfiguration"].get("Rule", {}).get("DefaultRetention", {})
        return " ".join(f"{key} {value}" for key, value in rule.items()) or None

    def lock_holds(self, made: StoredObject) -> bool:
        """Return whether the store refuses to remove the object's version without bypassing its lock."""
        try:
            self.store.client.delete_object(Bucket=self.store.bucket, Key=self.key, **_version_of(made))
        except (ClientError, BotoCoreError):
            return True
        return False

    def upload_and_abort(self) -> int:
        """Start a multipart upload, send one part, and abort it as an archive does after a crash; return how many were aborted."""
        key = f"{self.key}-parts"
        place: dict[str, Any] = {"Bucket": self.store.bucket, "Key": key}
        with translated(Attempt("upload in parts", self.store.uri(key), "s3:PutObject")):
            upload = self.store.client.create_multipart_upload(**place, **self.store.asked(self.store.retention()))["UploadId"]
            self.store.client.upload_part(**place, UploadId=upload, PartNumber=1, Body=CONTENT, **self.store.checksum(CONTENT))
        return self.store.abort_uploads(key)

    def remove(self, made: StoredObject) -> bool:
        """Remove the object's exact version if that is allowed; return False if that version stays, hidden by a delete marker."""
        if made.version_id is None:
            self.store.remove(self.key)
            return True
        try:
            self.store.client.delete_object(Bucket=self.store.bucket, Key=self.key, VersionId=made.version_id)
        except (ClientError, BotoCoreError):  # Object Lock, or a right that the archiver does not need
            self.store.remove(self.key)
            return False
        return True

    def is_there(self) -> bool:
        """Return whether the object is still visible."""
        try:
            self.store.head(self.key)
        except ObjectMissing:
            return False
        return True


def _version_of(made: StoredObject) -> dict[str, Any]:
    return {"VersionId": made.version_id} if made.version_id else {}


def _clock(answer: Any) -> datetime | None:  # noqa: ANN401 -- boto3 has a type of its own for each call
    date = answer["ResponseMetadata"].get("HTTPHeaders", {}).get("date")
    try:
        return parsedate_to_datetime(date) if date else None
    except ValueError:
        return None
