"""Translates the errors of S3 and its client into the project's.

What belongs here: the table of codes and the messages. What does not: retrying (`s3.py`, and botocore's standard mode below it). The codes:
https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html. Other stores use mostly the same codes; for an unknown code the HTTP
status decides. Credentials appear in no message: only the code and the store's own text are quoted.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,  # noqa: A004 -- botocore's own, not a subclass of the builtin
    CredentialRetrievalError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    SSLError,
)

from archiver_assets.errors import ObjectDamaged, ObjectExists, ObjectMissing, StoreError, StoreUnavailable
from archiver_assets.untrusted_text import bounded

UNREACHABLE = (HTTPClientError, ConnectionError, IncompleteReadError)
BAD_REQUEST = 400
SERVER_ERROR = 500

CREDENTIALS = "correct the credentials that AWS's default chain finds: environment variables, shared files, or the role of the pod"
BUCKET = "create the bucket, or correct s3.bucket in the config"
REGION = "set s3.region in the config to the bucket's region"
LOCK = (
    "see that Object Lock is enabled on the bucket and that the store knows it, or correct s3.object_lock in the config; "
    "docs/how-to/tamper-evidence.md says how"
)
AGAIN = "try again later; if it persists, look at the store's own health and at s3.endpoint in the config"
DAMAGED = "the content is not what the store's own checksum says: read again; if it persists, the object is damaged"

KNOWN: dict[str, tuple[type[StoreError], str]] = {
    "PreconditionFailed": (ObjectExists, "compare its content: it may be this very call's own, stored by a try whose answer was lost"),
    "NoSuchKey": (ObjectMissing, "look at the bucket's lifecycle rules and at who deletes from it"),
    "NoSuchVersion": (ObjectMissing, "look at the bucket's lifecycle rules for noncurrent versions"),
    "MethodNotAllowed": (ObjectMissing, "the version is a delete marker; look at who deletes from the bucket"),
    "NoSuchBucket": (StoreError, BUCKET),
    "InvalidBucketName": (StoreError, "correct s3.bucket in the config"),
    "InvalidAccessKeyId": (StoreError, CREDENTIALS),
    "SignatureDoesNotMatch": (StoreError, CREDENTIALS),
    "InvalidToken": (StoreError, CREDENTIALS),
    "ExpiredToken": (StoreError, CREDENTIALS),
    "RequestTimeTooSkewed": (StoreError, "set this machine's clock"),
    "PermanentRedirect": (StoreError, REGION),
    "AuthorizationHeaderMalformed": (StoreError, REGION),
    "InvalidObjectState": (StoreError, "the object is in an archive tier: restore it in S3 first"),
    "InvalidStorageClass": (StoreError, "correct s3.storage_class in the config: this store does not have it"),
    "NoSuchUpload": (StoreError, "run again; if it persists, a rule that aborts incomplete uploads may be too short"),
    "NotImplemented": (StoreError, "this store lacks what the archiver needs; see the stores named in the documentation"),
    "ConditionalRequestConflict": (StoreUnavailable, AGAIN),
    "SlowDown": (StoreUnavailable, AGAIN),
    "RequestTimeout": (StoreUnavailable, AGAIN),
    "TooManyRequests": (StoreUnavailable, AGAIN),
}
WRONG_NAME = "write s3.endpoint as the store's certificate names it, or give the store a certificate for that name"
WRONG_FILE = "correct AWS_CA_BUNDLE: it names a file with the certificates of the authorities to trust, as PEM, that this process can read"
TLS: dict[str, str] = {
    "doesn't match": WRONG_NAME,
    "ostname mismatch": WRONG_NAME,
    "has expired": "renew the store's certificate, or set this machine's clock",
    "CERTIFICATE_VERIFY_FAILED": "name a file with the certificate of the store's authority, as PEM, in the environment variable "
    "AWS_CA_BUNDLE of every process; it replaces the public authorities, so add those that are needed too",
    "No such file": WRONG_FILE,
    "Permission denied": WRONG_FILE,
    "NO_CERTIFICATE_OR_CRL_FOUND": WRONG_FILE,
    "WRONG_VERSION_NUMBER": "correct s3.endpoint: what answers there does not speak TLS, which https asks for",
}
"""Python's and OpenSSL's texts for a failed verification, with hints; the first match applies. Other TLS failures are network errors."""

BY_STATUS = {301: "PermanentRedirect", 404: "NoSuchKey", 412: "PreconditionFailed", 429: "TooManyRequests", 501: "NotImplemented"}


@dataclass(frozen=True)
class Attempt:
    """What was tried: `verb` and `uri` begin the message, `right` is the required permission; `locking` if a lock is requested."""

    verb: str
    uri: str
    right: str
    locking: bool = False

    @property
    def failed(self) -> str:
        """The beginning of every message."""
        return f"could not {self.verb} {self.uri}"


@contextmanager
def translated(attempt: Attempt) -> Iterator[None]:
    """Translate botocore's errors in the block into the project's."""
    try:
        yield
    except ClientError as error:
        raise refusal(attempt, error) from error
    except SSLError as error:
        raise tls_failure(attempt, error) from error
    except UNREACHABLE as error:
        msg = f"{attempt.failed}: no answer, or half of one: {error}"
        raise StoreUnavailable(msg, hint=AGAIN) from error
    except FlexibleChecksumError as error:
        msg = f"{attempt.failed}: {error}"
        raise ObjectDamaged(msg, hint=DAMAGED) from error
    except BotoCoreError as error:
        msg = f"{attempt.failed}: {error}"
        raise StoreError(msg, hint=client_side_hint(error)) from error


def code_of(error: ClientError) -> str:
    """Return S3's error code; an answer without a body (to HEAD, or from a proxy) has the HTTP status instead."""
    code = error.response.get("Error", {}).get("Code", "")
    return BY_STATUS.get(status_of(error), code) if not code or code.isdecimal() else code


