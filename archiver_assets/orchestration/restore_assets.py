"""The restore asset of a table: by hand only, a day or a range of them, with its choices in the launchpad.

What belongs here: the form of the launchpad, and the definition of the asset. What does not: what its step does (`steps.py`).
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
    """What a run restores, and where to; the same for every day of a backfill."""

    target_table: str | None = Field(
        default=None, description="The table to restore into, which must be there. None: a table {T}_restored is made, and added to."
    )
    target_schema: str | None = Field(default=None, description="The schema of the target. None: that of the archived table.")
    columns: list[str] = Field(default=[], description="The columns to restore, beside those of the key. Empty: all.")
    conflict: Conflict = Field(
        default=Conflict.fail,
        description="What becomes of another row under an archived key: fail, skip (it stays), or overwrite (it gives way, if some "
        "generation holds it byte for byte). A row that equals the archived one is no conflict.",
    )
    drift: Drift = Field(
        default=Drift.refuse,
        description="If the target's columns are not those of the archive: refuse, with the differences, or fill the columns by_name.",
    )
    triggers: Triggers = Field(
        default=Triggers.refuse,
        description="If the target has triggers on INSERT: refuse, fire them, or disable them for the load (as the table's owner).",
    )
    versions: Versions = Field(
        default=Versions.latest,
        description="latest: of a key that was archived several times the newest version. all: every one, with _xmin in the key.",
    )
    generations: list[int] = Field(
        default=[], description="Restore only these, as if there were no others, such as a good one below a damaged one. Empty: all."
    )
    dry_run: bool = Field(default=False, description="Load, compare, and roll back; say what would be restored. No materialization.")
    hold_days: int = Field(
        default=30, ge=0, le=36_500, description="For how many days rows that go back into the archived table are held from its purge."
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
    """Return the asset whose materialization loads one day back into a table. Nothing runs it but a person."""
    keys = table_keys(table)
    spec = dg.AssetSpec(
        keys.restore,
        deps=[keys.archive],
        partitions_def=partitions,
        metadata=tagging(table),
        kinds={"postgres"},
        skippable=True,  # a dry run materializes nothing
        description=about(table, f"One day of {table.label}, loaded from its archive into a table, {table.name}_restored by default."),
        **shown(table),
    )

    def restore_one_day(context: dg.AssetExecutionContext, _inputs: Mapping[str, object]) -> Events:
        from archiver_assets.orchestration import steps  # noqa: PLC0415 -- see steps.py

        yield from steps.restore_one_day(table, context)

    return step_asset(restore_one_day, name=f"{table.dagster_name}__restore", spec=spec, config_schema=_SCHEMA)
