"""`archiver` and `python` for the sessions of pages, forked from a process that has imported everything: each starts in milliseconds.

What belongs here: those commands, as scripts on a session's PATH that hand over their arguments, folder, variables and open files. What
does not: what they do, which is the product's own, in a process of its own.
"""

import contextlib
import importlib
import os
import select
import signal
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen, TimeoutExpired

CLIENT = """\
#!{python} -ISE
import os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    parts = [{name!r}, os.getcwd(), *sys.argv[1:], "", *(f"{{name}}={{value}}" for name, value in os.environ.items())]
    message = "\\0".join(parts).encode(errors="surrogateescape")
    socket.send_fds(server, [len(message).to_bytes(4, "big")], [0, 1, 2])
    server.sendall(message)
    sys.exit(int(server.makefile().read() or 70))
"""
ARGUMENTS_END = ""
PRELOADED = (
    "dagster",
    "dagster_postgres",
    "archiver_assets.orchestration.coordinator",
    "duckdb",
    "adbc_driver_postgresql.dbapi",
    "pyarrow.dataset",
    "archiver_assets.orchestration.build",
    "archiver_assets.orchestration.in_process_runs",
    "archiver_assets.orchestration.steps",
    "archiver_assets.orchestration.check_evaluation",
    "archiver_assets.reader",
    "dagster._core.execution.execute_in_process",
    "dagster._core.executor.in_process",
)


@contextmanager
def commands(folder: Path) -> Iterator[Path]:
    """Yield a folder for PATH that has `archiver`, `python` and `python3`."""
    address = str(folder / "socket")
    scripts = folder / "bin"
    scripts.mkdir()
    for name in ("archiver", "python", "python3"):
        (scripts / name).write_text(CLIENT.format(python=sys.executable, address=address, name=name))
        (scripts / name).chmod(0o755)
    with Popen([sys.executable, "-m", __name__, address], stdin=PIPE) as server:  # whose end it sees, should we be killed
        try:
            _wait_for(address, server)
            yield scripts
        finally:
            server.terminate()


def _wait_for(address: str, server: "Popen[bytes]") -> None:
    while not Path(address).exists():
        with contextlib.suppress(TimeoutExpired):
            message = f"the server of commands ended with status {server.wait(0.05)}"
            raise RuntimeError(message)


def serve(address: str) -> None:
    """Fork a process for every client that comes, until SIGTERM, or until whoever started us is gone."""
    from archiver_assets.cli.app import COMMANDS  # noqa: PLC0415 -- in the server, and not where this module is imported

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them: each tells its client how it ended
    for module in (*PRELOADED, *(f"archiver_assets.cli.{name.replace('-', '_')}" for name in COMMANDS)):
        importlib.import_module(module)
    _import_what_is_imported_late()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{address}.new")
        listener.listen()
        Path(f"{address}.new").rename(address)
        while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
            client, _ = listener.accept()
            if not os.fork():
                listener.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                _be(client)
            client.close()


def _import_what_is_imported_late() -> None:
    """Make what imports half of Dagster and of botocore when it is made: a second less for each command. Nothing connects."""
    import boto3  # noqa: PLC0415 -- as in `serve`
    import dagster as dg  # noqa: PLC0415 -- as in `serve`

    dg.DagsterInstance.ephemeral().dispose()
    boto3.session.Session("-", "-", region_name="us-east-1").client("s3", endpoint_url="http://127.0.0.1:1")


def _be(client: socket.socket) -> None:
    """Become the command that the client is, tell it how it ended, and end."""
    head, files, _, _ = socket.recv_fds(client, 4, 3)
    (length,) = struct.unpack(">I", head)
    name, folder, *rest = client.recv(length, socket.MSG_WAITALL).decode(errors="surrogateescape").split("\0")
    until = rest.index(ARGUMENTS_END)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(dict(each.split("=", 1) for each in rest[until + 1 :]))
    status = _status(name, rest[:until])
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    client.sendall(str(status).encode())
    os._exit(status)


def _status(name: str, arguments: list[str]) -> int:
    try:
        if name == "archiver":
            from archiver_assets.cli.app import main  # noqa: PLC0415 -- as above

            return main(arguments)
        sys.argv = arguments
        source = sys.stdin.read() if arguments == ["-"] else Path(arguments[0]).read_text()
        exec(compile(source, arguments[0], "exec"), {"__name__": "__main__"})  # noqa: S102 -- a page's own block
    except BaseException as error:  # noqa: BLE001 -- whatever a command ends by is its outcome
        if isinstance(error, SystemExit) and isinstance(error.code, int | None):
            return error.code or 0
        sys.excepthook(type(error), error, error.__traceback__)
        return 1
    return 0


if __name__ == "__main__":
    serve(sys.argv[1])
