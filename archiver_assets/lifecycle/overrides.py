"""The settings of its table that one run may override: how gently it purges, and how much it verifies.

What belongs here: the list of these settings, and the rule that none of them weakens verification. What does not: how an operator passes
them (the launchpad, the command).
"""

from dataclasses import asdict, dataclass
from typing import get_args

from pydantic import ValidationError

from archiver_assets.config import TableConfig, VerificationLevel
from archiver_assets.errors import ConfigError

_LEVELS: tuple[str, ...] = get_args(VerificationLevel)


@dataclass(frozen=True)
class Overrides:
    """The settings of one run; None keeps the table's own value. Units and bounds are those of the config."""

    batch_size: int | None = None
    sleep_between_batches: float | None = None
    verification: str | None = None

    def applied_to(self, table: TableConfig) -> TableConfig:
        """Return the table's config with the settings of this run.

        Raises ConfigError for a value out of bounds, and for a verification level below that of the config.
        """
        changes = {name: value for name, value in asdict(self).items() if value is not None}
        if not changes:
            return table
        try:
            changed = TableConfig.model_validate({name: getattr(table, name) for name in TableConfig.model_fields} | changes)
        except ValidationError as error:
            raise _out_of_bounds(table, changes, str(error.errors()[0]["loc"][0])) from error
        if _LEVELS.index(changed.verification) < _LEVELS.index(table.verification):
            message = (
                f"expected a run of {table.label} to verify at least as its config requires, verification {table.verification}, "
                f"found {changed.verification}"
            )
            hint = f"omit verification, or raise it: {' < '.join(_LEVELS)}; only the config can lower it, for every run"
            raise ConfigError(message, hint=f"{hint}; nothing was deleted")
        return changed


def _out_of_bounds(table: TableConfig, changes: dict[str, object], name: str) -> ConfigError:
    expected = TableConfig.model_fields[name].description
    message = f"{name} of this run of {table.label}: expected {expected}, found {changes.get(name)!r}"
    return ConfigError(message, hint="correct it, or omit it to use the table's own value; nothing was deleted")
