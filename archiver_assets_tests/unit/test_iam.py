"""The policies that `archiver roles` prints, and those in deploy/iam, allow what the code calls, and nothing else."""

import ast
import importlib.util
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from archiver_assets.cli.app import Status, main
from archiver_assets.config import load_config
from archiver_assets.store.policies import policy
from archiver_assets_tests.kustomize import DEPLOY, ROOT
from archiver_assets_tests.unit.config_files import SHORTEST

IAM = DEPLOY / "iam"
BUCKET, OBJECTS = "arn:aws:s3:::audit-archives", "arn:aws:s3:::audit-archives/archives/*"

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
ACTIONS = {
    "list_objects_v2": {"s3:ListBucket"},
    "list_object_versions": {"s3:ListBucketVersions"},
    "list_multipart_uploads": {"s3:ListBucketMultipartUploads"},
    # A version of an object has an action of its own; HEAD has none, and goes by that of GET.
    "get_object": {"s3:GetObject", "s3:GetObjectVersion"},
    "head_object": {"s3:GetObject", "s3:GetObjectVersion"},
    "put_object": {"s3:PutObject"},
    "create_multipart_upload": {"s3:PutObject"},
    "upload_part": {"s3:PutObject"},
    "complete_multipart_upload": {"s3:PutObject"},
    "abort_multipart_upload": {"s3:AbortMultipartUpload"},
    # Its very version is only tried: without s3:DeleteObjectVersion nothing that was archived can be lost by this role.
    "delete_object": {"s3:DeleteObject"},
}
# A write that asks for a lock needs the right to lock, beside that of the call.
LOCKING = {
    "put_object": {"s3:PutObjectRetention"},
    "get_object_retention": {"s3:GetObjectRetention"},
    "get_object_lock_configuration": {"s3:GetBucketObjectLockConfiguration"},
}
ON_THE_BUCKET = {"s3:ListBucket", "s3:ListBucketVersions", "s3:ListBucketMultipartUploads", "s3:GetBucketObjectLockConfiguration"}
READS = {"list_objects_v2", "list_object_versions", "get_object", "head_object"}
LOGS_READ = {
    "head_object": {"s3:GetObject"},
    "download_fileobj": {"s3:GetObject"},
    "generate_presigned_url": {"s3:GetObject"},
    "list_objects_v2": {"s3:ListBucket"},
}
# Of a file above 8 MiB boto3 uploads parts, and ends the upload if one fails.
LOGS_WRITTEN = {"upload_fileobj": {"s3:PutObject", "s3:AbortMultipartUpload"}}
LOGS_DELETED = {"delete_objects", "list_objects"}
"""By `delete_logs`, which nothing in Dagster calls on S3."""


def test_the_calls_of_the_store_are_those_whose_rights_are_known() -> None:
    assert set(calls_of_the_store()) == set(ACTIONS) | set(LOCKING)


@pytest.mark.parametrize(
    ("file", "made"),
    [
        ("archive.json", policy("archive", bucket="audit-archives", prefix="archives/")),
        ("archive-object-lock.json", policy("archive", bucket="audit-archives", prefix="archives/", object_lock=True)),
        ("archive-read-only.json", policy("read-only", bucket="audit-archives", prefix="archives/")),
    ],
    ids=str,
)
def test_the_files_are_what_is_made_of_the_bucket_and_prefix(file: str, made: dict[str, Any]) -> None:
    assert json.loads((IAM / file).read_text()) == made


def test_the_file_for_a_key_is_what_is_made_of_its_arn() -> None:
    document = json.loads((IAM / "kms.json").read_text())
    key = document["Statement"][0]["Resource"]
    assert document["Statement"] == policy("archive", bucket="b", kms_key_id=key)["Statement"][-1:]


@pytest.mark.parametrize(
    ("region", "key", "resource", "service"),
    [
        ("eu-central-1", "1234-ab", "arn:aws:kms:eu-central-1:*:key/1234-ab", {"StringEquals": "s3.eu-central-1.amazonaws.com"}),
        (None, "1234-ab", "arn:aws:kms:*:*:key/1234-ab", {"StringLike": "s3.*.amazonaws.com"}),
        ("cn-north-1", "1234-ab", "arn:aws-cn:kms:cn-north-1:*:key/1234-ab", {"StringEquals": "s3.cn-north-1.amazonaws.com.cn"}),
        (
            None,
            "arn:aws:kms:us-west-2:123456789012:key/1",
            "arn:aws:kms:us-west-2:123456789012:key/1",
            {"StringEquals": "s3.us-west-2.amazonaws.com"},
        ),
    ],
)
def test_a_reader_may_only_decrypt_by_the_key_of_the_config(region: str | None, key: str, resource: str, service: dict[str, str]) -> None:
    statement = policy("read-only", bucket="b", region=region, kms_key_id=key)["Statement"][-1]
    assert (statement["Action"], statement["Resource"]) == (["kms:Decrypt"], resource)
    assert statement["Condition"] == {operator: {"kms:ViaService": value} for operator, value in service.items()}


