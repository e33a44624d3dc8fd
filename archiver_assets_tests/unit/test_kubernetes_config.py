"""The settings of run pods in the config: what may stand there, which level's word counts, and what is said about a bad one."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from archiver_assets.config import PodSettings, TableConfig
from archiver_assets_tests.unit.config_files import SHORTEST, config_from, only_table, problem_of, problems_of, with_table_keys

RESOURCES = """\
resources:
  requests:
    memory: "512Mi"
    cpu: "500m"
  limits:
    memory: "2Gi"
    cpu: "2000m"
"""
NODE_AFFINITY = """\
node_affinity:
  requiredDuringSchedulingIgnoredDuringExecution:
    nodeSelectorTerms:
    - matchExpressions:
      - key: workload-type
        operator: In
        values:
        - batch-processing
"""
TERMS = "node_affinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [%s]}]}}"
AT_TERMS = "node_affinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0]"


def said(table: TableConfig) -> dict[str, Any]:
    """Return what the table asks for, as it stands in a file."""
    return table.model_dump(include=set(PodSettings.model_fields), by_alias=True, exclude_none=True, mode="json")


def test_what_the_guide_says_of_its_job_can_be_pasted(tmp_path: Path) -> None:
    text = RESOURCES + NODE_AFFINITY
    assert said(only_table(config_from(tmp_path, with_table_keys(text)))) == yaml.safe_load(text)


def test_numbers_are_quantities_and_variables_are_resolved(tmp_path: Path) -> None:
    text = "resources: {requests: {cpu: 0.5, memory: '${SIZE}'}, limits: {cpu: 2}}\ndeadline_seconds: '${LIMIT}'"
    table = only_table(config_from(tmp_path, with_table_keys(text), {"SIZE": "3Gi", "LIMIT": "7200"}))
    assert said(table) == {
        "resources": {"requests": {"cpu": "0.5", "memory": "3Gi"}, "limits": {"cpu": "2"}},
        "deadline_seconds": 7200,
    }


def test_each_key_is_a_setting_of_its_own_and_the_nearest_counts_as_a_whole(tmp_path: Path) -> None:
    tree = yaml.safe_load(SHORTEST)
    [database] = tree["databases"]
    database["tables"].append({**database["tables"][0], "name": "other"})
    node_affinity = yaml.safe_load(NODE_AFFINITY)["node_affinity"]
    outer = {"resources": {"limits": {"memory": "1Gi", "cpu": 1}}, "node_affinity": node_affinity, "deadline_seconds": 7200}
    tree["defaults"] = outer
    database |= {"resources": {"limits": {"memory": "2Gi"}}, "tolerations": [{"operator": "Exists"}]}
    database["tables"][0] |= {"node_affinity": {}, "deadline_seconds": None}

    first, second = (said(table) for _, table in config_from(tmp_path, yaml.safe_dump(tree)).tables())

    of_the_database = {"resources": {"limits": {"memory": "2Gi"}}, "tolerations": [{"operator": "Exists"}]}
    assert first == {**of_the_database, "node_affinity": {}}
    assert second == {**of_the_database, "node_affinity": node_affinity, "deadline_seconds": 7200}


@pytest.mark.parametrize("line", ["", *(f"{name}: null" for name in PodSettings.model_fields)])
def test_nothing_is_asked_unless_it_is_said(tmp_path: Path, line: str) -> None:
    assert said(only_table(config_from(tmp_path, with_table_keys(line)))) == {}


def test_a_table_with_everything_can_be_the_key_of_a_dict(tmp_path: Path) -> None:
    text = with_table_keys(f"{RESOURCES}{NODE_AFFINITY}tolerations: [{{operator: Exists}}]\ndeadline_seconds: 7200")
    assert len({only_table(config_from(tmp_path, text)), only_table(config_from(tmp_path, text))}) == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("affinity: {}", "affinity: unknown key; did you mean node_affinity?"),
        ("activeDeadlineSeconds: 7200", "activeDeadlineSeconds: unknown key; did you mean deadline_seconds?"),
        ("node_affinity: {nodeAffinity: {}}", "node_affinity.nodeAffinity: unknown key; expected one of preferredDuring"),
        (
            "node_affinity: [a]",
            "node_affinity: expected a mapping of the nodes where runs must or should be placed, or null to use the run launcher's",
        ),
        ("resources: 3", "resources: expected a mapping with requests and limits of a run's container, or null to use the run launcher's"),
        (TERMS % "{key: a/b/c, operator: Exists}", f"{AT_TERMS}.key: expected the key of a node's label, found 'a/b/c'; a label's key "),
        (TERMS % "{key: -a.io/b, operator: Exists}", f"{AT_TERMS}.key: expected the key of a node's label, found '-a.io/b'; a "),
        (TERMS % "{key: a, operator: In, values: [b c]}", f"{AT_TERMS}.values: expected a list of strings: one or more for In and NotIn, "),
        (TERMS % "{key: a, operator: In, values: [1]}", f"{AT_TERMS}.values: expected a list of strings: one or more for In and NotIn, "),
        ("resources: {limit: {cpu: 1}}", "resources.limit: unknown key; did you mean limits?"),
        ("resources: {limits: {gpu: 1}}", "resources.limits.gpu: unknown key; did you mean cpu?"),
        (
            "resources: {limits: {cpu: 2Gi}}",
            "resources.limits.cpu: expected a number of CPUs up to 1024, such as 2 or 500m, found '2Gi'; a number of ",
        ),
        (
            "resources: {limits: {cpu: 0}}",
            "resources.limits.cpu: expected a number of CPUs up to 1024, such as 2 or 500m, found 0; a number of CPUs ",
        ),
        (
            "resources: {limits: {cpu: true}}",
            "resources.limits.cpu: expected a number of CPUs up to 1024, such as 2 or 500m, found true; put text ",
        ),
        (
            "resources: {limits: {memory: 512m}}",
            "resources.limits.memory: expected bytes with their unit, 64Mi to 1Pi, found '512m'; a ",
        ),
        (
            "resources: {limits: {memory: 2}}",
            "resources.limits.memory: expected bytes with their unit, 64Mi to 1Pi, found 2; a number of ",
        ),
        (
            "resources: {limits: {memory: 2 GB}}",
            "resources.limits.memory: expected bytes with their unit, 64Mi to 1Pi, found '2 GB'; a ",
        ),
        (
            "resources: {requests: {ephemeral-storage: 2Gi}, limits: {ephemeral-storage: 2G}}",
            "resources: expected a request of ephemeral-storage up to its limit, found a higher one",
        ),
        ("deadline_seconds: 1200", "deadline_seconds: expected a whole number of seconds, 2400 to 604800, after which "),
        (TERMS % "{key: a, operator: in, values: [b]}", f"{AT_TERMS}.operator: expected one of In, NotIn, Exists, DoesNotExist, Gt, Lt, "),
        (TERMS % "{key: a, operator: In}", f"{AT_TERMS}: expected at least one value for In, found 0"),
        (TERMS % "{key: a, operator: Gt, values: [b]}", f'{AT_TERMS}: expected one value, a whole number in quotes such as "4" for Gt, '),
        (
            TERMS % "{key: a, operator: Lt, values: ['9223372036854775808']}",
            f"{AT_TERMS}: expected one value, a whole number in quotes such ",
        ),
        (TERMS % "{key: a, operator: Exists, values: [b, c]}", f"{AT_TERMS}: expected no values for Exists, found 2"),
        (TERMS % "{operator: Exists}", f"{AT_TERMS}.key: missing key; expected the key of a node's label"),
        (TERMS % "", f"{AT_TERMS[:-3]}: expected a list of conditions, each with key, operator and values, found an empty list"),
        ("tolerations: {operator: Exists}", "tolerations: expected a list of taints that runs tolerate, or null to "),
        ("tolerations: [{operator: Exist}]", "tolerations[0].operator: expected Exists, or Equal with a value, found 'Exist'"),
        ("tolerations: [{value: a}]", "tolerations[0]: expected a key, or the operator Exists for every taint, found neither"),
        ("tolerations: [{key: a, operator: Exists, value: b}]", "tolerations[0]: expected no value with the operator Exists, found one"),
        (
            "tolerations: [{key: a, operator: Exists, effect: NoSchedule, tolerationSeconds: 1}]",
            "tolerations[0]: expected the effect NoExecute with tolerationSeconds, found another or none",
        ),
    ],
)
def test_what_kubernetes_would_not_take_is_a_line_of_the_file(tmp_path: Path, text: str, problem: str) -> None:
    assert problem_of(tmp_path, with_table_keys(text)).startswith(f"config.yaml:13: databases[0].tables[0].{problem}")


def test_a_problem_deep_in_a_mapping_is_told_with_its_own_line(tmp_path: Path) -> None:
    text = with_table_keys(NODE_AFFINITY.replace("operator: In", "operatr: In"))
    assert [problem.split(";")[0] for problem in problems_of(tmp_path, text)] == [
        f"config.yaml:17: databases[0].tables[0].{AT_TERMS}.operator: missing key",
        f"config.yaml:18: databases[0].tables[0].{AT_TERMS}.operatr: unknown key",
    ]


def test_at_every_level_a_node_selector_is_answered_with_the_setting_that_says_the_same(tmp_path: Path) -> None:
    text = with_table_keys("nodeSelector: {a: b}").replace("databases:", "defaults: {nodeSelector: {a: b}}\ndatabases:")
    problems = problems_of(tmp_path, text.replace("    tables:\n", "    nodeSelector: {a: b}\n    tables:\n"))
    assert [problem.split("nodeSelector: ")[1] for problem in problems] == [
        "unknown key; use node_affinity, with a condition for each label"
    ] * 3


def test_every_level_is_checked_and_every_problem_is_found(tmp_path: Path) -> None:
    text = with_table_keys("resources: {limits: {cpu: 1Gi, memory: 1}}\ntolerations: 3").replace(
        "databases:", "defaults: {resources: {limit: {}}}\ndatabases:"
    )
    text = text.replace("    tables:\n", "    node_affinity: {a: b}\n    tables:\n")
    assert [problem.split(": ")[1] for problem in problems_of(tmp_path, text)] == [
        "defaults.resources.limit",
        "databases[0].node_affinity.a",
        "databases[0].tables[0].resources.limits.cpu",
        "databases[0].tables[0].resources.limits.memory",
        "databases[0].tables[0].tolerations",
    ]
