"""What one run may set otherwise than the config of its table: how gently it purges, and how much it proves.

What belongs here: which settings these are, and that none of them weakens a proof. What does not: the form in which a person gives them
(the launchpad, the command).
"""

from dataclasses import asdict, dataclass
from typing import get_args

from pydantic import ValidationError

from archiver_assets.config import TableConfig, VerificationLevel
from archiver_assets.errors import ConfigError

_LEVELS: tuple[str, ...] = get_args(VerificationLevel)


@dataclass(frozen=True)
class Overrides:
    """The settings of one run; None stands for the table's own. Units and bounds are those of the config."""

    batch_size: int | None = None
    sleep_between_batches: float | None = None
    verification: str | None = None

    def applied_to(self, table: TableConfig) -> TableConfig:
        """Return the table as this run treats it.

        Raises ConfigError for a value out of bounds, and for a verification that proves less than the config demands.
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
                f"expected a run of {table.label} to prove at least what its config demands, verification {table.verification}, "
                f"found {changed.verification}"
            )
            hint = f"leave verification out, or raise it: {' < '.join(_LEVELS)}; less can only be demanded by the config, for every run"
            raise ConfigError(message, hint=f"{hint}; nothing was deleted")
        return changed


def _out_of_bounds(table: TableConfig, changes: dict[str, object], name: str) -> ConfigError:
    expected = TableConfig.model_fields[name].description
    message = f"{name} of this run of {table.label}: expected {expected}, found {changes.get(name)!r}"
    return ConfigError(message, hint="correct it, or leave it out for the table's own; nothing was deleted")
