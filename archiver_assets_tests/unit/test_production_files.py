"""The files of production: dagster.yaml, workspace.yaml and helm-values.yaml, as Dagster reads them and as they agree with each other."""

import json
import os
import re
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from archiver_assets_tests.unit.config_files import SEED
from archiver_assets_tests.unit.dagster_internals import CheckedInstance, CodeLocation, check_instance, code_locations, launched_job

ROOT = Path(__file__).parents[2]
DAGSTER = ROOT / "dagster.yaml"
HELM = ROOT / "helm-values.yaml"

ENVIRONMENT = {
    "DAGSTER_PG_HOST": "dagster-db",
    "DAGSTER_PG_PORT": "5433",
    "DAGSTER_PG_DB": "dagster",
    "DAGSTER_PG_USERNAME": "keeper",
    "DAGSTER_PG_PASSWORD": "not a real one",
    "DAGSTER_JOB_NAMESPACE": "audit-archiver",
    "DAGSTER_CURRENT_IMAGE": "audit-archiver:test",
    "DAGSTER_COMPUTE_LOGS_BUCKET": "printed",
}

LAUNCHER = "runLauncher.config.k8sRunLauncher"
COORDINATOR = "dagsterDaemon.runCoordinator.config.customRunCoordinator"
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
EXPECTED_ASSETS = [f"production_db/public/audit_logs{step}" for step in ("", "/archive", "/purge", "/restore")]

LOAD_WITHOUT_NETWORK = """\
import sys

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        raise RuntimeError(f"{event} {arguments}")

sys.addaudithook(refuse)
import json
from archiver_assets.definitions import defs
print(json.dumps(sorted(key.to_user_string() for key in defs.resolve_all_asset_keys())))
"""


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    return ENVIRONMENT


@pytest.fixture
def instance(environment: dict[str, str]) -> CheckedInstance:
    assert environment
    return check_instance(ROOT)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A server that nobody should call."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        yield server


def test_every_class_of_the_instance_accepts_its_config(instance: CheckedInstance) -> None:
    assert instance.classes == {
        "storage": "DagsterPostgresStorage",
        "run_launcher": "K8sRunLauncher",
        "run_coordinator": "ArchiverRunCoordinator",
        "compute_logs": "S3ComputeLogManager",
    }


def test_dagster_keeps_its_records_in_the_postgres_of_the_environment(instance: CheckedInstance) -> None:
    assert instance.storage["postgres_db"] == {
        "scheme": "postgresql+psycopg2",
        "hostname": "dagster-db",
        "port": 5433,
        "db_name": "dagster",
        "username": "keeper",
        "password": "not a real one",
        "params": {"sslmode": "require"},
    }


def test_the_instance_limits_all_runs_and_leaves_the_limits_by_tag_to_the_run_coordinator(instance: CheckedInstance) -> None:
    """Limits by tag that stood here would replace those of the config: `e2e/test_queue.py` shows what these settings do."""
    assert instance.settings["concurrency"] == {"runs": {"max_concurrent_runs": 10}}
    assert "tag_concurrency_limits" not in instance.run_coordinator


def test_the_chart_gives_the_run_coordinator_the_same_config() -> None:
    values = loaded(HELM)
    assert at(values, "dagsterDaemon.runCoordinator.enabled") is True
    assert at(values, "dagsterDaemon.runCoordinator.type") == "CustomRunCoordinator"
    assert at(values, f"{COORDINATOR}.config") == at(loaded(DAGSTER), "run_coordinator.config")


@pytest.mark.parametrize("pod", ["dagsterDaemon", "dagsterWebserver"])
def test_the_queue_finds_the_archivers_config_in_the_pods_that_use_it(pod: str) -> None:
    values = loaded(HELM)
    [deployment] = at(values, "dagster-user-deployments.deployments")
    assert at(values, f"{pod}.env") == deployment["env"]
    for key in ("volumes", "volumeMounts"):
        [mounted] = [each for each in deployment[key] if each["name"] == "archiver-config"]
        assert mounted in at(values, f"{pod}.{key}")


def test_the_logger_of_the_lifecycle_is_among_those_that_dagster_manages(instance: CheckedInstance) -> None:
    from archiver_assets.lifecycle.task import log  # noqa: PLC0415 -- only this test needs the lifecycle

    assert instance.settings["python_logs"] == {"managed_python_loggers": [log.name], "python_log_level": "INFO"}


