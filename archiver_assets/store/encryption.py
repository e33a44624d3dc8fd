"""Encryption at rest, done by the store: what a write requests, and whether the store reports that the object is encrypted.

What belongs here: the request's parameters, and the check of an answer. What does not: sending either (`s3.py`). A store that does not know
the parameters may silently ignore them, so the answer to a HEAD decides.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/serv-side-encryption.html
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from archiver_assets.errors import StoreError

EncryptionKind = Literal["none", "SSE-S3", "SSE-KMS"]
ALGORITHMS: Final[Mapping[EncryptionKind, str]] = {"SSE-S3": "AES256", "SSE-KMS": "aws:kms"}


@dataclass(frozen=True)
class Encryption:
    """What every write requests; "none" requests nothing, and the bucket's own default applies.

    `kms_key_id` is the id or ARN of a KMS key, only for SSE-KMS. Raises StoreError if it is missing for SSE-KMS, or given for another kind.
    """

    kind: EncryptionKind = "none"
    kms_key_id: str | None = None

    def __post_init__(self) -> None:
        """Refuse a key without SSE-KMS, and SSE-KMS without a key."""
        if (self.kind == "SSE-KMS") != bool(self.kms_key_id):
            msg = f"expected a KMS key with SSE-KMS, and with nothing else; found encryption {self.kind} and the key {self.kms_key_id}"
            raise StoreError(msg, hint="correct s3.encryption and s3.kms_key_id in the config")

    @property
    def wanted(self) -> bool:
        """Whether encryption is requested."""
        return self.kind != "none"

    @property
    def options(self) -> dict[str, Any]:
        """The keyword arguments of the boto3 calls that begin a write."""
        algorithm = {"ServerSideEncryption": ALGORITHMS[self.kind]} if self.wanted else {}
        return algorithm | ({"SSEKMSKeyId": self.kms_key_id} if self.kms_key_id else {})

    @property
    def keeps_etags(self) -> bool:
        """Whether an ETag consists of MD5s of the content, which it does not with a KMS key."""
        return self.kind != "SSE-KMS"

    def is_met_by(self, answer: Mapping[str, Any]) -> bool:
        """Return whether the store's answer to a HEAD reports the requested encryption; a key's id matches its ARN."""
        if not self.wanted:
            return True
        if answer.get("ServerSideEncryption") != ALGORITHMS[self.kind]:
            return False
        found = answer.get("SSEKMSKeyId") or ""
        return self.kms_key_id is None or found == self.kms_key_id or found.endswith(f"key/{self.kms_key_id}")


def described(answer: Mapping[str, Any]) -> str:
    """Return the encryption that an answer reports, in S3's terms: `aws:kms with the key ...`."""
    key = answer.get("SSEKMSKeyId")
    return (answer.get("ServerSideEncryption") or "none") + (f" with the key {key}" if key else "")
