"""The restore asset of a table: by hand only, a day or a range of them, with its choices in the launchpad.

What belongs here: the form of the launchpad, and a body that only calls the lifecycle. What does not: any decision about rows.
"""

from collections.abc import Iterator

import dagster as dg
from pydantic import Field

from archiver_assets.config import TableConfig
from archiver_assets.lifecycle.restore import restore
from archiver_assets.lifecycle.restore_request import Conflict, Drift, RestoreRequest, Triggers, Versions
from archiver_assets.orchestration.assets import table_keys
from archiver_assets.orchestration.failing import failing_clearly
from archiver_assets.orchestration.launchpad import selects, settings
from archiver_assets.orchestration.metadata import restored_metadata
from archiver_assets.orchestration.resources import Services
from archiver_assets.orchestration.specs import about, shown
from archiver_assets.orchestration.tags import run_tags


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


_SCHEMA = RestoreConfig.to_fields_dict()
_NOT_ALONE = (
    "not restored: a run of the archive or the purge restores nothing, so that materializing everything does not; run this asset alone"
)


def restore_asset(table: TableConfig, partitions: dg.DailyPartitionsDefinition) -> dg.AssetsDefinition:
    """Return the asset whose materialization loads one day back into a table. Nothing runs it but a person."""
    keys = table_keys(table)
    spec = dg.AssetSpec(
        keys.restore,
        deps=[keys.archive],
        partitions_def=partitions,
        metadata=run_tags(table),
        kinds={"postgres"},
        skippable=True,  # a dry run materializes nothing
        description=about(table, f"One day of {table.label}, loaded from its archive into a table, {table.name}_restored by default."),
        **shown(table),
    )

    @dg.multi_asset(specs=[spec], name=f"{table.dagster_name}__restore", config_schema=_SCHEMA)
    def restore_one_day(
        context: dg.AssetExecutionContext, services: dg.ResourceParam[Services]
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetObservation]:
        config, partition = settings(RestoreConfig, context.op_execution_context), context.partition_key
        if selects(context.run, keys.archive) or selects(context.run, keys.purge):
            yield dg.AssetObservation(keys.restore, partition=partition, description=_NOT_ALONE)
            return
        with failing_clearly():
            metadata = restored_metadata(restore(services.task(table, partition, context.run.run_id), config.request()))
        if config.dry_run:
            yield dg.AssetObservation(keys.restore, partition=partition, description="dry run", metadata=metadata)
        else:
            yield dg.MaterializeResult(asset_key=keys.restore, metadata=metadata)

    return restore_one_day
