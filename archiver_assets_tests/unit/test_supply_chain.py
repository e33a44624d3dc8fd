"""What the project is made of comes by hash, from one index, and under licences that somebody has read.

What belongs here: the lock files, the SBOM and its licences, and the workflow that looks at them. What does not: the image
(`test_image.py`); known vulnerabilities, which only the package index knows (`make audit`).
"""

import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from archiver_assets_tests.unit.production_files import ROOT

LOCK: dict[str, Any] = tomllib.loads((ROOT / "uv.lock").read_text())
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def test_every_file_of_every_locked_package_has_its_hash_and_only_the_project_itself_is_no_package_of_the_index() -> None:
    assert [package["name"] for package in LOCK["package"] if "registry" not in package["source"]] == ["audit-archiver"]
    assert len({package["source"].get("registry") for package in LOCK["package"]} - {None}) == 1
    files = [
        file for package in LOCK["package"] for file in [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]
    ]
    assert len(files) > len(LOCK["package"])
    assert [file["url"] for file in files if not re.fullmatch(r"sha256:[0-9a-f]{64}", file.get("hash", ""))] == []


@pytest.mark.parametrize("name", ["uv.txt", "archiver_assets_tests/postgres.txt"])
def test_what_is_no_dependency_is_pinned_by_hash_too(name: str) -> None:
    text = "".join(line for line in (ROOT / name).read_text().splitlines(keepends=True) if not line.startswith("#"))
    requirements = re.split(r"\n(?=\S)", text.strip())
    assert [each for each in requirements if not re.fullmatch(r"[\w-]+==[\d.]+( \\\n +--hash=sha256:[0-9a-f]{64})+", each)] == []
    assert requirements


def test_each_install_of_the_makefile_asks_for_hashes_or_for_the_lock_file() -> None:
    recipes = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    installs = re.findall(r"(?:pip install|\$\(UV\) sync).*", recipes)
    assert installs
    assert [each for each in installs if "--require-hashes" not in each and "--frozen" not in each] == []


def test_a_release_is_listed_with_its_hashes_and_licences(tmp_path: Path) -> None:
    made = subprocess.run(["make", "sbom", f"DIST={tmp_path}"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (made.returncode, made.stderr) == (0, "")
    found = json.loads((tmp_path / "sbom.cdx.json").read_text())
    listed = {component["name"] for component in found["components"]}
    assert listed >= {"dagster", "dagster-k8s", "psycopg", "pyarrow", "duckdb"}
    assert listed.isdisjoint({"pytest", "ruff", "pip-audit"})
    assert all(each["hashes"] for component in found["components"] for each in component["externalReferences"])
    licences = (tmp_path / "licences.md").read_text()
    assert re.search(r"\| psycopg +\| \S+ +\| LGPL-3.0-only +\|", licences)


def test_a_licence_that_nobody_allowed_is_an_error() -> None:
    allowed = "MIT;MIT License;Apache-2.0"
    command = [str(ROOT / ".venv" / "bin" / "pip-licenses"), "--packages", "psycopg", "--allow-only", allowed]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert made.returncode == 1
    assert "LGPL-3.0-only not in allow-only licenses" in made.stderr


def test_the_workflow_asks_for_all_of_it_every_week_and_for_every_change() -> None:
    loaded = yaml.load((ROOT / ".github" / "workflows" / "supply-chain.yml").read_text(), Loader=yaml.BaseLoader)  # noqa: S506 -- makes nothing but text
    assert {"push", "pull_request", "schedule"} == set(loaded["on"])
    [job] = loaded["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == ["make sbom", "make audit"]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_may_only_read_and_run_what_anybody_can_run(workflow: Path) -> None:
    loaded = yaml.safe_load(workflow.read_text())
    assert loaded["permissions"] == {"contents": "read"}
    assert all("permissions" not in job for job in loaded["jobs"].values())
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    commands = [step["run"] for job in loaded["jobs"].values() for step in job["steps"] if step.get("run", "").startswith("make ")]
    assert {target for command in commands for target in command.split()[1:]} <= targets
