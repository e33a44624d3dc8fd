"""What docs/how-to/tls-and-identity.md says is so: valid configs, a file of authorities that reaches every pod, hints for its errors."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from archiver_assets.config import load_config
from archiver_assets.source.transport import failure_of
from archiver_assets_tests.kustomize import DEPLOY, ROOT

GUIDE = (ROOT / "docs" / "how-to" / "tls-and-identity.md").read_text()
CONFIGS = re.findall(r"```yaml\n(databases:\n.*?)```", GUIDE, re.DOTALL)
TABLES = "    tables: [{name: log, timestamp_column: at, primary_key: id, retention_days: 30}]\n"
FOLDER = {"name": "archiver-config", "mountPath": "/etc/archiver", "readOnly": True}


@pytest.mark.parametrize(("number", "auth"), [(0, "password"), (1, "aws_iam")])
def test_its_configs_are_valid_and_prove_the_server(tmp_path: Path, number: int, auth: str) -> None:
    database = CONFIGS[number] + ("" if auth == "aws_iam" else "    user: archiver\n    password_env: PW\n")
    (tmp_path / "config.yaml").write_text(f'version: "2.0"\ns3: {{bucket: archives}}\n{database}{TABLES}')
    (loaded,) = load_config(tmp_path / "config.yaml", {}).databases
    assert (loaded.auth, loaded.tls_mode) == (auth, "verify-full")


def test_the_folder_of_the_config_is_mounted_whole_wherever_there_is_one() -> None:
    """So that a file of authorities in the same ConfigMap is beside it."""
    files = [ROOT / "helm-values.yaml", *DEPLOY.glob("jobs/*.yaml"), DEPLOY / "components" / "cronjob" / "cronjob.yaml"]
    for file in [*files, DEPLOY / "monitoring" / "deployment.yaml"]:
        mounted = [each for document in yaml.safe_load_all(file.read_text()) for each in named("archiver-config", document)]
        assert len(mounted) >= 2, file
        assert all(each in ({"name": "archiver-config", "configMap": {"name": "archiver-config"}}, FOLDER) for each in mounted), file


def named(name: str, value: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - YAML
    """Yield the mappings of volumes and mounts with this name, at any depth."""
    if isinstance(value, dict):
        if value.get("name") == name and value.keys() & {"configMap", "mountPath"}:
            yield value
        for each in value.values():
            yield from named(name, each)
    elif isinstance(value, list):
        for each in value:
            yield from named(name, each)


def test_what_is_seen_has_a_next_step_of_its_own() -> None:
    (rows,) = re.findall(r"\| what is seen \| why \| what to do \|\n\|---\|---\|---\|\n((?:\|.*\n)+)", GUIDE)
    seen = re.findall(r"^\| `([^`]+)` \|", rows, re.MULTILINE)
    database = load_config(DEPLOY / "overlays" / "aws" / "config.yaml", {}).databases[0]
    assert len(seen) == 5
    general = failure_of(database, "connection refused").hint
    of_the_file = {"found: No such file or directory"}  # which is no error of libpq
    assert [text for text in seen if failure_of(database, text).hint == general] == list(of_the_file)
