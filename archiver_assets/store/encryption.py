"""Encryption at rest, done by the store: what a write asks for, and whether the store says that it did it.

What belongs here: the request's parameters and the judgement of an answer. What does not: sending either (`s3.py`). A store that does not
know the parameters may ignore them without a word, so the answer to a HEAD decides.
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
    """What every write asks for; with "none" it asks for nothing, and the bucket's own default applies.

    `kms_key_id` is the id or the ARN of a key of KMS, for SSE-KMS alone. Raises StoreError if it is missing there, or given elsewhere.
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
        """Whether anything is asked for."""
        return self.kind != "none"

    @property
    def options(self) -> dict[str, Any]:
        """The keywords of boto3's calls that begin a write."""
        algorithm = {"ServerSideEncryption": ALGORITHMS[self.kind]} if self.wanted else {}
        return algorithm | ({"SSEKMSKeyId": self.kms_key_id} if self.kms_key_id else {})

    @property
    def keeps_etags(self) -> bool:
        """Whether an ETag is made of MD5s of the content: not under a key of KMS."""
        return self.kind != "SSE-KMS"

    def is_met_by(self, answer: Mapping[str, Any]) -> bool:
        """Tell whether the store's answer to a HEAD reports what was asked for; a key's id matches its ARN."""
        if not self.wanted:
            return True
        if answer.get("ServerSideEncryption") != ALGORITHMS[self.kind]:
            return False
        found = answer.get("SSEKMSKeyId") or ""
        return self.kms_key_id is None or found == self.kms_key_id or found.endswith(f"key/{self.kms_key_id}")


def described(answer: Mapping[str, Any]) -> str:
    """Return the encryption that an answer reports, in S3's words: `aws:kms with the key ...`."""
    key = answer.get("SSEKMSKeyId")
    return (answer.get("ServerSideEncryption") or "none") + (f" with the key {key}" if key else "")
