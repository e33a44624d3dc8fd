"""Dagster as it is deployed: a code server, the daemon and the webserver, each a process of its own on loopback.

What belongs here: putting these up, and taking them down with all that they started. What does not: the config, and the databases.
"""

import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import yaml

from archiver_assets.demo.processes import EmbeddedServer, base_environment, free_ports

_PROBE_SECONDS = 5.0
_PROBE_INTERVAL = 0.05
_END_SECONDS = 20.0
CODE_SERVER = ["dagster", "api", "grpc", "-m", "archiver_assets.definitions", "-h", "127.0.0.1", "-p", "{port}"]
DAEMON = ["dagster._daemon", "run"]
WEBSERVER = ["dagster_webserver", "-h", "127.0.0.1", "-p", "{port}"]


class DagsterProcess(EmbeddedServer):
    """One of Dagster's processes. It ends when this one does, and takes along what it started."""

    title: ClassVar[str] = "Dagster"
    executable_hint: ClassVar[str] = "run `make setup`, which installs Dagster and its webserver"
    port_taken: ClassVar[str] = "ddress already in use"
    end_signals: ClassVar[tuple[tuple[signal.Signals, float], ...]] = ((signal.SIGTERM, 10.0),)

    def __init__(self, environ: Mapping[str, str], module: list[str]) -> None:
        """Run a module with its arguments, where `{port}` stands for a free one. Without it the process listens nowhere."""
        super().__init__()
        self.port = 0
        self._environ = environ
        self._module = module

    def _prepare(self, home: Path) -> None:
        """Make nothing: all that it needs is in DAGSTER_HOME."""

    def _environment(self, home: Path) -> dict[str, str]:
        return base_environment() | {"HOME": str(home), "NO_PROXY": "127.0.0.1"} | dict(self._environ)

    def _command(self, home: Path) -> list[str]:  # noqa: ARG002 - of the base class
        (self.port,) = free_ports(1)
        return [sys.executable, "-m", *(each.format(port=self.port) for each in self._module)]

    def _answers(self) -> bool:
        if not any("{port}" in each for each in self._module):
            return True
        with contextlib.suppress(OSError), socket.create_connection((self.host, self.port), _PROBE_SECONDS):
            return True
        return False

    def _end(self, *signals: tuple[signal.Signals, float]) -> None:
        group = self._process.pid if self._process else None
        super()._end(*signals)
        if group is not None:
            end_group(group)


def end_group(group: int) -> None:
    """Kill what is left of a process that led a session of its own: the runs that it started. Return when all have gone.

    Raises TimeoutError if some are still there after 20 s.
    """
    deadline = time.monotonic() + _END_SECONDS
    while signal_group(group, signal.SIGKILL):
        if time.monotonic() > deadline:
            message = f"expected process group {group} to end, but it is still there {_END_SECONDS:.0f} s after it was killed"
            raise TimeoutError(message)
        time.sleep(_PROBE_INTERVAL)


def signal_group(group: int, number: int) -> bool:
    """Send a signal, or with 0 none, to all processes of a group, and tell whether there are any. The dead count until they are reaped."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):  # the latter on macOS, of a group of the dead
        return False
    return True


@dataclass(frozen=True)
class Dagster:
    """What is up: the UI and its GraphQL at `url`."""

    url: str
    processes: dict[str, DagsterProcess]

    def logs(self) -> str:
        """Return what the processes have said: what to read when the UI shows something else than expected."""
        return "\n".join(f"== {name}\n{process.log_text()}" for name, process in self.processes.items())


@contextmanager
def open_dagster(folder: Path, environ: Mapping[str, str]) -> Iterator[Dagster]:
    """Put the three up with the variables of `environ`, DAGSTER_HOME and ARCHIVER_CONFIG among them; end them with the block."""
    with DagsterProcess(environ, CODE_SERVER) as code_server:
        workspace = folder / "workspace.yaml"
        location = {"host": "127.0.0.1", "port": code_server.port, "location_name": "archiver"}
        workspace.write_text(yaml.safe_dump({"load_from": [{"grpc_server": location}]}))
        with (
            DagsterProcess(environ, [*DAEMON, "-w", str(workspace)]) as daemon,
            DagsterProcess(environ, [*WEBSERVER, "-w", str(workspace)]) as webserver,
        ):
            processes = {"code server": code_server, "daemon": daemon, "webserver": webserver}
            yield Dagster(f"http://127.0.0.1:{webserver.port}", processes)
