"""The values for the official Dagster chart: that they say what dagster.yaml says, and what the chart alone has.

What belongs here: helm-values.yaml and the files that go over it, as far as they can be read without the chart. What does not: what the
templates of the chart make of them (`e2e/test_chart.py`).
"""

import re
import tomllib
from pathlib import Path

import pytest

from archiver_assets_tests.unit.dagster_internals import CodeLocation, code_locations, launched_job, option_of
from archiver_assets_tests.unit.production_files import (
    CONFIG,
    COORDINATOR,
    DAGSTER,
    ENVIRONMENT,
    EVERY_FILE,
    HELM,
    INGRESS,
    LAUNCHER,
    NODES,
    ROOT,
    at,
    camelized,
    launcher_of_dagster_yaml,
    launcher_of_the_chart,
    leaves,
    loaded,
    merged,
    take_variables,
    valid_for_kubernetes,
)

ALIKE = {
    "storage.postgres.postgres_db.scheme": "postgresql.postgresqlScheme",
    "storage.postgres.postgres_db.params": "postgresql.postgresqlParams",
    "run_launcher.config.image_pull_policy": f"{LAUNCHER}.imagePullPolicy",
    "run_launcher.config.postgres_password_secret": "global.postgresqlSecretName",
    "run_launcher.config.labels": f"{LAUNCHER}.labels",
    "run_launcher.config.volumes": f"{LAUNCHER}.volumes",
    "run_launcher.config.volume_mounts": f"{LAUNCHER}.volumeMounts",
    "run_launcher.config.fail_pod_on_run_failure": f"{LAUNCHER}.failPodOnRunFailure",
    "run_launcher.config.service_account_name": f"{LAUNCHER}.runK8sConfig.podSpecConfig.serviceAccountName",
    "run_launcher.config.run_k8s_config.container_config": f"{LAUNCHER}.runK8sConfig.containerConfig",
    "run_launcher.config.run_k8s_config.pod_template_spec_metadata": f"{LAUNCHER}.runK8sConfig.podTemplateSpecMetadata",
    "run_launcher.config.run_k8s_config.pod_spec_config.restartPolicy": f"{LAUNCHER}.runK8sConfig.podSpecConfig.restartPolicy",
    "run_launcher.config.run_k8s_config.pod_spec_config.securityContext": f"{LAUNCHER}.runK8sConfig.podSpecConfig.securityContext",
    "run_launcher.config.run_k8s_config.job_spec_config": f"{LAUNCHER}.runK8sConfig.jobSpecConfig",
    "run_coordinator.module": f"{COORDINATOR}.module",
    "run_coordinator.class": f"{COORDINATOR}.class",
    "concurrency.runs": "concurrency.runs",
    "run_monitoring": "dagsterDaemon.runMonitoring",
    "run_retries": "dagsterDaemon.runRetries",
    "retention.schedule": "retention.schedule",
    "retention.sensor": "retention.sensor",
    "compute_logs.class": "computeLogManager.type",
    "compute_logs.config.prefix": "computeLogManager.config.s3ComputeLogManager.prefix",
    "compute_logs.config.skip_empty_files": "computeLogManager.config.s3ComputeLogManager.skipEmptyFiles",
    "compute_logs.config.upload_interval": "computeLogManager.config.s3ComputeLogManager.uploadInterval",
    "python_logs": "pythonLogs",
    "telemetry": "telemetry",
    "nux": "additionalInstanceConfig.nux",
}
DEFAULTS_OF_THE_CHART = {"schedules", "sensors"}
"""Sections of dagster.yaml that say what the chart says when its values name none."""
NAMES_OF_SECRETS = {"run_launcher.config.postgres_password_secret"}
"""Keys that look like secrets and hold the name of one."""
ADDRESSES = {"ingress.annotations.nginx.ingress.kubernetes.io/auth-url", "ingress.annotations.nginx.ingress.kubernetes.io/auth-signin"}
"""Keys that hold the example of a URL without credentials."""


