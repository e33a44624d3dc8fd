"""Who may talk to whom in the namespace of the archiver."""

from pathlib import Path
from typing import Any

import pytest

from archiver_assets_tests.kustomize import DEPLOY, OVERLAYS, documents, rendered
from archiver_assets_tests.network import Peer, allows

# What the Dagster chart and its run launcher set, in part.
RUN = {"app.kubernetes.io/name": "dagster", "app.kubernetes.io/component": "run_worker", "app": "audit-archiver"}
COMMAND = {"app.kubernetes.io/component": "command", "app": "audit-archiver"}
CODE_SERVER = {"app.kubernetes.io/name": "dagster-user-deployments", "component": "user-deployments", "deployment": "archiver"}
DAEMON = {"app.kubernetes.io/name": "dagster", "component": "dagster-daemon", "deployment": "daemon"}
WEBSERVER = {"app.kubernetes.io/name": "dagster", "component": "dagster-webserver"}
READ_ONLY_WEBSERVER = {"app.kubernetes.io/name": "dagster", "component": "dagster-webserver-read-only"}
MIGRATION = {"job-name": "dagster-instance-migrate"}
PODS = [RUN, COMMAND, CODE_SERVER, DAEMON, WEBSERVER, READ_ONLY_WEBSERVER, MIGRATION]
OF_THE_CONTROL_PLANE = [DAEMON, WEBSERVER, READ_ONLY_WEBSERVER]

DNS = Peer({"k8s-app": "kube-dns"}, namespace={"kubernetes.io/metadata.name": "kube-system"})
DATABASE = Peer(address="10.20.30.40")
API_SERVER = Peer(address="10.0.0.1")
S3 = Peer(address="52.216.1.2")
METADATA = Peer(address="169.254.169.254")
MINIO = Peer({"app": "minio"}, namespace={"kubernetes.io/metadata.name": "minio"})
MACHINE = Peer(address="172.18.0.1")
PROXY = Peer({"app.kubernetes.io/name": "ingress-nginx"}, namespace={"kubernetes.io/metadata.name": "ingress-nginx"})
STRANGER = Peer({"component": "dagster-webserver", "k8s-app": "kube-dns"}, namespace={"kubernetes.io/metadata.name": "default"})

STORES = {"aws": (S3, 443), "minio": (MINIO, 9000), "local": (MACHINE, 9000)}
overlays = pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.name)


@overlays
def test_every_pod_reaches_names_databases_and_the_store(overlay: Path) -> None:
    policies, (store, port) = policies_of(overlay), STORES[overlay.name]
    for pod in PODS:
        assert allows(policies, pod, "egress", DNS, 53, "UDP")
        assert allows(policies, pod, "egress", DNS, 53)
        assert allows(policies, pod, "egress", DATABASE, 5432)
        assert allows(policies, pod, "egress", store, port)


@overlays
def test_the_api_of_kubernetes_is_for_those_who_make_and_remove_jobs(overlay: Path) -> None:
    policies = policies_of(overlay)
    for pod in PODS:
        for port in (443, 6443):
            assert allows(policies, pod, "egress", API_SERVER, port) == (pod in OF_THE_CONTROL_PLANE)


@overlays
def test_the_code_server_is_called_by_webserver_and_daemon_alone(overlay: Path) -> None:
    policies = policies_of(overlay)
    for pod in PODS:
        may = pod in OF_THE_CONTROL_PLANE
        assert allows(policies, CODE_SERVER, "ingress", Peer(pod), 3030) == may
        assert allows(policies, pod, "egress", Peer(CODE_SERVER), 3030) == may
    assert not allows(policies, CODE_SERVER, "ingress", STRANGER, 3030)
    assert not allows(policies, CODE_SERVER, "ingress", Peer(DAEMON), 8080)


@overlays
def test_the_webserver_is_reached_through_the_proxy_alone(overlay: Path) -> None:
    policies = policies_of(overlay)
    for pod in (WEBSERVER, READ_ONLY_WEBSERVER):
        assert allows(policies, pod, "ingress", PROXY, 8080)
        assert not allows(policies, pod, "ingress", PROXY, 22)
        assert not any(allows(policies, pod, "ingress", other, 8080) for other in (STRANGER, Peer(RUN), Peer(address="10.1.2.3")))


@overlays
def test_nothing_else_goes_in_or_out(overlay: Path) -> None:
    policies = policies_of(overlay)
    for pod in PODS:
        for peer in (S3, STRANGER, MACHINE, Peer(RUN), METADATA):
            for port in (22, 80, 8200):
                assert not allows(policies, pod, "egress", peer, port)
                assert not allows(policies, pod, "ingress", peer, port)
        assert not allows(policies, pod, "egress", STRANGER, 53, "UDP")
    for pod in (RUN, COMMAND, DAEMON, MIGRATION):
        assert not any(allows(policies, pod, "ingress", peer, 8080) for peer in (PROXY, STRANGER, Peer(WEBSERVER)))


def test_a_pod_that_no_policy_selects_is_shut_in_all_the_same() -> None:
    policies = policies_of(DEPLOY / "overlays" / "aws")
    [deny] = [policy for policy in policies if policy["metadata"]["name"] == "default-deny"]
    for direction in ("ingress", "egress"):
        assert not allows([deny], RUN, direction, STRANGER, 22)
    assert not allows(policies, {"app": "anything"}, "egress", Peer(address="10.1.2.3"), 443)
    without = [policy for policy in policies if policy["metadata"]["name"] != "default-deny"]
    assert allows(without, {"app": "anything"}, "ingress", STRANGER, 22)


def test_messages_leave_from_the_code_server_alone() -> None:
    policies = policies_of(DEPLOY / "overlays" / "minio")
    with_messages = [*policies, *documents(DEPLOY / "components" / "notifications" / "network-policy.yaml")]
    for port in (443, 587):
        assert not allows(policies, CODE_SERVER, "egress", S3, port)
        assert allows(with_messages, CODE_SERVER, "egress", S3, port)
        assert not allows(with_messages, RUN, "egress", S3, port)
        assert not allows(with_messages, CODE_SERVER, "egress", DATABASE, port)


def policies_of(overlay: Path) -> list[dict[str, Any]]:
    return [each for each in rendered(overlay) if each["kind"] == "NetworkPolicy"]
