"""The policies of deploy/iam on a store that enforces them: they suffice, and nothing in them can be left out.

What belongs here: what a store makes of the policies. What does not: what the code calls, as its source says (`unit/test_iam.py`).
SeaweedFS takes the actions and the resources of AWS, versions included.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from archiver_assets.demo.seaweed import EmbeddedS3
from archiver_assets.errors import StoreError
from archiver_assets.store.probing import CONTENT, Probe
from archiver_assets.store.s3 import Patience, S3ObjectStore
from archiver_assets_tests.kustomize import DEPLOY

BUCKET, PREFIX = "audit-archives", "archives/"
STRANGER = "stranger"
LOOKS = {"list", "put", "condition", "version", "head", "parts", "remove"}

FAILING_WITHOUT = {
    "s3:ListBucket": {"list"},
    "s3:ListBucketMultipartUploads": {"parts"},
    "s3:GetObject": {"head"},
    "s3:GetObjectVersion": {"version"},
    "s3:PutObject": {"put", "condition", "parts"},
    "s3:DeleteObject": {"remove"},
}
NOT_ENFORCED = {"s3:AbortMultipartUpload"}
"""By SeaweedFS, for which it is a part of s3:PutObject; on AWS it is an action of its own."""

_SESSION = boto3.session.Session()
"""One for all clients: each of its own would cost 0.2 s more."""


class StoreWithPolicies(EmbeddedS3):
    """An S3 server with a user for each of the given policies, which is the user's access key and secret too."""

    def __init__(self, policies: dict[str, Any]) -> None:
        super().__init__()
        self.policies = policies

    def _prepare(self, home: Path) -> None:
        super()._prepare(home)
        known = [{"name": name, "document": document} for name, document in self.policies.items()]
        tokens = {
            "tokenDuration": "1h",
            "maxSessionLength": "1h",
            "issuer": "none",
            "signingKey": "bm90IGEgcmVhbCBzZWNyZXQgYW5kIG5ldmVyIHVzZWQ=",
        }
        settings = {"sts": tokens, "policy": {"defaultEffect": "Deny", "storeType": "memory"}, "policies": known}
        (home / "iam.json").write_text(json.dumps(settings))

    def _identities(self) -> dict[str, object]:
        admin: Any = super()._identities()["identities"]
        users = [
            {"name": name, "credentials": [{"accessKey": name, "secretKey": name}], "actions": [], "policyNames": [name]}
            for name in self.policies
        ]
        stranger = {"name": STRANGER, "credentials": [{"accessKey": STRANGER, "secretKey": STRANGER}], "actions": []}
        return {"identities": [*admin, *users, stranger]}

    def _command(self, home: Path) -> list[str]:
        return [*super()._command(home), f"-s3.iam.config={home / 'iam.json'}"]


@pytest.fixture(scope="module")
def server() -> Iterator[StoreWithPolicies]:
    given = {path.stem: json.loads(path.read_text()) for path in DEPLOY.glob("iam/archive*.json")}
    lacking = {user_without(action): without(action, given["archive"]) for action in FAILING_WITHOUT}
    with StoreWithPolicies(given | lacking) as started:
        started.create_bucket(BUCKET, versioning=True)
        yield started


def test_the_archivers_policy_suffices(server: StoreWithPolicies) -> None:
    assert looks_that_fail(server, "archive") == set()


@pytest.mark.parametrize("action", FAILING_WITHOUT)
def test_none_of_its_actions_can_be_left_out(server: StoreWithPolicies, action: str) -> None:
    assert looks_that_fail(server, user_without(action)) == FAILING_WITHOUT[action]


def test_every_action_of_the_policy_is_tried() -> None:
    document = json.loads((DEPLOY / "iam" / "archive.json").read_text())
    assert {action for statement in document["Statement"] for action in statement["Action"]} == FAILING_WITHOUT.keys() | NOT_ENFORCED


def test_with_object_lock_nothing_can_be_removed_and_all_else_works(server: StoreWithPolicies) -> None:
    assert looks_that_fail(server, "archive-object-lock") == {"remove"}


def test_a_reader_can_only_read(server: StoreWithPolicies) -> None:
    assert looks_that_fail(server, "archive-read-only") == {"put", "condition", "parts", "remove"}


def test_a_user_without_a_policy_can_do_nothing(server: StoreWithPolicies) -> None:
    assert looks_that_fail(server, STRANGER) == LOOKS


@pytest.mark.parametrize("key", ["other/object", "archive"])
def test_what_lies_beside_the_prefix_is_out_of_reach(server: StoreWithPolicies, key: str) -> None:
    server.client().put_object(Bucket=BUCKET, Key=key, Body=b"of others")
    store = connected(server, "archive")
    with pytest.raises(StoreError, match="AccessDenied"):
        b"".join(store.read(key))
    with pytest.raises(StoreError, match="AccessDenied"):
        store.remove(key)


def user_without(action: str) -> str:
    return f"without-{action.removeprefix('s3:')}"


def without(action: str, document: dict[str, Any]) -> dict[str, Any]:
    statements = [{**each, "Action": [one for one in each["Action"] if one != action]} for each in document["Statement"]]
    return {**document, "Statement": statements}


def connected(server: StoreWithPolicies, user: str) -> S3ObjectStore:
    client = _SESSION.client(
        "s3", endpoint_url=server.endpoint, region_name=server.region, aws_access_key_id=user, aws_secret_access_key=user
    )
    return S3ObjectStore(client, BUCKET, "STANDARD", lambda _: None, Patience(max_attempts=1))


def looks_that_fail(server: StoreWithPolicies, user: str) -> set[str]:
    """Return what a user is not allowed, of all that the archiver does with a bucket. The administrator puts there what is read."""
    probe = Probe(connected(server, user), PREFIX)
    server.client().put_object(Bucket=BUCKET, Key=probe.key, Body=CONTENT)
    made = S3ObjectStore(server.client(), BUCKET, "STANDARD", lambda _: None).head(probe.key)
    another = Probe(probe.store, PREFIX)
    looks: dict[str, Callable[[], object]] = {
        "list": probe.list,
        "put": another.put,
        "condition": probe.conditions_are_kept,
        "version": lambda: probe.reads_back(made),
        "head": probe.encryption,
        "parts": probe.upload_and_abort,
        "remove": lambda: probe.remove(made),
    }
    return {name for name, look in looks.items() if not allowed(look)}


def allowed(look: Callable[[], object]) -> bool:
    """Tell whether a look is allowed. Raises what else it fails with."""
    try:
        look()
    except StoreError as error:
        if "(HTTP 403)" not in error.message:
            raise
        return False
    return True
