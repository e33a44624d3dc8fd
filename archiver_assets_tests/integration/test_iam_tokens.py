"""`auth: aws_iam` on a real server: each connection has a token of its own, and no message, log or object has one.

What belongs here: connections, by a stub of RDS: a token is the password that the server takes from now on, until the next one is made.
What does not: what a token is (`unit/test_tokens.py`).
"""

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr

from archiver_assets.cli.app import Status, main
from archiver_assets.config import DatabaseConfig, load_config
from archiver_assets.demo.postgres import EmbeddedPostgres
from archiver_assets.demo.seaweed import EmbeddedS3
from archiver_assets.errors import SourceLoginRefused
from archiver_assets.lifecycle.retrying import persistently
from archiver_assets.source import session, tokens
from archiver_assets.source.session import Source
from archiver_assets.source.sharing import SharedSessions
from archiver_assets.store.s3 import S3ObjectStore
from archiver_assets_tests.authorities import TlsFiles, tls_postgres
from archiver_assets_tests.commands import write_config
from archiver_assets_tests.conftest import fresh_bucket, fresh_database, with_lab_template
from archiver_assets_tests.lab import DAY, Lab
from archiver_assets_tests.servers import PostgresServer

ROLE = "archiver_by_token"
Secure = tuple[EmbeddedPostgres, TlsFiles, PostgresServer]


@dataclass
class Signer:
    """In the place of `sign_token`: real tokens, each of which takes the place of the one before as the role's password."""

    server: EmbeddedPostgres
    tokens: list[str] = field(default_factory=list)
    knows_the_role: bool = True

    def __call__(self, config: DatabaseConfig, environ: Mapping[str, str]) -> SecretStr:
        token = f"{tokens.sign_token(config, {**environ, 'AWS_REGION': 'us-east-1'}).get_secret_value()}&Number={len(self.tokens)}"
        if self.knows_the_role:
            with psycopg.connect(self.server.dsn(), autocommit=True) as admin:
                admin.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(ROLE), sql.Literal(token)))
        self.tokens.append(token)
        return SecretStr(token)


@pytest.fixture(scope="module")
def secure() -> Iterator[Secure]:
    with tls_postgres({"log_connections": "on"}) as (embedded, files), with_lab_template(PostgresServer(embedded.dsn())) as server:
        with psycopg.connect(embedded.dsn(), autocommit=True) as admin:
            admin.execute(f"CREATE ROLE {ROLE} LOGIN IN ROLE pg_monitor")
        yield embedded, files, server


@pytest.fixture
def lab(
    secure: Secure,
    s3_server: EmbeddedS3,
    s3_store: S3ObjectStore,
    aws_environment: dict[str, str],  # noqa: ARG001 - credentials
) -> Iterator[Lab]:
    """The usual lab, on that server, with a role that has the rights of an archiver."""
    _, _, server = secure
    with fresh_bucket(s3_server) as bucket, fresh_database(server, server.lab_template) as database:
        made = Lab(database, replace(s3_store, bucket=bucket), bucket, s3_server.endpoint)
        made.execute(f"GRANT SELECT, DELETE ON audit_logs TO {ROLE}")
        yield made


@pytest.fixture
def signer(secure: Secure, monkeypatch: pytest.MonkeyPatch) -> Signer:
    made = Signer(secure[0])
    with psycopg.connect(secure[0].dsn(), autocommit=True) as admin:
        # A token of the test before can be the same: it is signed for a second.
        admin.execute(f"ALTER ROLE {ROLE} PASSWORD NULL")
    monkeypatch.setattr(session, "sign_token", made)
    tokens._signer.cache_clear()
    return made


@pytest.fixture
def source(lab: Lab, secure: Secure, signer: Signer) -> Source:  # noqa: ARG001 - in place
    return Source(lab.database_config(**keys(secure[1])), {})


def keys(files: TlsFiles) -> dict[str, Any]:
    return {"user": ROLE, "auth": "aws_iam", "password_env": None, "sslrootcert": str(files.authority.file)}


def entered(server: EmbeddedPostgres, lab: Lab) -> int:
    """Count the sessions of the role that the server has let into the lab's database."""
    wanted = f"connection authorized: user={ROLE} database={lab.database.name}"
    return sum(wanted in line for line in server.log_text().splitlines())