def test_no_run_is_tried_again_by_itself_and_nothing_is_sent_home(instance: CheckedInstance) -> None:
    assert instance.settings["run_retries"]["enabled"] is False
    assert instance.settings["run_monitoring"]["max_resume_run_attempts"] == 0
    assert instance.settings["telemetry"] == {"enabled": False}
    assert instance.settings["nux"] == {"enabled": False}


def test_a_run_becomes_a_job_within_the_guides_limits(environment: dict[str, str], tmp_path: Path) -> None:
    job = launched_job(launcher_of_dagster_yaml(), tmp_path)
    pod = job["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert {key: job["spec"][key] for key in ("backoffLimit", "activeDeadlineSeconds")} == {
        "backoffLimit": 0,
        "activeDeadlineSeconds": 86400,
    }
    assert (pod["serviceAccountName"], pod["restartPolicy"]) == ("archiver", "Never")
    assert container["resources"] == {"requests": {"cpu": "500m", "memory": "512Mi"}, "limits": {"cpu": "2000m", "memory": "2Gi"}}
    assert container["envFrom"] == [{"secretRef": {"name": "archiver-secrets"}}]
    assert container["image"] == environment["DAGSTER_CURRENT_IMAGE"]
    assert job["metadata"]["namespace"] == environment["DAGSTER_JOB_NAMESPACE"]


