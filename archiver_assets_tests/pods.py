"""The instance of dagster.yaml, whose runs are pods of the local cluster.

What belongs here: that instance and its variables. What does not: the cluster (`local_cluster.py`), and expectations.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from archiver_assets_tests.unit.dagster_internals import NO_CLUSTER

SHIPPED = yaml.safe_load((Path(__file__).parents[1] / "dagster.yaml").read_text())


def pod_instance(folder: Path, *, storage: Mapping[str, Any] | None = None, **monitoring: int) -> str:
    """Return dagster.yaml with the local cluster in place of Kubernetes, and Dagster's records in DAGSTER_HOME, or in `storage`."""
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(json.dumps(NO_CLUSTER))
    outside = {"load_incluster_config": False, "kubeconfig_file": str(kubeconfig)}
    launcher = {"module": "archiver_assets_tests.local_cluster", "class": "LocalClusterLauncher"}
    coordinator = SHIPPED["run_coordinator"]
    return json.dumps(
        {
            **{name: SHIPPED[name] for name in ("concurrency", "run_retries", "telemetry")},
            # Not in threads: a storage in memory is for one.
            "run_coordinator": {**coordinator, "config": {**coordinator["config"], "dequeue_use_threads": False}},
            "run_monitoring": {**SHIPPED["run_monitoring"], **monitoring},
            "run_launcher": {**launcher, "config": {**SHIPPED["run_launcher"]["config"], **outside}},
            **(storage or {}),
        }
    )


def pod_variables() -> dict[str, str]:
    """Return the variables that the daemon has in Kubernetes for its launcher."""
    named = [each for each in SHIPPED["run_launcher"]["config"]["env_vars"] if "=" not in each]
    return {**dict.fromkeys(named, "-"), "DAGSTER_JOB_NAMESPACE": "audit-archiver"}
