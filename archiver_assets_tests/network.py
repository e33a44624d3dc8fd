"""What NetworkPolicies let through, by the rules of Kubernetes.

What belongs here: the rules, as far as the policies of deploy/ use them. What does not: expectations.
https://kubernetes.io/docs/concepts/services-networking/network-policies/
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any, Literal

Labels = Mapping[str, str]


@dataclass(frozen=True)
class Peer:
    """The other end: a pod, its labels and those of its namespace (None for the policies' own), or an address outside of the cluster."""

    labels: Labels = field(default_factory=dict)
    namespace: Labels | None = None
    address: str | None = None


def selects(selector: Mapping[str, Any], labels: Labels) -> bool:
    """Tell whether a label selector selects. Raises KeyError for an operator other than In."""
    for requirement in selector.get("matchExpressions", []):
        if labels.get(requirement["key"]) not in {"In": requirement["values"]}[requirement["operator"]]:
            return False
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def allows(
    policies: Sequence[Mapping[str, Any]],
    pod: Labels,
    direction: Literal["ingress", "egress"],
    peer: Peer,
    port: int,
    protocol: str = "TCP",
) -> bool:
    """Tell whether the pod may be called by (ingress), or may call (egress), the peer at that port."""
    its = [policy["spec"] for policy in policies if selects(policy["spec"]["podSelector"], pod)]
    its = [spec for spec in its if direction.capitalize() in spec["policyTypes"]]
    rules = [rule for spec in its for rule in spec.get(direction, [])]
    return not its or any(_ports(rule, port, protocol) and _peers(rule, direction, peer) for rule in rules)


def _ports(rule: Mapping[str, Any], port: int, protocol: str) -> bool:
    return "ports" not in rule or any((each["port"], each["protocol"]) == (port, protocol) for each in rule["ports"])


def _peers(rule: Mapping[str, Any], direction: str, peer: Peer) -> bool:
    key = "from" if direction == "ingress" else "to"
    return key not in rule or any(_is(each, peer) for each in rule[key])


def _is(described: Mapping[str, Any], peer: Peer) -> bool:
    if "ipBlock" in described:
        return peer.address is not None and _within(described["ipBlock"], peer.address)
    if peer.address is not None:
        return False
    if "namespaceSelector" in described:
        if peer.namespace is None or not selects(described["namespaceSelector"], peer.namespace):
            return False
    elif peer.namespace is not None:
        return False
    return selects(described.get("podSelector", {}), peer.labels)


def _within(block: Mapping[str, Any], address: str) -> bool:
    found = ip_address(address)
    return found in ip_network(block["cidr"]) and not any(found in ip_network(each) for each in block.get("except", []))
