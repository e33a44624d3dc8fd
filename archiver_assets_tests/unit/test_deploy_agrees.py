"""deploy/, helm-values.yaml and dagster.yaml mean the same things by the same names."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from archiver_assets_tests.kustomize import CRONJOB, DEPLOY, JOBS, OVERLAYS, ROOT, Manifest, documents, identity, pod_templates, rendered

overlays = pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.name)


@pytest.fixture
def values() -> Any:  # noqa: ANN401 -- a document
    return loaded(ROOT / "helm-values.yaml")


@pytest.fixture
def launcher(values: Any) -> Any:  # noqa: ANN401 -- a part of a document
    return values["runLauncher"]["config"]["k8sRunLauncher"]


def test_the_accounts_are_made_by_deploy_and_used_by_the_chart(values: Any, launcher: Any) -> None:  # noqa: ANN401
    accounts = [values["serviceAccount"], values["dagster-user-deployments"]["serviceAccount"]]
    assert accounts == [{"create": False, "name": "dagster-sa"}, {"create": False, "name": "archiver-sa"}]
    assert launcher["runK8sConfig"]["podSpecConfig"]["serviceAccountName"] == "archiver-sa"
    assert loaded(ROOT / "dagster.yaml")["run_launcher"]["config"]["service_account_name"] == "archiver-sa"
    made = {identity(each)[1] for each in documents(DEPLOY / "base" / "service-accounts.yaml")}
    assert made == {account["name"] for account in accounts}


@overlays
def test_whatever_the_chart_refers_to_is_made_by_the_overlay(overlay: Path, values: Any, launcher: Any) -> None:  # noqa: ANN401
    made = {identity(each) for each in rendered(overlay)}
    secrets = {name for kind, name in made if kind in {"Secret", "ExternalSecret"}}
    own = loaded(overlay / "helm-values.yaml")
    [deployment] = values["dagster-user-deployments"]["deployments"]
    named = {each["name"] for part in (deployment, launcher) for each in part["envSecrets"]}
    named |= {each["name"] for pod in ("dagsterWebserver", "dagsterDaemon") for each in own.get(pod, {}).get("envSecrets", [])}
    assert named | {values["global"]["postgresqlSecretName"]} == secrets
    for part in (deployment, launcher, values["dagsterWebserver"], values["dagsterDaemon"]):
        [config_map] = [volume["configMap"]["name"] for volume in part["volumes"] if "configMap" in volume]
        assert ("ConfigMap", config_map) in made


@overlays
def test_the_logs_of_runs_go_where_the_config_of_the_store_is_right_for(overlay: Path) -> None:
    own = loaded(overlay / "helm-values.yaml")["computeLogManager"]["config"]["s3ComputeLogManager"]
    s3 = loaded(overlay / "config.yaml")["s3"]
    assert (own.get("endpointUrl"), own["region"]) == (s3["endpoint"], s3["region"])
    assert own["bucket"] != s3["bucket"]
    assert f"arn:aws:s3:::{own['bucket']}/" in (DEPLOY / "iam" / "compute-logs-write.json").read_text()


@pytest.mark.parametrize("file", [*JOBS, CRONJOB], ids=lambda path: path.stem)
def test_a_pod_made_by_hand_is_like_that_of_a_run(file: Path, launcher: Any, values: Any) -> None:  # noqa: ANN401
    [template] = pod_templates(documents(file)[0])
    pod, run = template["spec"], launcher["runK8sConfig"]
    [container] = pod["containers"]
    assert pod["securityContext"] == run["podSpecConfig"]["securityContext"]
    assert container["securityContext"] == run["containerConfig"]["securityContext"]
    assert {"requests": cores(container["resources"]["requests"]), "limits": cores(container["resources"]["limits"])} == {
        kind: cores(run["containerConfig"]["resources"][kind]) for kind in ("requests", "limits")
    }
    assert all(volume in pod["volumes"] for volume in launcher["volumes"])
    assert all(mount in container["volumeMounts"] for mount in launcher["volumeMounts"])
    assert launcher["labels"].items() <= template["metadata"]["labels"].items()
    [deployment] = values["dagster-user-deployments"]["deployments"]
    assert container["image"] == f"{deployment['image']['repository']}:{deployment['image']['tag']}"


def test_the_policies_open_the_ports_that_the_chart_serves(values: Any) -> None:  # noqa: ANN401
    policies = {identity(each)[1]: each["spec"] for each in documents(DEPLOY / "base" / "network-policies.yaml")}
    [deployment] = values["dagster-user-deployments"]["deployments"]
    assert ports(policies["code-server"]["ingress"]) == ports(policies["to-code-server"]["egress"]) == {deployment["port"]}
    assert ports(policies["webserver"]["ingress"]) == {values["dagsterWebserver"]["service"]["port"]}


def test_the_daemon_looks_for_pods_where_the_namespace_is() -> None:
    [namespace] = documents(DEPLOY / "base" / "namespace.yaml")
    for file in JOBS:
        assert documents(file)[0]["metadata"]["namespace"] == namespace["metadata"]["name"]
    assert all(loaded(overlay / "kustomization.yaml")["namespace"] == namespace["metadata"]["name"] for overlay in OVERLAYS)


def loaded(file: Path) -> Any:  # noqa: ANN401 -- a document
    return yaml.safe_load(file.read_text())


def ports(rules: list[Manifest]) -> set[int]:
    return {each["port"] for rule in rules for each in rule["ports"]}


def cores(quantities: dict[str, str]) -> dict[str, str]:
    """Return quantities with CPUs written in one way: `2000m` and `2` are the same."""
    cpu = quantities["cpu"]
    return {**quantities, "cpu": cpu if cpu.endswith("m") else f"{int(cpu) * 1000}m"}