@pytest.mark.parametrize(
    ("endpoint", "is_there"),
    [
        (None, True),
        ("https://s3.eu-west-1.amazonaws.com", True),
        ("https://minio.example:9000", False),
        ("https://amazonaws.com.evil.example", False),
    ],
)
def test_a_key_is_one_of_aws_only_there(endpoint: str | None, is_there: bool) -> None:  # noqa: FBT001 -- a parameter of the test
    made = policy("archive", bucket="b", endpoint=endpoint, kms_key_id="1")
    assert any("kms:Decrypt" in each["Action"] for each in made["Statement"]) == is_there


def test_a_region_of_another_store_is_none_of_aws() -> None:
    made = policy("read-only", bucket="b", region="cn-north-1", endpoint="https://minio.example:9000")
    assert made["Statement"][0]["Resource"] == "arn:aws:s3:::b"


def test_a_directory_bucket_is_refused_with_the_right_that_it_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.yaml").write_text(re.sub(r"bucket: [a-z-]+", "bucket: fast--use1-az4--x-s3", SHORTEST))
    assert main(["roles", "--config", str(tmp_path / "config.yaml"), "--s3", "archive"]) == Status.USAGE
    assert "s3express:CreateSession" in capsys.readouterr().err


def test_a_prefix_stands_for_itself_alone_and_a_region_decides_the_partition() -> None:
    made = policy("read-only", bucket="b", prefix="a*b?${aws:username}/", region="us-gov-west-1")
    assert made["Statement"][1]["Resource"] == "arn:aws-us-gov:s3:::b/a${*}b${?}${$}{aws:username}/*"


def test_the_command_prints_the_policy_of_the_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = SHORTEST.replace("bucket: ", 'region: eu-west-1, encryption: SSE-KMS, kms_key_id: "1234", prefix: a, bucket: ')
    (tmp_path / "config.yaml").write_text(text)
    arguments = ["roles", "--config", str(tmp_path / "config.yaml"), "--s3", "archive", "--object-lock"]
    assert main(arguments) == Status.DONE
    bucket = load_config(tmp_path / "config.yaml", {}).s3.bucket
    expected = policy("archive", bucket=bucket, prefix="a/", region="eu-west-1", kms_key_id="1234", object_lock=True)
    assert json.loads(capsys.readouterr().out) == expected
    assert main([*arguments, "--json"]) == Status.DONE
    assert json.loads(capsys.readouterr().out) == {"identity": "archive", "policy": expected}


