"""TLS to PostgreSQL by a private authority: the whole job goes over it, and a server that does not prove its name gets no row.

What belongs here: what libpq is told, and what it does, both psycopg's and ADBC's. What does not: tokens (`test_iam_tokens.py`), the
bucket (`test_s3_tls.py`).
"""

import json
import logging
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from adbc_driver_postgresql import dbapi

from archiver_assets.cli.app import Status, main
from archiver_assets.demo.postgres import EmbeddedPostgres
from archiver_assets.demo.seaweed import EmbeddedS3
from archiver_assets.errors import ArchiverError, ConfigError, SourceUnavailable
from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.purging.purge import purge
from archiver_assets.source.session import Source
from archiver_assets.store.s3 import S3ObjectStore
from archiver_assets_tests.authorities import PLAIN_TEXT_TOO, WITH_CLIENT_CERTIFICATE, Authority, TlsFiles, tls_files, tls_postgres
from archiver_assets_tests.clusters import catch_up, primary_with_standby
from archiver_assets_tests.commands import write_config
from archiver_assets_tests.conftest import fresh_bucket, fresh_database, with_lab_template
from archiver_assets_tests.lab import AUDIT_LOGS, DAY, PASSWORD_VARIABLE, SCRATCH_PASSWORD_VARIABLE, Lab
from archiver_assets_tests.servers import PostgresServer

Capture = pytest.CaptureFixture[str]


@dataclass(frozen=True)
class Secure:
    """A server that takes encrypted connections alone, and what its clients have to know."""

    embedded: EmbeddedPostgres
    files: TlsFiles
    server: PostgresServer

    @property
    def proof(self) -> dict[str, Any]:
        return {"sslmode": "verify-full", "sslrootcert": str(self.files.authority.file)}

    @property
    def log(self) -> str:
        return self.embedded.log_text()


@pytest.fixture(scope="module")
def secure() -> Iterator[Secure]:
    with tls_postgres({"log_connections": "on"}) as (embedded, files), with_lab_template(PostgresServer(embedded.dsn())) as server:
        yield Secure(embedded, files, server)


@pytest.fixture
def lab(secure: Secure, s3_server: EmbeddedS3, s3_store: S3ObjectStore, aws_environment: dict[str, str]) -> Iterator[Lab]:  # noqa: ARG001
    """The usual lab, on that server."""
    with fresh_bucket(s3_server) as bucket, fresh_database(secure.server, secure.server.lab_template) as database:
        yield Lab(database, replace(s3_store, bucket=bucket), bucket, s3_server.endpoint)


@pytest.fixture
def shown(secure: Secure) -> Iterator[TlsFiles]:
    """The server's files, which are good ones again after the test."""
    yield secure.files
    secure.files.show(secure.embedded)


def source(lab: Lab, **changes: object) -> Source:
    return Source(lab.database_config(**changes), lab.environ)


def by_adbc(reached: Source) -> list[Any]:
    """Connect as the reader of rows does."""
    with closing(dbapi.connect(reached.conninfo(), autocommit=True)) as connection, closing(connection.cursor()) as cursor:
        cursor.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        return list(cursor.fetchone() or ())


def refused(reached: Source) -> ArchiverError:
    """Return the error of the session, and see that ADBC gets no further."""
    with pytest.raises(ArchiverError) as caught, reached.connect():
        pytest.fail("a session was opened")
    if not isinstance(caught.value, ConfigError):
        with pytest.raises(dbapi.OperationalError):
            by_adbc(reached)
    return caught.value


def command(*words: str) -> int:
    """Run a command in this process, whose log goes to the stderr of this test alone."""
    try:
        return main(list(words))
    finally:
        logging.basicConfig(handlers=[], force=True)


def entered_in_plain_text(secure: Secure, lab: Lab) -> int:
    """Count the sessions without encryption that the server has let into the lab's database."""
    authorized = [line for line in secure.log.splitlines() if "connection authorized" in line and f"database={lab.database.name} " in line]
    assert authorized
    return sum("SSL enabled" not in line for line in authorized)


def test_the_whole_job_goes_over_tls_that_proves_the_server(
    secure: Secure, lab: Lab, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, lab.database.password)
    monkeypatch.setenv(SCRATCH_PASSWORD_VARIABLE, lab.database.password)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    lab.fill(rows=50)
    lab.execute("CREATE TABLE holds (id text, reason text, table_name text, conditions jsonb)")
    condition = json.dumps([{"column": "id", "operator": "=", "values": [1]}])
    lab.execute("INSERT INTO holds VALUES ('7', 'a case', 'audit_logs', %s)", [condition])
    reach = {"host": lab.database.host, "port": lab.database.port, "database": lab.database.name, "password_env": SCRATCH_PASSWORD_VARIABLE}
    holds = {"legal_holds": {"table": {"database": "lab", "name": "holds"}}}
    table = {"name": "audit_logs", "timestamp_column": "created_at", "primary_key": "id", "retention_days": 30, "verification": "restore"}
    config = write_config(lab, tmp_path, table, **secure.proof, scratch_database=reach, top=holds)

    def says(*words: str) -> str:
        assert command(*words, "--config", config) == Status.DONE
        return capsys.readouterr().out

    said = says("doctor")
    assert "passed   database lab: TLS: encrypted, and the server's name is verified" in said
    assert "passed   database lab: scratch: TLS: encrypted, and the server's name is verified" in said
    assert f"{DAY}: archived, 50 rows archived; held, 49 rows purged, 0 late, 1 held" in says("run")
    assert lab.count() == 1
    says("verify")
    says("restore", "--database", "lab", "--table", "audit_logs", "--from", str(DAY))
    assert lab.count("public.audit_logs_restored") == 50
    assert '"n": 50' in says("query", "--format", "json", "--with-table", "SELECT count(*) AS n FROM audit_logs")
    assert entered_in_plain_text(secure, lab) == 0


