"""The manifests in deploy/: valid, whole, without secrets, and in agreement with each other. Their pods are in `test_deploy_pods.py`."""

import importlib.util
import re
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

from archiver_assets.config import Config, load_config
from archiver_assets_tests.kustomize import (
    COMPONENTS,
    CRONJOB,
    DEPLOY,
    JOBS,
    OVERLAYS,
    ROOT,
    Manifest,
    documents,
    files_named,
    identity,
    kubectl,
    manifest_files,
    pod_templates,
    rendered,
    rendered_by_kubectl,
)
from archiver_assets_tests.unit.production_files import valid_for_kubernetes

CUSTOM = {"external-secrets.io/v1", "monitoring.coreos.com/v1"}
"""API groups that Kubernetes itself knows no schema of: their fields are asserted here, and in `test_monitoring.py`."""

overlays = pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.name)


@pytest.mark.parametrize("file", manifest_files(), ids=lambda path: str(path.relative_to(DEPLOY)))
def test_every_manifest_is_one_that_kubernetes_takes(file: Path) -> None:
    assert all(valid_for_kubernetes(manifest) for manifest in documents(file) if manifest["apiVersion"] not in CUSTOM)


@overlays
def test_what_an_overlay_makes_is_what_kubernetes_takes(overlay: Path) -> None:
    made = rendered(overlay)
    assert len({identity(each) for each in made}) == len(made)
    assert all(valid_for_kubernetes(manifest) for manifest in made if manifest["apiVersion"] not in CUSTOM)


@pytest.mark.skipif(kubectl() is None, reason="no kubectl on PATH, and ARCHIVER_KUBECTL names none")
@overlays
def test_kubectl_makes_the_same_of_an_overlay(overlay: Path) -> None:
    assert sorted(rendered_by_kubectl(str(kubectl()), overlay), key=identity) == sorted(rendered(overlay), key=identity)


@pytest.mark.skipif(kubectl() is None, reason="no kubectl on PATH, and ARCHIVER_KUBECTL names none")
def test_kubectl_takes_every_component(tmp_path: Path) -> None:
    """All that can be together: the two sources of secrets make the same Secrets."""
    together = [path for path in COMPONENTS if path.name != "external-secrets-vault"]
    (tmp_path / "overlay").mkdir()
    links = {path.name: tmp_path / path.name for path in [*together, DEPLOY / "base"]}
    for path in [*together, DEPLOY / "base"]:
        links[path.name].symlink_to(path)
    overlay = {"namespace": "audit-archiver", "resources": ["../base"], "components": [f"../{path.name}" for path in together]}
    (tmp_path / "overlay" / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    made = {identity(each) for each in rendered_by_kubectl(str(kubectl()), tmp_path / "overlay")}
    assert made >= {("CronJob", "audit-archiver"), ("ConfigMap", "fluent-bit-config"), ("ConfigMap", "archiver-dashboard")}


def test_every_file_is_named_by_a_kustomization() -> None:
    named = set[Path]().union(*(files_named(path.parent) for path in DEPLOY.rglob("kustomization.yaml")))
    known_to_people = {*JOBS, *DEPLOY.glob("overlays/*/helm-values.yaml"), *DEPLOY.rglob("kustomization.yaml")}
    assert set(DEPLOY.rglob("*.yaml")) | set(DEPLOY.rglob("*.conf")) | set(DEPLOY.glob("monitoring/*.json")) == named | known_to_people


def test_all_of_ours_carries_its_label_and_lies_in_its_namespace() -> None:
    for overlay in OVERLAYS:
        for manifest in rendered(overlay):
            assert manifest["metadata"]["labels"]["app"] == "audit-archiver", identity(manifest)
            assert manifest["metadata"].get("namespace", "audit-archiver") == "audit-archiver"
    for file in manifest_files():
        assert all(manifest["metadata"]["labels"]["app"] == "audit-archiver" for manifest in documents(file))
    for file in JOBS:  # which no kustomization puts into the namespace
        assert all(manifest["metadata"]["namespace"] == "audit-archiver" for manifest in documents(file))


def test_the_namespace_refuses_pods_that_are_not_restricted() -> None:
    [namespace] = documents(DEPLOY / "base" / "namespace.yaml")
    levels = {key.partition("/")[2]: value for key, value in namespace["metadata"]["labels"].items() if "/" in key}
    assert {mode: levels[mode] for mode in ("enforce", "warn", "audit")} == dict.fromkeys(("enforce", "warn", "audit"), "restricted")
    assert re.fullmatch(r"v1\.\d+", levels["enforce-version"])


@overlays
def test_the_config_of_an_overlay_is_valid_and_every_password_is_in_its_secret(overlay: Path) -> None:
    config = config_of(overlay)
    keys = keys_of_secrets(rendered(overlay))
    assert {database.password_env for database in config.databases} <= keys["archiver-secrets"]
    assert keys["dagster-postgresql"] == {"postgresql-password"}
    if config.s3.endpoint:  # a store without roles
        assert {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} <= keys["archiver-secrets"]
        assert keys["dagster-s3"] == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}


@overlays
def test_no_overlay_holds_a_secret(overlay: Path) -> None:
    made = rendered(overlay)
    secrets = [each for each in made if each["kind"] == "Secret"]
    assert bool(secrets) == (overlay.name == "local")
    assert {value for each in secrets for value in each["stringData"].values()} <= {"change-me"}
    assert all("data" not in each for each in secrets)
    others = yaml.safe_dump_all(each for each in made if each["kind"] != "Secret")
    assert not re.search(r"\bAKIA[0-9A-Z]{16}|-----BEGIN|//[^/\s]+:[^/\s]+@|\b(?i:password|token|secret_access_key): *['\"]?\w", others)


