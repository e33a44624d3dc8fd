"""`make demo`, smaller: the whole command as a user runs it, and the query that it prints."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


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


def test_the_demo_accounts_for_every_row(tmp_path: Path) -> None:
    with _start("--days", "2", "--rows", "300", cwd=tmp_path) as demo:
        output, _ = demo.communicate(timeout=240)

    assert demo.returncode == 0, output
    assert "every row is accounted for" in output
    assert "expected 0 rows left in the tables, found 0" in output
    days = re.findall(r"^(\S.*?/.*?) +(\d{4}-\d\d-\d\d) +(\d+) +(\d+) +(\d+) +(\d+) +([\d,]+)  (s3://\S+\.parquet)$", output, re.MULTILINE)
    assert len(days) == 8
    counted = {(archived, verified, purged, left) for _, _, archived, verified, purged, left, _, _ in days}
    assert counted == {("304", "304", "303", "0"), ("300", "300", "300", "0")}
    assert list(tmp_path.iterdir()) == []


def test_a_kept_demo_answers_the_query_that_it_prints_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with _start("--days", "1", "--rows", "50", "--keep", cwd=tmp_path) as demo:
        printed = _read_until(demo, "read_parquet")
        (env_file,) = re.findall(r"^  \. (\S+)$", printed, re.MULTILINE)
        (command,) = re.findall(r"^  (\S+python -m archiver_assets\.demo\.query .*)$", printed, re.MULTILINE)
        answer = subprocess.run(["sh", "-c", f". {env_file}; {command}"], capture_output=True, text=True, timeout=60, check=False)
        demo.send_signal(signal.SIGTERM)
        demo.communicate(timeout=60)

    assert answer.returncode == 0, answer.stderr
    assert re.search(r"\d{4}-\d\d-\d\d.*54", answer.stdout), answer.stdout
    assert not Path(env_file).parent.exists()


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
