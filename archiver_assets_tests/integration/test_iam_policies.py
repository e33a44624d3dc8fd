"""The policies that `archiver roles --s3` prints, on a store that enforces them: they suffice, and nothing in them can be left out.

What belongs here: what a store makes of the policies. What does not: what the code calls, as its source says (`unit/test_iam.py`).
SeaweedFS takes the actions and the resources of AWS, versions included.
"""

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from archiver_assets.cli.app import Status, main
from archiver_assets.config import Hold
from archiver_assets.demo.seaweed import EmbeddedS3
from archiver_assets.errors import StoreError
from archiver_assets.store.hold_objects import place_hold, release_hold
from archiver_assets.store.object_lock import ObjectLock
from archiver_assets.store.policies import policy
from archiver_assets.store.probing import CONTENT, Probe
from archiver_assets.store.s3 import Patience, S3ObjectStore
from archiver_assets_tests.commands import write_config
from archiver_assets_tests.conftest import fresh_database
from archiver_assets_tests.estate import the_job
from archiver_assets_tests.lab import DAY, PASSWORD_VARIABLE, PREFIX, Lab
from archiver_assets_tests.servers import PostgresServer

BUCKET, LOCKED = "audit-archives", "audit-archives-locked"
POLICIES = {
    "archive": policy("archive", bucket=BUCKET, prefix=PREFIX),
    "archive-object-lock": policy("archive", bucket=BUCKET, prefix=PREFIX, object_lock=True),
    "locking": policy("archive", bucket=LOCKED, prefix=PREFIX, object_lock=True),
    "read-only": policy("read-only", bucket=BUCKET, prefix=PREFIX),
}
STRANGER = "stranger"
FORBIDDEN = 403
LOOKS = {"list", "history", "put", "condition", "version", "head", "parts", "remove"}