def test_a_run_finds_the_archivers_config_where_the_config_map_is_mounted(environment: dict[str, str], tmp_path: Path) -> None:
    assert environment
    pod = launched_job(launcher_of_dagster_yaml(), tmp_path)["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert variables_of(container)["ARCHIVER_CONFIG"] == "/etc/archiver/config.yaml"
    assert {"name": "archiver-config", "mountPath": "/etc/archiver", "readOnly": True} in container["volumeMounts"]
    assert {"name": "archiver-config", "configMap": {"name": "archiver-config"}} in pod["volumes"]


def test_a_run_has_every_variable_of_the_instance_and_no_password_in_plain_sight(environment: dict[str, str], tmp_path: Path) -> None:
    job = launched_job(launcher_of_dagster_yaml(), tmp_path)
    [container] = job["spec"]["template"]["spec"]["containers"]
    assert set(variables_named(loaded(DAGSTER))) <= set(variables_of(container))
    assert environment["DAGSTER_PG_PASSWORD"] not in json.dumps(job)
    assert {variable["name"] for variable in container["env"] if "valueFrom" in variable} == {"DAGSTER_PG_PASSWORD"}


def test_dagster_ends_a_run_before_kubernetes_kills_it() -> None:
    instance = loaded(DAGSTER)
    deadline = at(instance, "run_launcher.config.run_k8s_config.job_spec_config.activeDeadlineSeconds")
    assert at(instance, "run_monitoring.max_runtime_seconds") < deadline - at(instance, "run_monitoring.poll_interval_seconds")


def test_every_variable_of_the_instance_is_explained_above_it() -> None:
    explained = re.findall(r"^#   ([A-Z_]+)  +\S", DAGSTER.read_text(), re.MULTILINE)
    assert sorted(explained) == sorted(set(variables_named(loaded(DAGSTER)))) == sorted(ENVIRONMENT)


@pytest.mark.parametrize("file", [DAGSTER, HELM], ids=lambda file: file.name)
def test_no_file_holds_a_secret(file: Path) -> None:
    literal = {path: value for path, value in leaves(loaded(file)) if isinstance(value, str)}
    secret = re.compile(r"(password|passwd|token|credentials?|access_?key(_?id)?|secret|url)$", re.IGNORECASE)
    assert [path for path in literal if secret.search(path) and path not in NAMES_OF_SECRETS] == []
    assert [path for path, value in literal.items() if re.search(r"://|\bAKIA|-----BEGIN", value)] == []
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
    assert [f"{variable['name']}={variable['value']}" for variable in deployment["env"]] == launcher["envVars"]
    assert at(values, "dagster-user-deployments.serviceAccount.name") == at(launcher, "runK8sConfig.podSpecConfig.serviceAccountName")


def test_the_image_is_tagged_with_the_version_of_the_package() -> None:
    values = loaded(HELM)
    [deployment] = at(values, "dagster-user-deployments.deployments")
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert deployment["image"] == {"repository": "audit-archiver", "tag": version, "pullPolicy": "IfNotPresent"}
    assert at(values, "dagsterWebserver.image") == at(values, "dagsterDaemon.image") == deployment["image"]


def test_the_code_location_loads_in_a_fresh_interpreter_without_network_or_password(tmp_path: Path) -> None:
    assert load_in_a_fresh_interpreter(tmp_path, SEED) == EXPECTED_ASSETS


def test_loading_the_code_location_calls_neither_the_database_nor_the_store(tmp_path: Path, listener: socket.socket) -> None:
    # libpq opens its sockets without Python, so that only the server's side can tell.
    port = listener.getsockname()[1]
    reachable = SEED.replace("host: db.example.com", "host: 127.0.0.1").replace("port: 5432", f"port: {port}")
    reachable = reachable.replace("endpoint: null", f"endpoint: http://127.0.0.1:{port}")
    assert reachable.count(str(port)) == 2
    assert load_in_a_fresh_interpreter(tmp_path, reachable, "DB_PASSWORD") == EXPECTED_ASSETS
    with pytest.raises(BlockingIOError):
        listener.accept()


def load_in_a_fresh_interpreter(folder: Path, config: str, *variables: str) -> list[str]:
    """Load the code location as `python -m` would, from a folder that holds nothing but its config; return the keys of its assets."""
    path = folder / "config.yaml"
    path.write_text(config)
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    environ = kept | {"ARCHIVER_CONFIG": str(path), "PYTHONDONTWRITEBYTECODE": "1"} | dict.fromkeys(variables, "not a real one")
    command = [sys.executable, "-c", LOAD_WITHOUT_NETWORK]
    result = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    keys: list[str] = json.loads(result.stdout)
    return keys


def loaded(file: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(file.read_text())
    return document


def at(document: Any, path: str) -> Any:  # noqa: ANN401 -- a part of a document of any shape
    for key in path.split("."):
        document = document[key]
    return document


def leaves(node: Any, path: str = "") -> Iterator[tuple[str, object]]:  # noqa: ANN401 -- as above
    """Yield each scalar with its dotted path; the items of a list share the path of the list."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from leaves(value, f"{path}.{key}".lstrip("."))
    elif isinstance(node, list):
        for item in node:
            yield from leaves(item, path)
    else:
        yield path, node


def variables_named(document: Mapping[str, Any]) -> list[str]:
    """Return the X of every `{env: X}`."""
    return [str(value) for path, value in leaves(document) if path.endswith(".env")]


def camelized(node: Any) -> Any:  # noqa: ANN401 -- as above
    """Return the document with its keys as the chart writes them."""
    if isinstance(node, Mapping):
        return {re.sub(r"_([a-z0-9])", lambda match: match[1].upper(), key): camelized(value) for key, value in node.items()}
    return [camelized(item) for item in node] if isinstance(node, list) else node


def variables_of(container: Mapping[str, Any]) -> dict[str, str]:
    return {variable["name"]: variable.get("value", "") for variable in container["env"]}


def take_variables(job: Mapping[str, Any]) -> dict[str, str]:
    """Remove the variables from the job's only container and return them."""
    [container] = job["spec"]["template"]["spec"]["containers"]
    variables = variables_of(container)
    del container["env"]
    return variables


def launcher_of_dagster_yaml() -> dict[str, Any]:
    config: dict[str, Any] = at(loaded(DAGSTER), "run_launcher.config")
    return config


def launcher_of_the_chart(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the launcher's config that the chart's templates write from these values, as far as they name it."""
    launcher = at(values, LAUNCHER)
    return {
        # The namespace of the release, and the account of the daemon.
        "job_namespace": ENVIRONMENT["DAGSTER_JOB_NAMESPACE"],
        "service_account_name": at(values, "serviceAccount.name"),
        "instance_config_map": "dagster-instance",
        "postgres_password_secret": at(values, "global.postgresqlSecretName"),
        "image_pull_policy": launcher["imagePullPolicy"],
        "env_vars": launcher["envVars"],
        "env_secrets": [secret["name"] for secret in launcher["envSecrets"]],
        "labels": launcher["labels"],
        "volumes": launcher["volumes"],
        "volume_mounts": launcher["volumeMounts"],
        "fail_pod_on_run_failure": launcher["failPodOnRunFailure"],
        "run_k8s_config": {
            "container_config": launcher["runK8sConfig"]["containerConfig"],
            "pod_spec_config": launcher["runK8sConfig"]["podSpecConfig"],
            "job_spec_config": launcher["runK8sConfig"]["jobSpecConfig"],
        },
    }
