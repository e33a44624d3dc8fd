"""What an identity must be allowed in the bucket, as an IAM policy: exactly the calls of the archiver, or of a reader of the archive.

What belongs here: actions and resources. What does not: the calls themselves (`s3.py`), which a test compares with these actions. The files
in deploy/iam are examples of these policies.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
"""

import re
from collections.abc import Iterator
from typing import Any, Literal
from urllib.parse import urlsplit

Identity = Literal["archive", "read-only"]
"""The identity of runs, or one that lists, verifies and queries the archive and changes nothing."""

Statement = dict[str, Any]

_LOOK = ("s3:ListBucket", "s3:ListBucketVersions")
_READ = ("s3:GetObject", "s3:GetObjectVersion")
_WRITE = ("s3:PutObject", "s3:AbortMultipartUpload")
_LOCK = ("s3:PutObjectRetention", "s3:GetObjectRetention")
_LOCKED_OBJECTS = (
    "s3:DeleteObject",
    "s3:DeleteObjectVersion",
    "s3:BypassGovernanceRetention",
    "s3:PutObjectLegalHold",
)
_LOCKED_BUCKET = ("s3:PutBucketObjectLockConfiguration", "s3:PutBucketVersioning", "s3:PutLifecycleConfiguration", "s3:DeleteBucket")


def policy(
    identity: Identity,
    *,
    bucket: str,
    prefix: str = "",
    region: str | None = None,
    endpoint: str | None = None,
    kms_key_id: str | None = None,
    locks: bool = False,
    object_lock: bool = False,
) -> Statement:
    """Return the policy of an identity, as the JSON document that IAM accepts.

    With `locks`, runs may lock objects and read their locks. With `object_lock`, removing anything is also denied, whatever else allows it.
    The KMS key is taken to be in AWS: with the `endpoint` of another store, whose own rights apply, the policy does not name it. For a key
    given only by its id the account is left open, and without `region` the region too. Directory buckets of S3 Express need other rights,
    which are not supported here.
    """
    partition = _partition(region) if _is_aws(endpoint) else "aws"
    place = f"arn:{partition}:s3:::{_literal(bucket)}"
    statements = (
        [*_archive(place, prefix, locks=locks or object_lock, object_lock=object_lock)]
        if identity == "archive"
        else [*_reader(place, prefix)]
    )
    if kms_key_id is not None and _is_aws(endpoint):
        statements.append(_key(identity, kms_key_id, region, partition))
    return {"Version": "2012-10-17", "Statement": statements}


def _archive(place: str, prefix: str, *, locks: bool, object_lock: bool) -> Iterator[Statement]:
    # No version is ever removed, so that everything that was archived can be recovered where versions are kept.
    others = (*(() if object_lock else ("s3:DeleteObject",)), *(_LOCK if locks else ()))
    looking = ("s3:GetBucketObjectLockConfiguration",) if locks else ()
    # Without a condition on the prefix: with one, S3 answers 403 instead of 404 for an object that does not exist.
    yield _allow("ArchiveBucket", (*_LOOK, "s3:ListBucketMultipartUploads", *looking), place)
    yield _allow("ArchiveObjects", (*_READ, *_WRITE, *others), f"{place}/{_literal(prefix)}*")
    if object_lock:
        yield _deny("NothingIsRemovedOrUnlocked", _LOCKED_OBJECTS, f"{place}/*")
        yield _deny("TheLockStays", _LOCKED_BUCKET, place)


def _reader(place: str, prefix: str) -> Iterator[Statement]:
    yield _allow("ArchiveBucket", _LOOK, place)
    yield _allow("ArchiveObjects", _READ, f"{place}/{_literal(prefix)}*")


def _key(identity: Identity, key: str, region: str | None, partition: str) -> Statement:
    """Return the rights on the key. S3 decrypts the parts of an upload to assemble them, so a writer needs both actions."""
    found = re.fullmatch(r"arn:([^:]+):kms:([^:]+):.*", key)
    if found:
        partition, region = found[1], found[2]
    resource = key if found else f"arn:{partition}:kms:{region or '*'}:*:key/{key}"
    actions = ("kms:GenerateDataKey", "kms:Decrypt") if identity == "archive" else ("kms:Decrypt",)
    service = f"s3.{region or '*'}.amazonaws.com{'.cn' if partition == 'aws-cn' else ''}"
    condition = {"StringEquals" if region else "StringLike": {"kms:ViaService": service}}
    return {**_allow("KeyOfTheArchive", actions, resource), "Condition": condition}


def _allow(sid: str, actions: tuple[str, ...], resource: str) -> Statement:
    return {"Sid": sid, "Effect": "Allow", "Action": list(actions), "Resource": resource}


def _deny(sid: str, actions: tuple[str, ...], resource: str) -> Statement:
    return {**_allow(sid, actions, resource), "Effect": "Deny"}


def _literal(text: str) -> str:
    """Return text escaped for a resource, in which `*` and `?` are wildcards and `${` begins a variable."""
    return re.sub(r"[*?$]", lambda found: f"${{{found[0]}}}", text)


def _partition(region: str | None) -> str:
    for beginning, partition in (("cn-", "aws-cn"), ("us-gov-", "aws-us-gov")):
        if (region or "").startswith(beginning):
            return partition
    return "aws"


def _is_aws(endpoint: str | None) -> bool:
    host = urlsplit(endpoint).hostname or "" if endpoint else "s3.amazonaws.com"
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn"))
