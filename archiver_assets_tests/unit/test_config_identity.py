"""Where secrets belong, and what goes with `auth`: errors have the line and the way out, and never the value."""

from pathlib import Path

import pytest

from archiver_assets_tests.unit.config_files import (
    SHORTEST,
    config_from,
    problem_of,
    problems_of,
    with_database_key,
    with_s3_key,
    with_table_key,
)

CANARY = "hunter2-canary"
BY_TOKEN = SHORTEST.replace("    password_env: PW\n", "    auth: aws_iam\n")

CHAIN = "unknown key; credentials come from AWS's default credential chain: environment variables, a profile that AWS_PROFILE names"
VARIABLE = "unknown key; no secret belongs in this file; password_env names the environment variable that holds the password"


@pytest.mark.parametrize(
    "key",
    [
        *("aws_access_key_id", "access_key", "access_key_id", "secret_access_key", "aws_secret_access_key", "session_token", "profile"),
        *("credentials", "AWS_SECRET_ACCESS_KEY", "secretAccessKey", "access-key", "s3_secret_key", "role_arn", "password", "token"),
    ],
)
@pytest.mark.parametrize("value", [CANARY, f"[{CANARY}]", f"{{key: {CANARY}}}"])
def test_credentials_of_the_store_belong_in_the_default_chain(tmp_path: Path, key: str, value: str) -> None:
    problem = problem_of(tmp_path, with_s3_key(f"{key}: {value}"))
    assert problem.startswith(f"config.yaml:2: s3.{key}: {CHAIN}")
    assert CANARY not in problem


@pytest.mark.parametrize("key", ["password", "dsn", "url", "connection_string", "connectionString", "database-url", "conninfo", "passfile"])
def test_the_password_of_a_database_belongs_in_a_variable(tmp_path: Path, key: str) -> None:
    for text, path in (
        (with_database_key(f"{key}: {CANARY}"), f"8: databases[0].{key}"),
        (with_database_key(f"scratch_database: {{host: h, password_env: P, {key}: {CANARY}}}"), f"8: databases[0].scratch_database.{key}"),
        (with_database_key(f"read_replica: {{host: h, {key}: {CANARY}}}"), f"8: databases[0].read_replica.{key}"),
        (with_table_key(f"{key}: {CANARY}"), f"13: databases[0].tables[0].{key}"),
        (f"{SHORTEST}defaults: {{{key}: {CANARY}}}\n", f"13: defaults.{key}"),
        (f"{SHORTEST}{key}: {CANARY}\n", f"13: {key}"),
    ):
        problem = problem_of(tmp_path, text)
        assert problem.startswith(f"config.yaml:{path}: {VARIABLE}")
        assert CANARY not in problem


@pytest.mark.parametrize("key", ["access_key_id", "aws_secret_access_key", "profile"])
def test_credentials_of_aws_belong_nowhere_in_the_file(tmp_path: Path, key: str) -> None:
    for text in (with_database_key(f"{key}: {CANARY}"), f"{SHORTEST}{key}: {CANARY}\n"):
        problem = problem_of(tmp_path, text)
        assert CHAIN in problem
        assert CANARY not in problem


@pytest.mark.parametrize("key", ["ca_bundle", "verify", "ca_cert", "sslrootcert"])
def test_the_authorities_of_the_store_are_named_by_a_variable(tmp_path: Path, key: str) -> None:
    assert "AWS_CA_BUNDLE" in problem_of(tmp_path, with_s3_key(f"{key}: /ca.pem"))


@pytest.mark.parametrize("value", [f"https://key:{CANARY}@minio:9000", f"https://minio:9000?password={CANARY}", f"{CANARY}@minio"])
def test_an_endpoint_with_credentials_in_it_is_refused_unseen(tmp_path: Path, value: str) -> None:
    problem = problem_of(tmp_path, with_s3_key(f'endpoint: "{value}"'))
    assert "s3.endpoint: expected the http or https URL" in problem
    assert "no credentials, no query" in problem
    assert CANARY not in problem


@pytest.mark.parametrize(
    "value",
    [
        *(f"postgresql://u:{CANARY}@db/app", f"host=db password={CANARY}", f"db,password={CANARY}", f"u:{CANARY}@db"),
        f"jdbc:postgresql://db/app?password={CANARY}",
    ],
)
def test_a_host_with_more_than_a_name_in_it_is_refused_unseen(tmp_path: Path, value: str) -> None:
    for text in (
        SHORTEST.replace("host: db", f'host: "{value}"'),
        with_database_key(f'scratch_database: {{host: "{value}", password_env: P}}'),
        with_database_key(f'read_replica: {{host: "{value}"}}'),
    ):
        problem = problem_of(tmp_path, text)
        assert "give the host of one server only" in problem
        assert CANARY not in problem


def test_a_database_has_tokens_without_a_password(tmp_path: Path) -> None:
    (database,) = config_from(tmp_path, BY_TOKEN).databases
    assert (database.auth, database.password_env, database.sslmode, database.tls_mode) == ("aws_iam", None, None, "verify-full")


@pytest.mark.parametrize(("line", "mode"), [("sslmode: require", "require"), ("sslrootcert: /ca.pem", "verify-full"), ("port: 1", None)])
def test_the_mode_of_tls_is_the_one_that_is_said_or_meant(tmp_path: Path, line: str, mode: str | None) -> None:
    assert config_from(tmp_path, with_database_key(line)).databases[0].tls_mode == mode


def test_a_password_and_tokens_exclude_each_other(tmp_path: Path) -> None:
    assert problem_of(tmp_path, with_database_key("auth: aws_iam")) == (
        "config.yaml:7: databases[0].password_env: expected none, because auth: aws_iam uses tokens instead; remove one of the two"
    )
    scratch = "scratch_database: {host: h, auth: aws_iam, password_env: P}"
    assert "scratch_database.password_env: expected none, because auth: aws_iam" in problem_of(tmp_path, with_database_key(scratch))


@pytest.mark.parametrize("text", [SHORTEST.replace("    password_env: PW\n", ""), SHORTEST.replace("env: PW", "env: null")])
def test_without_a_password_tokens_are_the_way_out(tmp_path: Path, text: str) -> None:
    problem = problem_of(tmp_path, text)
    assert "databases[0].password_env: " in problem
    assert problem.endswith("; or set auth: aws_iam")


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer"])
def test_tokens_are_refused_without_tls(tmp_path: Path, mode: str) -> None:
    expected = (
        f"sslmode: expected verify-full, or at least require, found {mode}; with auth: aws_iam the token would be sent without encryption"
    )
    assert problem_of(tmp_path, BY_TOKEN.replace("    host:", f"    sslmode: {mode}\n    host:")).endswith(f"databases[0].{expected}")
    scratch = f"sslmode: {mode}\n    scratch_database: {{host: h, auth: aws_iam}}"
    assert problem_of(tmp_path, with_database_key(scratch)).endswith(f"databases[0].scratch_database.{expected}")


def test_tokens_are_refused_for_a_socket(tmp_path: Path) -> None:
    expected = "host: expected the name of the server's endpoint"
    assert expected in problem_of(tmp_path, BY_TOKEN.replace("host: db", "host: /run/postgresql"))
    replica = BY_TOKEN.replace("    host:", "    read_replica: {host: /run/postgresql}\n    host:")
    assert f"databases[0].read_replica.{expected}" in problem_of(tmp_path, replica)


def test_an_auth_that_is_none_is_the_only_problem(tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path, with_database_key("auth: kerberos"))
    assert "databases[0].auth: expected password, or aws_iam: an AWS IAM token for each connection, found 'kerberos'" in problem
