"""The files of production, as they lie: dagster.yaml and the values of the chart, and what a launcher is by each of them.

What belongs here: reading them, and the schemas of Kubernetes. What does not: expectations, and what Dagster makes of them
(`dagster_internals.py`).
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

ROOT = Path(__file__).parents[2]
DAGSTER = ROOT / "dagster.yaml"
HELM = ROOT / "helm-values.yaml"
INGRESS = ROOT / "helm-values-ingress.yaml"
NODES = ROOT / "helm-values-nodes.yaml"
EVERY_FILE = (DAGSTER, HELM, INGRESS, NODES)

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
CONFIG = {"name": "ARCHIVER_CONFIG", "value": "/etc/archiver/config.yaml"}
VERSIONS = ("1.25", kubernetes_validate.latest_version())
"""The oldest version of Kubernetes that is held to, and the newest."""


def valid_for_kubernetes(manifest: Mapping[str, Any]) -> bool:
    """Tell whether the oldest and the newest Kubernetes know each field, and take its value. Raises for what they do not know or take."""
    for version in VERSIONS:
        kubernetes_validate.validate(manifest, version, strict=True)
    return True


def loaded(file: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(file.read_text())
    return document


def merged(values: Any, over: Any) -> Any:  # noqa: ANN401 -- a part of a document of any shape
    """Return values with those of a second file over them, as Helm does it."""
    if isinstance(values, Mapping) and isinstance(over, Mapping):
        return {**values, **{key: merged(values.get(key), value) for key, value in over.items()}}
    return over


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
            "pod_template_spec_metadata": launcher["runK8sConfig"]["podTemplateSpecMetadata"],
            "pod_spec_config": launcher["runK8sConfig"]["podSpecConfig"],
            "job_spec_config": launcher["runK8sConfig"]["jobSpecConfig"],
        },
    }
