"""A server process on loopback: choose free ports, start it and wait until it is ready, and stop it without leaving anything behind.

What belongs here: the common parts of the embedded servers. What does not: PostgreSQL (`postgres.py`), SeaweedFS (`seaweed.py`), and the
steps in the child process before it becomes the server (`launch.py`).
"""

import atexit
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from archiver_assets.demo import launch
from archiver_assets.errors import ArchiverError

LOOPBACK = "127.0.0.1"
PORT_ATTEMPTS = 5
START_TIMEOUT = 60.0
"""Seconds. A start takes about a second, but longer on a busy machine or with recovery after a crash."""
PROBE_INTERVAL = 0.02
LOG_TAIL = 2000
"""The number of characters from the end of a server's log that an error shows."""


class ServerNotStarted(ArchiverError):
    """An embedded server could not be found, or did not become ready."""


@dataclass(frozen=True)
class Account:
    """The user that runs a server which refuses to run as root."""

    uid: int
    gid: int


def free_ports(count: int) -> list[int]:
    """Return `count` different TCP ports that are currently free on loopback; another process may still take one."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [each.getsockname()[1] for each in sockets]


def base_environment() -> dict[str, str]:
    """Return the few variables that a server needs. The caller's PG*, AWS_* and other settings would change its behaviour."""
    kept = ("PATH", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"LC_ALL": "C"}


def _death_signal(wanted: signal.Signals) -> int:
    """Return the signal to arm, or 0: only Linux has death signals, and they fire when the *thread* that started the server ends."""
    main = threading.current_thread() is threading.main_thread()
    return int(wanted) if main and sys.platform == "linux" else 0


class EmbeddedServer(ABC):
    """One server process with its own folder. `start` returns when the server is ready; `stop` ends it and removes a temporary folder.

    On Linux the server also ends when the process that started it is killed, if it was started by the main thread. Elsewhere, and from
    another thread, it ends at the interpreter's normal exit.
    """

    title: ClassVar[str]
    executable_hint: ClassVar[str]
    port_taken: ClassVar[str]
    """The text in the server's log when another process has its port."""
    end_signals: ClassVar[tuple[tuple[signal.Signals, float], ...]]
    """Signals to try in order, gentlest first, each with the seconds to wait; SIGKILL follows."""

    def __init__(self, directory: Path | None = None) -> None:
        """Keep data in `directory` and leave it there; without one, use a temporary folder that `stop` removes."""
        self.host = LOOPBACK
        self._given = directory
        self._home: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def _prepare(self, home: Path) -> None:
        """Create everything in `home` that the server needs; called once per start."""

    @abstractmethod
    def _command(self, home: Path) -> list[str]:
        """Choose free ports and return the command line; called again if a port was taken meanwhile."""

    @abstractmethod
    def _answers(self) -> bool:
        """Return whether the server works and is ours: another process that took the port would not know the password."""

    def _account(self) -> Account | None:
        return None

    def _environment(self, home: Path) -> dict[str, str]:
        return base_environment() | {"HOME": str(home)}

    @property
    def home(self) -> Path:
        """The folder of the running server."""
        if self._home is None:
            msg = f"{self.title} is not running"
            raise ServerNotStarted(msg, hint="call start() first, or use it as a context manager")
        return self._home

    @property
    def pid(self) -> int | None:
        """The process id of the server, None while none runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def log_text(self) -> str:
        """Return the server's log so far; empty once a temporary folder has been removed."""
        log = self._home / "log" if self._home else None
        return log.read_text(errors="replace") if log and log.exists() else ""

    def start(self) -> Self:
        """Start the server and wait until it answers. Raises ServerNotStarted with the end of its log."""
        atexit.register(self.stop)
        try:
            if self._home is None:
                self._home = self._make_home()
            self._prepare(self._home)
            self._launch_on_free_ports(self._home)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the server and remove its temporary folder. Harmless when it is not running."""
        self._end(*self.end_signals)
        if self._home is not None and self._given is None:
            shutil.rmtree(self._home, ignore_errors=True)
        self._home = None
        atexit.unregister(self.stop)

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop."""
        self.stop()

    def _make_home(self) -> Path:
        if self._given is None:
            return Path(tempfile.mkdtemp(prefix=f"archiver-{self.title.lower()}-")).resolve()
        self._given.mkdir(parents=True, exist_ok=True)
        return self._given.resolve()

    def _launch_on_free_ports(self, home: Path) -> None:
        for _ in range(PORT_ATTEMPTS):
            seen = len(self.log_text())
            self._spawn(home)
            if self._wait_until_ready():
                return
            self._end(*self.end_signals)
            if self.port_taken not in self.log_text()[seen:]:
                break
        msg = f"expected {self.title} to start, but it did not; the end of its log:\n{self.log_text()[-LOG_TAIL:].strip()}"
        raise ServerNotStarted(msg, hint=self.executable_hint)

    def _spawn(self, home: Path) -> None:
        account = self._account()
        identity = f"{account.uid}:{account.gid}" if account else ""
        gentlest = self.end_signals[0][0] if self.end_signals else signal.SIGKILL
        death = str(_death_signal(gentlest))
        launcher = [sys.executable, "-I", "-S", launch.__file__, str(os.getpid()), death, identity]
        with (home / "log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 -- our own launcher and a binary that was looked up
                [*launcher, *self._command(home)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=self._environment(home),
                start_new_session=True,  # Ctrl-C in the terminal reaches only this process, which then stops the server
            )

    def _wait_until_ready(self) -> bool:
        deadline = time.monotonic() + START_TIMEOUT
        while self.pid is not None and time.monotonic() < deadline:
            if self._answers():
                return True
            time.sleep(PROBE_INTERVAL)
        return False

    def _end(self, *signals: tuple[signal.Signals, float]) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for number, patience in (*signals, (signal.SIGKILL, None)):
            process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience)
                return
