"""A Kubernetes cluster of local processes: what `K8sRunLauncher` asks the API for, and what the API says of Jobs, pods and their ends.

What belongs here: Jobs whose pod is a process, forked from a server that has imported everything; and pods without a process, of which the
API says what a test wants. What does not: Dagster's own part, which is the real one, and expectations.

Facts are of Kubernetes 1.31: https://kubernetes.io/docs/concepts/workloads/controllers/job and
https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle.
"""

import logging
import multiprocessing
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from dagster._serdes import ConfigurableClassData
from dagster_k8s import K8sRunLauncher
from kubernetes import client  # type: ignore[import-untyped] # it ships no types
from kubernetes.client.rest import ApiException  # type: ignore[import-untyped] # as above

from archiver_assets_tests.torture.death import Death

CONTAINER = "dagster"
POD_IMPORTS = "archiver_assets_tests.pod_imports"


@dataclass(frozen=True)
class Event:
    """An event that the API has of a pod, or of a Job."""

    type: str
    reason: str
    message: str
    count: int = 1


@dataclass(frozen=True)
class State:
    """What the API says: of a Job its counts, of its pod (None: there is none any more) the phase and why, of both their events."""

    active: int | None = 1
    succeeded: int | None = None
    failed: int | None = None
    phase: str | None = "Running"
    message: str | None = None
    container: Any = None
    events: Sequence[Event] = ()


RUNNING = State(container=client.V1ContainerState(running=client.V1ContainerStateRunning()))


def ended(code: int, reason: str, **more: Any) -> State:  # noqa: ANN401 - as in State
    """Return the state of a pod whose container ended with an exit code, for a reason as the kubelet calls it."""
    container = client.V1ContainerState(terminated=client.V1ContainerStateTerminated(exit_code=code, reason=reason))
    if code == 0:
        return State(active=None, succeeded=1, phase="Succeeded", container=container)
    return replace(State(active=None, failed=1, phase="Failed", container=container), **more)


def waiting(reason: str, message: str, *events: Event) -> State:
    """Return the state of a pod whose container cannot be started."""
    container = client.V1ContainerState(waiting=client.V1ContainerStateWaiting(reason=reason, message=message))
    return State(phase="Pending", container=container, events=events)


@dataclass
class Pod:
    """A Job and its one pod. Without a process it is what `state` says."""

    job: Any
    log: Path
    process: ForkServerProcess | None
    state: State = RUNNING

    @property
    def name(self) -> str:
        """Of the Job and of its pod."""
        return str(self.job.metadata.name)

    def now(self) -> State:
        """Return what the API says at this moment. Whoever is killed had taken too much memory: nobody else kills here."""
        code = self.process.exitcode if self.process else None
        if code is None or self.state is not RUNNING:
            return self.state
        return (
            ended(code, "Completed" if code == 0 else "Error")
            if code >= 0
            else ended(128 - code, "OOMKilled" if code == -signal.SIGKILL else "Error")
        )

    def join(self, seconds: float = 60) -> None:
        """Wait until its process has ended."""
        assert self.process
        self.process.join(seconds)
        assert self.process.exitcode is not None, self.log.read_text()


