"""PostgreSQL servers in pairs and out of time: a primary with a streaming standby, and a server whose transaction ids come round again.

What belongs here: making such servers from the embedded one. What does not: tables and assertions.
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from archiver_assets.demo.postgres import EmbeddedPostgres, find_binaries

FIRST_NORMAL_XID = 3
SEGMENT_XIDS = 1 << 20
"""Transactions whose outcomes one file of pg_xact holds, in 2 bits each."""
PATIENCE = 30.0
"""Seconds that a server is given to do what it was told."""


@dataclass(frozen=True)
class Pair:
    """A primary and a standby that follows it."""

    primary: EmbeddedPostgres
    standby: EmbeddedPostgres

    def pause_replay(self) -> None:
        """Let the standby receive WAL and show none of it, until `resume_replay`. A promotion would replay it first."""
        run(self.standby, "SELECT pg_wal_replay_pause()")
        wait_for(self.standby, "SELECT pg_get_wal_replay_pause_state() = 'paused'")

    def resume_replay(self) -> None:
        """Let the standby replay what it has received, and what comes."""
        run(self.standby, "SELECT pg_wal_replay_resume()")

    def hold_back(self) -> None:
        """Stop the standby until `fail_over`: what the primary writes from now on never reaches it."""
        self.standby.stop()

    def promote(self) -> None:
        """Make a primary of the standby, on a timeline of its own; the old primary runs on."""
        run(self.standby, "SELECT pg_promote()")
        wait_for(self.standby, "SELECT NOT pg_is_in_recovery()")

    def fail_over(self) -> None:
        """Lose the primary, as in a crash, and promote the standby, which is started first if it was held back."""
        self.primary.crash()
        if self.standby.pid is None:
            self.standby.start()
        self.promote()


def run(server: EmbeddedPostgres, statement: str) -> list[tuple[object, ...]]:
    """Run one statement on a server and return its rows."""
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def wait_for(server: EmbeddedPostgres, question: str) -> None:
    """Wait until a statement gives true. Raises TimeoutError."""
    deadline = time.monotonic() + PATIENCE
    while run(server, question) != [(True,)]:
        if time.monotonic() > deadline:
            raise TimeoutError(question)
        time.sleep(0.02)


def timeline(server: EmbeddedPostgres) -> int:
    """Return the timeline on which a primary writes."""
    ((name,),) = run(server, "SELECT pg_walfile_name(pg_current_wal_lsn())")
    return int(str(name)[:8], 16)


def catch_up(pair: Pair) -> None:
    """Wait until the standby has replayed what the primary has written so far."""
    ((lsn,),) = run(pair.primary, "SELECT pg_current_wal_flush_lsn()")
    wait_for(pair.standby, f"SELECT pg_last_wal_replay_lsn() >= '{lsn}'")


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
def primary_with_standby(settings: Mapping[str, str] | None = None) -> Iterator[Pair]:
    """Start a primary, and a standby that streams from it, both with these settings."""
    both = dict(settings or {})
    with _folder() as folder:
        with EmbeddedPostgres(folder / "primary", durable=True):
            pass
        subprocess.run(["cp", "-a", folder / "primary", folder / "standby"], check=True)
        signal_file = folder / "standby" / "data" / "standby.signal"
        signal_file.touch()
        owner = (folder / "standby" / "data").stat()
        os.chown(signal_file, owner.st_uid, owner.st_gid)
        with EmbeddedPostgres(folder / "primary", durable=True, settings=both) as primary:
            follow = {
                **both,
                "primary_conninfo": primary.dsn(),
                "wal_receiver_status_interval": "1s",
                "max_standby_streaming_delay": "500ms",
            }
            with EmbeddedPostgres(folder / "standby", durable=True, settings=follow) as standby:
                yield Pair(primary, standby)


@contextmanager
def restartable() -> Iterator[Path]:
    """Give a folder for a server that is stopped and started again."""
    with _folder() as folder:
        yield folder / "server"


def reset_wal(server: EmbeddedPostgres, next_epoch: int, *, before: int = 50) -> int:
    """Let a running server that has a directory of its own go on in `next_epoch`, with the low 32 bits of `before` transactions ago.

    Everything in it is frozen first, without autovacuum, which stays off. The server has another port afterwards. Returns the id (64 bits)
    of its next transaction.
    """
    if server._given is None:
        msg = "expected a server with a directory of its own: a temporary one is gone when the server stops"
        raise ValueError(msg)
    home = server.home
    _freeze(server)
    ((upcoming,),) = run(server, "SELECT pg_snapshot_xmax(pg_current_snapshot())::text")
    next_xid = (next_epoch << 32) + max((int(str(upcoming)) & 0xFFFFFFFF) - before, FIRST_NORMAL_XID)
    server.stop()
    turn_epoch(home, next_xid)
    server.start()
    return next_xid


def _freeze(server: EmbeddedPostgres) -> None:
    # A row that autovacuum's ANALYZE wrote later would come from the future.
    run(server, "ALTER SYSTEM SET autovacuum = off")
    run(server, "SELECT pg_reload_conf()")
    for (name,) in run(server, "SELECT datname FROM pg_database WHERE datallowconn"):
        with psycopg.connect(server.dsn(str(name)), autocommit=True) as connection:
            connection.execute("VACUUM (FREEZE)")
    run(server, "CHECKPOINT")


def turn_epoch(home: Path, next_xid: int) -> None:
    """Let the stopped server in `home` go on with a transaction id (64 bits). Everything in it should have been frozen."""
    data = home / "data"
    owner = data.stat()
    _make_segment(data, next_xid & 0xFFFFFFFF)
    as_owner = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if os.geteuid() == 0 else {}
    subprocess.run(
        [_reachable(home) / "pg_resetwal", "-D", data, "-e", str(next_xid >> 32), "-x", str(next_xid & 0xFFFFFFFF)],
        check=True,
        capture_output=True,
        cwd="/",
        **as_owner,  # type: ignore[call-overload]
    )


def _make_segment(data: Path, xid: int) -> None:
    """Make the file of pg_xact in which the outcome of `xid` will stand, all zero: a server that came there by itself has it."""
    file = data / "pg_xact" / f"{xid // SEGMENT_XIDS:04X}"
    if not file.exists():
        file.touch(mode=0o600)
        file.write_bytes(bytes(SEGMENT_XIDS // 4))
        owner = data.stat()
        os.chown(file, owner.st_uid, owner.st_gid)


def _reachable(home: Path) -> Path:
    copied = home / "pginstall" / "bin"
    return copied if copied.exists() else find_binaries()
