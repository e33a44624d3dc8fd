"""The wheel as it is installed: built once, put with the locked dependencies into a clean environment, and used from there.

What belongs here: what an installed package has to have. What does not: what its parts do, which the other tests say.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from archiver_assets_tests.unit.config_files import SEED

ROOT = Path(__file__).parents[2]
UV = shutil.which("uv", path=os.pathsep.join([str(ROOT / ".tools" / "bin"), os.environ.get("PATH", "")]))

pytestmark = pytest.mark.skipif(UV is None, reason="no uv: `make setup` brings it")

LOAD = """
import json, archiver_assets
from archiver_assets.definitions import defs
repository = defs.get_repository_def()
keys = sorted(key.to_user_string() for key in repository.asset_graph.get_all_asset_keys())
print(json.dumps([archiver_assets.__file__, keys, [each.name for each in repository.schedule_defs]]))
"""


def _uv(*arguments: str | Path) -> str:
    assert UV is not None
    environ = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT")}
    return subprocess.run([UV, *map(str, arguments)], cwd=ROOT, env=environ, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    _uv("build", "--quiet", "--wheel", "--out-dir", folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def scripts(wheel: Path) -> Iterator[Path]:
    """The folder of commands of an environment that has the wheel and what it depends on, and nothing of a developer's."""
    # Beside what uv installed before: from its cache on the same disk it links files, and copies none.
    with tempfile.TemporaryDirectory(prefix="wheel-", dir=sys.prefix) as folder:
        requirements, venv = Path(folder) / "requirements.txt", Path(folder) / "venv"
        _uv("export", "--quiet", "--frozen", "--no-dev", "--no-emit-project", "--output-file", requirements)
        _uv("venv", "--quiet", "--python", sys.executable, venv)
        _uv("pip", "install", "--quiet", "--python", venv / "bin" / "python", "--no-deps", "-r", requirements, wheel)
        yield venv / "bin"


def _run(*command: str | Path, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {"PATH": os.environ["PATH"], "HOME": str(cwd), **environ}
    return subprocess.run(list(map(str, command)), cwd=cwd, env=clean, check=False, capture_output=True, text=True, timeout=120)


def test_the_wheel_has_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        tops = {name.split("/")[0] for name in file.namelist()}
        assert "archiver_assets/py.typed" in file.namelist()
    assert {top for top in tops if not top.endswith(".dist-info")} == {"archiver_assets"}


def test_the_installed_command_answers(scripts: Path, tmp_path: Path) -> None:
    version = _run(scripts / "archiver", "--version", cwd=tmp_path)
    assert version.returncode == 0, version.stderr
    assert version.stdout.startswith("archiver, version ")


def test_the_installed_package_is_a_code_location(scripts: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(SEED)
    environ = {"ARCHIVER_CONFIG": "config.yaml", "DAGSTER_DISABLE_TELEMETRY": "1"}
    loaded = _run(scripts / "python", "-I", "-c", LOAD, cwd=tmp_path, **environ)
    assert loaded.returncode == 0, loaded.stderr
    place, keys, schedules = json.loads(loaded.stdout)
    assert Path(place).is_relative_to(scripts.parent)
    assert "production_db/public/audit_logs/archive" in keys
    assert "production_db__public__audit_logs__schedule" in schedules
