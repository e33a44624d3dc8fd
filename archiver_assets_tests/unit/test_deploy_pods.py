"""The pods of the Jobs and the CronJob in deploy/: what they may do, and what they run."""

import tomllib
from pathlib import Path
from typing import Any

import click
import pytest

from archiver_assets.config import load_config
from archiver_assets_tests.commands import parsed
from archiver_assets_tests.kustomize import CRONJOB, DEPLOY, JOBS, OVERLAYS, ROOT, Manifest, documents, pod_templates

pod_files = pytest.mark.parametrize("file", [*JOBS, CRONJOB], ids=lambda path: path.stem)


@pod_files
def test_no_pod_has_more_rights_than_it_needs(file: Path) -> None:
    [manifest] = documents(file)
    for template in pod_templates(manifest):
        pod = template["spec"]
        assert pod["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "runAsGroup": 10001,
            "fsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert (pod["serviceAccountName"], pod["automountServiceAccountToken"], pod["restartPolicy"]) == ("archiver-sa", False, "Never")
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["requests"].keys() == container["resources"]["limits"].keys() == {"cpu", "memory"}


@pod_files
def test_a_pod_can_write_where_it_must_and_finds_its_config(file: Path) -> None:
    [manifest] = documents(file)
    [template] = pod_templates(manifest)
    [container] = template["spec"]["containers"]
    volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
    mounted = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
    assert "emptyDir" in mounted["/tmp"]  # noqa: S108 -- the pod's
    assert "emptyDir" in mounted["/opt/dagster/dagster_home"]
    assert mounted["/etc/archiver"]["configMap"] == {"name": "archiver-config"}
    assert variables(container)["ARCHIVER_CONFIG"] == "/etc/archiver/config.yaml"
    assert {"secretRef": {"name": "archiver-secrets"}} in container["envFrom"]


@pod_files
def test_the_image_is_the_one_of_this_version(file: Path) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    [manifest] = documents(file)
    [template] = pod_templates(manifest)
    assert [container["image"] for container in template["spec"]["containers"]] == [f"audit-archiver:{version}"]


@pod_files
def test_the_command_line_of_a_pod_is_one_that_the_archiver_takes(file: Path) -> None:
    [manifest] = documents(file)
    [template] = pod_templates(manifest)
    [container] = template["spec"]["containers"]
    assert container["command"] == ["archiver"]
    assert parsed(container["args"]).info_name == container["args"][0]


def test_a_command_line_that_the_archiver_does_not_take_is_found() -> None:
    with pytest.raises(click.UsageError):
        parsed(["run", "--tabel", "audit_logs"])


def test_the_guides_job_runs_one_day_of_one_table_of_the_config() -> None:
    [job] = documents(DEPLOY / "jobs" / "run-one-day.yaml")
    assert (job["spec"]["backoffLimit"], job["spec"]["activeDeadlineSeconds"]) == (0, 86400)
    [container] = job["spec"]["template"]["spec"]["containers"]
    assert container["resources"] == {"requests": {"cpu": "500m", "memory": "512Mi"}, "limits": {"cpu": "2", "memory": "2Gi"}}
    options = parsed(container["args"]).params
    assert options["partition"].isoformat() in container["args"]
    for overlay in OVERLAYS:
        labels = [table.label for _, table in load_config(overlay / "config.yaml", {}).tables()]
        assert f"{options['database']}/public/{options['table']}" in labels


def test_the_cron_job_does_the_same_as_the_job_by_the_guides_clock_but_not_before_it_is_told_to() -> None:
    [cronjob], [job] = documents(CRONJOB), documents(DEPLOY / "jobs" / "run-one-day.yaml")
    spec = cronjob["spec"]
    assert spec["suspend"] is True
    assert (spec["schedule"], spec["timeZone"], spec["concurrencyPolicy"]) == ("0 2 * * *", "Etc/UTC", "Forbid")
    assert (spec["successfulJobsHistoryLimit"], spec["failedJobsHistoryLimit"]) == (3, 3)
    made = spec["jobTemplate"]["spec"]
    assert {key: made[key] for key in ("backoffLimit", "activeDeadlineSeconds")} == {"backoffLimit": 0, "activeDeadlineSeconds": 86400}
    assert without_arguments(made["template"]) == without_arguments(job["spec"]["template"])


def test_doctor_and_reconcile_have_dagsters_instance_and_a_run_by_hand_has_none() -> None:
    """An instance that monitors its runs would take a run without a pod of its own for dead."""
    [doctor], [reconcile], [run] = (documents(DEPLOY / "jobs" / f"{name}.yaml") for name in ("doctor", "reconcile", "run-one-day"))
    assert without_arguments(doctor["spec"]["template"]) == without_arguments(reconcile["spec"]["template"])
    pod = doctor["spec"]["template"]["spec"]
    [container] = pod["containers"]
    home = variables(container)["DAGSTER_HOME"]
    assert {"name": "dagster-instance", "mountPath": f"{home}/dagster.yaml", "subPath": "dagster.yaml"} in container["volumeMounts"]
    [password] = [each for each in container["env"] if each["name"] == "DAGSTER_PG_PASSWORD"]
    assert password["valueFrom"] == {"secretKeyRef": {"name": "dagster-postgresql", "key": "postgresql-password"}}
    [other] = run["spec"]["template"]["spec"]["containers"]
    assert "DAGSTER_HOME" not in variables(other)


def variables(container: Manifest) -> dict[str, Any]:
    return {each["name"]: each.get("value") for each in container["env"]}


def without_arguments(template: Manifest) -> Manifest:
    containers = [{**each, "args": None} for each in template["spec"]["containers"]]
    return {**template, "spec": {**template["spec"], "containers": containers}}
