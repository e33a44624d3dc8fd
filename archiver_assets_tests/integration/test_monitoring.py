"""Alerts and dashboard: what they ask for is in the exporter's output, alerts fire when they should and not before, and all is found."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
import pytest

from archiver_assets_tests.commands import parsed
from archiver_assets_tests.kustomize import DEPLOY, ROOT, documents
from archiver_assets_tests.network import Peer, allows
from archiver_assets_tests.promql import Series, evaluate, grouped, selected
from archiver_assets_tests.scraping import full

FOLDER = DEPLOY / "monitoring"
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())
OF_KUBE_STATE_METRICS = {
    "kube_deployment_status_replicas_available": {"namespace", "deployment"},
    "kube_pod_status_phase": {"namespace", "pod", "phase"},
}
RULES = [rule for group in documents(FOLDER / "rules.yaml")[0]["spec"]["groups"] for rule in group["rules"]]
NOW = 1_800_000_000.0
HOUR = 3600.0
TABLE = {"database": "shop", "schema": "public", "table": "audit_logs"}
OF_THE_DAEMON = {"namespace": "audit-archiver", "deployment": "dagster-daemon"}
OF_A_RUN = {"namespace": "audit-archiver", "pod": "dagster-run-1", "phase": "Pending"}


def last(step: str, hours: float) -> Series:
    return Series("archiver_last_success_timestamp_seconds", NOW - hours * HOUR, {**TABLE, "step": step})


def check(name: str, value: float, *, seen: float = 1) -> list[Series]:
    labels = {**TABLE, "check": name}
    return [Series("archiver_check_failing", value, labels), Series("archiver_check_timestamp_seconds", NOW - seen * HOUR, labels)]


QUIET = [
    Series("archiver_backlog_stalled_days", 0, TABLE),
    Series("archiver_backlog_days", 1, TABLE),
    last("purge", 25),
    last("archive", 25),
    Series("archiver_runs_total", 7, {**TABLE, "status": "failure"}, before=7),
    Series("archiver_runs_total", 9, {**TABLE, "status": "success"}, before=8),
    Series("archiver_verifications_failed_total", 2, TABLE, before=2),
    Series("archiver_generations_rejected_total", 2, TABLE, before=2),
    *check("backlog", 0, seen=25),
    *check("row_counts", 0, seen=900),
    *check("preflight", 1),
    Series("archiver_preflight_failing", 0, TABLE, before=1),
    Series("archiver_rows_held", 3, TABLE, before=0),
    Series("archiver_exporter_ready", 1, {"pod": "a"}),
    Series("archiver_exporter_ready", 0, {"pod": "b"}),
    Series("kube_deployment_status_replicas_available", 1, OF_THE_DAEMON),
    Series("kube_deployment_status_replicas_available", 0, {**OF_THE_DAEMON, "deployment": "other"}),
    Series("kube_pod_status_phase", 0, OF_A_RUN),
    Series("kube_pod_status_phase", 1, {**OF_A_RUN, "pod": "other"}),
]
LOUD: Mapping[str, list[list[Series]]] = {
    "ArchiverRowsWaitTooLong": [[Series("archiver_backlog_stalled_days", 3, TABLE)]],
    "ArchiverNoPurge": [[last("purge", 27)]],
    "ArchiverRunsFail": [[Series("archiver_runs_total", 8, {**TABLE, "status": "failure"}, before=7)]],
    "ArchiverObjectDamaged": [
        [Series("archiver_verifications_failed_total", 3, TABLE, before=2)],
        [Series("archiver_generations_rejected_total", 3, TABLE, before=2)],
    ],
    "ArchiverCheckFails": [check("backlog", 1), check("row_counts", 1)],
    "ArchiverChecksMissing": [check("backlog", 0, seen=51)],
    "ArchiverBlockedByPreflight": [[Series("archiver_preflight_failing", 1, TABLE, before=1)]],
    "ArchiverBlockedByHold": [[Series("archiver_rows_held", 4, TABLE, before=2)]],
    "ArchiverExporterDown": [[Series("archiver_exporter_ready", 0, {"pod": "a"})]],
    "ArchiverDaemonDown": [[Series("kube_deployment_status_replicas_available", 0, OF_THE_DAEMON)]],
    "ArchiverRunPodsPending": [[Series("kube_pod_status_phase", 1, OF_A_RUN)]],
}
"""What makes each alert fire, put in the place of the same series of QUIET."""
NEW = {**TABLE, "table": "new_logs"}

rules = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])


@pytest.fixture(scope="module")
def known() -> Mapping[str, set[str]]:
    """The names of all samples, with their labels, as the exporter really serves them, and those of kube-state-metrics that may be used."""
    with dg.DagsterInstance.ephemeral() as instance:
        metrics = full(instance).metrics.values()
    return OF_KUBE_STATE_METRICS | {sample.name: set(sample.labels) for metric in metrics for sample in metric.samples}


@rules
def test_a_rule_asks_for_what_there_is(rule: dict[str, Any], known: Mapping[str, set[str]]) -> None:
    assert_known(rule["expr"], known)


def test_every_panel_asks_for_what_there_is(known: Mapping[str, set[str]]) -> None:
    asked = list(queries())
    assert len({panel for panel, _ in asked}) > 15
    for _, expression in asked:
        assert_known(expression, known)


def test_every_variable_of_the_dashboard_takes_its_values_from_a_label_that_there_is(known: Mapping[str, set[str]]) -> None:
    variables = {each["name"]: each["query"] for each in DASHBOARD["templating"]["list"]}
    assert variables.pop("datasource") == "prometheus"
    for query in variables.values():
        [(metric, label)] = re.findall(r"^label_values\((.*), (\w+)\)$", query["query"])
        assert_known(metric, known)
        assert all(label in known[each.name] for each in selected(metric))
    text = json.dumps(DASHBOARD["panels"])
    assert set(re.findall(r"\$\{?([a-z]\w*)", text)) == {"datasource", *variables}


def test_an_expression_that_asks_for_what_there_is_not_is_found(known: Mapping[str, set[str]]) -> None:
    for wrong in ("archiver_rows_purgd_total", 'archiver_rows_late{step="purge"}', "max by (status) (archiver_rows_late)"):
        with pytest.raises(AssertionError):
            assert_known(wrong, known)
    with pytest.raises(ValueError, match=r"."):
        selected("max by (archiver_rows_late")


@rules
def test_a_rule_is_silent_when_all_is_well_and_fires_when_it_should(rule: dict[str, Any]) -> None:
    assert evaluate(rule["expr"], QUIET, NOW) == {}
    for loud in LOUD[rule["alert"]]:
        keys = {(each.name, tuple(each.labels.items())) for each in loud}
        series = [*loud, *(each for each in QUIET if (each.name, tuple(each.labels.items())) not in keys)]
        fired = evaluate(rule["expr"], series, NOW)
        assert len(fired) == 1
        [labels] = fired
        named = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
        assert named <= dict(labels).keys()


@pytest.mark.parametrize(
    ("alert", "name", "labels"),
    [
        ("ArchiverRunsFail", "archiver_runs_total", {**TABLE, "status": "failure"}),
        ("ArchiverObjectDamaged", "archiver_verifications_failed_total", TABLE),
        ("ArchiverObjectDamaged", "archiver_generations_rejected_total", TABLE),
    ],
)
def test_what_an_exporter_counted_before_its_first_scrape_is_not_passed_over(alert: str, name: str, labels: dict[str, str]) -> None:
    (rule,) = (each for each in RULES if each["alert"] == alert)
    of_two = [Series(name, 2, {**labels, "pod": "new"}, before=None), Series(name, None, {**labels, "pod": "old"}, before=1)]

    assert list(evaluate(rule["expr"], of_two, NOW).values()) == [1]


@pytest.mark.parametrize(
    ("alert", "waited", "fires"),
    [("ArchiverNoPurge", 3, True), ("ArchiverNoPurge", 0, False), ("ArchiverChecksMissing", 0, True)],
    ids=["days have waited", "days wait since today", "never looked at"],
)
def test_a_table_to_which_nothing_ever_happened_is_not_passed_over(alert: str, waited: float, *, fires: bool) -> None:
    (rule,) = (each for each in RULES if each["alert"] == alert)
    of_new = [Series("archiver_backlog_days", 3, NEW, before=waited), Series("archiver_rows_archived_total", 0, NEW)]

    found = evaluate(rule["expr"], [*QUIET, *of_new], NOW)

    assert list(found) == ([tuple(sorted(NEW.items()))] if fires else [])


@pytest.mark.parametrize("alert", ["ArchiverNoPurge", "ArchiverBlockedByHold"])
@pytest.mark.parametrize(("archived_only", "fires"), [(0, True), (1, False), (None, True)], ids=["purged", "archived only", "not known"])
def test_alerts_about_purges_pass_over_a_table_that_is_archived_only(alert: str, archived_only: float | None, *, fires: bool) -> None:
    (rule,) = (each for each in RULES if each["alert"] == alert)
    known = Series("archiver_archived_only", archived_only, NEW)
    waits, held = Series("archiver_backlog_days", 3, NEW, before=3), Series("archiver_rows_held", 3, NEW, before=3)
    purged = Series("archiver_last_success_timestamp_seconds", NOW - 90 * HOUR, {**NEW, "step": "purge"})

    for of_table in ([known, waits, held], [known, waits, held, purged]):
        assert list(evaluate(rule["expr"], [*QUIET, *of_table], NOW)) == ([tuple(sorted(NEW.items()))] if fires else [])


def test_every_rule_has_what_people_need_and_a_section_of_the_runbooks() -> None:
    text = (ROOT / "docs" / "operations" / "runbooks.md").read_text()
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE))
    assert list(sections) == [rule["alert"] for rule in RULES]
    for rule in RULES:
        assert rule["labels"].keys() == {"severity"}
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert re.fullmatch(r"\d+[mhd]", rule.get("for", "0m"))
        assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
        assert rule["annotations"]["runbook_url"].endswith(f"/docs/operations/runbooks.md#{rule['alert'].lower()}")
    for section in sections.values():
        parts = [section.find(part) for part in ("*Symptom.*", "```", "*Expect*", "*Verify.*")]
        assert parts == sorted(parts)
        assert -1 not in parts


def test_the_service_monitor_finds_the_port_of_the_exporter() -> None:
    [deployment], [service], [monitor] = (documents(FOLDER / f"{name}.yaml") for name in ("deployment", "service", "service-monitor"))
    template = deployment["spec"]["template"]
    [container] = template["spec"]["containers"]
    [endpoint] = monitor["spec"]["endpoints"]
    [port] = service["spec"]["ports"]
    [served] = container["ports"]
    assert monitor["spec"]["selector"]["matchLabels"] == {"app": "audit-archiver"} == service["metadata"]["labels"]
    assert (endpoint["port"], endpoint["path"]) == ("metrics", "/metrics")
    assert (port["name"], port["targetPort"]) == ("metrics", served["name"])
    assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    assert deployment["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    options = parsed(container["args"]).params
    assert (options["host"], options["port"]) == ("0.0.0.0", served["containerPort"])  # noqa: S104 - a pod is reached from outside


def test_the_exporter_has_no_rights_but_to_read_dagsters_database() -> None:
    [deployment] = documents(FOLDER / "deployment.yaml")
    [doctor] = documents(DEPLOY / "jobs" / "doctor.yaml")
    pod, other = deployment["spec"]["template"]["spec"], doctor["spec"]["template"]["spec"]
    [container], [doctors] = pod["containers"], other["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert "serviceAccountName" not in pod
    assert pod["securityContext"] == other["securityContext"]
    assert container["image"] == doctors["image"]
    assert container["securityContext"] == doctors["securityContext"]
    assert container["env"] == doctors["env"]
    assert container["envFrom"] == [each for each in doctors["envFrom"] if "configMapRef" in each]
    assert container["volumeMounts"] == doctors["volumeMounts"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"] == {"path": "/healthz", "port": "metrics"}


def test_only_prometheus_gets_in() -> None:
    policies = [*documents(DEPLOY / "base" / "network-policies.yaml"), *documents(FOLDER / "network-policy.yaml")]
    [deployment] = documents(FOLDER / "deployment.yaml")
    pod = deployment["spec"]["template"]["metadata"]["labels"]
    prometheus, elsewhere = {"app.kubernetes.io/name": "prometheus"}, {"kubernetes.io/metadata.name": "default"}
    assert allows(policies, pod, "ingress", Peer(prometheus, namespace={"kubernetes.io/metadata.name": "monitoring"}), 9464)
    assert not allows(policies, pod, "ingress", Peer(prometheus, namespace={"kubernetes.io/metadata.name": "monitoring"}), 22)
    assert not allows(policies, pod, "ingress", Peer(prometheus, namespace=elsewhere), 9464)
    assert not allows(policies, pod, "ingress", Peer({}, namespace={"kubernetes.io/metadata.name": "monitoring"}), 9464)
    assert allows(policies, pod, "egress", Peer(address="10.20.30.40"), 5432)
    assert not allows(policies, pod, "egress", Peer(address="10.0.0.1"), 443)


def test_the_panels_of_the_dashboard_lie_beside_each_other() -> None:
    taken = set[tuple[int, int]]()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert max(x for x, _ in cells) < 24
        assert not cells & taken
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def queries() -> Iterator[tuple[str, str]]:
    """Yield each query of the dashboard, its variables resolved as Grafana does for all databases and tables."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            yield panel["title"], resolved(target["expr"])


def resolved(expression: str) -> str:
    return re.sub(r"\$__(rate_interval|range)\b", "1h", re.sub(r"\$(database|table)\b", ".*", expression))


def assert_known(expression: str, known: Mapping[str, set[str]]) -> None:
    for asked in selected(resolved(expression)):
        assert asked.name in known, asked
        assert asked.labels <= known[asked.name], asked
    for labels, names in grouped(resolved(expression)):
        assert all(labels <= known[name] for name in names), expression
