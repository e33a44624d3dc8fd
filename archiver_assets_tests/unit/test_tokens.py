"""Tokens of AWS IAM as botocore signs them: for which server, role and region, by which credentials, and what is said without them.

What belongs here: the real signer, with credentials that are made up. What does not: connecting (`integration/test_iam_tokens.py`).
"""

import logging
import os
from urllib.parse import parse_qs, urlsplit

import pytest
from psycopg.conninfo import conninfo_to_dict

from archiver_assets.config import DatabaseConfig, ReplicaConfig, ScratchConfig, TableConfig
from archiver_assets.errors import ConfigError
from archiver_assets.source import tokens
from archiver_assets.source.session import Source
from archiver_assets.source.tokens import CREDENTIALS_SECONDS, sign_token

HOST = "audit.c2x8example.eu-central-1.rds.amazonaws.com"
SECRETS = ("made-up/secret", "made-up-session")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials that are made up, and nothing of the developer's own."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    isolation = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull, "AWS_EC2_METADATA_DISABLED": "true"}
    credentials = {"AWS_ACCESS_KEY_ID": "AKMADEUP", "AWS_SECRET_ACCESS_KEY": SECRETS[0], "AWS_SESSION_TOKEN": SECRETS[1]}
    for name, value in {**isolation, **credentials}.items():
        monkeypatch.setenv(name, value)
    tokens._signer.cache_clear()


def database(**changes: object) -> DatabaseConfig:
    table = TableConfig(database="app", name="log", timestamp_column="at", primary_key=("id",), retention_days=30)
    values = {"name": "app", "host": HOST, "port": 6432, "user": "archiver@x", "auth": "aws_iam", "sslrootcert": __file__}
    return DatabaseConfig.model_validate({**values, "tables": (table,), **changes})


def signed(config: DatabaseConfig, **environ: str) -> str:
    return sign_token(config, environ).get_secret_value()


def region_of(token: str) -> str:
    return parse_qs(urlsplit(f"https://{token}").query)["X-Amz-Credential"][0].split("/")[2]


def test_a_token_is_for_one_host_port_role_and_region_and_a_quarter_of_an_hour() -> None:
    url = urlsplit(f"https://{signed(database())}")
    query = {name: values[0] for name, values in parse_qs(url.query).items()}
    assert (url.hostname, url.port) == (HOST, 6432)
    assert (query["Action"], query["DBUser"], query["X-Amz-Expires"]) == ("connect", "archiver@x", "900")
    key, _, region, service, end = query["X-Amz-Credential"].split("/")
    assert (key, region, service, end) == ("AKMADEUP", "eu-central-1", "rds-db", "aws4_request")
    assert query["X-Amz-Security-Token"] == SECRETS[1]


@pytest.mark.parametrize(
    ("host", "environ", "expected"),
    [
        (HOST, {"AWS_REGION": "us-east-1"}, "eu-central-1"),
        ("Audit.Cluster-ro-c2x8.US-GOV-WEST-1.RDS.amazonaws.com", {}, "us-gov-west-1"),
        ("audit.c2x8.rds.cn-north-1.amazonaws.com.cn", {}, "cn-north-1"),
        ("db.internal", {"AWS_REGION": "ap-southeast-2", "AWS_DEFAULT_REGION": "us-east-1"}, "ap-southeast-2"),
        ("db.internal", {"AWS_DEFAULT_REGION": "us-east-1"}, "us-east-1"),
        ("rds.example.com", {"AWS_REGION": "us-west-2"}, "us-west-2"),
    ],
)
def test_the_region_is_that_of_the_endpoint_or_of_the_environment(host: str, environ: dict[str, str], expected: str) -> None:
    assert region_of(signed(database(host=host), **environ)) == expected


def test_without_a_region_the_host_and_the_variable_are_named() -> None:
    with pytest.raises(ConfigError, match=r"at db\.internal:6432, found no region in the name of the host, in AWS_REGION") as caught:
        signed(database(host="db.internal"))
    assert "set AWS_REGION" in caught.value.hint


