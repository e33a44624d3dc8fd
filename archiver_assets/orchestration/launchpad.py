"""The settings of a single run, in Dagster's launchpad.

What belongs here: the forms, and what a run selects. What does not: the effect of the settings (`lifecycle/overrides.py`, `dry_run.py`).
See https://docs.dagster.io/guides/operate/configuration/run-configuration.
"""

from enum import StrEnum
from typing import TypeVar

import dagster as dg
from pydantic import Field

from archiver_assets.config import Settings
from archiver_assets.lifecycle.overrides import Overrides

_OWN = "None: the table's setting."
_DRY = "reports what it would do and everything that would stop it; it deletes, writes and materializes nothing"


Form = TypeVar("Form", bound=dg.Config)


class Level(StrEnum):
    """What proves an object, each level more than the one before."""

    rows = "rows"
    full = "full"
    restore = "restore"


def _described(name: str) -> str:
    description = Settings.model_fields[name].description or ""
    return f"{description[:1].upper()}{description[1:]}. {_OWN}"


_VERIFICATION = f"{_described('verification')} It can prove more than the config demands, never less."


class ArchiveConfig(dg.Config):
    """An archive of one day, or each of a backfill."""

    dry_run: bool = Field(default=False, description=f"The whole run, including its purge, only {_DRY}.")


class CheckConfig(dg.Config):
    """The check that reads the day's objects back."""

    verification: Level | None = Field(default=None, description=_VERIFICATION)

    def overrides(self) -> Overrides:
        """Return it in the lifecycle's terms."""
        return Overrides(verification=self.verification)


class PurgeConfig(dg.Config):
    """A purge of one day, or each of a backfill."""

    dry_run: bool = Field(default=False, description=f"The whole run, including its archive, only {_DRY}.")
    batch_size: int | None = Field(default=None, description=_described("batch_size"))
    sleep_between_batches: float | None = Field(default=None, description=_described("sleep_between_batches"))
    verification: Level | None = Field(default=None, description=_VERIFICATION)

    def overrides(self) -> Overrides:
        """Return it in the lifecycle's terms."""
        return Overrides(self.batch_size, self.sleep_between_batches, self.verification)


def schema_of(form: type[dg.Config]) -> dg.Field:
    """Return the schema of a form. It is made once for all tables: otherwise Dagster would make it again for each step."""
    return dg.Field(form.to_fields_dict())


ARCHIVE_SCHEMA, CHECK_SCHEMA, PURGE_SCHEMA = (schema_of(form) for form in (ArchiveConfig, CheckConfig, PurgeConfig))


def settings(form: type[Form], context: dg.OpExecutionContext) -> Form:
    """Return what a person set for a step."""
    return form(**context.op_config)


def selects(run: dg.DagsterRun, key: dg.AssetKey) -> bool:
    """Return whether the run is to materialize an asset: one without a selection takes all assets of its job."""
    return not run.asset_selection or key in run.asset_selection


def selects_check(run: dg.DagsterRun, key: dg.AssetCheckKey) -> bool:
    """Return whether the run is to evaluate a check: one without a selection takes all checks of its assets."""
    return run.asset_check_selection is None or key in run.asset_check_selection