def test_the_chart_gives_the_run_coordinator_the_same_config() -> None:
    values = loaded(HELM)
    assert at(values, "dagsterDaemon.runCoordinator.enabled") is True
    assert at(values, "dagsterDaemon.runCoordinator.type") == "CustomRunCoordinator"
    assert at(values, f"{COORDINATOR}.config") == at(loaded(DAGSTER), "run_coordinator.config")


@pytest.mark.parametrize("pod", ["dagsterDaemon", "dagsterWebserver"])
def test_the_queue_finds_the_archivers_config_in_the_pods_that_use_it(pod: str) -> None:
    values = loaded(HELM)
    [deployment] = at(values, "dagster-user-deployments.deployments")
    assert at(values, f"{pod}.env") == [CONFIG] == [each for each in deployment["env"] if each["name"] == "ARCHIVER_CONFIG"]
    for key in ("volumes", "volumeMounts"):
        [mounted] = [each for each in deployment[key] if each["name"] == "archiver-config"]
        assert mounted in at(values, f"{pod}.{key}")


@pytest.mark.parametrize("file", EVERY_FILE, ids=lambda file: file.name)
def test_no_file_holds_a_secret(file: Path) -> None:
    literal = {path: value for path, value in leaves(loaded(file)) if isinstance(value, str)}
    secret = re.compile(r"(password|passwd|token|credentials?|access_?key(_?id)?|secret|url)$", re.IGNORECASE)
    assert [path for path in literal if secret.search(path) and path not in NAMES_OF_SECRETS | ADDRESSES] == []
    assert [path for path, value in literal.items() if re.search(r"://|\bAKIA|-----BEGIN", value) and path not in ADDRESSES] == []
    assert all(re.match(r"https://auth\.example\.com/", literal[path]) for path in ADDRESSES & literal.keys())
    assert all(path.endswith(".env") for path, value in literal.items() if value == "DAGSTER_PG_PASSWORD")


@pytest.mark.parametrize(("ours", "of_the_chart"), ALIKE.items(), ids=ALIKE)
def test_the_charts_values_agree_with_the_instance(ours: str, of_the_chart: str) -> None:
    assert at(loaded(HELM), of_the_chart) == camelized(at(loaded(DAGSTER), ours))


def test_no_section_of_the_instance_is_left_out_of_the_comparison() -> None:
    assert {path.split(".")[0] for path in ALIKE} | DEFAULTS_OF_THE_CHART == set(loaded(DAGSTER))


def test_the_chart_launches_the_same_job(environment: dict[str, str], tmp_path: Path) -> None:
    ours = launched_job(launcher_of_dagster_yaml(), tmp_path, environment["DAGSTER_CURRENT_IMAGE"])
    of_the_chart = launched_job(launcher_of_the_chart(loaded(HELM)), tmp_path, environment["DAGSTER_CURRENT_IMAGE"])
    our_variables, its_variables = (take_variables(job) for job in (ours, of_the_chart))
    assert of_the_chart == ours
    # The chart writes the instance's variables out, except for the password.
    assert its_variables.items() <= our_variables.items()
    assert our_variables.keys() - its_variables.keys() == ENVIRONMENT.keys() - {"DAGSTER_PG_PASSWORD"}


def test_the_charts_code_location_is_that_of_the_workspace() -> None:
    [deployment] = at(loaded(HELM), "dagster-user-deployments.deployments")
    [location] = code_locations(ROOT / "workspace.yaml")
    assert location == CodeLocation(name="archiver", module="archiver_assets.definitions", attribute="defs")
    assert deployment["name"] == location.name
    assert deployment["codeServerArgs"] == ["-m", location.module, "-a", location.attribute]


