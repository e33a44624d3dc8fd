"""The connection to a server: its encryption, the server identity it verifies, and the next step if it fails.

What belongs here: libpq's parameters, including TLS. What does not: connecting (`session.py`), and TLS to the object store
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
    """Return libpq's parameters for every connection, without a password. Raises as `tls_parameters`.

    `hostaddr` is always set, to override service files: their address would send readers to a different server than the sessions that
    delete. PGHOSTADDR is the operator's choice and applies to all of them; `verify-full` still verifies `host`.
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
    """Return libpq's `sslmode` and `sslrootcert`, as far as the config sets them.

    If TLS is required, Kerberos encryption is disabled: libpq prefers it if there is a ticket, whatever `sslmode` is. Raises ConfigError
    for an unreadable file, because `require` would then verify nothing, and for a token without TLS.
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
    "no encryption": "the server accepts this role only over TLS, if at all: set sslmode: verify-full, and sslrootcert",
    "client certificate|certificate required": "the server requires a client certificate: set PGSSLCERT to it, and PGSSLKEY to its key",
}
"""Patterns of libpq's or the server's text for a failed connection, each with its next step; the first match applies."""

_LOGIN_REFUSED: Final = re.compile(
    r"authentication failed|pg_hba\.conf|no password supplied|is not permitted to log in|"
    r"(?:role|database) .* does not exist|no such (?:user|database)"
)
"""The English text of servers and poolers that refuse a login: libpq keeps no SQLSTATE for a failed connection."""
_LOGIN_CLASSES: Final = ("28", "3D")
"""The SQLSTATE classes of an invalid login and an invalid database."""

_WITHOUT_WAY_IN: Final = (
    "see that the role has rds_iam, the instance IAM authentication, and our identity rds-db:connect for this role (deploy/iam/rds-connect"
    ".json); that host is the instance's own endpoint, for which the token is signed; and that the credentials have not expired"
)


@dataclass(frozen=True)
class Failure:
    """A failed connection: what to append to its message, and the next step."""

    expected: str
    hint: str


def is_login_refused(sqlstate: str | None, text: str) -> bool:
    """Return whether a server refused a login, so that retrying is useless.

    Judged by the SQLSTATE if there is one. Otherwise judged by the text, which is recognized only in English (`lc_messages`).
    """
    return bool(_LOGIN_REFUSED.search(text)) if sqlstate is None else sqlstate.startswith(_LOGIN_CLASSES)


def failure_of(config: DatabaseConfig, text: str) -> Failure:
    """Classify a failed or refused connection by the text of libpq or the server."""
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
    """Return whether a host name, an address or a socket's path is on this machine."""
    if host.startswith(("/", "@")) or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Way:
    """How a session reaches its server: `address` is an IP address or a socket's path, `mode` is libpq's effective `sslmode`."""

    address: str
    encrypted: bool
    mode: str

    @classmethod
    def of(cls, connection: "psycopg.Connection[Any]") -> "Way":
        """Return how an open session reaches its server."""
        pgconn = connection.pgconn
        mode = next((option.val for option in pgconn.info if option.keyword == b"sslmode"), None) or b""
        return cls((pgconn.hostaddr or pgconn.host).decode() or "localhost", bool(pgconn.ssl_in_use), mode.decode())

    @property
    def local(self) -> bool:
        """Whether the connection stays on this machine."""
        return is_local(self.address)

    @property
    def weakness(self) -> str | None:
        """What an attacker on the network could do, or None; it is also given for a session that stays on this machine."""
        if not self.encrypted:
            return "not encrypted: anyone who intercepts the traffic can read the rows"
        if self.mode != "verify-full":
            return f"encrypted, but sslmode {self.mode} does not verify the server's name: an impostor can read the rows"
        return None
