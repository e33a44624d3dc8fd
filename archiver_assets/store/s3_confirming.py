"""Confirming the encryption and lock requested with a write: trusted only if the store reports them.

What belongs here: checking what was written, and removing it if wrong. What does not: what is requested (`encryption.py`,
`object_lock.py`), and the writes themselves (`s3.py`, `s3_upload.py`).
"""

import logging
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from archiver_assets.errors import StoreError
from archiver_assets.store.encryption import described
from archiver_assets.store.object_lock import Retention, reported
from archiver_assets.store.objects import StoredObject
from archiver_assets.store.s3_errors import LOCK, Attempt, code_of, translated

if TYPE_CHECKING:
    from archiver_assets.store.s3 import S3ObjectStore

NO_RETENTION = {"NoSuchObjectLockConfiguration", "ObjectLockConfigurationNotFoundError", "InvalidRequest"}
"""The error codes for a retention query if the object has no retention, or its bucket no Object Lock."""

log = logging.getLogger("archiver.s3")


def kept_if_as_asked(store: "S3ObjectStore", attempt: Attempt, made: StoredObject, retention: Retention | None) -> StoredObject:
    """Return the object just stored. Unless it is confirmed to be encrypted and locked as requested, remove it and raise StoreError."""
    try:
        require_as_asked(store, attempt, made, retention)
    except StoreError:
        _take_back(store, made)
        raise
    return made


def require_as_asked_if_own(store: "S3ObjectStore", attempt: Attempt, key: str, data: bytes, retention: Retention | None) -> None:
    """Check an existing object that may be ours, created by an earlier try of this call whose answer was lost."""
    if not store.encryption.wanted and retention is None:
        return
    found = store.head(key)
    if found.bytes == len(data) and b"".join(store.read(key)) == data:
        require_as_asked(store, attempt, found, retention)


def require_as_asked(store: "S3ObjectStore", attempt: Attempt, made: StoredObject, retention: Retention | None) -> None:
    """Raise StoreError unless the store reports the requested encryption and lock; if none was requested, send nothing."""
    if not store.encryption.wanted and retention is None:
        return
    with translated(attempt):
        answer: Any = store.client.head_object(Bucket=store.bucket, Key=made.key, **_version(made))
    if not store.encryption.is_met_by(answer):
        expected = described(store.encryption.options)
        msg = f"{attempt.failed} encrypted: expected the encryption {expected}, but the store reports {described(answer)}"
        raise StoreError(msg, hint="see that the store knows this encryption and this key, or correct s3.encryption and s3.kms_key_id")
    if retention is not None and not retention.is_met_by(found := reported(answer) or read_retention(store, made)):
        msg = f"{attempt.failed} locked: expected the retention {retention}, but the store reports {found or 'none'}"
        raise StoreError(msg, hint=LOCK)


def read_retention(store: "S3ObjectStore", made: StoredObject) -> Retention | None:
    """Read the retention with its own call: S3 omits it from a HEAD's answer if s3:GetObjectRetention is not allowed."""
    with translated(Attempt("look at the retention of", store.uri(made.key), "s3:GetObjectRetention")):
        try:
            answer = store.client.get_object_retention(Bucket=store.bucket, Key=made.key, **_version(made))["Retention"]
        except ClientError as error:
            if code_of(error) in NO_RETENTION:
                return None
            raise
    return Retention(answer["Mode"], answer["RetainUntilDate"])


def _take_back(store: "S3ObjectStore", made: StoredObject) -> None:
    """Remove an object of ours that must not stay: delete its version if that is allowed, or else hide it."""
    for version in (_version(made), {}):
        try:
            store.client.delete_object(Bucket=store.bucket, Key=made.key, **version)
        except (ClientError, BotoCoreError) as error:
            log.warning("could not remove %s, which is not known to be encrypted and locked as asked: %s", store.uri(made.key), error)
        else:
            return


def _version(made: StoredObject) -> dict[str, Any]:
    return {"VersionId": made.version_id} if made.version_id else {}