@overlays
def test_secrets_come_from_a_store_that_the_overlay_has(overlay: Path) -> None:
    made = rendered(overlay)
    stores = {each["metadata"]["name"]: each["spec"]["provider"] for each in made if each["kind"] == "SecretStore"}
    accounts = {each["metadata"]["name"] for each in made if each["kind"] == "ServiceAccount"}
    for each in (each for each in made if each["kind"] == "ExternalSecret"):
        assert each["apiVersion"] == "external-secrets.io/v1"
        assert each["spec"]["secretStoreRef"] == {"kind": "SecretStore", "name": next(iter(stores))}
        assert each["spec"]["target"] == {"name": each["metadata"]["name"], "creationPolicy": "Owner"}
        assert re.fullmatch(r"\d+[mh]", each["spec"]["refreshInterval"])
        assert all(entry["remoteRef"].keys() == {"key", "property"} for entry in each["spec"]["data"])
        assert all(entry["remoteRef"]["key"].startswith("audit-archiver/") for entry in each["spec"]["data"])
    for provider in stores.values():
        [auth] = [kind["auth"] for kind in provider.values()]
        [method] = auth.values()
        assert method["serviceAccountRef"]["name"] in accounts - {"archiver-sa", "dagster-sa"}


def test_each_kind_of_secret_store_says_what_the_operator_asks_for() -> None:
    files = [DEPLOY / "components" / f"external-secrets-{kind}" / "secret-store.yaml" for kind in ("aws", "vault")]
    aws, vault = (documents(file)[0]["spec"]["provider"] for file in files)
    assert aws == {
        "aws": {"service": "SecretsManager", "region": "us-east-1", "auth": {"jwt": {"serviceAccountRef": {"name": "external-secrets-sa"}}}}
    }
    assert vault["vault"].keys() == {"server", "path", "version", "auth"}
    assert vault["vault"]["auth"]["kubernetes"].keys() == {"mountPath", "role", "serviceAccountRef"}


def test_the_accounts_have_the_roles_of_the_cloud() -> None:
    made = {identity(each): each["metadata"].get("annotations", {}) for each in rendered(DEPLOY / "overlays" / "aws")}
    roles = {name: annotations for (kind, name), annotations in made.items() if kind == "ServiceAccount"}
    assert roles.keys() == {"archiver-sa", "dagster-sa", "external-secrets-sa"}
    assert all(re.fullmatch(r"arn:aws:iam::\w+:role/[\w+=,.@-]+", each["eks.amazonaws.com/role-arn"]) for each in roles.values())
    assert len({each["eks.amazonaws.com/role-arn"] for each in roles.values()}) == len(roles)


def test_a_node_that_is_drained_waits_for_the_runs_and_for_the_jobs() -> None:
    budgets = {identity(each)[1]: each["spec"] for each in documents(DEPLOY / "base" / "disruption-budgets.yaml")}
    [expression] = budgets["runs"]["selector"]["matchExpressions"]
    assert expression == {"key": "app.kubernetes.io/component", "operator": "In", "values": ["run_worker", "command"]}
    at_once = yaml.safe_load((ROOT / "dagster.yaml").read_text())["concurrency"]["runs"]["max_concurrent_runs"]
    assert budgets["runs"]["minAvailable"] > 10 * at_once  # never reached, so that no run may be evicted
    assert 'component="run_worker"' in Path(str(package_folder("dagster_k8s")), "launcher.py").read_text()
    for file in [*JOBS, CRONJOB]:
        [template] = pod_templates(documents(file)[0])
        assert template["metadata"]["labels"]["app.kubernetes.io/component"] == "command"


def test_fluent_bit_reads_the_logs_of_runs_and_of_no_other_namespace() -> None:
    text = (DEPLOY / "components" / "fluent-bit" / "fluent-bit.conf").read_text()
    [path] = re.findall(r"^ +Path +(\S+)$", text, re.MULTILINE)
    run = f"dagster-run-0c1f8a52-6f3b-4f0e-9d1c-3b5a7e9f2d10-x7k2p_audit-archiver_dagster-{'a' * 64}.log"
    assert fnmatch(f"/var/log/containers/{run}", path)
    assert not fnmatch(f"/var/log/containers/{run.replace('_audit-archiver_', '_other_')}", path)


def config_of(overlay: Path) -> Config:
    """Load the config that an overlay puts into its ConfigMap, under the name that pods find it by."""
    [config_map] = [each for each in rendered(overlay) if identity(each) == ("ConfigMap", "archiver-config")]
    assert config_map["data"] == {"config.yaml": (overlay / "config.yaml").read_text()}
    return load_config(overlay / "config.yaml", {})


def keys_of_secrets(made: list[Manifest]) -> dict[str, set[str]]:
    """Return the keys of each Secret that is made, by whomever."""
    external = [each["spec"] for each in made if each["kind"] == "ExternalSecret"]
    keys = {spec["target"]["name"]: {entry["secretKey"] for entry in spec["data"]} for spec in external}
    return keys | {each["metadata"]["name"]: set(each["stringData"]) for each in made if each["kind"] == "Secret"}


def package_folder(name: str) -> Path | None:
    """Return where a package lies, without importing it."""
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None
