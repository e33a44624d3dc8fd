"""The checks `preflight` and `backlog`, which examine tables rather than partitions, for all tables of a database at once.

What belongs here: their names and definitions. What does not: how they are evaluated (`check_evaluation.py`), and when (`schedules.py`).

Both are checks of the source table: Dagster would evaluate checks of a materialized asset again in each run, and for each day of a
backfill.
"""

from collections.abc import Iterator, Mapping

import dagster as dg

from archiver_assets.config import DatabaseConfig, TableConfig
from archiver_assets.orchestration.assets import table_keys
from archiver_assets.orchestration.ops import step_checks

CHECKS_JOB = "checks"
"""The job of the checks of all databases. One, because a job for each is quadratic."""

_DESCRIPTIONS = {
    "preflight": "The table can be archived and purged safely: rights, key, index, triggers, rules, foreign keys, publications, pooler.",
    "backlog": "No expired day has waited longer than max_backlog_days, and every row has a day on or after start_date.",
}


def check_keys(table: TableConfig) -> list[dg.AssetCheckKey]:
    """Return the keys of a table's `preflight` and `backlog`."""
    source = table_keys(table).source
    return [dg.AssetCheckKey(source, name) for name in _DESCRIPTIONS]


def database_checks(database: DatabaseConfig) -> dg.AssetChecksDefinition:
    """Return `preflight` and `backlog` of all tables of a database, each of which can be evaluated alone too.

    If the database cannot be reached, every check fails and gives the reason, and the run fails too.
    """
    specs = [
        dg.AssetCheckSpec(key.name, asset=key.asset_key, description=_DESCRIPTIONS[key.name])
        for table in database.tables
        for key in check_keys(table)
    ]

    def evaluate_checks(context: dg.AssetCheckExecutionContext, _inputs: Mapping[str, object]) -> Iterator[dg.AssetCheckResult]:
        from archiver_assets.orchestration import steps  # noqa: PLC0415 -- see steps.py

        yield from steps.evaluate_checks(database, context)

    return step_checks(evaluate_checks, name=f"{database.dagster_group}__checks", specs=specs, can_subset=True)
