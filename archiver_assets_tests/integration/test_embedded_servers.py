"""The embedded servers themselves: loopback only, a password, and nothing left behind.

What does not belong here: what PostgreSQL and S3 do.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from botocore.exceptions import ClientError

from archiver_assets.demo import postgres, processes, seaweed
from archiver_assets.demo.postgres import EmbeddedPostgres
from archiver_assets.demo.processes import EmbeddedServer, ServerNotStarted, free_ports
from archiver_assets.demo.seaweed import EmbeddedS3

SERVERS: dict[str, Callable[[], EmbeddedServer]] = {"postgres": EmbeddedPostgres, "s3": EmbeddedS3}
every_server = pytest.mark.parametrize("make", SERVERS.values(), ids=SERVERS)
needs_proc = pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads Linux's /proc")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="is about root")

LISTENING = "0A"
LOOPBACK_HEX = "0100007F"


def listening_addresses(pid: int) -> set[str]:
    """The local addresses, in /proc's hexadecimal, on which the process listens; IPv6 included."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            inodes.add(descriptor.readlink().name.removeprefix("socket:[").rstrip("]"))
    rows = [line.split() for table in ("tcp", "tcp6") for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]]
    return {row[1].split(":")[0] for row in rows if row[3] == LISTENING and row[9] in inodes}


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie that no one has waited for yet is dead too.
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def eventually(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def test_a_bucket_is_removed_with_everything_in_it(s3_server: EmbeddedS3) -> None:
    client = s3_server.client()
    s3_server.create_bucket("full", versioning=True)
    for body in (b"1", b"2"):
        client.put_object(Bucket="full", Key="a", Body=body)
    client.delete_object(Bucket="full", Key="a")
    client.create_multipart_upload(Bucket="full", Key="b")
    assert client.list_object_versions(Bucket="full")["Versions"]

    s3_server.remove_bucket("full")
    s3_server.create_bucket("full")

    assert "Versions" not in client.list_object_versions(Bucket="full")
    assert "Uploads" not in client.list_multipart_uploads(Bucket="full")
    s3_server.remove_bucket("full")


@needs_proc
@every_server
def test_a_server_listens_on_loopback_only(make: Callable[[], EmbeddedServer]) -> None:
    with make() as server:
        assert server.pid is not None
        assert listening_addresses(server.pid) == {LOOPBACK_HEX}


@every_server
def test_stopping_leaves_no_process_and_no_folder(make: Callable[[], EmbeddedServer]) -> None:
    with make() as server:
        pid, home = server.pid, server.home
        assert pid is not None
        assert home.exists()
    assert not alive(pid)
    assert not home.exists()
    assert server.pid is None
    server.stop()


@every_server
def test_an_error_in_the_block_stops_the_server_too(make: Callable[[], EmbeddedServer]) -> None:
    server = make()

    def interrupted() -> None:
        with server:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert server.pid is None


@every_server
def test_no_secret_is_on_a_command_line(make: Callable[[], EmbeddedServer]) -> None:
    with make() as server:
        secret = server.password if isinstance(server, EmbeddedPostgres) else vars(server)["secret_key"]
        listing = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
        assert secret
        assert secret not in listing


@every_server
def test_a_port_that_was_taken_meanwhile_is_replaced(make: Callable[[], EmbeddedServer], monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused at once
        port = taken.getsockname()[1]
        offers = [port]

        def taken_at_first(count: int) -> list[int]:
            first = [offers.pop()] if offers else []
            return [*first, *free_ports(count)][:count]

        for module in (postgres, seaweed):
            monkeypatch.setattr(module, "free_ports", taken_at_first)
        with make() as server:
            assert server.pid is not None
            assert str(port) in server.log_text()


def test_postgres_refuses_a_wrong_password() -> None:
    with EmbeddedPostgres() as server:
        wrong = server.dsn().replace(server.password, "wrong")
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(wrong)
        assert "password authentication failed" in server.log_text()


def test_s3_refuses_a_wrong_secret_and_writes_to_no_bucket() -> None:
    with EmbeddedS3() as server:
        with pytest.raises(ClientError, match="NoSuchBucket"):
            server.client().put_object(Bucket="never-made", Key="a", Body=b"x")
        server.secret_key += "x"
        with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
            server._make_client().list_buckets()


def test_settings_and_durability_reach_the_server() -> None:
    with EmbeddedPostgres(durable=True, settings={"wal_level": "logical", "shared_buffers": "16MB"}) as server:
        with psycopg.connect(server.dsn()) as connection:
            shown = [connection.execute(f"SHOW {name}").fetchone() for name in ("fsync", "wal_level", "shared_buffers")]
        assert shown == [("on",), ("logical",), ("16MB",)]


def test_a_crash_keeps_what_was_committed_and_a_start_recovers_it() -> None:
    with EmbeddedPostgres(durable=True) as server:
        with psycopg.connect(server.dsn()) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS a")
        server.crash()
        assert server.pid is None
        server.start()
        with psycopg.connect(server.dsn()) as connection:
            assert connection.execute("TABLE kept").fetchall() == [(1,)]
        assert "automatic recovery in progress" in server.log_text()


def test_a_cluster_in_a_named_folder_is_taken_up_again() -> None:
    # pytest's own tmp_path lies in a folder of the user's, which PostgreSQL's user may not enter when we are root.
    home = Path(f"/tmp/archiver-test-{os.getpid()}-{time.monotonic_ns()}")  # noqa: S108
    try:
        with EmbeddedPostgres(home) as first, psycopg.connect(first.dsn()) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS a")
        assert home.exists()
        with EmbeddedPostgres(home) as second, psycopg.connect(second.dsn()) as connection:
            assert second.password == first.password
            assert connection.execute("TABLE kept").fetchall() == [(1,)]
    finally:
        shutil.rmtree(home, ignore_errors=True)


@needs_root
def test_as_root_a_folder_that_others_may_not_enter_is_refused_with_the_next_step(tmp_path: Path) -> None:
    (tmp_path / "private").mkdir(mode=0o700)
    with pytest.raises(ServerNotStarted, match="private") as caught:
        EmbeddedPostgres(tmp_path / "private" / "data").start()
    assert "TMPDIR" in caught.value.hint


@needs_root
def test_as_root_binaries_that_others_may_not_reach_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = postgres.find_binaries().parent
    shutil.copytree(installed, tmp_path / "private" / "pg", symlinks=True)
    (tmp_path / "private").chmod(0o700)
    monkeypatch.setenv(postgres.BIN_VARIABLE, str(tmp_path / "private" / "pg" / installed.joinpath("bin").name))
    with EmbeddedPostgres() as server:
        assert (server.home / "pginstall" / "bin" / "postgres").exists()


@pytest.mark.parametrize(("variable", "make"), [(postgres.BIN_VARIABLE, EmbeddedPostgres), (seaweed.BINARY_VARIABLE, EmbeddedS3)])
def test_a_named_binary_that_is_not_there_is_an_error_and_not_replaced_by_another(
    variable: str, make: Callable[[], EmbeddedServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, str(tmp_path / "nothing"))
    with pytest.raises(ServerNotStarted, match=f"named by {variable}") as caught:
        make().start()
    assert variable in caught.value.hint


def test_a_server_that_cannot_start_shows_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "PORT_ATTEMPTS", 1)
    with pytest.raises(ServerNotStarted, match="no_such_setting"):
        EmbeddedPostgres(settings={"no_such_setting": "1"}).start()


OWNER = """
import sys, time
from archiver_assets.demo.postgres import EmbeddedPostgres
from archiver_assets.demo.seaweed import EmbeddedS3
servers = [EmbeddedPostgres().start(), EmbeddedS3().start()]
print(*(server.pid for server in servers), *(server.home for server in servers), flush=True)
time.sleep(float(sys.argv[1]))
"""


def owner(sleep: float) -> tuple[subprocess.Popen[str], list[int], list[Path]]:
    """A process that starts both servers; its id, theirs, and their folders."""
    process = subprocess.Popen([sys.executable, "-c", OWNER, str(sleep)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        words = process.stdout.readline().split()
    return process, [int(each) for each in words[:2]], [Path(each) for each in words[2:]]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a death signal")
def test_servers_die_when_their_parent_is_killed() -> None:
    process, pids, homes = owner(600)
    try:
        assert all(alive(pid) for pid in pids)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert eventually(lambda: not any(alive(pid) for pid in pids))
    finally:
        for home in homes:  # a killed process tidies nothing up
            for socket_path in seaweed.SOCKETS.findall((home / "log").read_text()):
                Path(socket_path).unlink(missing_ok=True)
            shutil.rmtree(home, ignore_errors=True)


def test_an_interpreter_that_forgets_to_stop_them_leaves_nothing() -> None:
    process, pids, homes = owner(0)
    assert process.wait() == 0
    assert not any(alive(pid) for pid in pids)
    assert not any(home.exists() for home in homes)