@pytest.mark.parametrize("wrong", [["--object-lock"], ["--s3", "archive", "--table", "t"], ["--s3", "read-only", "--restore", "new"]])
def test_options_of_the_database_and_of_the_bucket_do_not_mix(wrong: list[str], tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(SHORTEST)
    assert main(["roles", "--config", str(tmp_path / "config.yaml"), *wrong]) == Status.USAGE


def test_the_archiver_may_do_what_it_calls_and_nothing_else() -> None:
    needed = set[str]().union(*ACTIONS.values())
    assert allowed("archive.json") == {BUCKET: needed & ON_THE_BUCKET, OBJECTS: needed - ON_THE_BUCKET}
    assert denied("archive.json") == set()


def test_nobody_may_remove_a_version_of_an_object() -> None:
    for file in IAM.glob("*.json"):
        assert not any("DeleteObjectVersion" in action or "*" in action for actions in allowed(file.name).values() for action in actions)


def test_where_the_bucket_is_locked_the_archiver_may_lock_too_but_remove_nothing() -> None:
    unlocked, locking = allowed("archive.json"), set[str]().union(*LOCKING.values())
    assert allowed("archive-object-lock.json") == {
        BUCKET: unlocked[BUCKET] | (locking & ON_THE_BUCKET),
        OBJECTS: unlocked[OBJECTS] - {"s3:DeleteObject"} | (locking - ON_THE_BUCKET),
    }
    assert {"s3:DeleteObject", "s3:DeleteObjectVersion", "s3:BypassGovernanceRetention"} <= denied("archive-object-lock.json")
    assert not denied("archive-object-lock.json") & set[str]().union(*allowed("archive-object-lock.json").values())


def test_a_config_with_object_lock_takes_the_rights_to_lock_and_keeps_that_to_clear_away(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yaml").write_text(SHORTEST.replace("bucket: ", "object_lock: {mode: GOVERNANCE, days: 1}, bucket: "))
    assert main(["roles", "--config", str(tmp_path / "config.yaml"), "--s3", "archive"]) == Status.DONE
    bucket, objects = (set(each["Action"]) for each in json.loads(capsys.readouterr().out)["Statement"])
    assert bucket | objects == set[str]().union(*ACTIONS.values(), *LOCKING.values())


def test_a_reader_may_list_and_read_alone() -> None:
    needed = set[str]().union(*(ACTIONS[call] for call in READS))
    assert allowed("archive-read-only.json") == {BUCKET: needed & ON_THE_BUCKET, OBJECTS: needed - ON_THE_BUCKET}


def test_the_bucket_can_be_listed_without_naming_a_prefix() -> None:
    """With a condition on the prefix S3 answers 403, not 404, to a HEAD of what is not there, and the archiver tells them apart."""
    for name in ("archive.json", "archive-object-lock.json", "archive-read-only.json"):
        assert all("Condition" not in statement for statement in statements(name))


def test_the_policies_are_about_the_bucket_and_the_prefix_of_the_overlays_config() -> None:
    s3 = load_config(DEPLOY / "overlays" / "aws" / "config.yaml", {}).s3
    assert (f"arn:aws:s3:::{s3.bucket}", f"arn:aws:s3:::{s3.bucket}/{s3.prefix}*") == (BUCKET, OBJECTS)


def test_runs_write_the_logs_that_webserver_and_daemon_read() -> None:
    source = Path(str(package_file("dagster_aws"))).parent / "s3" / "compute_log_manager.py"
    calls = set(calls_of([source], "_s3_session"))
    assert calls == LOGS_READ.keys() | LOGS_WRITTEN.keys() | LOGS_DELETED
    bucket, objects = "arn:aws:s3:::dagster-compute-logs", "arn:aws:s3:::dagster-compute-logs/compute-logs/*"
    assert allowed("compute-logs-write.json") == {objects: set[str]().union(*LOGS_WRITTEN.values())}
    assert allowed("compute-logs-read.json") == {bucket: {"s3:ListBucket"}, objects: {"s3:GetObject"}}


def test_a_key_of_kms_is_used_through_s3_alone() -> None:
    [statement] = statements("kms.json")
    assert set(statement["Action"]) == {"kms:GenerateDataKey", "kms:Decrypt"}
    assert statement["Condition"]["StringEquals"]["kms:ViaService"].startswith("s3.")


def test_a_role_is_taken_by_one_service_account_and_by_no_other() -> None:
    [statement] = statements("trust-policy.json")
    assert statement["Action"] == "sts:AssumeRoleWithWebIdentity"
    assert statement["Condition"] == {
        "StringEquals": {
            "OIDC_PROVIDER:aud": "sts.amazonaws.com",
            "OIDC_PROVIDER:sub": "system:serviceaccount:audit-archiver:SERVICE_ACCOUNT",
        }
    }


def test_the_secrets_that_may_be_read_are_those_of_the_archiver() -> None:
    assert allowed("secrets-manager.json") == {
        "arn:aws:secretsmanager:us-east-1:ACCOUNT_ID:secret:audit-archiver/*": {
            "secretsmanager:GetSecretValue",
            "secretsmanager:DescribeSecret",
        }
    }


def test_a_token_is_for_the_role_of_the_overlays_config_on_one_instance() -> None:
    [database] = load_config(DEPLOY / "overlays" / "aws" / "config.yaml", {}).databases
    assert allowed("rds-connect.json") == {f"arn:aws:rds-db:us-east-1:ACCOUNT_ID:dbuser:DB_RESOURCE_ID/{database.user}": {"rds-db:connect"}}


@pytest.mark.parametrize("policy", sorted(IAM.glob("*.json")), ids=lambda path: path.name)
def test_every_policy_is_one_that_iam_takes(policy: Path) -> None:
    document = json.loads(policy.read_text())
    assert document.keys() == {"Version", "Statement"}
    assert document["Version"] == "2012-10-17"
    sids = [statement["Sid"] for statement in document["Statement"]]
    assert len(set(sids)) == len(sids)
    assert all(sid.isalnum() for sid in sids)  # IAM refuses any other character
    for statement in document["Statement"]:
        assert statement.keys() <= {"Sid", "Effect", "Action", "Resource", "Condition", "Principal"}
        assert statement["Effect"] in {"Allow", "Deny"}


def statements(name: str) -> list[dict[str, Any]]:
    document: Mapping[str, Any] = json.loads((IAM / name).read_text())
    return list(document["Statement"])


def allowed(name: str) -> dict[str, set[str]]:
    """Return the actions that a policy allows, by the resource they are allowed on."""
    return {each["Resource"]: set(each["Action"]) for each in statements(name) if each["Effect"] == "Allow" and "Resource" in each}


def denied(name: str) -> set[str]:
    return {action for each in statements(name) if each["Effect"] == "Deny" for action in each["Action"]}


def calls_of_the_store() -> Iterator[str]:
    """Yield the operations of S3 that the code asks for, by boto3's names. Only `store/` has a client."""
    sources = [path for path in (ROOT / "archiver_assets").rglob("*.py") if "demo" not in path.parts]
    yield from calls_of(sources, "client")


def calls_of(sources: Iterable[Path], client: str) -> Iterator[str]:
    """Yield the methods of whatever is called `client` that these sources use; for a paginator, that of its pages."""
    for source in sources:
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and named(node.func.value) == client:
                paginated = node.func.attr == "get_paginator"
                yield ast.literal_eval(node.args[0]) if paginated else node.func.attr


def named(node: ast.expr) -> str | None:
    """Return the last name of `a`, or of `b.c.a`."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else None


def package_file(name: str) -> str | None:
    """Return where a package lies, without importing it."""
    spec = importlib.util.find_spec(name)
    return spec.origin if spec else None
