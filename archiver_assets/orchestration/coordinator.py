"""The run coordinator, which tags every run that enters the queue with its table, the settings of its pod, and the user who launched it.

What belongs here: tags, derived from what a run selects. What does not: the limits that count them (`queue_limits.py`), and any safety: an
advisory lock in the table's database keeps two runs from one day, whoever launched them.

Tags of a job or a schedule do not suffice: runs launched in the UI or by a backfill do not get them. So the webserver and the daemon load
this class from dagster.yaml, and both need the package. It reads the assets from the workspace, and needs no config for that.
See https://docs.dagster.io/deployment/execution/customizing-run-queue-priority and `QueuedRunCoordinator` in Dagster.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import dagster as dg
from dagster._core.run_coordinator import QueuedRunCoordinator, SubmitRunContext
from dagster._core.run_coordinator.queued_run_coordinator import RunQueueConfig
from dagster._serdes import ConfigurableClassData

from archiver_assets.errors import ConfigError
from archiver_assets.orchestration.pods import DEADLINE_TAG, KUBERNETES_TAG, NOTHING_ASKED, RESOURCES_TAG
from archiver_assets.orchestration.queue_limits import ConfiguredLimits
from archiver_assets.orchestration.tags import USER_TAG
from archiver_assets.telemetry.runs import DATABASE_TAG, TABLE_TAG

USER_HEADERS: Final = ("X-Forwarded-Email", "X-Forwarded-Preferred-Username", "X-Forwarded-User")
"""What oauth2-proxy says of the one who is logged in, and lets no one else say."""
UNKNOWN: Final = "unknown"
_LONGEST_NAME: Final = 320
"""Of an e-mail address."""
_HELD: Final = (DATABASE_TAG, TABLE_TAG, KUBERNETES_TAG, DEADLINE_TAG)
"""What assets hold as metadata, and runs as tags."""


class ArchiverRunCoordinator(QueuedRunCoordinator[dg.DagsterInstance]):
    """Dagster's queue, with the archiver's tags on each run and the limits of the archiver's config.

    It takes the config of QueuedRunCoordinator, and `user_headers`. Limits by tag that it is given stay beside the archiver's own; those
    in `concurrency.runs.tag_concurrency_limits` of dagster.yaml would replace them all, as Dagster has it.
    """

    def __init__(self, *, user_headers: Sequence[str] = USER_HEADERS, **settings: Any) -> None:  # noqa: ANN401 - Dagster's own, passed on
        """Take Dagster's settings, and the names of the headers that say who is logged in, the first that is there."""
        super().__init__(**settings)
        self._user_headers = user_headers
        self._limits = ConfiguredLimits()

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Return the schema of the class' config in dagster.yaml."""
        description = (
            "The headers of a request in which an authenticating proxy names the user who is logged in; the first one present is used."
        )
        return {**super().config_type(), "user_headers": dg.Field([str], is_required=False, description=description)}  # type: ignore[dict-item] # it is a mapping

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]) -> "ArchiverRunCoordinator":
        """Return the coordinator of a checked config."""
        return cls(inst_data=inst_data, **config_value)

    def get_run_queue_config(self) -> RunQueueConfig:
        """Return the limits that the daemon asks for before it starts runs, each time."""
        queue = super().get_run_queue_config()
        return queue._replace(tag_concurrency_limits=[*queue.tag_concurrency_limits, *self._limits.now()])

    def submit_run(self, context: SubmitRunContext) -> dg.DagsterRun:
        """Tag the run, then let it wait in the queue: the daemon never sees it without its tags.

        Raises ConfigError for a run of ours with a tag that would be above those of the config; Dagster then fails it, and says why.
        """
        tags = {**_tags_of_assets(context), **self._tags_of_user(context)}
        if tags:
            self._instance.add_run_tags(context.dagster_run.run_id, tags)
        return super().submit_run(context)

    def _tags_of_user(self, context: SubmitRunContext) -> dict[str, str]:
        named = (context.get_request_header(header) for header in self._user_headers)
        user = next((name for name in named if name), None)
        if user:
            return {USER_TAG: user[:_LONGEST_NAME]}
        run = context.dagster_run
        # A run that is executed again starts with the tags of its parent, and it was not the parent's user who did that.
        return {USER_TAG: UNKNOWN} if run.parent_run_id and USER_TAG in run.tags else {}


def _tags_of_assets(context: SubmitRunContext) -> dict[str, str]:
    """Return the database and the table of what the run selects, and what its pod is to be, each if it is only one.

    A run of several tables goes without the tag that differs, as any value would be false; it then counts as a run of none.
    """
    held = list(_tags_held_by_assets(context))
    if held and RESOURCES_TAG in context.dagster_run.tags:
        # No value of it means nothing: an empty one would take away what the launcher says.
        message = f"expected the resources of a run only in the config, found the tag {RESOURCES_TAG}"
        raise ConfigError(message, hint="launch it without the tag, and set resources of the table in config.yaml")
    found = {tag: {tags.get(tag) for tags in held} for tag in _HELD}
    tags = {tag: value for tag, values in found.items() if len(values) == 1 and (value := next(iter(values))) is not None}
    return {**_emptied(context.dagster_run), **tags} if held else tags


def _emptied(run: dg.DagsterRun) -> dict[str, str]:
    """Return without meaning what the run brings and only the config may say.

    A run that is executed again brings the tags of its parent, which may have failed by them, and the config may have been mended since. Of
    any run the first one goes even if a person wrote it: it can name every image, account and secret of the namespace.
    """
    brought = (KUBERNETES_TAG, DEADLINE_TAG) if run.parent_run_id else (KUBERNETES_TAG,)
    return {tag: NOTHING_ASKED[tag] for tag in brought if tag in run.tags}


def _tags_held_by_assets(context: SubmitRunContext) -> Iterator[dict[str, str]]:
    """Yield what each selected asset of a table of ours says: assets of other code locations say no such names."""
    graph = context.workspace.asset_graph
    for key in _selected_keys(context):
        metadata = graph.get(key).metadata if graph.has(key) else {}
        if DATABASE_TAG in metadata and TABLE_TAG in metadata:
            yield {tag: str(metadata[tag].value) for tag in _HELD if tag in metadata}


def _selected_keys(context: SubmitRunContext) -> set[dg.AssetKey]:
    run = context.dagster_run
    if run.asset_selection or run.asset_check_selection:
        return {*(run.asset_selection or ()), *(check.asset_key for check in run.asset_check_selection or ())}
    # The whole job, whose name another code location may use too.
    graph, origin = context.workspace.asset_graph, run.remote_job_origin
    location = origin.location_name if origin else None
    return {key for key in graph.asset_keys_for_job(run.job_name) if graph.get_repository_handle(key).location_name == location}