def test_code_server_and_runs_share_config_secrets_and_account() -> None:
    values = loaded(HELM)
    [deployment] = at(values, "dagster-user-deployments.deployments")
    launcher = at(values, LAUNCHER)
    assert all(deployment[key] == launcher[key] for key in ("envSecrets", "volumes", "volumeMounts"))
    assert f"{CONFIG['name']}={CONFIG['value']}" in launcher["envVars"]
    assert at(values, "dagster-user-deployments.serviceAccount.name") == at(launcher, "runK8sConfig.podSpecConfig.serviceAccountName")


def test_the_accounts_are_those_that_are_made_beside_the_chart() -> None:
    values = loaded(HELM)
    assert at(values, "serviceAccount") == {"create": False, "name": "dagster-sa"}
    assert at(values, "dagster-user-deployments.serviceAccount") == {"create": False, "name": "archiver-sa"}
    # It would be the account of both, and the chart would bind the right to make Jobs to it.
    assert at(values, "global.serviceAccountName") == ""


def test_all_pods_of_ours_have_the_label_that_they_are_found_by() -> None:
    values = loaded(HELM)
    [deployment] = at(values, "dagster-user-deployments.deployments")
    everywhere = [deployment, *(at(values, path) for path in ("dagsterWebserver", "dagsterDaemon", LAUNCHER))]
    assert [each["labels"] for each in everywhere] == [{"app": "audit-archiver"}] * 4


def test_the_processes_that_do_not_run_steps_log_json() -> None:
    values = loaded(HELM)
    [deployment] = at(values, "dagster-user-deployments.deployments")
    environment = {variable["name"]: variable["value"] for variable in deployment["env"]}
    server, its_child = ("code-server", "start"), ("api", "grpc")
    assert [option_of(environment, *command, option="log_format") for command in (server, its_child)] == ["json", "json"]
    assert [option_of({}, *command, option="log_format") for command in (server, its_child)] == [None, None]
    assert at(values, "dagsterDaemon.logFormat") == at(values, "dagsterWebserver.logFormat") == "json"
    assert at(values, "dagsterWebserver.logLevel") == "warning"


def test_the_ui_behind_a_proxy_believes_only_the_headers_that_the_proxy_sets() -> None:
    values = merged(loaded(HELM), loaded(INGRESS))
    annotations = at(values, "ingress.annotations")
    headers = at(values, f"{COORDINATOR}.config.user_headers")
    assert annotations["nginx.ingress.kubernetes.io/auth-response-headers"].split(",") == headers
    assert annotations["nginx.ingress.kubernetes.io/auth-url"].startswith("https://")
    assert at(values, f"{COORDINATOR}.class") == "ArchiverRunCoordinator"
    assert at(values, "ingress.enabled") is at(values, "dagsterWebserver.enableReadOnly") is True
    assert at(values, "ingress.dagsterWebserver.host") != at(values, "ingress.readOnlyDagsterWebserver.host")


def test_the_ui_is_at_no_address_unless_it_is_asked_for() -> None:
    assert "ingress" not in loaded(HELM)


def test_runs_can_be_kept_on_nodes_of_their_own(environment: dict[str, str], tmp_path: Path) -> None:
    job = launched_job(launcher_of_the_chart(merged(loaded(HELM), loaded(NODES))), tmp_path, environment["DAGSTER_CURRENT_IMAGE"])
    assert valid_for_kubernetes(job)
    pod = job["spec"]["template"]["spec"]
    [term] = at(pod, "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms")
    assert term["matchExpressions"] == [{"key": "workload-type", "operator": "In", "values": ["batch-processing"]}]
    assert (pod["tolerations"][0]["key"], pod["tolerations"][0]["value"]) == ("workload-type", "batch-processing")
    assert pod["serviceAccountName"] == "archiver-sa"


def test_the_image_is_tagged_with_the_version_of_the_package() -> None:
    values = loaded(HELM)
    [deployment] = at(values, "dagster-user-deployments.deployments")
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert deployment["image"] == {"repository": "audit-archiver", "tag": version, "pullPolicy": "IfNotPresent"}
    assert at(values, "dagsterWebserver.image") == at(values, "dagsterDaemon.image") == deployment["image"]
