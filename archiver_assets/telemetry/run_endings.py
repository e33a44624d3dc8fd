"""Why a run ended without an error of its own: killed, evicted, over its time limit, never started.

What belongs here: from the messages of Dagster's run monitoring and of Kubernetes to a kind, a sentence and a next step. What does not:
reading events (`events.py`).

The message of the run's failure event holds what `K8sRunLauncher.get_run_worker_debug_info` found: the states of the pod and its
containers, Kubernetes' events, and the end of the output of a run that never started. Only texts of the table below are sent to targets.
See https://docs.dagster.io/deployment/execution/run-monitoring and https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle.
"""

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Ending:
    """What a message calls it; incidents are grouped by `kind`."""

    kind: str
    text: str
    hint: str


_NEVER_STARTED: Final = r"seconds to start\..*"
_CONTAINER: Final = r"\nContainer '[^'\n]*' status: "
"""How the state of one begins. A node has been found for a pod that has any; what its events tell may have been long over."""
_GOES_ON: Final = "the next run of the day continues"
_ENDINGS: Final = (
    (
        _NEVER_STARTED + _CONTAINER + r"Waiting: (ErrImagePull|ImagePullBackOff|ErrImageNeverPull|InvalidImageName)\b",
        "ImagePullBackOff",
        "its pod never started: the image cannot be pulled",
        "correct the image's name or tag, or the pull secret, and delete the remaining Job",
    ),
    (
        _NEVER_STARTED + _CONTAINER + r"Waiting: (CreateContainerConfigError\b|ContainerCreating\b.*\nFailedMount: )",
        "CreateContainerConfigError",
        "its pod never started: a Secret, a ConfigMap or a key that it names is not there",
        "create what the end of the run's log names, and delete the remaining Job",
    ),
    (
        rf"seconds to start\.(?!.*{_CONTAINER}).*\nFailedScheduling: ",
        "FailedScheduling",
        "its pod never started: no node has room for it, or fits its affinity and tolerations",
        "add a node, or lower the requests, and delete the remaining Job",
    ),
    (
        _CONTAINER + r"Terminated with exit code \d+: OOMKilled\b",
        "OOMKilled",
        "its pod used more memory than its limit, and was killed",
        "raise the memory limit: resources of the table in the config, else of the run launcher",
    ),
    (
        _NEVER_STARTED,
        "START_TIMEOUT",
        "its pod did not start in time, or died before the run began",
        "read the end of the run's log, and delete the remaining Job",
    ),
    (
        r"\b(Evicted|Preempting|Preempted)\b|node was low on resource|imminent node shutdown",
        "Evicted",
        "its pod was evicted from its node",
        f"find out why the node had no room; {_GOES_ON}",
    ),
    (
        r"\bDeadlineExceeded\b",
        "DeadlineExceeded",
        "its Job took longer than activeDeadlineSeconds",
        f"{_GOES_ON}; if it always takes so long, raise deadline_seconds of the table, else that and max_runtime_seconds below it",
    ),
    (
        r"^Exceeded maximum runtime of |^This job is being forcibly marked as failed",
        "MAX_RUNTIME",
        "it exceeded the time limit of run_monitoring, and was ended",
        f"{_GOES_ON}; if it always takes so long, raise deadline_seconds of the table, else max_runtime_seconds",
    ),
    (
        r"Execution was interrupted unexpectedly",
        "INTERRUPTED",
        "its process was told to end, and nobody had asked Dagster for it: by an eviction, a drained node, or the Job's deadline",
        f"{_GOES_ON}; the events of its pod say who did it",
    ),
    (
        r"worker status UNKNOWN: 'Job \S+ could not be found'",
        "NOT_FOUND",
        "Kubernetes has no Job for it: the Job was deleted, or the run is one of `archiver run`, which goes on",
        "find out who deleted it; a run that goes on corrects its record when it ends",
    ),
    (
        r"worker status UNKNOWN",
        "UNKNOWN",
        "Kubernetes did not report the state of its pod, which may still run",
        "check that the API server answers the daemon; a run that goes on corrects its record when it ends",
    ),
    (
        r"worker status FAILED|^The process of this run is gone",
        "KILLED",
        "its process died, or its pod was deleted, without giving a reason",
        f"read the end of the run's log; {_GOES_ON}",
    ),
)
"""By what the message holds; the first that fits counts. Events of a pod's start outlast it, and count only where it never started."""


def ending_of(message: str) -> Ending:
    """Return the ending that the message of a run's failure event tells."""
    for pattern, name, text, hint in _ENDINGS:
        if re.search(pattern, message, re.DOTALL):
            return Ending(f"run failure {name}", text, hint)
    return Ending("run failure UNKNOWN", "Dagster ended the run, or lost it; no step of it failed", "read the end of the run's log")
