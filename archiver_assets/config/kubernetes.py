"""Settings of a table's runs on Kubernetes. Their contents have Kubernetes' own keys, and can be pasted from a manifest.

What belongs here: the models, and the rules of single values: what Kubernetes would refuse is an error of the file. What does not: how
the settings reach a pod (`orchestration/pods.py`), and reading them (`nested.py`). See
https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node and https://kubernetes.io/docs/concepts/configuration/manage-resources-containers.
"""

import re
from decimal import Decimal
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, AliasGenerator, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from archiver_assets.config.base import Model
from archiver_assets.config.fields import Listed, refusal

SHORTEST_DEADLINE: Final = 2_400
"""Seconds; a run ends by itself twenty minutes before its deadline."""

_UNITS: Final = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    **{unit: Decimal(1000**power) for power, unit in enumerate("kMGTPE", 1)},
    **{f"{unit}i": Decimal(1024**power) for power, unit in enumerate("KMGTPE", 1)},
}
_QUANTITY = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,3})?)([KMGTPE]i|[mkMGTPE]?)")
_MOST_CPUS: Final = 1_024
_LEAST_BYTES: Final = 64 << 20
"""Less than a process needs that has imported Dagster, and more than what a forgotten unit makes of any number."""
_MOST_BYTES: Final = 1 << 50

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_DOMAIN = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_LABEL_KEY = re.compile(rf"(?:(?=[^/]{{1,253}}/){_DOMAIN}(?:\.{_DOMAIN})*/)?{_NAME}")
_LABEL_VALUE = re.compile(rf"(?:{_NAME})?")


def quantity(text: str) -> Decimal:
    """Return the number that a valid quantity stands for: CPUs, or bytes."""
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ValueError(text)
    return Decimal(match[1]) * _UNITS[match[2]]


def _written(value: object) -> object:
    """Take a number as the text that it is in YAML."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _cpu(value: str) -> str:
    match = _QUANTITY.fullmatch(value)
    if match is None or match[2] not in ("", "m") or not 0 < quantity(value) <= _MOST_CPUS:
        reason = f"a number of CPUs above 0 and up to {_MOST_CPUS}, such as 2, 0.5 or 500m (half a CPU)"
        raise refusal(reason)
    return value


def _bytes(value: str) -> str:
    match = _QUANTITY.fullmatch(value)
    # Kubernetes takes `512m`, and means half a byte.
    if match is None or match[2] == "m" or not _LEAST_BYTES <= quantity(value) <= _MOST_BYTES:
        reason = "a number of bytes with its unit, such as 512Mi or 2Gi, from 64Mi to 1Pi"
        raise refusal(reason)
    return value


def _label_key(value: str) -> str:
    if not _LABEL_KEY.fullmatch(value):
        reason = "a label's key is at most 63 letters, digits, _ . and -, optionally after a domain and a /"
        raise refusal(reason)
    return value


def _label_value(value: str) -> str:
    if not _LABEL_VALUE.fullmatch(value):
        reason = "a label's value is at most 63 letters, digits, _ . and -"
        raise refusal(reason)
    return value


Cpu = Annotated[str, BeforeValidator(_written), AfterValidator(_cpu)]
Bytes = Annotated[str, BeforeValidator(_written), AfterValidator(_bytes)]
LabelKey = Annotated[str, AfterValidator(_label_key)]
LabelValue = Annotated[str, AfterValidator(_label_value)]
LabelValues = Annotated[tuple[LabelValue, ...], Listed]


class KubernetesModel(Model):
    """A mapping of Kubernetes: its keys are the serialization aliases of the fields."""

    model_config = ConfigDict(alias_generator=AliasGenerator(serialization_alias=to_camel))


class Quantities(KubernetesModel):
    """Requests or limits of a container."""

    cpu: Cpu | None = Field(default=None, description="a number of CPUs up to 1024, such as 2 or 500m")
    memory: Bytes | None = Field(default=None, description="bytes with their unit, 64Mi to 1Pi")
    ephemeral_storage: Bytes | None = Field(
        default=None, serialization_alias="ephemeral-storage", description="bytes of disk with their unit, 64Mi to 1Pi"
    )


class Resources(KubernetesModel):
    """Requests and limits of a run's container."""

    requests: Quantities | None = Field(default=None, description="a mapping with any of cpu, memory, ephemeral-storage")
    limits: Quantities | None = Field(default=None, description="a mapping with any of cpu, memory, ephemeral-storage")

    @model_validator(mode="after")
    def _requests_within_limits(self) -> Self:
        for name in Quantities.model_fields:
            request, limit = (getattr(each, name, None) for each in (self.requests, self.limits))
            if request and limit and quantity(request) > quantity(limit):
                reason = f"expected a request of {name.replace('_', '-')} up to its limit, found a higher one"
                raise refusal(reason)
        return self


