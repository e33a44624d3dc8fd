"""PostgreSQL servers in pairs and out of time: a primary with a streaming standby, and a server whose transaction ids come round again.

What belongs here: making such servers from the embedded one. What does not: tables and assertions.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from archiver_assets.demo.postgres import EmbeddedPostgres, find_binaries


@dataclass(frozen=True)
class Pair:
    """A primary and a standby that follows it."""

    primary: EmbeddedPostgres
    standby: EmbeddedPostgres


def run(server: EmbeddedPostgres, statement: str) -> list[tuple[object, ...]]:
    """Run one statement on a server and return its rows."""
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def catch_up(pair: Pair) -> None:
    """Wait until the standby has replayed what the primary has written so far."""
    ((lsn,),) = run(pair.primary, "SELECT pg_current_wal_flush_lsn()")
    while run(pair.standby, f"SELECT pg_last_wal_replay_lsn() >= '{lsn}'") != [(True,)]:
        run(pair.standby, "SELECT pg_sleep(0.05)")


@contextmanager
def _folder() -> Iterator[Path]:
    # Not pytest's, which other users may not enter: as root, the server runs as one of them.
    folder = Path(tempfile.mkdtemp(prefix="archiver-cluster-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def primary_with_standby() -> Iterator[Pair]:
    """Start a primary, and a standby that streams from it."""
    with _folder() as folder:
        with EmbeddedPostgres(folder / "primary", durable=True):
            pass
        subprocess.run(["cp", "-a", folder / "primary", folder / "standby"], check=True)
        signal_file = folder / "standby" / "data" / "standby.signal"
        signal_file.touch()
        owner = (folder / "standby" / "data").stat()
        os.chown(signal_file, owner.st_uid, owner.st_gid)
        with EmbeddedPostgres(folder / "primary", durable=True) as primary:
            follow = {"primary_conninfo": primary.dsn(), "wal_receiver_status_interval": "1s", "max_standby_streaming_delay": "500ms"}
            with EmbeddedPostgres(folder / "standby", durable=True, settings=follow) as standby:
                yield Pair(primary, standby)


@contextmanager
def restartable() -> Iterator[Path]:
    """Give a folder for a server that is stopped and started again."""
    with _folder() as folder:
        yield folder / "server"


def turn_epoch(home: Path, next_xid: int) -> None:
    """Let the stopped server in `home` go on with a transaction id (64 bits). Everything in it should have been frozen."""
    data = home / "data"
    owner = data.stat()
    as_owner = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if os.geteuid() == 0 else {}
    subprocess.run(
        [_reachable(home) / "pg_resetwal", "-D", data, "-e", str(next_xid >> 32), "-x", str(next_xid & 0xFFFFFFFF)],
        check=True,
        capture_output=True,
        cwd="/",
        **as_owner,  # type: ignore[call-overload]
    )


def _reachable(home: Path) -> Path:
    copied = home / "pginstall" / "bin"
    return copied if copied.exists() else find_binaries()