def test_rows_are_read_over_tls_by_every_reader(secure: Secure, lab: Lab) -> None:
    reached = source(lab, **secure.proof)
    with reached.connect() as connection:
        assert connection.pgconn.ssl_in_use
    assert by_adbc(reached) == [True]


def test_naming_an_authority_asks_for_its_proof(secure: Secure, lab: Lab, shown: TlsFiles, tmp_path: Path) -> None:
    """libpq's own default would go on in plain text."""
    shown.show(secure.embedded, rules=PLAIN_TEXT_TOO)
    other = Authority.make(tmp_path / "other.pem")
    assert by_adbc(source(lab, sslrootcert=secure.proof["sslrootcert"])) == [True]
    assert "certificate verify failed" in refused(source(lab, sslrootcert=str(other.file))).message


def test_a_certificate_of_another_authority_is_refused(secure: Secure, lab: Lab, shown: TlsFiles, tmp_path: Path) -> None:
    shown.show(secure.embedded, rules=PLAIN_TEXT_TOO)
    other = Authority.make(tmp_path / "other.pem")
    error = refused(source(lab, sslmode="verify-full", sslrootcert=str(other.file)))
    assert isinstance(error, SourceUnavailable)
    assert f"{lab.database.name} at 127.0.0.1:{lab.database.port}" in error.message
    assert "certificate verify failed" in error.message
    assert error.message.endswith(f"; expected a connection by sslmode verify-full, with the authorities in {other.file}")
    assert f"not by an authority in {other.file}" in error.hint
    assert "sslrootcert" in error.hint


@pytest.mark.parametrize(
    ("name", "valid", "message", "hint"),
    [
        (
            "db.example.com",
            1,
            'server certificate for "db.example.com" does not match host name "127.0.0.1"',
            "write host as the certificate",
        ),
        ("127.0.0.1", -1, "certificate verify failed", "has expired"),
    ],
)
def test_another_name_and_an_expired_certificate_are_refused(
    secure: Secure, lab: Lab, shown: TlsFiles, name: str, valid: int, message: str, hint: str
) -> None:
    shown.show(secure.embedded, shown.authority.certificate(name, valid=timedelta(days=valid)), PLAIN_TEXT_TOO)
    error = refused(source(lab, **secure.proof))
    assert message in error.message
    assert hint in error.hint


def test_a_server_without_tls_is_refused(postgres_server: PostgresServer, lab: Lab, secure: Secure) -> None:
    plain = replace(lab, database=postgres_server.database("postgres"))
    error = refused(source(plain, **secure.proof))
    assert "server does not support SSL, but SSL was required" in error.message
    assert "switch TLS on in the server" in error.hint


def test_a_client_without_tls_is_told_how_to_have_it(lab: Lab) -> None:
    error = refused(source(lab, sslmode="disable"))
    assert "no encryption" in error.message
    assert "set sslmode: verify-full, and sslrootcert" in error.hint


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full", None])
def test_a_file_of_authorities_that_is_not_there_is_named_and_never_passed_over(lab: Lab, tmp_path: Path, mode: str | None) -> None:
    """libpq takes `require` with such a file for leave to prove nothing."""
    missing = tmp_path / "missing.pem"
    error = refused(source(lab, sslmode=mode, sslrootcert=str(missing)))
    assert isinstance(error, ConfigError)
    assert f"expected a file of certificates at {missing}, which sslrootcert names, found: No such file or directory" in error.message
    assert "found: Is a directory" in refused(source(lab, sslmode=mode, sslrootcert=str(tmp_path))).message