def test_the_whole_job_has_a_token_for_each_connection_and_shows_none(
    secure: Secure,
    lab: Lab,
    signer: Signer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    lab.fill(rows=50)
    config = write_config(lab, tmp_path, **keys(secure[1]))
    written = json.loads(Path(config).read_text())
    del written["databases"][0]["password_env"]
    Path(config).write_text(json.dumps(written))
    said: list[str] = []

    def says(*words: str) -> str:
        with caplog.at_level(logging.DEBUG):
            status, out = main([*words, "--config", config]), capsys.readouterr()
        logging.basicConfig(handlers=[], force=True)
        said.extend([out.out, out.err])
        assert status == Status.DONE, out
        return out.out

    assert f"as {ROLE}, an AWS IAM token for each connection" in says("validate")
    assert signer.tokens == []
    assert "0 failed" in says("doctor")
    assert f"{DAY}: archived, 50 rows archived; purged, 50 rows purged" in says("run")
    assert lab.count() == 0
    says("verify")
    says("status")

    # ADBC has two connections by the token of one reader, right after each other: by the first it only asks for the types.
    assert 4 <= len(set(signer.tokens)) == len(signer.tokens) == entered(secure[0], lab) - 1
    everything = "".join([*said, caplog.text, secure[0].log_text(), *(lab.content(key).decode("latin1") for key in lab.objects())])
    signatures = [token.partition("X-Amz-Signature=")[2] for token in signer.tokens]
    assert all(signatures)
    assert not [signature for signature in signatures if signature in everything]


def test_ticks_keep_the_session_that_they_share_though_each_would_have_another_token(source: Source, signer: Signer) -> None:
    sessions = SharedSessions()
    try:
        first, second = (pid(sessions, source) for _ in range(2))
        assert (first == second, len(signer.tokens)) == (True, 1)
        terminate(signer.server, first)
        assert pid(sessions, source) != first
        assert len(signer.tokens) == 2
        other = replace(source, config=source.config.model_copy(update={"database": "postgres"}))
        assert pid(sessions, other) != second
        assert len(signer.tokens) == 3
    finally:
        sessions.close()


def pid(sessions: SharedSessions, source: Source) -> int:
    with sessions.of(source).connect() as connection:
        return connection.info.backend_pid


def terminate(server: EmbeddedPostgres, backend: int) -> None:
    with psycopg.connect(server.dsn(), autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(%s, 5000)", [backend])


def test_what_is_tried_again_connects_with_another_token(lab: Lab, source: Source, signer: Signer) -> None:
    def attempt() -> int:
        with source.connect() as connection:
            if len(signer.tokens) == 1:
                terminate(signer.server, connection.info.backend_pid)
            connection.execute("SELECT 1")
            return len(signer.tokens)

    assert persistently(replace(lab.task(), source=source), "archive", attempt) == 2


def test_a_statement_that_is_abandoned_is_ended_without_another_token(source: Source, signer: Signer) -> None:
    def interrupted() -> None:
        with source.connect() as connection:
            connection.pgconn.send_query(b"SELECT pg_sleep(60)")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with psycopg.connect(signer.server.dsn(), autocommit=True) as admin:
        sleeping = admin.execute("SELECT count(*) FROM pg_stat_activity WHERE usename = %s AND state = 'active'", [ROLE]).fetchone()
    assert (sleeping, len(signer.tokens)) == ((0,), 1)


def test_a_token_that_is_refused_is_not_shown_and_the_rights_that_it_takes_are_named(source: Source, signer: Signer) -> None:
    signer.knows_the_role = False
    with pytest.raises(SourceLoginRefused, match="password authentication failed") as caught, source.connect():
        pytest.fail("a session was opened")
    assert "rds_iam" in caught.value.hint
    assert "rds-db:connect" in caught.value.hint
    assert not any(part in f"{caught.value} {caught.value.__cause__!r} {source!r}" for part in ("X-Amz", *signer.tokens))


def test_a_database_is_drafted_with_tokens(
    secure: Secure, lab: Lab, signer: Signer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.fill(rows=5)
    place, path = lab.database, tmp_path / "config.yaml"
    reach = ["--host", place.host, "--port", str(place.port), "--user", ROLE, "--dbname", place.name, "--auth", "aws_iam"]
    words = ["init", *reach, "--sslrootcert", str(secure[1].authority.file), "--output", str(path)]
    assert main([*words, "--password-env", "PW"]) == Status.USAGE
    assert "expected --password-env or --auth aws_iam, found both" in capsys.readouterr().err
    assert main(words) == Status.DONE
    logging.basicConfig(handlers=[], force=True)
    assert len(signer.tokens) == 1
    assert "    auth: aws_iam  #" in path.read_text()
    assert "password_env" not in path.read_text()
    assert load_config(path, {}).databases[0].auth == "aws_iam"
