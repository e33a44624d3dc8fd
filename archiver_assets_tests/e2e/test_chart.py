"""The official Dagster chart with our values, rendered by Helm: what the values' own tests cannot see.

What belongs here: what the templates make of our values. It needs the chart, which is not ours to ship: DAGSTER_CHART names its folder or
archive, of the version of dagster in pyproject.toml. What does not: the values (`unit/test_chart_values.py`).
"""

import os
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from archiver_assets_tests.unit.production_files import DAGSTER, HELM, INGRESS, NODES, ROOT, at, loaded, valid_for_kubernetes

CHART = os.environ.get("DAGSTER_CHART", "")
HELM_COMMAND = shutil.which("helm")

pytestmark = pytest.mark.skipif(
    not CHART or HELM_COMMAND is None, reason="no helm, or no chart: DAGSTER_CHART names the folder or the archive of the Dagster chart"
)

Rendered = dict[tuple[str, str], dict[str, Any]]


def rendered(*values: object) -> Rendered:
    """Return what Helm makes of the chart, by kind and name. Its schema of values refers to the internet, so Helm is not to check it."""
    files = [f"--values={file}" for file in values]
    versions = "--api-versions=networking.k8s.io/v1/Ingress"
    command = [
        HELM_COMMAND or "helm",
        "template",
        "dagster",
        CHART,
        "--namespace=audit-archiver",
        "--skip-schema-validation",
        versions,
        *files,
    ]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    documents = [each for each in yaml.safe_load_all(result.stdout) if each]
    return {(each["kind"], each["metadata"]["name"]): each for each in documents}


@pytest.fixture(scope="module")
def objects() -> Rendered:
    return rendered(HELM)


def test_kubernetes_knows_everything_that_is_rendered() -> None:
    assert all(valid_for_kubernetes(each) for each in rendered(HELM, INGRESS, NODES).values())


def test_no_object_holds_a_password_and_no_account_is_made(objects: Rendered) -> None:
    kinds = {kind for kind, _ in objects}
    assert "Secret" not in kinds
    assert "ServiceAccount" not in kinds
    [binding] = [each for (kind, _), each in objects.items() if kind == "RoleBinding"]
    assert [subject["name"] for subject in binding["subjects"]] == ["dagster-sa"]


def test_the_instance_of_the_chart_launches_runs_as_dagster_yaml_does(objects: Rendered) -> None:
    instance = yaml.safe_load(objects["ConfigMap", "dagster-instance"]["data"]["dagster.yaml"])
    ours = loaded(DAGSTER)
    assert instance["run_launcher"]["config"]["run_k8s_config"] == at(ours, "run_launcher.config.run_k8s_config") | {
        "pod_spec_config": at(ours, "run_launcher.config.run_k8s_config.pod_spec_config") | {"serviceAccountName": "archiver-sa"}
    }
    for section in ("run_coordinator", "retention", "python_logs", "telemetry", "nux"):
        assert instance[section].items() >= ours[section].items()


def test_the_ingress_leads_to_both_webservers() -> None:
    objects = rendered(HELM, INGRESS)
    [ingress] = [each for (kind, _), each in objects.items() if kind == "Ingress"]
    services = [path["backend"]["service"]["name"] for rule in ingress["spec"]["rules"] for path in rule["http"]["paths"]]
    assert services == ["dagster-webserver", "dagster-webserver-read-only"]
    assert {("Service", name) for name in services} <= objects.keys()
    assert {rule["host"] for rule in ingress["spec"]["rules"]} == {host for tls in ingress["spec"]["tls"] for host in tls["hosts"]}