class NodeRequirement(KubernetesModel):
    """One condition on the labels of a node."""

    key: LabelKey = Field(description="the key of a node's label")
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"] = Field(
        description="one of In, NotIn, Exists, DoesNotExist, Gt, Lt"
    )
    values: LabelValues = Field(
        default=(), description="a list of strings: one or more for In and NotIn, one number for Gt and Lt, otherwise none"
    )

    @model_validator(mode="after")
    def _as_many_values_as_the_operator_takes(self) -> Self:
        count = len(self.values)
        if self.operator in ("In", "NotIn"):
            fits, expected = count > 0, "at least one value"
        elif self.operator in ("Gt", "Lt"):
            # Of 64 bits: the API takes a larger one, and the scheduler then finds no node for the pod.
            fits = count == 1 and self.values[0].isdecimal() and int(self.values[0]) < 1 << 63
            expected = 'one value, a whole number in quotes such as "4"'
        else:
            fits, expected = count == 0, "no values"
        if not fits:
            reason = f"expected {expected} for {self.operator}, found {count if count != 1 else 'another one'}"
            raise refusal(reason)
        return self


class NodeTerm(KubernetesModel):
    """Conditions, all of which a node must meet."""

    match_expressions: Annotated[tuple[NodeRequirement, ...], Listed] = Field(
        min_length=1, description="a list of conditions, each with key, operator and values"
    )


class NodeTerms(KubernetesModel):
    """Terms, one of which a node must meet."""

    node_selector_terms: Annotated[tuple[NodeTerm, ...], Listed] = Field(
        min_length=1, description="a list of terms, one of which a node must meet"
    )


class PreferredNodes(KubernetesModel):
    """A term that counts for a node that meets it."""

    weight: int = Field(ge=1, le=100, description="a whole number, 1 to 100")
    preference: NodeTerm = Field(description="a mapping with matchExpressions")


class NodeAffinity(KubernetesModel):
    """The nodes where a run must be placed, and where it should be placed."""

    required_during_scheduling_ignored_during_execution: NodeTerms | None = Field(
        default=None, description="a mapping with nodeSelectorTerms, or null"
    )
    preferred_during_scheduling_ignored_during_execution: Annotated[tuple[PreferredNodes, ...], Listed] | None = Field(
        default=None, description="a list of weights, each with a preference, or null"
    )


class Toleration(KubernetesModel):
    """A taint that runs tolerate."""

    key: LabelKey | None = Field(default=None, description="the key of the taint, or null for every taint")
    operator: Literal["Exists", "Equal"] = Field(default="Equal", description="Exists, or Equal with a value")
    value: LabelValue | None = Field(default=None, description="the value of the taint, or null")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="one of NoSchedule, PreferNoSchedule, NoExecute, or null for all"
    )
    toleration_seconds: int | None = Field(
        default=None,
        ge=0,
        le=604_800,
        description="a whole number of seconds, 0 to 604800, with effect NoExecute, or null for no limit",
    )

    @model_validator(mode="after")
    def _as_kubernetes_takes_it(self) -> Self:
        reason = None
        if self.operator == "Exists" and self.value:
            reason = "expected no value with the operator Exists, found one"
        elif self.operator == "Equal" and self.key is None:
            reason = "expected a key, or the operator Exists for every taint, found neither"
        elif self.toleration_seconds is not None and self.effect != "NoExecute":
            reason = "expected the effect NoExecute with tolerationSeconds, found another or none"
        if reason:
            raise refusal(reason)
        return self


class PodSettings(Model):
    """The settings of a table's runs on Kubernetes; null uses the run launcher's settings for all runs."""

    resources: Resources | None = Field(
        default=None, description="a mapping with requests and limits of a run's container, or null to use the run launcher's"
    )
    node_affinity: NodeAffinity | None = Field(
        default=None, description="a mapping of the nodes where runs must or should be placed, or null to use the run launcher's"
    )
    tolerations: Annotated[tuple[Toleration, ...], Listed] | None = Field(
        default=None, description="a list of taints that runs tolerate, or null to use the run launcher's"
    )
    deadline_seconds: int | None = Field(
        default=None,
        ge=SHORTEST_DEADLINE,
        le=604_800,
        description="a whole number of seconds, 2400 to 604800, after which Kubernetes ends a run, or null to use the run launcher's",
    )
