"""A thousand tables in a separate process: loading their code location, loading an empty one, and evaluating the schedules.

What belongs here: the work of a code server when it starts, and at two in the morning. What does not: the tables and the config
(`subjects/scale.py`). Argument: a method's name. Nothing is imported before the measurement of a load starts, because imports are most of
its cost.
"""

import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from archiver_assets_tests.benchmarks.measuring import Done, report

if TYPE_CHECKING:
    import dagster as dg

_OPENINGS = 100


def load_empty() -> Done:
    """Load a code location that defines nothing."""
    import dagster as dg  # noqa: PLC0415 - see above

    return _snapshot(dg.Definitions())


def load_config() -> Done:
    """Load the code location for the config that ARCHIVER_CONFIG names."""
    from archiver_assets.definitions import defs  # noqa: PLC0415 - see above

    return _snapshot(defs)


def _snapshot(definitions: "dg.Definitions") -> Done:
    """Create the snapshot that the code server sends to the webserver and the daemon. The rows are assets; the figure is its bytes."""
    from dagster._core.remote_representation.external_data import RepositorySnap  # noqa: PLC0415 - see above
    from dagster._serdes import serialize_value  # noqa: PLC0415 - see above

    repository = definitions.get_repository_def()
    snapshot = serialize_value(RepositorySnap.from_def(repository, defer_snapshots=True))
    return Done(len(repository.asset_graph.get_all_asset_keys()), {"snapshot": len(snapshot)})


def evaluate_ticks() -> Callable[[], Done]:
    """Return a function that evaluates every table's schedule once, as the code server does for the daemon; the rows are schedules."""
    import dagster as dg  # noqa: PLC0415 - see above

    from archiver_assets.definitions import defs  # noqa: PLC0415 - see above

    repository = defs.get_repository_def()
    # Schedules of checks are left out: they always request a run.
    schedules = [each for each in repository.schedule_defs if not each.name.endswith("__checks__schedule")]

    def evaluate() -> Done:
        requested = 0
        with dg.DagsterInstance.get() as instance:
            for schedule in schedules:
                now = datetime.now(UTC)
                with dg.build_schedule_context(instance, scheduled_execution_time=now, repository_def=repository) as context:
                    requested += len(schedule.evaluate_tick(context).run_requests or [])
        if requested:
            sys.exit(f"expected no expired day, found {requested}")
        return Done(len(schedules))

    return evaluate


def open_instances() -> Callable[[], Done]:
    """Return a function that opens Dagster's storage 100 times; the code server does so once for every tick that looks up days."""
    import dagster as dg  # noqa: PLC0415 - see above

    with dg.DagsterInstance.get() as instance:
        reference = instance.get_ref()

    def evaluate() -> Done:
        for _ in range(_OPENINGS):
            with dg.DagsterInstance.from_ref(reference):
                pass
        return Done(_OPENINGS)

    return evaluate


LOADS: Mapping[str, Callable[[], Done]] = {"empty": load_empty, "load": load_config}
PREPARED: Mapping[str, Callable[[], Callable[[], Done]]] = {"ticks": evaluate_ticks, "instances": open_instances}

if __name__ == "__main__":
    report(LOADS[sys.argv[1]] if sys.argv[1] in LOADS else PREPARED[sys.argv[1]]())
