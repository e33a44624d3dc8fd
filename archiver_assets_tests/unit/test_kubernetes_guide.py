"""What docs/how-to/kubernetes.md names is there: files, versions, headings, lines of the doctor, command lines."""

import re
import shlex
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from archiver_assets_tests.kustomize import DEPLOY, OVERLAYS, ROOT, documents, identity, manifest_files

GUIDE = (ROOT / "docs" / "how-to" / "kubernetes.md").read_text()
COMMANDS = "\n".join(re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL)).replace("\\\n", " ")


def test_every_file_that_the_guide_names_is_there() -> None:
    named = set(re.findall(r"`(deploy/[\w./-]+)`", GUIDE)) | set(re.findall(r"\bdeploy/[\w./-]+[\w]", COMMANDS))
    assert len(named) > 20
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []
    policies = set(re.findall(r"`([\w-]+\.json)`", GUIDE))
    assert policies == {path.name for path in (DEPLOY / "iam").glob("*.json")}


def test_every_box_is_ticked_by_a_line_or_says_what_shows_it() -> None:
    boxes = re.findall(r"^- \[ \] \*(.+?):\*(.+?)(?=^- \[ \]|\n\n|\Z)", GUIDE, re.DOTALL | re.MULTILINE)
    assert len(boxes) >= 9  # as many as the guide of the command-line archiver has
    assert all("`" in text or "](" in text for _, text in boxes)


def test_the_chart_is_of_the_version_of_dagster() -> None:
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    [pinned] = [each.removeprefix("dagster==") for each in dependencies if each.startswith("dagster==")]
    assert set(re.findall(r"--version (\S+)", COMMANDS)) == {pinned}


def test_every_command_is_in_the_namespace_or_makes_what_names_it() -> None:
    lines = [shlex.split(line, comments=True) for line in COMMANDS.splitlines() if line.strip()]
    assert {line[0] for line in lines} == {"kubectl", "helm"}
    for line in lines:
        names_it = {"--namespace", "-k", "-f", "repo"} & set(line)
        assert names_it, line
        if "--values" in line:
            files = [after for option, after in pairwise(line) if option == "--values"]
            assert files[0] == "helm-values.yaml"  # the overlay's own come after it


def test_the_objects_that_the_guide_names_are_made() -> None:
    made = {identity(each)[1] for file in manifest_files() for each in documents(file)}
    made |= {"archiver-config"}  # by each overlay
    secrets, accounts = ("archiver-secrets", "dagster-postgresql", "dagster-s3"), ("archiver-sa", "dagster-sa", "external-secrets-sa")
    for name in (*secrets, *accounts, "runs", "audit-archiver"):
        assert f"`{name}`" in GUIDE
        assert name in made
    for policy in re.findall(r"policy `([\w-]+)`", GUIDE):
        assert policy in made


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.name)
def test_the_values_of_an_overlay_only_change_what_the_common_ones_have(overlay: Path) -> None:
    """A key that is misspelt would be a new one, which the chart ignores."""
    common, own = (yaml.safe_load(path.read_text()) for path in (ROOT / "helm-values.yaml", overlay / "helm-values.yaml"))
    new = {path for path, _ in flat(own)} - {path for path, _ in flat(common)}
    assert new <= {
        "dagsterWebserver.envSecrets",
        "dagsterDaemon.envSecrets",
        "computeLogManager.config.s3ComputeLogManager.region",
        "computeLogManager.config.s3ComputeLogManager.endpointUrl",
    }


def flat(node: object, path: str = "") -> list[tuple[str, object]]:
    """Return what is no mapping, with its dotted path."""
    if not isinstance(node, dict):
        return [(path, node)]
    return [each for key, value in node.items() for each in flat(value, f"{path}.{key}".lstrip("."))]
