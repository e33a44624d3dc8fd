"""What Dagster and its Kubernetes library make of our files, by their own code.

What belongs here: the only imports of private API for that, so that an upgrade of Dagster breaks in one place. What does not: expectations.

Nothing connects: classes are asked to check their config, and only the launcher is made, with a cluster at an address where none is.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import dagster as dg
import pytest
import yaml
from dagster._cli import ENV_PREFIX, create_dagster_cli
from dagster._config import process_config, resolve_to_config_type
from dagster._core.instance.ref import InstanceRef
from dagster._core.remote_origin import ManagedGrpcPythonEnvCodeLocationOrigin
from dagster._core.workspace.load import location_origins_from_yaml_paths
from dagster._serdes import ConfigurableClassData

Section = Mapping[str, Any]

NO_CLUSTER = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [{"name": "none", "cluster": {"server": "http://127.0.0.1:1"}}],
    "users": [{"name": "none", "user": {}}],
    "contexts": [{"name": "none", "context": {"cluster": "none", "user": "none"}}],
    "current-context": "none",
}


@dataclass(frozen=True)
class CheckedInstance:
    """An instance file: the config of each class, checked by it and with variables resolved, and the settings that have no class."""

    storage: Section
    run_launcher: Section
    run_coordinator: Section
    compute_logs: Section
    settings: Section
    classes: Mapping[str, str]


@dataclass(frozen=True)
class CodeLocation:
    """A code location of a workspace file."""

    name: str
    module: str | None
    attribute: str | None


def check_instance(folder: Path) -> CheckedInstance:
    """Load `folder/dagster.yaml`. Raises what Dagster raises for a key it does not know, or AssertionError with the errors of a class."""
    ref = InstanceRef.from_dir(str(folder))
    sections = {
        "storage": ref.storage_data,
        "run_launcher": ref.run_launcher_data,
        "run_coordinator": ref.run_coordinator_data,
        "compute_logs": ref.compute_logs_data,
    }
    return CheckedInstance(
        **{name: _checked(data) for name, data in sections.items()},
        settings=ref.settings,
        classes={name: data.class_name for name, data in sections.items() if data},
    )


def code_locations(workspace: Path) -> list[CodeLocation]:
    """Return the code locations of a workspace file, each of a Python module."""
    origins = location_origins_from_yaml_paths([str(workspace)])
    return [_code_location(origin) for origin in origins if isinstance(origin, ManagedGrpcPythonEnvCodeLocationOrigin)]


def launched_job(launcher_config: Section, folder: Path, image: str | None = None, tags: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the Kubernetes Job, as it would be sent, that a K8sRunLauncher of this config makes for a run with these tags.

    `image` is what the code server says its own is. A kubeconfig is written to `folder`. Raises for a field that Kubernetes does not know.
    """
    # Importing these takes 3 s, which few workers need.
    from dagster_k8s import K8sRunLauncher, construct_dagster_k8s_job  # noqa: PLC0415
    from kubernetes.client import ApiClient  # type: ignore[import-untyped]  # noqa: PLC0415 -- it ships no types

    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(NO_CLUSTER))
    outside = {**launcher_config, "load_incluster_config": False, "kubeconfig_file": str(kubeconfig)}
    data = ConfigurableClassData("dagster_k8s", "K8sRunLauncher", yaml.safe_dump(outside))
    launcher = K8sRunLauncher(inst_data=data, **_checked(data))
    context = launcher.get_container_context_for_run(dg.DagsterRun(job_name="any", tags=tags))
    job = construct_dagster_k8s_job(
        job_config=context.get_k8s_job_config(job_image=image, run_launcher=launcher),
        args=["dagster", "api", "execute_run"],
        job_name="dagster-run",
        component="run_worker",
        user_defined_k8s_config=context.run_k8s_config,
    )
    sent: dict[str, Any] = ApiClient().sanitize_for_serialization(job)
    return {**sent, "metadata": {**sent["metadata"], "namespace": context.namespace}}


def option_of(environment: Mapping[str, str], *names: str, option: str) -> object:
    """Return what an option of the command `dagster NAMES` is by the variables of an environment alone, None if they do not say."""
    group = create_dagster_cli()  # type: ignore[no-untyped-call] # Dagster's, without annotations
    context = click.Context(group, info_name="dagster", auto_envvar_prefix=ENV_PREFIX)
    for name in names:
        assert isinstance(context.command, click.Group)
        command = context.command.get_command(context, name)
        assert command
        context = click.Context(command, parent=context, info_name=name)
    (found,) = (each for each in context.command.params if each.name == option)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        return found.value_from_envvar(context)


def _checked(data: ConfigurableClassData | None) -> dict[str, Any]:
    assert data is not None
    configurable = getattr(importlib.import_module(data.module_name), data.class_name)
    result = process_config(resolve_to_config_type(configurable.config_type()), data.config_dict)
    assert result.success, [error.message for error in result.errors or []]
    return dict(result.value or {})


def _code_location(origin: ManagedGrpcPythonEnvCodeLocationOrigin) -> CodeLocation:
    target = origin.loadable_target_origin
    return CodeLocation(origin.location_name, target.module_name, target.attribute)
