"""The files of production as Dagster reads them: dagster.yaml, and the code location that workspace.yaml names."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from archiver_assets_tests.unit.config_files import SEED
from archiver_assets_tests.unit.dagster_internals import CheckedInstance, check_instance, launched_job
from archiver_assets_tests.unit.production_files import (
    DAGSTER,
    ENVIRONMENT,
    ROOT,
    at,
    launcher_of_dagster_yaml,
    loaded,
    valid_for_kubernetes,
    variables_named,
    variables_of,
)

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
    assert (pod["serviceAccountName"], pod["restartPolicy"]) == ("archiver-sa", "Never")
    assert container["resources"] == {"requests": {"cpu": "500m", "memory": "512Mi"}, "limits": {"cpu": "2000m", "memory": "2Gi"}}
    assert container["envFrom"] == [{"secretRef": {"name": "archiver-secrets"}}]
    assert container["image"] == environment["DAGSTER_CURRENT_IMAGE"]
    assert job["metadata"]["namespace"] == environment["DAGSTER_JOB_NAMESPACE"]
    assert valid_for_kubernetes(job)


def test_an_autoscaler_leaves_a_run_where_it_is(environment: dict[str, str], tmp_path: Path) -> None:
    assert environment
    annotations = launched_job(launcher_of_dagster_yaml(), tmp_path)["spec"]["template"]["metadata"]["annotations"]
    assert annotations == {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false", "karpenter.sh/do-not-disrupt": "true"}


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
