"""The way to a server: whether it is encrypted, whom it proves, and what to do where it fails.

What belongs here: libpq's parameters, and TLS as it knows it. What does not: connecting (`session.py`), and TLS to the object store
(`store/s3_errors.py`).
https://www.postgresql.org/docs/current/libpq-ssl.html
"""

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg

from archiver_assets.config import DatabaseConfig
from archiver_assets.errors import ConfigError

_CONNECT_TIMEOUT_SECONDS: Final = 15
_UNPROTECTED: Final = {"disable", "allow", "prefer"}


def connection_parameters(config: DatabaseConfig) -> dict[str, Any]:
    """Return libpq's parameters of every connection, without a password. Raises as `tls_parameters`.

    `hostaddr` is there for the sake of service files, which it passes over: an address of theirs would lead readers elsewhere than the
    sessions that delete. PGHOSTADDR is an operator's word, and leads all of them; whom `verify-full` has to prove stays `host`.
    """
    return {
        "host": config.host,
        "hostaddr": os.environ.get("PGHOSTADDR", ""),
        "port": config.port,
        "user": config.user,
        "dbname": config.dbname,
        "application_name": "audit-archiver",
        "client_encoding": "UTF8",
        "connect_timeout": _CONNECT_TIMEOUT_SECONDS,
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        **tls_parameters(config),
    }


def tls_parameters(config: DatabaseConfig) -> Mapping[str, str]:
    """Return libpq's `sslmode` and `sslrootcert`, as far as the config says them.

    Where TLS is asked for, encryption by Kerberos is switched off: libpq prefers it where there is a ticket, whatever `sslmode` is.
    Raises ConfigError for a file that cannot be read, which `require` would take for leave to prove nothing, and for a token without TLS.
    """
    mode, authorities = config.tls_mode, config.sslrootcert
    if config.auth == "aws_iam" and mode in _UNPROTECTED:
        message = f"database {config.name}: expected sslmode verify-full, or at least require, for auth: aws_iam, found {mode}"
        raise ConfigError(message, hint="set sslmode: verify-full, and name the authorities of RDS in sslrootcert")
    if authorities not in {None, "system"}:
        _require_readable(config)
    kerberos = None if mode is None or mode in _UNPROTECTED else "disable"
    found = {"sslmode": mode, "sslrootcert": authorities, "gssencmode": kerberos}
    return {name: value for name, value in found.items() if value is not None}


def _require_readable(config: DatabaseConfig) -> None:
    try:
        with Path(str(config.sslrootcert)).open("rb") as file:
            file.read(1)
    except OSError as error:
        message = f"database {config.name}: expected a file of certificates at {config.sslrootcert}, which sslrootcert names, found: "
        hint = "mount the certificate of the authority that signed the server's, as PEM, or correct sslrootcert"
        raise ConfigError(message + str(error.strerror), hint=hint) from error


_HINTS: Final = {
    "certificate verify failed": "the server's certificate is not by an authority in {authorities}, or has expired, or this machine's "
    "clock is off: name the right file in sslrootcert; openssl s_client -starttls postgres -connect {host}:{port} shows what there is",
    "does not match host name": "write host as the certificate names the server, or give the server a certificate for {host}",
    "root certificate|no certificate or crl": "name the file with the certificate of the server's authority, as PEM, in sslrootcert",
    "does not support SSL": "switch TLS on in the server (ssl = on); by sslmode: disable all would cross the network as plain text",
    "weak sslmode": "set sslmode: verify-full, or leave it out",
    "no encryption": "the server takes this role over TLS alone, if at all: set sslmode: verify-full, and sslrootcert",
    "client certificate|certificate required": "the server wants a certificate of ours: name it, and its key, by PGSSLCERT and PGSSLKEY",
}
"""What libpq or the server say of a way that failed, as a pattern, and the next step; the first that fits."""

_LOGIN_REFUSED: Final = re.compile(
    r"authentication failed|pg_hba\.conf|no password supplied|is not permitted to log in|"
    r"(?:role|database) .* does not exist|no such (?:user|database)"
)
"""What servers and poolers say of a login that they refuse, in English: libpq keeps no SQLSTATE of a connection that failed."""
_LOGIN_CLASSES: Final = ("28", "3D")
"""Of SQLSTATEs: a login, and a database, that are not valid."""

_WITHOUT_WAY_IN: Final = (
    "see that the role has rds_iam, the instance IAM authentication, and our identity rds-db:connect for this role (deploy/iam/rds-connect"
    ".json); that host is the instance's own endpoint, for which the token is signed; and that the credentials have not expired"
)


@dataclass(frozen=True)
class Failure:
    """A connection that failed: what follows its message, and the next step."""

    expected: str
    hint: str


def is_login_refused(sqlstate: str | None, text: str) -> bool:
    """Tell whether a server refused a login, which asking again does not change.

    By the SQLSTATE where there is one. Else by the words of a server whose messages are English (`lc_messages`): of another it is not told.
    """
    return bool(_LOGIN_REFUSED.search(text)) if sqlstate is None else sqlstate.startswith(_LOGIN_CLASSES)


def failure_of(config: DatabaseConfig, text: str) -> Failure:
    """Judge a connection that failed, or was refused, by the words of libpq or of the server."""
    hint = next((hint for words, hint in _HINTS.items() if re.search(words, text)), None)
    if hint is not None:
        trusted = config.sslrootcert or "~/.postgresql/root.crt"
        expected = f"; expected a connection by sslmode {config.tls_mode or 'of libpq itself'}, with the authorities in {trusted}"
        return Failure(expected, hint.format(host=config.host, port=config.port, authorities=trusted))
    if config.auth == "aws_iam" and "authentication failed" in text:
        return Failure("", _WITHOUT_WAY_IN)
    if _LOGIN_REFUSED.search(text):
        return Failure("", "correct user, database or the password in the variable of password_env, or the server's roles and pg_hba.conf")
    return Failure("", "check that the server is up, and host, port, user, password and sslmode in the config")


def is_local(host: str) -> bool:
    """Tell whether a host, its address or the path of a socket is on this machine."""
    if host.startswith(("/", "@")) or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Way:
    """How a session reaches its server: `address` is an IP address or a socket's path, `mode` libpq's `sslmode` as it was in force."""

    address: str
    encrypted: bool
    mode: str

    @classmethod
    def of(cls, connection: "psycopg.Connection[Any]") -> "Way":
        """Return that of an open session."""
        pgconn = connection.pgconn
        mode = next((option.val for option in pgconn.info if option.keyword == b"sslmode"), None) or b""
        return cls((pgconn.hostaddr or pgconn.host).decode() or "localhost", bool(pgconn.ssl_in_use), mode.decode())

    @property
    def local(self) -> bool:
        """Whether it does not leave this machine."""
        return is_local(self.address)

    @property
    def weakness(self) -> str | None:
        """What others on the way could do, None if nothing; for a session that does not leave this machine too."""
        if not self.encrypted:
            return "not encrypted: who listens on the way has the rows"
        if self.mode != "verify-full":
            return f"encrypted, but sslmode {self.mode} takes other servers for the one that is meant: who stands between has the rows"
        return None
