"""`kubernetes` in the config: what may stand there, which level's word counts, and what is said about a bad one."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from archiver_assets.config import Kubernetes
from archiver_assets_tests.unit.config_files import SHORTEST, config_from, only_table, problem_of, problems_of, with_kubernetes

GUIDE = """\
affinity:
  nodeAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      nodeSelectorTerms:
      - matchExpressions:
        - key: workload-type
          operator: In
          values:
          - batch-processing
resources:
  requests:
    memory: "512Mi"
    cpu: "500m"
  limits:
    memory: "2Gi"
    cpu: "2000m"
"""
TERMS = "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [%s]}]}}}"
AT_TERMS = "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0]"


def said(kubernetes: Kubernetes) -> dict[str, Any]:
    found: dict[str, Any] = kubernetes.model_dump(by_alias=True, exclude_none=True, mode="json")
    return found


def test_what_the_guide_says_of_its_job_can_be_pasted(tmp_path: Path) -> None:
    assert said(only_table(config_from(tmp_path, with_kubernetes(GUIDE))).kubernetes) == yaml.safe_load(GUIDE)


def test_numbers_are_quantities_and_variables_are_resolved(tmp_path: Path) -> None:
    text = "resources: {requests: {cpu: 0.5, memory: '${SIZE}'}, limits: {cpu: 2}}\nactiveDeadlineSeconds: '${LIMIT}'"
    kubernetes = only_table(config_from(tmp_path, with_kubernetes(text), {"SIZE": "3Gi", "LIMIT": "7200"})).kubernetes
    assert said(kubernetes) == {
        "resources": {"requests": {"cpu": "0.5", "memory": "3Gi"}, "limits": {"cpu": "2"}},
        "activeDeadlineSeconds": 7200,
    }


def test_each_key_is_a_setting_of_its_own_and_the_nearest_counts_as_a_whole(tmp_path: Path) -> None:
    tree = yaml.safe_load(SHORTEST)
    [database] = tree["databases"]
    database["tables"].append({**database["tables"][0], "name": "other"})
    outer = {"resources": {"limits": {"memory": "1Gi", "cpu": 1}}, "nodeSelector": {"pool": "a"}, "activeDeadlineSeconds": 7200}
    tree["defaults"] = {"kubernetes": outer}
    database["kubernetes"] = {"resources": {"limits": {"memory": "2Gi"}}, "tolerations": [{"operator": "Exists"}]}
    database["tables"][0]["kubernetes"] = {"nodeSelector": {}, "activeDeadlineSeconds": None}

    first, second = (table.kubernetes for _, table in config_from(tmp_path, yaml.safe_dump(tree)).tables())

    of_the_database = {"resources": {"limits": {"memory": "2Gi"}}, "tolerations": [{"operator": "Exists"}]}
    assert said(first) == {**of_the_database, "nodeSelector": {}}
    assert said(second) == {**of_the_database, "nodeSelector": {"pool": "a"}, "activeDeadlineSeconds": 7200}


@pytest.mark.parametrize("line", ["", "kubernetes: null", "kubernetes: {}"])
def test_nothing_is_asked_unless_it_is_said(tmp_path: Path, line: str) -> None:
    assert said(only_table(config_from(tmp_path, f"{SHORTEST}        {line}\n")).kubernetes) == {}


def test_a_table_with_everything_can_be_the_key_of_a_dict(tmp_path: Path) -> None:
    text = with_kubernetes(GUIDE + "tolerations: [{operator: Exists}]\nnodeSelector: {a: b}")
    assert len({only_table(config_from(tmp_path, text)), only_table(config_from(tmp_path, text))}) == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("node_selector: {a: b}", "node_selector: unknown key; did you mean nodeSelector?"),
        ("nodeSelector: {pool: 1}", "nodeSelector.pool: expected a label that a node can have; found 1; put text in quotes"),
        ("nodeSelector: {pool: a b}", "nodeSelector.pool: expected a label that a node can have; a label's value is at most 63 "),
        ("nodeSelector: {'a/b/c': x}", "nodeSelector.'a/b/c': expected a label that a node can have; a label's key is at most 63 "),
        ("nodeSelector: {'-a.io/b': x}", "nodeSelector.'-a.io/b': expected a label that a node can have; a label's key is at most 63 "),
        ("nodeSelector: [a]", "nodeSelector: expected a mapping of labels that the run's node must have, or null for that of all runs, "),
        ("resources: {limit: {cpu: 1}}", "resources.limit: unknown key; did you mean limits?"),
        ("resources: {limits: {gpu: 1}}", "resources.limits.gpu: unknown key; did you mean cpu?"),
        (
            "resources: {limits: {cpu: 2Gi}}",
            "resources.limits.cpu: expected a number of CPUs, such as 2 or 500m, found '2Gi'; a number of ",
        ),
        ("resources: {limits: {cpu: 0}}", "resources.limits.cpu: expected a number of CPUs, such as 2 or 500m, found 0; a number of CPUs "),
        ("resources: {limits: {cpu: true}}", "resources.limits.cpu: expected a number of CPUs, such as 2 or 500m, found true; put text "),
        ("resources: {limits: {memory: 512m}}", "resources.limits.memory: expected bytes with their unit, such as 2Gi, found '512m'; a "),
        ("resources: {limits: {memory: 2}}", "resources.limits.memory: expected bytes with their unit, such as 2Gi, found 2; a number of "),
        ("resources: {limits: {memory: 2 GB}}", "resources.limits.memory: expected bytes with their unit, such as 2Gi, found '2 GB'; a "),
        (
            "resources: {requests: {ephemeral-storage: 2Gi}, limits: {ephemeral-storage: 2G}}",
            "resources: expected a request of ephemeral-storage that is not above its limit, found one that is",
        ),
        ("activeDeadlineSeconds: 600", "activeDeadlineSeconds: expected a whole number of seconds, 1200 to 604800, after which "),
        ("affinity: {podAffinity: {}}", "affinity.podAffinity: unknown key; "),
        (TERMS % "{key: a, operator: in, values: [b]}", f"{AT_TERMS}.operator: expected one of In, NotIn, Exists, DoesNotExist, Gt, Lt, "),
        (TERMS % "{key: a, operator: In}", f"{AT_TERMS}: expected at least one value for In, found 0"),
        (TERMS % "{key: a, operator: Gt, values: [b]}", f'{AT_TERMS}: expected one value, a whole number in quotes such as "4" for Gt, '),
        (TERMS % "{key: a, operator: Exists, values: [b, c]}", f"{AT_TERMS}: expected no values for Exists, found 2"),
        (TERMS % "{operator: Exists}", f"{AT_TERMS}.key: missing key; expected the key of a node's label"),
        (TERMS % "", f"{AT_TERMS[:-3]}: expected a list of conditions, each with key, operator and values, found an empty list"),
        ("tolerations: {operator: Exists}", "tolerations: expected a list of taints that do not keep the run from a node, or null for "),
        ("tolerations: [{operator: Exist}]", "tolerations[0].operator: expected Exists, or Equal with a value, found 'Exist'"),
        ("tolerations: [{value: a}]", "tolerations[0]: expected a key, or the operator Exists for every taint, found neither"),
        ("tolerations: [{key: a, operator: Exists, value: b}]", "tolerations[0]: expected no value beside the operator Exists, found one"),
        (
            "tolerations: [{key: a, operator: Exists, effect: NoSchedule, tolerationSeconds: 1}]",
            "tolerations[0]: expected the effect NoExecute beside tolerationSeconds, found another or none",
        ),
    ],
)
def test_what_kubernetes_would_not_take_is_a_line_of_the_file(tmp_path: Path, text: str, problem: str) -> None:
    assert problem_of(tmp_path, with_kubernetes(text)).startswith(f"config.yaml:14: databases[0].tables[0].kubernetes.{problem}")


def test_every_level_is_checked_and_every_problem_is_found(tmp_path: Path) -> None:
    text = with_kubernetes("resources: {limits: {cpu: 1Gi, memory: 1}}\ntolerations: 3").replace(
        "databases:", "defaults: {kubernetes: {priority: 1}}\ndatabases:"
    )
    assert [problem.split(": ")[1] for problem in problems_of(tmp_path, text)] == [
        "defaults.kubernetes.priority",
        "databases[0].tables[0].kubernetes.resources.limits.cpu",
        "databases[0].tables[0].kubernetes.resources.limits.memory",
        "databases[0].tables[0].kubernetes.tolerations",
    ]
