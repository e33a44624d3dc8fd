"""The settings of a table's run pods, as the run tags that carry them.

What belongs here: from `PodSettings` to the tags that Dagster's Kubernetes launcher and run monitoring read. What does not: tagging a run
(`coordinator.py`), and the settings that all run pods share, which are the launcher's config.

The assets of a table carry these tags as metadata, because the coordinator reads assets and no config. This module does without the
Kubernetes client, whose import takes 3 s.
See https://docs.dagster.io/deployment/oss/deployment-options/kubernetes/customizing-your-deployment.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from archiver_assets.config import PodSettings, TableConfig

KUBERNETES_TAG: Final = "dagster-k8s/config"
DEADLINE_TAG: Final = "dagster/max_runtime"
RESOURCES_TAG: Final = "dagster-k8s/resource_requirements"
"""An old one, which the launcher puts above the first, whatever that says."""
NOTHING_ASKED: Final[Mapping[str, str]] = {KUBERNETES_TAG: "{}", DEADLINE_TAG: ""}
"""The tags, which cannot be taken from a run, as they mean nothing to Dagster."""

MARGIN_SECONDS: Final = 1_200
"""By which a run is ended before its Job, as in dagster.yaml: Dagster counts from the start of the run, Kubernetes from that of the Job,
which may wait ten minutes for its pod."""


def pod_tags(table: TableConfig) -> Mapping[str, str]:
    """Return the tags of the table's runs that shape their pods; none if the config asks for nothing."""
    return _tags_of(PodSettings.model_construct(**{name: getattr(table, name) for name in PodSettings.model_fields}))


@lru_cache(maxsize=1024)
def _tags_of(asked: PodSettings) -> Mapping[str, str]:
    said = asked.model_dump(by_alias=True, exclude_unset=True, exclude_none=True)
    affinity = {"nodeAffinity": said["node_affinity"]} if "node_affinity" in said else None
    every: dict[str, dict[str, object]] = {
        "container_config": {"resources": said.get("resources")},
        "pod_spec_config": {"affinity": affinity, "tolerations": said.get("tolerations")},
        "job_spec_config": {"activeDeadlineSeconds": asked.deadline_seconds},
    }
    sections = {name: {key: value for key, value in section.items() if value is not None} for name, section in every.items()}
    config = {name: section for name, section in sections.items() if section}
    if not config:
        return {}
    # Else Dagster would merge them into those of all runs: two lists of nodes, of which each had to match, into one of which one has to.
    tags = {KUBERNETES_TAG: json.dumps({**config, "merge_behavior": "SHALLOW"})}
    if asked.deadline_seconds is not None:
        tags[DEADLINE_TAG] = str(asked.deadline_seconds - MARGIN_SECONDS)
    return tags