FAILING_WITHOUT = {
    "s3:ListBucket": {"list"},
    "s3:ListBucketVersions": {"history"},
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
    lacking = {user_without(action): without(action, POLICIES["archive"]) for action in FAILING_WITHOUT}
    with StoreWithPolicies(POLICIES | lacking) as started:
        started.create_bucket(BUCKET, versioning=True)
        started.create_bucket(LOCKED, locking=True)
        yield started


def test_the_archivers_policy_suffices(server: StoreWithPolicies) -> None:
    assert looks_that_fail(server, "archive") == set()


@pytest.mark.parametrize("action", FAILING_WITHOUT)
def test_none_of_its_actions_can_be_left_out(server: StoreWithPolicies, action: str) -> None:
    assert looks_that_fail(server, user_without(action)) == FAILING_WITHOUT[action]


def test_every_action_of_the_policy_is_tried() -> None:
    assert {
        action for statement in POLICIES["archive"]["Statement"] for action in statement["Action"]
    } == FAILING_WITHOUT.keys() | NOT_ENFORCED


def test_with_object_lock_nothing_can_be_removed_and_all_else_works(server: StoreWithPolicies) -> None:
    assert looks_that_fail(server, "archive-object-lock") == {"remove"}


def test_the_policy_for_object_lock_lets_lock_see_the_lock_and_lift_none(server: StoreWithPolicies) -> None:
    store = replace(connected(server, "locking"), bucket=LOCKED, lock=ObjectLock("GOVERNANCE", timedelta(days=1)))
    probe = Probe(store, PREFIX)
    made = probe.put()
    assert probe.retention(made)
    assert probe.default_lock() is None
    assert probe.upload_and_abort() == 1
    for bypass in (False, True):
        with pytest.raises(ClientError, match="AccessDenied"):
            store.client.delete_object(Bucket=LOCKED, Key=made.key, VersionId=made.version_id or "", BypassGovernanceRetention=bypass)


def test_a_reader_can_only_read(server: StoreWithPolicies) -> None:
    assert looks_that_fail(server, "read-only") == {"put", "condition", "parts", "remove"}


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


@pytest.fixture
def emptied(server: StoreWithPolicies) -> StoreWithPolicies:
    """The server with nothing in its bucket."""
    server.remove_bucket(BUCKET)
    server.create_bucket(BUCKET, versioning=True)
    return server


@pytest.fixture
def lab(emptied: StoreWithPolicies, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """A lab whose store is the administrator's."""
    with fresh_database(postgres_server, postgres_server.lab_template) as database:
        monkeypatch.setenv(PASSWORD_VARIABLE, database.password)
        made = Lab(database, connected(emptied, emptied.access_key, emptied.secret_key), BUCKET, emptied.endpoint)
        made.fill(rows=20)
        yield made


@pytest.mark.parametrize("user", ["archive", "archive-object-lock"])
def test_the_job_works_with_the_archivers_policy(server: StoreWithPolicies, lab: Lab, user: str) -> None:
    store = connected(server, user)
    hold = Hold(id="7", reason="a case", table_name="audit_logs")
    place_hold(store, PREFIX, hold)
    assert (the_job(lab.task(store=store)).outcome, lab.count()) == ("held", 20)
    release_hold(store if user == "archive" else lab.store, PREFIX, "7")
    assert (the_job(lab.task(store=store)).tally.purged, lab.count()) == (20, 0)


@pytest.mark.parametrize("action", ["s3:ListBucket", "s3:GetObject", "s3:GetObjectVersion", "s3:PutObject"])
def test_without_an_action_the_job_fails_with_its_name_and_deletes_no_row(server: StoreWithPolicies, lab: Lab, action: str) -> None:
    with pytest.raises(StoreError, match=rf"HTTP 403(?s:.*)see that {action}( and s3:\w+)? is allowed(?s:.*)archiver roles --s3"):
        the_job(lab.task(store=connected(server, user_without(action))))
    assert lab.count() == 20
    if action != "s3:PutObject":  # without which there is nothing to purge
        the_archive = connected(server, "archive")
        assert the_job(lab.task(store=the_archive)).tally.purged == 20


@pytest.mark.parametrize("action", ["s3:ListBucketMultipartUploads", "s3:DeleteObject"])
def test_without_a_right_to_clear_away_the_job_works_and_says_what_stays(
    server: StoreWithPolicies, lab: Lab, action: str, caplog: pytest.LogCaptureFixture
) -> None:
    left = f"{PREFIX}lab/public/audit_logs/dt={DAY}/rows-0001-deadbeef.parquet"
    lab.store.create(left, b"of a crash")
    with caplog.at_level(logging.WARNING):
        assert the_job(lab.task(store=connected(server, user_without(action)))).tally.purged == 20
    assert any(f"see that {action} is allowed" in line for line in caplog.messages)
    assert (left in lab.objects()) == (action == "s3:DeleteObject")


def test_who_may_only_read_can_list_verify_and_query_and_changes_nothing(
    server: StoreWithPolicies, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    the_job(lab.task())
    lab.fill(rows=5)
    the_job(lab.task())
    before = versions(server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "read-only")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "read-only")
    monkeypatch.delenv(PASSWORD_VARIABLE)
    config = write_config(lab, tmp_path, host="127.0.0.1", port=1)
    for command in (["verify"], ["list"], ["hold", "list"], ["query", "SELECT count(*) AS rows FROM audit_logs"]):
        assert main([*command, "--json", "--config", config]) == Status.DONE
    *_, queried = capsys.readouterr().out.splitlines()
    assert json.loads(queried)["rows"] == [[25]]

    reader, (key, _) = connected(server, "read-only").client, before[0]
    assert not any(allowed(call) for call in changes(reader, key))
    reader.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": key}]})  # which answers 200, with an error for each key
    assert versions(server) == before
    assert all(allowed(call) for call in changes(server.client(), key)[:4])  # the calls are such that they work


def versions(server: StoreWithPolicies) -> list[tuple[str, str]]:
    answer: Any = server.client().list_object_versions(Bucket=BUCKET)
    return sorted((each["Key"], each["VersionId"]) for each in [*answer.get("Versions", []), *answer.get("DeleteMarkers", [])])


def changes(client: Any, key: str) -> list[Callable[[], object]]:  # noqa: ANN401 -- boto3's own type
    """Return calls that would change what lies in the bucket, or the bucket."""
    place = {"Bucket": BUCKET, "Key": key}
    return [
        lambda: client.put_object(**place, Body=b"another"),
        lambda: client.create_multipart_upload(**place),
        lambda: client.delete_object(**place),
        lambda: client.delete_object(**place, VersionId="null"),
        lambda: client.copy_object(**place, CopySource=place, MetadataDirective="REPLACE"),
        lambda: client.put_object_tagging(**place, Tagging={"TagSet": [{"Key": "a", "Value": "b"}]}),
        lambda: client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Suspended"}),
        lambda: client.delete_bucket(Bucket=BUCKET),
    ]


def user_without(action: str) -> str:
    return f"without-{action.removeprefix('s3:')}"


def without(action: str, document: dict[str, Any]) -> dict[str, Any]:
    statements = [{**each, "Action": [one for one in each["Action"] if one != action]} for each in document["Statement"]]
    return {**document, "Statement": statements}


def connected(server: StoreWithPolicies, user: str, secret: str | None = None) -> S3ObjectStore:
    client = _SESSION.client(
        "s3", endpoint_url=server.endpoint, region_name=server.region, aws_access_key_id=user, aws_secret_access_key=secret or user
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
        "history": lambda: list(probe.store.history(PREFIX)),
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
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != FORBIDDEN:
            raise
        return False
    return True
