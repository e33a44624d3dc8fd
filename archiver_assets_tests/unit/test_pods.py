"""From the settings of pods in the config to the Job that the launcher of dagster.yaml would make of a run of the table."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from dagster._core.storage.tags import MAX_RUNTIME_SECONDS_TAG
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from archiver_assets.config import PodSettings
from archiver_assets.orchestration.pods import DEADLINE_TAG, NOTHING_ASKED, pod_tags
from archiver_assets_tests.unit.config_files import SHORTEST, config_from, only_table, with_table_keys
from archiver_assets_tests.unit.dagster_internals import launched_job
from archiver_assets_tests.unit.production_files import (
    HELM,
    NODES,
    at,
    launcher_of_dagster_yaml,
    launcher_of_the_chart,
    loaded,
    merged,
    valid_for_kubernetes,
)

EVERYTHING = """\
resources:
  requests: {cpu: 1, memory: 2Gi, ephemeral-storage: 20Gi}
  limits: {cpu: "4", memory: 4Gi, ephemeral-storage: 40Gi}
node_affinity:
  requiredDuringSchedulingIgnoredDuringExecution:
    nodeSelectorTerms:
      - matchExpressions:
          - {key: kubernetes.io/arch, operator: In, values: [arm64, ""]}
          - {key: cores, operator: Gt, values: ["4"]}
      - matchExpressions:
          - {key: spot, operator: DoesNotExist}
  preferredDuringSchedulingIgnoredDuringExecution:
    - weight: 5
      preference:
        matchExpressions:
          - {key: zone, operator: NotIn, values: [c]}
tolerations:
  - {key: batch, value: "yes", effect: NoSchedule}
  - {operator: Exists, effect: NoExecute, tolerationSeconds: 60}
