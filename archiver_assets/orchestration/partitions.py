"""Dagster's daily partitions of a table.

All tables with the same start, zone and retention share one definition, because Dagster resolves a job for each distinct definition: with
1,000 tables that is the difference between seconds and a minute.
See https://docs.dagster.io/guides/build/partitions-and-backfills/partitioning-assets.
"""

import re

import dagster as dg

from archiver_assets.config import TableConfig


class PartitionsCatalog:
    """The distinct partitions definitions of a config."""

    def __init__(self) -> None:
        """Begin with none."""
        self._definitions: dict[tuple[str, str, int], dg.DailyPartitionsDefinition] = {}

    def of(self, table: TableConfig) -> dg.DailyPartitionsDefinition:
        """Return the table's daily partitions, keys `YYYY-MM-DD`, from `start_date` to the day whose end is `retention_days` ago."""
        key = (table.start_date.isoformat(), table.timezone, table.retention_days)
        if key not in self._definitions:
            start, timezone, retention_days = key
            self._definitions[key] = dg.DailyPartitionsDefinition(start_date=start, timezone=timezone, end_offset=-retention_days)
        return self._definitions[key]


def shared_job_name(table: TableConfig) -> str:
    """Return the name of the job that all tables with the same partitions share."""
    zone = re.sub(r"[^A-Za-z0-9_]", "_", table.timezone.replace("+", "plus").replace("-", "minus"))
    return f"archive_and_purge__{table.retention_days}_days__{zone}__from_{table.start_date:%Y_%m_%d}"
