"""The manifests in deploy/: read as they lie, and put together as kustomize does.

What belongs here: as much of kustomize as the files of deploy/ use, so that they can be looked at without a `kubectl`; a key that is not
known here is an error. What does not: expectations. Where there is a `kubectl`, a test compares the two.
https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
OVERLAYS = sorted(path.parent for path in DEPLOY.glob("overlays/*/kustomization.yaml"))
COMPONENTS = sorted(
    path.parent for path in [*DEPLOY.glob("components/*/kustomization.yaml"), *DEPLOY.glob("monitoring/kustomization.yaml")]
)
JOBS = sorted(DEPLOY.glob("jobs/*.yaml"))
CRONJOB = DEPLOY / "components" / "cronjob" / "cronjob.yaml"

_WITHOUT_NAMESPACE = {"Namespace"}
_NO_MANIFESTS = {"kustomization.yaml", "config.yaml", "helm-values.yaml"}


def documents(file: Path) -> list[Manifest]:
    """Return the manifests of a file."""
    return [each for each in yaml.safe_load_all(file.read_text()) if each is not None]


def manifest_files() -> list[Path]:
    """Return every file of manifests below deploy/, those of components that no overlay uses too."""
    return sorted(path for path in DEPLOY.rglob("*.yaml") if path.name not in _NO_MANIFESTS)


def files_named(folder: Path) -> set[Path]:
    """Return the files that the kustomization in a folder names, without those of the folders that it names."""
    kustomization = _kustomization(folder)
    named = [folder / each for each in kustomization.get("resources", [])]
    named += [folder / file for generator in kustomization.get("configMapGenerator", []) for file in generator["files"]]
    return {path.resolve() for path in named if not path.is_dir()}


def rendered(folder: Path) -> list[Manifest]:
    """Return what `kubectl kustomize` of the folder would print, in an order of its own. Raises KeyError for what it does not know."""
    kustomization, found = _kustomization(folder), list[Manifest]()
    _add(folder, kustomization, found)
    namespace = kustomization["namespace"]
    for each in found:
        if each["kind"] not in _WITHOUT_NAMESPACE:
            each["metadata"]["namespace"] = namespace
    return found


def kubectl() -> str | None:
    """Return the `kubectl` that ARCHIVER_KUBECTL names, or that is on PATH."""
    return os.environ.get("ARCHIVER_KUBECTL") or shutil.which("kubectl")


def rendered_by_kubectl(command: str, folder: Path) -> list[Manifest]:
    """Return what kubectl makes of the folder. It asks no cluster for it."""
    result = subprocess.run([command, "kustomize", str(folder)], capture_output=True, text=True, timeout=60, check=True)
    return [each for each in yaml.safe_load_all(result.stdout) if each is not None]


def identity(manifest: Mapping[str, Any]) -> tuple[str, str]:
    """Return kind and name."""
    return manifest["kind"], manifest["metadata"].get("name") or manifest["metadata"]["generateName"]


def pod_templates(manifest: Mapping[str, Any]) -> Iterator[Manifest]:
    """Yield the pod template of a Job, CronJob or Deployment; nothing for what makes no pods."""
    if manifest["kind"] == "CronJob":
        yield manifest["spec"]["jobTemplate"]["spec"]["template"]
    elif manifest["kind"] in {"Job", "Deployment"}:
        yield manifest["spec"]["template"]


def _kustomization(folder: Path) -> Manifest:
    [kustomization] = documents(folder / "kustomization.yaml")
    return kustomization


def _add(folder: Path, kustomization: Manifest, found: list[Manifest]) -> None:
    for key, value in kustomization.items():
        _STEPS[key](folder, value, found)


def _resources(folder: Path, names: list[str], found: list[Manifest]) -> None:
    for name in names:
        path = folder / name
        found += rendered(path) if path.is_dir() else documents(path)


def _components(folder: Path, names: list[str], found: list[Manifest]) -> None:
    for name in names:
        _add(folder / name, _kustomization(folder / name), found)


def _config_maps(folder: Path, generators: list[Manifest], found: list[Manifest]) -> None:
    for generator in generators:
        options = generator["options"]
        assert options == {"disableNameSuffixHash": True, "labels": options["labels"]}
        data = {file: (folder / file).read_text() for file in generator["files"]}
        metadata = {"name": generator["name"], "labels": dict(options["labels"])}
        found.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})


def _patches(_: Path, patches: list[Manifest], found: list[Manifest]) -> None:
    for each in patches:
        patch = yaml.safe_load(each["patch"])
        [target] = [manifest for manifest in found if identity(manifest) == identity(patch)]
        _merge(target, patch)


def _merge(target: Manifest, patch: Manifest) -> None:
    for key, value in patch.items():
        if isinstance(value, dict):
            _merge(target.setdefault(key, {}), value)
        else:
            target[key] = value


def _nothing(_: Path, __: object, ___: list[Manifest]) -> None:
    """Take a key that adds no manifest by itself."""


_STEPS: Mapping[str, Callable[[Path, Any, list[Manifest]], None]] = {
    "apiVersion": _nothing,
    "kind": _nothing,
    "namespace": _nothing,
    "resources": _resources,
    "components": _components,
    "configMapGenerator": _config_maps,
    "patches": _patches,
}