@pytest.mark.parametrize(
    ("missing", "found"),
    [(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "Unable to locate credentials"), (("AWS_SECRET_ACCESS_KEY",), "Partial credentials")],
)
def test_without_credentials_the_default_chain_is_named(missing: tuple[str, ...], found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in missing:
        monkeypatch.delenv(name)
    with pytest.raises(ConfigError, match=f"found no credentials: {found}") as caught:
        signed(database())
    assert "AWS's default chain" in caught.value.hint
    assert not any(secret in str(caught.value) for secret in SECRETS)


def test_no_log_holds_a_token_or_what_it_is_made_of(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """At DEBUG botocore writes what it signs and the signature."""
    monkeypatch.setattr(logging.getLogger("botocore.auth"), "level", logging.NOTSET)
    with caplog.at_level(logging.DEBUG):
        token = signed(database())
    signature = parse_qs(urlsplit(f"https://{token}").query)["X-Amz-Signature"][0]
    assert caplog.text
    assert not [text for text in (signature, *SECRETS, token) if text in caplog.text]


def test_credentials_are_looked_up_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of them is written anew by others, and a role need not be taken for each connection."""

    def key_at(seconds: float) -> str:
        return str(parse_qs(sign_token(database(), {}, lambda: seconds).get_secret_value())["X-Amz-Credential"][0].split("/")[0])

    assert key_at(CREDENTIALS_SECONDS) == "AKMADEUP"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKNEW")
    assert key_at(CREDENTIALS_SECONDS * 2 - 1) == "AKMADEUP"
    assert key_at(CREDENTIALS_SECONDS * 2) == "AKNEW"


def test_replica_and_scratch_database_have_tokens_of_their_own() -> None:
    scratch = ScratchConfig(host="proof.c2x8.eu-west-1.rds.amazonaws.com", user="prover", auth="aws_iam")
    own = Source(database(read_replica=ReplicaConfig(host="standby.c2x8.eu-west-3.rds.amazonaws.com"), scratch_database=scratch), {})
    assert own.replica
    assert own.scratch
    replica, proof = (str(conninfo_to_dict(each.conninfo())["password"]) for each in (own.replica, own.scratch))
    assert (replica.partition("/")[0], region_of(replica)) == ("standby.c2x8.eu-west-3.rds.amazonaws.com:5432", "eu-west-3")
    assert (proof.partition("/")[0], region_of(proof)) == ("proof.c2x8.eu-west-1.rds.amazonaws.com:5432", "eu-west-1")
    assert "DBUser=prover&" in proof


def test_a_scratch_database_has_a_password_where_the_database_has_tokens() -> None:
    own = Source(database(scratch_database=ScratchConfig(host="proof", password_env="PW")), {"PW": "its own"})  # noqa: S106 - a name
    assert own.scratch
    assert conninfo_to_dict(own.scratch.conninfo())["password"] == "its own"  # noqa: S105 - made up


def test_tokens_ask_for_proof_of_the_server() -> None:
    found = conninfo_to_dict(Source(database(), {}).conninfo())
    assert (found["sslmode"], found["sslrootcert"]) == ("verify-full", __file__)


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer"])
def test_no_token_is_made_for_a_way_without_encryption(mode: str) -> None:
    """Whatever made the config: here a scratch database that has the mode of its database."""
    scratch = ScratchConfig(host="proof.c2x8.eu-west-1.rds.amazonaws.com", auth="aws_iam")
    own = Source(database(auth="password", password_env="PW", sslmode=mode, scratch_database=scratch), {"PW": "p"})  # noqa: S106 - a name
    assert own.scratch
    with pytest.raises(ConfigError, match=f"expected sslmode verify-full, or at least require, for auth: aws_iam, found {mode}"):
        own.scratch.conninfo()


def test_a_source_shows_no_token() -> None:
    own = Source(database(), {})
    assert "X-Amz" not in repr(own)
    assert "X-Amz" not in own.lasting_conninfo()
    assert "password" not in conninfo_to_dict(own.lasting_conninfo())
