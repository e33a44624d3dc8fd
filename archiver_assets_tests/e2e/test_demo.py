"""`make demo`, smaller: the whole command as a user runs it, and the query that it prints; and how it ends."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from archiver_assets.demo import __main__ as demo
from archiver_assets.demo.main_job import Line


def _start(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    # In a folder of its own and without the variables of this shell, as on a fresh machine.
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "ARCHIVER_CONFIG", "DAGSTER"))}
    return subprocess.Popen(
        [sys.executable, "-m", "archiver_assets.demo", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=cwd,
        env=environ,
    )


def test_the_demo_accounts_for_every_row_answers_the_query_that_it_prints_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with _start("--days", "2", "--rows", "300", "--keep", cwd=tmp_path) as process:
        output = _read_until(process, "read_parquet")
        (env_file,) = re.findall(r"^  \. (\S+)$", output, re.MULTILINE)
        (command,) = re.findall(r"^  (\S+python -m archiver_assets\.demo\.query .*)$", output, re.MULTILINE)
        answer = subprocess.run(["sh", "-c", f". {env_file}; {command}"], capture_output=True, text=True, timeout=60, check=False)
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=60)

    assert process.returncode == 0, output + rest
    assert "every row is accounted for" in output
    assert "expected 0 rows left in the tables, found 0" in output
    days = re.findall(r"^(\S.*?/.*?) +(\d{4}-\d\d-\d\d) +(\d+) +(\d+) +(\d+) +(\d+) +([\d,]+)  (s3://\S+\.parquet)$", output, re.MULTILINE)
    assert len(days) == 8
    counted = {(archived, verified, purged, left) for _, _, archived, verified, purged, left, _, _ in days}
    assert counted == {("304", "304", "303", "0"), ("300", "300", "300", "0")}
    assert answer.returncode == 0, answer.stderr
    found = re.findall(r"(\d{4}-\d\d-\d\d)\D+(\d+)", answer.stdout)
    assert sorted(found) == [(day, archived) for label, day, archived, *_ in sorted(days) if label == "shop/public/audit_logs"]
    assert not Path(env_file).parent.exists()
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def sigterm() -> Iterator[None]:
    """What SIGTERM does in this process, as it was."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("sigterm")
@pytest.mark.parametrize(("left", "status"), [(0, 0), (1, 1)])
def test_the_demo_ends_by_itself_and_its_status_says_whether_every_row_is_accounted_for(
    monkeypatch: pytest.MonkeyPatch, left: int, status: int
) -> None:
    line = Line(label="t", day="2024-03-05", archived=9, verified=9, purged=5, left=left, uri="s3://bucket/key", bytes=1)
    monkeypatch.setattr(demo, "open_stage", lambda *_: nullcontext())
    monkeypatch.setattr(demo, "_play", lambda *_: [line])
    monkeypatch.setattr(sys, "argv", ["demo", "--days", "1"])

    assert demo.main() == status


def _read_until(process: subprocess.Popen[str], text: str) -> str:
    lines = []
    deadline = time.monotonic() + 240
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return "".join(lines)
        if time.monotonic() > deadline:
            break
    pytest.fail("".join(lines))
