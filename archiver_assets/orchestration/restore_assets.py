"""The restore asset of a table: launched only manually, for a day or a range of days, with its choices in the launchpad.

What belongs here: the form in the launchpad, and the definition of the asset. What does not: the work of its step (`steps.py`).
"""

from collections.abc import Mapping

import dagster as dg
from pydantic import Field

from archiver_assets.config import TableConfig
from archiver_assets.lifecycle.restoring.request import Conflict, Drift, RestoreRequest, Triggers, Versions
from archiver_assets.orchestration.assets import Events, table_keys
from archiver_assets.orchestration.launchpad import schema_of
from archiver_assets.orchestration.ops import step_asset
from archiver_assets.orchestration.specs import about, shown, tagging


class RestoreConfig(dg.Config):
    """What a run restores, and into which table; the same for every day of a backfill."""

    target_table: str | None = Field(
        default=None, description="The table to restore into, which must exist. None: {T}_restored, which is created if it does not exist."
    )
    target_schema: str | None = Field(default=None, description="The schema of the target. None: that of the archived table.")
    columns: list[str] = Field(default=[], description="The columns to restore in addition to those of the key. Empty: all.")
    conflict: Conflict = Field(
        default=Conflict.fail,
        description="What happens if the target has a different row under an archived key: fail, skip (the row stays), or overwrite (the "
        "row is replaced, if a generation holds it byte for byte). A row that equals the archived one is no conflict.",
    )
    drift: Drift = Field(
        default=Drift.refuse,
        description="If the target's columns differ from those of the archive: refuse and list the differences, or fill columns by_name.",
    )
    triggers: Triggers = Field(
        default=Triggers.refuse,
        description="If the target has triggers on INSERT: refuse, fire them, or disable them during the load (needs the table's owner).",
    )
    versions: Versions = Field(
        default=Versions.latest,
        description="latest: the newest archived version of each key. all: every archived version, with _xmin in the key.",
    )
    generations: list[int] = Field(
        default=[],
        description="Restore only these, as if there were no others; for example, a good one when a newer one is damaged. Empty: all.",
    )
    dry_run: bool = Field(
        default=False, description="Load, compare and roll back, and report what would be restored. Materializes nothing."
    )
    hold_days: int = Field(
        default=30,
        ge=0,
        le=36_500,
        description="For how many days a hold keeps the next purge from rows that were restored into the archived table itself.",
    )

    def request(self) -> RestoreRequest:
        """Return it in the lifecycle's terms."""
        return RestoreRequest(
            table_name=self.target_table,
            schema_name=self.target_schema,
            columns=tuple(self.columns),
            conflict=self.conflict,
            drift=self.drift,
            triggers=self.triggers,
            versions=self.versions,
            generations=tuple(self.generations),
            dry_run=self.dry_run,
            hold_days=self.hold_days,
        )


_SCHEMA = schema_of(RestoreConfig)


def restore_asset(table: TableConfig, partitions: dg.DailyPartitionsDefinition) -> dg.AssetsDefinition:
    """Return the asset whose materialization loads one day back into a table. Only people launch it."""
    keys = table_keys(table)
    spec = dg.AssetSpec(
        keys.restore,
        deps=[keys.archive],
        partitions_def=partitions,
        metadata=tagging(table),
        kinds={"postgres"},
        skippable=True,  # a dry run materializes nothing
        description=about(table, f"Loads one day of {table.label} from its archive into a table, by default {table.name}_restored."),
        **shown(table),
    )

    def restore_one_day(context: dg.AssetExecutionContext, _inputs: Mapping[str, object]) -> Events:
        from archiver_assets.orchestration import steps  # noqa: PLC0415 -- see steps.py

        yield from steps.restore_one_day(table, context)

    return step_asset(restore_one_day, name=f"{table.dagster_name}__restore", spec=spec, config_schema=_SCHEMA)