def status_of(error: ClientError) -> int:
    """Return the HTTP status of the answer."""
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


def refusal(attempt: Attempt, error: ClientError) -> StoreError:
    """Return the project's error for an error answer from the store."""
    code, status = code_of(error), status_of(error)
    sentence = error.response.get("Error", {}).get("Message", "").strip().rstrip(".")
    message = f"{attempt.failed}: {code} (HTTP {status}): {bounded(sentence)}"
    kind, hint = KNOWN.get(code) or unknown(attempt, status)
    return kind(message, hint=hint)


def unknown(attempt: Attempt, status: int) -> tuple[type[StoreError], str]:
    """Classify an answer whose code is not in the table by its HTTP status."""
    if status >= SERVER_ERROR:
        return StoreUnavailable, AGAIN
    if attempt.locking and status == BAD_REQUEST:  # the answer of stores if the bucket has no Object Lock
        return StoreError, LOCK
    allowed = f"see that {attempt.right} is allowed, by the identity's policy and the bucket's (archiver roles --s3 prints one)"
    return StoreError, f"{allowed}, and that the config's s3 section is right"


def tls_failure(attempt: Attempt, error: SSLError) -> StoreError:
    """Classify a TLS failure by its text: retrying does not help if the store's certificate failed verification."""
    hint = next((hint for words, hint in TLS.items() if words in str(error)), None)
    if hint is None:
        return StoreUnavailable(f"{attempt.failed}: no answer, or half of one: {error}", hint=AGAIN)
    return StoreError(f"{attempt.failed}: expected a store that proves its name by TLS, found: {error}", hint=hint)


def client_side_hint(error: BotoCoreError) -> str:
    """Return the next step for an error raised before anything reached the store."""
    if isinstance(error, NoCredentialsError | PartialCredentialsError | CredentialRetrievalError):
        return CREDENTIALS
    return "correct the s3 section of the config"
