"""The first hour of a person who has a database, a bucket and a terminal: from `archiver init` to the first purge, as it is typed.

What belongs here: that way as a whole, on a terminal. What does not: what each command says when something is wrong.
"""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from archiver_assets_tests.lab import DAY, PASSWORD_VARIABLE, PREFIX, Lab

_CHUNK = 65_536


def typed(*arguments: str, cwd: Path) -> tuple[int, str]:
    """Run a command on a terminal, and return its exit status and what stood there in the end, colours and bars included."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "archiver_assets", *arguments], stdin=theirs, stdout=theirs, stderr=theirs, cwd=cwd
    ) as process:
        os.close(theirs)
        shown = b""
        try:
            while chunk := os.read(ours, _CHUNK):
                shown += chunk
        except OSError:  # how Linux says that the other end is closed
            pass
        finally:
            os.close(ours)
    return process.returncode, shown.decode()


def test_from_init_to_the_first_purge(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.fill(DAY, rows=30)
    monkeypatch.setenv(PASSWORD_VARIABLE, lab.database.password)
    monkeypatch.setenv("ARCHIVER_CONFIG", str(tmp_path / "config.yaml"))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    server = ["--host", lab.database.host, "--port", str(lab.database.port), "--user", lab.database.user, "--dbname", lab.database.name]
    store = ["--bucket", lab.bucket, "--endpoint", lab.endpoint, "--prefix", PREFIX]

    status, shown = typed("init", *server, "--password-env", PASSWORD_VARIABLE, *store, "--output", "config.yaml", cwd=tmp_path)
    assert (status, "public.audit_logs" in shown) == (0, True), shown
    assert lab.database.password not in (tmp_path / "config.yaml").read_text()

    status, shown = typed("doctor", cwd=tmp_path)
    assert (status, "conditional" in shown) == (0, True), shown
    status, shown = typed("plan", cwd=tmp_path)
    assert (status, str(DAY) in shown) == (0, True), shown
    assert lab.count() == 30

    status, shown = typed("run", cwd=tmp_path)
    assert (status, "30 rows archived; purged, 30 rows purged" in shown) == (0, True), shown
    assert lab.count() == 0

    status, shown = typed("status", cwd=tmp_path)
    assert (status, "nothing needs attention" in shown) == (0, True), shown
    status, shown = typed("verify", cwd=tmp_path)
    assert (status, "1 of 1 generation of 1 day" in shown) == (0, True), shown
