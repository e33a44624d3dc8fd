"""The image, its workflow and its update bot, as far as they can be looked at without Docker.

What belongs here: what the Dockerfile says. What does not: whether the wheel and the locked dependencies work (`e2e/test_wheel.py`).
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import yaml

from archiver_assets_tests.unit.production_files import DAGSTER, ROOT, at, loaded

INSTRUCTION = re.compile(r"^([A-Z]+) ((?:.*\\\n)*.*)$", re.MULTILINE)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
WORKFLOW = ROOT / ".github" / "workflows" / "image.yml"


def stages() -> list[list[tuple[str, str]]]:
    """Return the instructions of each stage, in their order, without comments and line ends."""
    found: list[list[tuple[str, str]]] = []
    text = "\n".join(line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#"))
    for name, arguments in INSTRUCTION.findall(text):
        if name == "FROM":
            found.append([])
        found[-1].append((name, re.sub(r"\\\n\s*", "", arguments)))
    return found


def said(stage: list[tuple[str, str]], name: str) -> list[str]:
    return [arguments for instruction, arguments in stage if instruction == name]


def environment_of(stage: list[tuple[str, str]]) -> dict[str, str]:
    return dict(pair.split("=", 1) for arguments in said(stage, "ENV") for pair in arguments.split())


def workflow() -> dict[str, Any]:
    # A bare `on` is true to YAML 1.1.
    found: dict[str, Any] = yaml.load(WORKFLOW.read_text(), Loader=yaml.BaseLoader)  # noqa: S506 -- the one that makes nothing but text
    return found


def ci_pythons() -> list[str]:
    ci = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    found: list[str] = ci["jobs"]["test"]["strategy"]["matrix"]["python"]
    return found


def test_every_python_that_is_promised_is_tested() -> None:
    [(first, end)] = re.findall(r"^>=3\.(\d+),<3\.(\d+)$", PROJECT["project"]["requires-python"])
    assert ci_pythons() == [f"3.{minor}" for minor in range(int(first), int(end))]


def test_both_stages_have_the_same_python_by_tag_and_it_is_one_that_is_tested() -> None:
    build, final = stages()
    assert said(build, "FROM") == [f"{said(final, 'FROM')[0]} AS build"]
    [(version, debian)] = re.findall(r"^python:(\d+\.\d+)-slim-(\w+)$", said(final, "FROM")[0])
    assert version in ci_pythons()
    assert debian != "latest"
    # Else the bytecode of the library would be made for a folder that is not there.
    assert f"/usr/local/lib/python{version}" in " ".join(said(final, "RUN"))


def test_the_user_is_the_one_of_the_pods_and_is_named_by_number() -> None:
    _, final = stages()
    context = at(loaded(DAGSTER), "run_launcher.config.run_k8s_config.pod_spec_config.securityContext")
    assert said(final, "USER") == [f"{context['runAsUser']}:{context['runAsGroup']}"]
    assert f"--gid {context['runAsGroup']} " in " ".join(said(final, "RUN"))
    assert f"--uid {context['runAsUser']} " in " ".join(said(final, "RUN"))


def test_the_users_home_is_where_pods_may_write_and_nothing_is_compiled_when_it_runs() -> None:
    _, final = stages()
    mounts = at(loaded(DAGSTER), "run_launcher.config.volume_mounts")
    [home] = re.findall(r"--home-dir (\S+)", " ".join(said(final, "RUN")))
    assert home in {mount["mountPath"] for mount in mounts if not mount.get("readOnly")}
    assert environment_of(final).items() >= {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}.items()
    assert "DAGSTER_HOME" not in environment_of(final)


def test_the_chart_can_give_whole_command_lines() -> None:
    _, final = stages()
    assert said(final, "ENTRYPOINT") == []
    assert said(final, "CMD") == ['["archiver", "--help"]']
    assert "archiver" in PROJECT["project"]["scripts"]


def test_what_is_installed_is_locked_and_the_build_asks_for_nothing_else() -> None:
    build, final = stages()
    commands = " ".join(said(build, "RUN"))
    assert re.findall(r"pip install [^&]*", commands) == [
        "pip install --no-cache-dir --root-user-action=ignore --only-binary :all: --require-hashes --requirement uv.txt ",
        "pip install --python /opt/archiver/bin/python --no-deps /build/dist/*.whl ",
    ]
    assert all("--locked" in command for command in re.findall(r"uv sync [^&]*", commands))
    assert len(re.findall(r"uv sync [^&]*", commands)) == 2
    assert "--no-build-isolation" in commands
    assert "--no-deps" in commands
    assert PROJECT["dependency-groups"]["build"] == PROJECT["build-system"]["requires"]
    assert environment_of(build)["UV_COMPILE_BYTECODE"] == "1"
    assert "pip install" not in " ".join(said(final, "RUN"))


def test_what_an_intruder_would_like_is_not_in_the_image_and_what_the_chart_starts_by_is() -> None:
    _, final = stages()
    [commands] = said(final, "RUN")
    gone = set(re.findall(r"[\w-]+", commands.split("dpkg --purge", 1)[1]))
    assert gone >= {"apt", "perl-base", "mount", "passwd", "login", "util-linux", "tar", "findutils"}
    assert gone.isdisjoint({"bash", "dash", "coreutils", "libc6", "base-files", "tzdata", "ca-certificates"})
    assert "pip uninstall --yes --root-user-action=ignore pip" in commands
    assert "find / -xdev -perm /6000 -type f -exec chmod a-s {} +" in commands
    # What purges needs what is purged: users are made and rights taken before.
    assert commands.index("useradd") < commands.index("chmod a-s") < commands.index("dpkg --purge") < commands.index("rm /usr/bin/dpkg*")


def test_what_is_copied_is_there_and_is_all_that_reaches_the_build() -> None:
    build, final = stages()
    sources = {source.removeprefix("./") for arguments in said(build, "COPY") for source in arguments.split()[:-1]}
    assert {name for name in sources if not (ROOT / name).exists()} == set()
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    assert {line.removeprefix("!") for line in ignored if line.startswith("!")} == sources
    assert said(final, "COPY") == ["--from=build /opt/archiver /opt/archiver"]
    assert environment_of(final)["PATH"].split(":")[0] == "/opt/archiver/bin"


def test_the_image_says_what_it_is() -> None:
    _, final = stages()
    labels = dict(re.findall(r'org\.opencontainers\.image\.([\w.]+)="([^"]*)"', " ".join(said(final, "LABEL"))))
    assert labels.keys() >= {"title", "description", "version", "revision", "base.name"}
    assert labels["base.name"] == said(final, "FROM")[0]
    assert labels["description"] == PROJECT["project"]["description"]
    assert f"VERSION={PROJECT['project']['version']}" in said(final, "ARG")


def test_no_secret_is_part_of_the_build() -> None:
    words = re.compile(r"password|token|secret|credential|access_key", re.IGNORECASE)
    assert [each for stage in stages() for each in stage if words.search(each[1])] == []


def test_the_workflow_pushes_only_for_a_tag_and_to_where_the_repository_says() -> None:
    [job] = workflow()["jobs"].values()
    [build] = [step for step in job["steps"] if step.get("uses", "").startswith("docker/build-push-action@")]
    assert workflow()["permissions"] == {"contents": "read"}
    assert job["env"]["PUSHED"] == "${{ github.ref_type == 'tag' && vars.IMAGE != '' }}"
    assert build["with"]["push"] == "${{ env.PUSHED == 'true' }}"
    assert "linux/amd64,linux/arm64" in build["with"]["platforms"]
    assert (build["with"]["provenance"], build["with"]["sbom"]) == ("mode=max", "true")
    assert [line.split("=")[0] for line in build["with"]["build-args"].splitlines()] == [
        arguments.split("=")[0] for arguments in said(stages()[1], "ARG")
    ]


def test_the_workflow_refuses_a_tag_that_is_not_the_version(tmp_path: Path) -> None:
    [job] = workflow()["jobs"].values()
    [step] = [step for step in job["steps"] if step.get("id") == "version"]
    outputs = {}
    for tag in (f"v{PROJECT['project']['version']}", "v0.0.0"):
        output = tmp_path / tag
        environ = {"PATH": "/usr/bin:/bin", "GITHUB_REF_TYPE": "tag", "GITHUB_REF_NAME": tag, "GITHUB_OUTPUT": str(output)}
        result = subprocess.run(["bash", "-e", "-c", step["run"]], cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
        outputs[tag] = (result.returncode, output.read_text() if output.exists() else result.stderr)
    right, wrong = outputs.values()
    assert right == (0, f"version={PROJECT['project']['version']}\n")
    assert wrong == (1, f"expected the tag v{PROJECT['project']['version']}, the version of pyproject.toml, found v0.0.0\n")


def test_an_update_bot_looks_at_everything_that_is_pinned() -> None:
    bot = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text())
    assert {update["package-ecosystem"] for update in bot["updates"]} == {"docker", "uv", "github-actions"}
    [python] = [update for update in bot["updates"] if update["package-ecosystem"] == "uv"]
    assert python["groups"]["dagster"]["patterns"] == ["dagster*"]


def test_the_dockerfile_is_as_hadolint_likes_it() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    result = subprocess.run([hadolint, "--no-color", ROOT / "Dockerfile"], capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stdout) == (0, "")
