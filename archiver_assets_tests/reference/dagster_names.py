"""What a config becomes in Dagster: assets, checks, jobs, schedules, sensors and steps, from the definitions of a small one.

What belongs here: their names and what they are. What does not: how they behave, which other pages say.
"""

import tempfile
from functools import cache
from pathlib import Path

import dagster as dg

from archiver_assets.config import load_config
from archiver_assets.orchestration.build import build_definitions
from archiver_assets.orchestration.tags import run_tags
from archiver_assets.services import Services
from archiver_assets_tests.reference.parts import REFERENCE, Part, table
from archiver_assets_tests.unit.config_files import SEED

PAGE = REFERENCE / "dagster.md"
NOTIFIED = SEED + "\nnotifications: {targets: [{name: ops, url_env: OPS_NOTIFY_URL}]}\n"


@cache
def _definitions() -> tuple[dg.Definitions, dict[str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(NOTIFIED)
        config = load_config(path, {})
    ((_, one),) = config.tables()
    return build_definitions(config, Services(config, {})), run_tags(one)


def assets() -> str:
    """Return the assets and their checks."""
    graph = _definitions()[0].resolve_asset_graph()
    rows = []
    for key in sorted(graph.get_all_asset_keys(), key=lambda each: tuple(each.path)):
        node = graph.get(key)
        kind = "asset, daily partitions" if node.partitions_def else "external asset"
        rows.append((f"`{' / '.join(key.path)}`", kind, _first(node.description)))
    for check in sorted(graph.asset_check_keys, key=str):
        blocking = " that blocks the purge of its run" if graph.get(check).blocking else ""
        rows.append((f"`{check.name}` of `{' / '.join(check.asset_key.path)}`", f"check{blocking}", _first(graph.get(check).description)))
    return table(("name", "kind", "what"), rows)


def the_rest() -> str:
    """Return jobs, schedules and sensors."""
    repository = _definitions()[0].get_repository_def()
    rows = [(f"`{job.name}`", "job", _steps(job)) for job in repository.get_all_jobs() if not job.name.startswith("__")]
    for schedule in repository.schedule_defs:
        running = "running by default" if schedule.default_status is dg.DefaultScheduleStatus.RUNNING else "stopped by default"
        rows.append((f"`{schedule.name}`", "schedule", f"`{schedule.cron_schedule}`, {schedule.execution_timezone}; {running}"))
    rows += [(f"`{sensor.name}`", "sensor", f"every {sensor.minimum_interval_seconds} s") for sensor in repository.sensor_defs]
    return table(("name", "kind", "what"), rows)


def tags() -> str:
    """Return the tags of the table's runs."""
    return table(("run tag", "value here"), [(f"`{name}`", f"`{value}`") for name, value in _definitions()[1].items()])


def _steps(job: dg.JobDefinition) -> str:
    return "steps " + ", ".join(f"`{name}`" for name in sorted(job.graph.node_names()))


def _first(text: str | None) -> str:
    return (text or "").partition("\n")[0]


PARTS = (Part(PAGE, "assets", assets), Part(PAGE, "jobs", the_rest), Part(PAGE, "tags", tags))