deadline_seconds: 172800
"""
OF_THE_RUN_LAUNCHER = ("env", "envFrom", "image", "imagePullPolicy", "securityContext", "volumeMounts")


def tags_for(text: str, folder: Path) -> Mapping[str, str]:
    return pod_tags(only_table(config_from(folder, with_table_keys(text))))


def job_of(text: str, folder: Path, launcher: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return launched_job(launcher or launcher_of_dagster_yaml(), folder, tags=tags_for(text, folder))


def test_a_table_that_asks_for_nothing_has_no_tags(tmp_path: Path) -> None:
    assert tags_for("resources: null", tmp_path) == {}


def test_everything_that_a_table_asks_for_is_in_its_job_as_it_was_said(environment: dict[str, str], tmp_path: Path) -> None:
    assert environment
    table = only_table(config_from(tmp_path, with_table_keys(EVERYTHING)))
    job = job_of(EVERYTHING, tmp_path)
    pod = job["spec"]["template"]["spec"]
    [container] = pod["containers"]

    assert valid_for_kubernetes(job)
    asked = table.model_dump(include=set(PodSettings.model_fields), by_alias=True, exclude_unset=True, mode="json")
    found = {"node_affinity": at(pod, "affinity.nodeAffinity"), "tolerations": pod["tolerations"]}
    found |= {"resources": container["resources"], "deadline_seconds": job["spec"]["activeDeadlineSeconds"]}
    assert found == asked


def test_what_a_table_does_not_ask_for_is_as_for_all_runs(environment: dict[str, str], tmp_path: Path) -> None:
    assert environment
    plain, job = launched_job(launcher_of_dagster_yaml(), tmp_path), job_of(EVERYTHING, tmp_path)
    [own], [common] = (each["spec"]["template"]["spec"]["containers"] for each in (job, plain))
    assert {key: own[key] for key in OF_THE_RUN_LAUNCHER} == {key: common[key] for key in OF_THE_RUN_LAUNCHER}
    for path in ("metadata.labels", "spec.backoffLimit", "spec.ttlSecondsAfterFinished", "spec.template.metadata.annotations"):
        assert at(job, path) == at(plain, path)
    for key in ("serviceAccountName", "securityContext", "volumes", "restartPolicy"):
        assert job["spec"]["template"]["spec"][key] == plain["spec"]["template"]["spec"][key]


def test_what_a_table_asks_for_replaces_what_is_said_for_all_runs_and_does_not_join_it(environment: dict[str, str], tmp_path: Path) -> None:
    assert environment
    launcher = launcher_of_the_chart(merged(loaded(HELM), loaded(NODES)))
    affinity = EVERYTHING[EVERYTHING.index("node_affinity:") : EVERYTHING.index("tolerations:")]
    job = job_of(f"{affinity}tolerations: []\nresources: {{limits: {{memory: 8Gi}}}}", tmp_path, launcher)
    pod = job["spec"]["template"]["spec"]

    # The node of the chart's values, workload-type, would be one more term, of which any is enough.
    assert len(at(pod, "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms")) == 2
    assert pod.get("tolerations", []) == []
    assert pod["containers"][0]["resources"] == {"limits": {"memory": "8Gi"}}


def test_dagster_ends_a_run_before_its_own_deadline_does(tmp_path: Path) -> None:
    assert DEADLINE_TAG == MAX_RUNTIME_SECONDS_TAG
    assert float(tags_for("deadline_seconds: 7200", tmp_path)[DEADLINE_TAG]) == 7200 - 1200
    assert float(tags_for("deadline_seconds: 2400", tmp_path)[DEADLINE_TAG]) > 0
    assert DEADLINE_TAG not in tags_for("tolerations: []", tmp_path)


def test_an_emptied_tag_means_nothing_to_the_launcher(environment: dict[str, str], tmp_path: Path) -> None:
    assert environment
    plain = launched_job(launcher_of_dagster_yaml(), tmp_path)
    assert launched_job(launcher_of_dagster_yaml(), tmp_path, tags=NOTHING_ASKED) == plain


LABELS = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?", fullmatch=True)
QUANTITIES = st.fixed_dictionaries(
    {},
    optional={
        "cpu": st.integers(1, 64) | st.sampled_from(["250m", "1.5", "0.1"]),
        "memory": st.sampled_from(["512Mi", "1Gi", "1.5Gi", "900M", "1e9"]),
        "ephemeral_storage": st.sampled_from(["1Gi", "20G", "1Ti"]),
    },
)
REQUIREMENTS = st.fixed_dictionaries(
    {"key": LABELS, "operator": st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"])},
    optional={"values": st.lists(LABELS | st.sampled_from(["1", "20"]), max_size=2)},
)
TERM = st.fixed_dictionaries({"match_expressions": st.lists(REQUIREMENTS, min_size=1, max_size=2)})
NODE_AFFINITY = st.fixed_dictionaries(
    {},
    optional={
        "required_during_scheduling_ignored_during_execution": st.fixed_dictionaries(
            {"node_selector_terms": st.lists(TERM, min_size=1, max_size=2)}
        ),
        "preferred_during_scheduling_ignored_during_execution": st.lists(
            st.fixed_dictionaries({"weight": st.integers(1, 100), "preference": TERM}), max_size=2
        ),
    },
)
TOLERATIONS = st.fixed_dictionaries(
    {},
    optional={
        "key": LABELS,
        "operator": st.sampled_from(["Exists", "Equal"]),
        "value": LABELS,
        "effect": st.sampled_from(["NoSchedule", "PreferNoSchedule", "NoExecute"]),
        "toleration_seconds": st.integers(0, 600),
    },
)
ASKED = st.fixed_dictionaries(
    {},
    optional={
        "resources": st.fixed_dictionaries({}, optional={"requests": QUANTITIES, "limits": QUANTITIES}),
        "node_affinity": NODE_AFFINITY,
        "tolerations": st.lists(TOLERATIONS, max_size=2),
        "deadline_seconds": st.integers(2_400, 604_800),
    },
)


@pytest.fixture(scope="module")
def table_of(tmp_path_factory: pytest.TempPathFactory) -> Any:  # noqa: ANN401 -- a function
    table = only_table(config_from(tmp_path_factory.mktemp("config"), SHORTEST))
    return lambda asked: table.model_copy(update=dict(asked))


@given(asked=ASKED)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_wish_that_the_config_takes_is_a_job_that_kubernetes_takes(
    asked: dict[str, Any],
    table_of: Any,  # noqa: ANN401 -- a function
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    assert environment
    try:
        pod_settings = PodSettings.model_validate(asked)
    except ValidationError:
        return
    tags = pod_tags(table_of(pod_settings))
    assert all(json.loads(value) is not None for value in tags.values())
    assert valid_for_kubernetes(launched_job(launcher_of_dagster_yaml(), tmp_path, tags=tags))
