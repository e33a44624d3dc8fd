"""What the doctor says of the way to a server or a store, and of what libpq says of one that fails."""

import pytest
from botocore.exceptions import SSLError

from archiver_assets.config import DatabaseConfig, TableConfig
from archiver_assets.errors import SourceLoginRefused, SourceUnavailable, StoreError, StoreUnavailable
from archiver_assets.lifecycle.reporting.doctor import Verdict, examine_endpoint, way_line
from archiver_assets.source.session import Source
from archiver_assets.source.transport import Way, failure_of
from archiver_assets.store.s3_errors import Attempt, translated

AWAY = "10.1.2.3"


@pytest.mark.parametrize(
    ("way", "verdict", "found"),
    [
        (Way(AWAY, encrypted=True, mode="verify-full"), Verdict.PASSED, "encrypted, and the server's name is verified"),
        (Way(AWAY, encrypted=True, mode="verify-ca"), Verdict.WARNED, "encrypted, but sslmode verify-ca does not verify the server's name"),
        (Way(AWAY, encrypted=True, mode="require"), Verdict.WARNED, "encrypted, but sslmode require does not verify the server's name"),
        (Way(AWAY, encrypted=True, mode="prefer"), Verdict.WARNED, "encrypted, but sslmode prefer does not verify the server's name"),
        (Way(AWAY, encrypted=False, mode="prefer"), Verdict.WARNED, "not encrypted"),
        (Way("2001:db8::1", encrypted=False, mode="disable"), Verdict.WARNED, "not encrypted"),
        (Way("127.0.0.1", encrypted=False, mode="prefer"), Verdict.PASSED, "does not leave this machine"),
        (Way("::1", encrypted=True, mode="require"), Verdict.PASSED, "does not leave this machine"),
        (Way("/run/postgresql", encrypted=False, mode="prefer"), Verdict.PASSED, "does not leave this machine"),
    ],
)
def test_a_way_that_others_could_use_is_warned_of(way: Way, verdict: Verdict, found: str) -> None:
    line = way_line("database app: TLS", way)
    assert line.verdict == verdict
    assert found in line.found
    assert ("sslmode: verify-full, and sslrootcert" in line.hint) == (verdict is Verdict.WARNED)


@pytest.mark.parametrize(
    ("endpoint", "warned"),
    [
        ("http://minio.storage.svc:9000", True),
        ("http://10.1.2.3", True),
        ("HTTP://minio", True),
        ("https://minio.storage.svc:9000", False),
        ("http://127.0.0.1:8333", False),
        ("http://[::1]:8333", False),
        ("http://localhost:8333", False),
        ("https://s3.eu-central-1.amazonaws.com", False),
    ],
)
def test_a_store_in_plain_text_over_a_network_is_warned_of(endpoint: str, warned: bool) -> None:  # noqa: FBT001 - a case
    lines = list(examine_endpoint(endpoint))
    assert [line.verdict for line in lines] == [Verdict.WARNED] * warned
    assert all("https in s3.endpoint" in line.hint for line in lines)


def database(**changes: object) -> DatabaseConfig:
    table = TableConfig(database="app", name="log", timestamp_column="at", primary_key=("id",), retention_days=30)
    values = {"name": "app", "host": "db", "port": 6432, "user": "u", "password_env": "PW", "tables": (table,), **changes}
    return DatabaseConfig.model_validate(values)


def test_what_is_not_about_tls_is_not_blamed_on_it() -> None:
    refused = "connection failed: FATAL:  password authentication failed for user"
    assert failure_of(database(), refused).hint.startswith("correct user, database or the password in the variable of password_env")
    assert "rds_iam" in failure_of(database(auth="aws_iam", password_env=None), "FATAL:  PAM authentication failed for user").hint


def test_where_no_file_is_named_libpqs_own_is() -> None:
    hint = failure_of(database(), "SSL error: certificate verify failed").hint
    assert "not by an authority in ~/.postgresql/root.crt" in hint
    assert "openssl s_client -starttls postgres -connect db:6432" in hint


@pytest.mark.parametrize(
    ("said", "kind"),
    [("EOF occurred in violation of protocol (_ssl.c:1006)", StoreUnavailable), ("certificate has expired (_ssl.c:1006)", StoreError)],
)
def test_a_handshake_that_was_cut_is_tried_again_and_a_proof_that_failed_is_not(said: str, kind: type[StoreError]) -> None:
    with pytest.raises(StoreError) as caught, translated(Attempt("read", "s3://b/k", "s3:GetObject")):
        raise SSLError(endpoint_url="https://store", error=OSError(said))
    assert type(caught.value) is kind


AT = 'connection failed: connection to server at "10.1.2.3", port 6432 failed: '


@pytest.mark.parametrize(
    "text",
    [
        f'{AT}FATAL:  password authentication failed for user "u"',
        f'{AT}FATAL:  PAM authentication failed for user "u"',
        f"{AT}FATAL:  SASL authentication failed",
        f'{AT}FATAL:  role "u" does not exist',
        f'{AT}FATAL:  role "u" is not permitted to log in',
        f'{AT}FATAL:  database "app" does not exist',
        f'{AT}FATAL:  no pg_hba.conf entry for host "10.1.2.3", user "u", database "app", no encryption',
        f'{AT}FATAL:  pg_hba.conf rejects connection for host "10.1.2.3", user "u", database "app", no encryption',
        f"{AT}fe_sendauth: no password supplied",
        f"{AT}FATAL:  no such database: app",
        f"{AT}FATAL:  no such user: u",
        f'{AT}Connection refused\n{AT}FATAL:  password authentication failed for user "u"',
    ],
)
def test_a_login_that_a_server_refuses_does_not_pass_by_itself(text: str) -> None:
    error = Source(database()).error_for(None, text)
    assert isinstance(error, SourceLoginRefused)
    assert not error.transient
    assert "app (app at db:6432): " in error.message


@pytest.mark.parametrize(
    "text",
    [
        f"{AT}Connection refused",
        f"{AT}FATAL:  the database system is starting up",
        f"{AT}FATAL:  sorry, too many clients already",
        f'{AT}FATAL:  too many connections for role "u"',
        f'{AT}FATAL:  database "app" is not currently accepting connections',
        "the connection is lost",
        f"{AT}FATAL:  Passwort-Authentifizierung für Benutzer »u« fehlgeschlagen",
    ],
)
def test_a_server_that_cannot_be_reached_or_speaks_another_language_may_come_back(text: str) -> None:
    error = Source(database()).error_for(None, text)
    assert isinstance(error, SourceUnavailable)
    assert "password" in error.hint


@pytest.mark.parametrize("sqlstate", ["28P01", "28000", "3D000"])
def test_a_login_that_is_refused_by_sqlstate_needs_no_words(sqlstate: str) -> None:
    assert isinstance(Source(database()).error_for(sqlstate, "in welcher Sprache immer"), SourceLoginRefused)
