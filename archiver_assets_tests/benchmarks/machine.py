"""Description of the machine and the code version for the measurements."""

import os
import platform
import re
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from archiver_assets_tests.benchmarks.places import ROOT
from archiver_assets_tests.benchmarks.site import Site


def describe_machine(site: Site) -> Mapping[str, str]:
    """Return facts about the machine and the code as text, by name."""
    with site.connect() as connection:
        (version,) = connection.execute("SHOW server_version").fetchone() or ("unknown",)
    return {
        "cores": str(os.cpu_count()),
        "processor": _first(r"^model name\s*: (.+)$", "/proc/cpuinfo") or platform.machine(),
        "memory": _first(r"^MemTotal:\s*(\d+ kB)$", "/proc/meminfo") or "unknown",
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "postgresql": f"{version}, {'fsync on' if site.workload.durable else 'fsync off'}",
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "commit": _commit(),
    }


def described(machine: Mapping[str, str]) -> str:
    """Return the facts as one line."""
    return ", ".join(f"{name} {fact}" for name, fact in machine.items())


def _first(pattern: str, path: str) -> str:
    file = Path(path)
    found = re.search(pattern, file.read_text(), re.MULTILINE) if file.exists() else None
    return found.group(1) if found else ""


def _commit() -> str:
    """Return the commit, with a plus sign if files differ from it; `unknown` outside a repository."""
    try:
        commit, changes = (_git(*arguments) for arguments in (["rev-parse", "--short", "HEAD"], ["status", "--porcelain", "-uno"]))
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit}+" if changes else commit


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=True, text=True).stdout.strip()