def test_a_file_without_a_certificate_is_named(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("")
    error = refused(source(lab, sslrootcert=str(tmp_path / "empty.pem")))
    assert "could not read root certificate file" in error.message
    assert "sslrootcert" in error.hint


def test_the_authorities_of_the_system_are_those_of_openssls_variable(secure: Secure, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each libpq brings an OpenSSL that was built elsewhere, and looks for the system's file there."""
    monkeypatch.setenv("SSL_CERT_FILE", secure.proof["sslrootcert"])
    reached = source(lab, sslrootcert="system")
    with reached.connect() as connection:
        assert connection.pgconn.ssl_in_use
    assert by_adbc(reached) == [True]


def test_a_certificate_of_ours_is_given_by_libpqs_variables(
    secure: Secure, lab: Lab, shown: TlsFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown.show(secure.embedded, rules=WITH_CLIENT_CERTIFICATE)
    reached = source(lab, **secure.proof)
    write_key_pair(shown.authority.ca.issue_cert("archiver"), tmp_path)
    try:
        hint = refused(reached).hint
        monkeypatch.setenv("PGSSLCERT", str(tmp_path / "ours.pem"))
        monkeypatch.setenv("PGSSLKEY", str(tmp_path / "ours.key"))
        admitted = by_adbc(reached)
        with reached.connect() as connection:
            row = connection.execute("SELECT client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()
        shown.show(secure.embedded)  # while we can still enter
    finally:
        monkeypatch.undo()

    assert "set PGSSLCERT to it, and PGSSLKEY to its key" in hint
    assert admitted == [True]
    assert row is not None
    assert row["client_dn"]


AMBIENT = {
    "a service": {"PGSERVICE": "other", "PGSERVICEFILE": "{folder}/services"},
    "Kerberos": {"PGGSSENCMODE": "require"},
    "no TLS": {"PGSSLMODE": "disable"},
}


@pytest.mark.parametrize("variables", AMBIENT.values(), ids=AMBIENT)
def test_libpqs_variables_lead_no_connection_away_from_what_the_config_says(
    secure: Secure, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    """An address of a service would be that of the readers alone; encryption by Kerberos comes before TLS, whatever its mode."""
    (tmp_path / "services").write_text("[other]\nhostaddr=127.0.0.2\nsslmode=disable\n")
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(folder=tmp_path))
    reached = source(lab, **secure.proof)
    with reached.connect() as connection:
        assert connection.pgconn.ssl_in_use
    assert by_adbc(reached) == [True]


def test_an_address_of_the_environment_is_that_of_all_connections_and_proves_no_other_name(
    secure: Secure, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = source(lab, **secure.proof | {"host": "db.example.com"})
    monkeypatch.setenv("PGHOSTADDR", lab.database.host)
    error = refused(named)
    assert 'does not match host name "db.example.com"' in error.message
    unproven = source(lab, **secure.proof | {"host": "db.example.com", "sslmode": "require", "sslrootcert": None})
    assert by_adbc(unproven) == [True]
    monkeypatch.setenv("PGHOSTADDR", "127.0.0.2")
    assert isinstance(refused(unproven), SourceUnavailable)


def write_key_pair(certificate: trustme.LeafCert, folder: Path) -> None:
    (folder / "ours.pem").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    (folder / "ours.key").touch(mode=0o600)
    (folder / "ours.key").write_bytes(certificate.private_key_pem.bytes())


def test_doctor_says_of_a_connection_that_fails_what_to_do(
    lab: Lab, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, lab.database.password)
    config = write_config(lab, tmp_path, sslmode="verify-full", sslrootcert=str(tmp_path / "missing.pem"))
    assert command("doctor", "--json", "--config", config) == Status.FOUND
    (line,) = [each for each in json.loads(capsys.readouterr().out)["lines"] if each["subject"] == "database lab"]
    assert line["verdict"] == "failed"
    assert "missing.pem, which sslrootcert names, found: No such file or directory" in line["found"]


def test_a_database_is_drafted_over_tls(secure: Secure, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHIVER_DB_PASSWORD", lab.database.password)
    lab.fill(rows=5)
    place, path = lab.database, tmp_path / "config.yaml"
    reach = ["--host", place.host, "--port", str(place.port), "--user", place.user, "--dbname", place.name]
    trust = ["--sslrootcert", secure.proof["sslrootcert"]]
    assert command("init", *reach, *trust, "--output", str(path)) == Status.DONE
    assert f'    sslrootcert: "{secure.proof["sslrootcert"]}"\n' in path.read_text()
    assert command("validate", "--config", str(path)) == Status.DONE


def test_rows_are_read_from_a_replica_that_proves_its_name(
    s3_server: EmbeddedS3,
    s3_store: S3ObjectStore,
    aws_environment: dict[str, str],  # noqa: ARG001 - credentials
) -> None:
    with tls_files() as files, primary_with_standby({**files.settings, "log_connections": "on"}) as pair, fresh_bucket(s3_server) as bucket:
        database = PostgresServer(pair.primary.dsn()).database("postgres")
        lab = Lab(database, replace(s3_store, bucket=bucket), bucket, s3_server.endpoint)
        lab.execute(AUDIT_LOGS)
        lab.fill(rows=20)
        catch_up(pair)
        proof = {"sslmode": "verify-full", "sslrootcert": str(files.authority.file)}
        reached = source(lab, **proof, read_replica={"host": pair.standby.host, "port": pair.standby.port})
        task = replace(lab.task(), source=reached)

        assert archive(task).rows == 20
        assert purge(task).tally.purged == 20

        for server in (pair.primary, pair.standby):
            by_the_archiver = [line for line in server.log_text().splitlines() if "application_name=audit-archiver" in line]
            assert by_the_archiver
            assert all("SSL enabled" in line for line in by_the_archiver)
