"""Private certificate authorities, and servers that show certificates of theirs.

What belongs here: making authorities, and embedded servers with TLS. What does not: assertions.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
import trustme

from archiver_assets.demo.postgres import EmbeddedPostgres, unprivileged_account
from archiver_assets.demo.seaweed import EmbeddedS3

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

SERVED = "127.0.0.1"
"""The name that good certificates are for."""
ENCRYPTED_ONLY = "hostssl all all 127.0.0.1/32 scram-sha-256\nhostssl replication all 127.0.0.1/32 scram-sha-256\n"
PLAIN_TEXT_TOO = "host all all 127.0.0.1/32 scram-sha-256\n"
"""For tests in which a client that gave up on TLS would get in."""
WITH_CLIENT_CERTIFICATE = "hostssl all all 127.0.0.1/32 scram-sha-256 clientcert=verify-ca\n"
PATIENCE = 30.0


@dataclass(frozen=True)
class Authority:
    """A private CA, and the file with its certificate, which clients are to trust."""

    ca: trustme.CA
    file: Path

    @classmethod
    def make(cls, file: Path) -> "Authority":
        """Make one, and write its certificate."""
        made = cls(trustme.CA(), file)
        made.ca.cert_pem.write_to_path(str(file))
        return made

    def certificate(self, name: str = SERVED, *, valid: timedelta = timedelta(days=1)) -> trustme.LeafCert:
        """Issue a certificate for a name or address; a negative time has passed already."""
        return self.ca.issue_cert(name, not_before=datetime.now(UTC) - timedelta(days=30), not_after=datetime.now(UTC) + valid)


@dataclass(frozen=True)
class TlsFiles:
    """The files of a PostgreSQL server with TLS, in a folder that its account may enter; a server's settings name them."""

    folder: Path
    authority: Authority

    @property
    def settings(self) -> dict[str, str]:
        """What the server is started with."""
        return {
            "ssl": "on",
            "ssl_cert_file": str(self.folder / "server.pem"),
            "ssl_key_file": str(self.folder / "server.key"),
            "ssl_ca_file": str(self.authority.file),
            "hba_file": str(self.folder / "hba.conf"),
        }

    def write(self, certificate: trustme.LeafCert | None = None, rules: str = ENCRYPTED_ONLY) -> None:
        """Write the certificate that the server is to show, a good one unless told, and who may connect how."""
        shown = certificate or self.authority.certificate()
        self._put("server.pem", b"".join(blob.bytes() for blob in shown.cert_chain_pems))
        self._put("server.key", shown.private_key_pem.bytes())
        self._put("hba.conf", rules.encode())

    def show(self, server: EmbeddedPostgres, certificate: trustme.LeafCert | None = None, rules: str = ENCRYPTED_ONLY) -> None:
        """Let a running server take other files, and return when it has."""
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            before = connection.execute("SELECT pg_conf_load_time()").fetchone()
            self.write(certificate, rules)
            connection.execute("SELECT pg_reload_conf()")
            deadline = time.monotonic() + PATIENCE
            while connection.execute("SELECT pg_conf_load_time()").fetchone() == before:
                if time.monotonic() > deadline:
                    raise TimeoutError
                time.sleep(0.01)

    def _put(self, name: str, content: bytes) -> None:
        file = self.folder / name
        file.touch(mode=0o600)
        file.write_bytes(content)
        if os.geteuid() == 0:
            account = unprivileged_account()
            os.chown(file, account.uid, account.gid)


@contextmanager
def tls_files() -> Iterator[TlsFiles]:
    """Give the files of a server that takes encrypted connections alone. Not in pytest's folder, which other users may not enter."""
    folder = Path(tempfile.mkdtemp(prefix="archiver-tls-"))
    folder.chmod(0o711)
    try:
        made = TlsFiles(folder, Authority.make(folder / "ca.pem"))
        made.write()
        yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def tls_postgres(settings: Mapping[str, str] | None = None) -> "Iterator[tuple[EmbeddedPostgres, TlsFiles]]":
    """Start a server that takes encrypted connections alone."""
    with tls_files() as files, EmbeddedPostgres(settings={**files.settings, **(settings or {})}) as server:
        server.make_logins_cheap()
        yield server, files


class TlsS3(EmbeddedS3):
    """An S3 server that speaks TLS alone, with a certificate of the authority; whom `name` names."""

    def __init__(self, authority: Authority, folder: Path, name: str = SERVED) -> None:
        super().__init__()
        self._authority, self._files = authority, (folder / f"s3-{name}.pem", folder / f"s3-{name}.key")
        shown = authority.certificate(name)
        self._files[0].write_bytes(b"".join(blob.bytes() for blob in shown.cert_chain_pems))
        self._files[1].touch(mode=0o600)
        self._files[1].write_bytes(shown.private_key_pem.bytes())

    @property
    def endpoint(self) -> str:
        return f"https://{self.host}:{self.port}"

    def _make_client(self) -> "S3Client":
        # By the authority whatever the environment says, and without a look at the name.
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("AWS_CA_BUNDLE", str(self._authority.file))
            return super()._make_client()

    def _command(self, home: Path) -> list[str]:
        certificate, key = self._files
        return [*super()._command(home), f"-s3.cert.file={certificate}", f"-s3.key.file={key}"]