@dataclass
class Cluster:
    """Both of the API's groups that the launcher uses, with the client's names.

    `deaths` are those of the next pods, None for one that lives. With `error`, the API answers every question with this status.
    """

    runs_processes: bool = True
    error: int | None = None
    deaths: list[Death | None] = field(default_factory=list)
    pods: dict[str, Pod] = field(default_factory=dict)

    def pod_of(self, run_id: str) -> Pod:
        """Return the pod of a run."""
        return self.pods[f"dagster-run-{run_id}"]

    def clear(self) -> None:
        """Kill and forget everything."""
        for pod in self.pods.values():
            if pod.process:
                pod.process.kill()
                pod.process.join()
        self.pods.clear()
        self.deaths.clear()
        self.error = None

    # What follows has the names and the arguments of the client's BatchV1Api and CoreV1Api.

    def create_namespaced_job(self, body: Any, namespace: str, _request_timeout: float) -> None:  # noqa: ANN401 - untyped there
        assert (namespace, _request_timeout > 0) == ("audit-archiver", True)
        self._answer(lambda: None)
        log = Path(os.environ["DAGSTER_HOME"]) / f"{body.metadata.name}.log"
        process = None
        if self.runs_processes:
            (container,) = body.spec.template.spec.containers
            assert [part for part in container.args[:-1] if part in {"api", "execute_run"}] == ["api", "execute_run"]
            death = self.deaths.pop(0) if self.deaths else None
            context = multiprocessing.get_context("forkserver")
            process = context.Process(target=_run_pod, args=(container.args[-1], dict(os.environ), str(log), death), daemon=True)
            process.start()
        self.pods[body.metadata.name] = Pod(body, log, process)

    def read_namespaced_job_status(self, name: str, namespace: str) -> Any:  # noqa: ANN401 - as above
        del namespace
        return self._answer(lambda: _job(self._find(name)))

    def list_namespaced_job(self, namespace: str, field_selector: str) -> SimpleNamespace:
        del namespace
        return self._list(field_selector, lambda pod: [_job(pod)])

    def delete_namespaced_job(self, name: str, namespace: str) -> None:
        del namespace
        self._answer(lambda: self._find(name))

    def list_namespaced_pod(self, namespace: str, label_selector: str = "", field_selector: str = "") -> SimpleNamespace:
        del namespace
        return self._list(label_selector or field_selector, lambda pod: [_pod(pod)] if pod.now().phase else [])

    def delete_namespaced_pod(self, name: str, namespace: str) -> None:
        del namespace
        process = self._find(name).process
        if process:
            process.terminate()

    def list_namespaced_event(self, namespace: str, field_selector: str) -> SimpleNamespace:
        del namespace
        return self._list(field_selector, lambda pod: list(pod.now().events))

    def read_namespaced_pod_log(self, name: str, namespace: str, container: str, **options: object) -> SimpleNamespace:
        del namespace, container, options
        return SimpleNamespace(data=self._find(name).log.read_bytes())

    def _list(self, selector: str, what: Callable[[Pod], list[Any]]) -> SimpleNamespace:
        name = selector.partition("=")[2]
        return SimpleNamespace(items=self._answer(lambda: what(self.pods[name]) if name in self.pods else []))

    def _find(self, name: str) -> Pod:
        if name not in self.pods:
            raise ApiException(status=404, reason="Not Found")
        return self.pods[name]

    def _answer(self, answer: Callable[[], Any]) -> Any:  # noqa: ANN401 - as above
        if self.error:
            raise ApiException(status=self.error, reason="of the test")
        return answer()


CLUSTER = Cluster()
"""The one that the launcher of this process talks to."""


class LocalClusterLauncher(K8sRunLauncher):
    """Dagster's own, whose API is the local cluster."""

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> "LocalClusterLauncher":
        # For a process that has no server to fork from yet, such as a daemon.
        multiprocessing.get_context("forkserver").set_forkserver_preload([POD_IMPORTS])
        return cls(inst_data=inst_data, k8s_client_batch_api=CLUSTER, k8s_client_core_api=CLUSTER, **config_value)


def _job(pod: Pod) -> Any:  # noqa: ANN401 - untyped there
    now = pod.now()
    status = client.V1JobStatus(active=now.active, succeeded=now.succeeded, failed=now.failed, start_time=datetime.now(UTC))
    return client.V1Job(metadata=pod.job.metadata, status=status)


def _pod(pod: Pod) -> Any:  # noqa: ANN401 - as above
    now = pod.now()
    status = client.V1ContainerStatus(name=CONTAINER, image="any", image_id="any", ready=False, restart_count=0, state=now.container)
    return client.V1Pod(
        metadata=client.V1ObjectMeta(name=pod.name),
        spec=client.V1PodSpec(containers=[client.V1Container(name=CONTAINER)]),
        status=client.V1PodStatus(phase=now.phase, message=now.message, container_statuses=[status] if now.container else None),
    )


def _run_pod(arguments: str, environ: dict[str, str], log: str, death: Death | None) -> None:
    """Do what the container of a run's pod does: `dagster api execute_run`. The process's main function."""
    from dagster._cli.api import execute_run_command  # noqa: PLC0415 - what the server of processes has imported before

    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ.clear()
    os.environ.update(environ)
    if death:
        archiver = logging.getLogger("archiver")
        archiver.setLevel(logging.DEBUG)
        archiver.addFilter(_Reaper(death))
    execute_run_command.main([arguments])


class _Reaper(logging.Filter):
    """Ends the process when its log says that it has reached a step for the n-th time."""

    def __init__(self, death: Death) -> None:
        super().__init__()
        self._death = death
        self._left = death.nth

    def filter(self, record: logging.LogRecord) -> bool:
        if record.msg == "reached: %s":
            self._left -= record.args == (self._death.step,)
            if self._left == 0:
                os.kill(os.getpid(), self._death.signal)
            return False
        return record.levelno >= logging.INFO
