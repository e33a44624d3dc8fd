"""The tags by which runs are found, limited and attributed, and the metadata by which an asset names its table.

What belongs here: names. What does not: setting them (`schedules.py`, `coordinator.py`) and counting them (`queue_limits.py`).

Assets name their table in their metadata, because the value of an asset's tag has at most 63 characters of `[A-Za-z0-9_.-]`, and a table's
true name may have more and others. Run tags and metadata accept any value:
https://docs.dagster.io/guides/build/assets/metadata-and-tags/tags.
"""

from archiver_assets.config import TableConfig
from archiver_assets.telemetry.runs import DATABASE_TAG, TABLE_TAG

PARTITION_TAG = "dagster/partition"
COMMAND_TAG = "archiver/command"
"""Of runs in the process of a command: `run`. Their process is known to no launcher."""
USER_TAG = "user"
"""Dagster's own: its UI shows the value as the one who created the run."""


def run_tags(table: TableConfig) -> dict[str, str]:
    """Return the tags by which the runs of a table are found, which its assets hold as metadata: the true names, `D` and `D/S/T`."""
    return {DATABASE_TAG: table.database, TABLE_TAG: table.label}
