"""Legal holds and compliance: the models.

What belongs here: what a hold says, wherever it is kept (the config, the bucket, a table), and the limits on other settings. What does not:
reading holds, and what follows from them (`lifecycle/holding/holds.py`).

A hold can be narrowed by days and by conditions; whatever it leaves out narrows nothing, so that what is forgotten holds more.
"""

from collections.abc import Iterator
from datetime import date
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from archiver_assets.config.base import Model
from archiver_assets.config.fields import Day, Identifier, Listed, PathPart, PlainText, When, refusal

Operator = Literal["=", "!=", "<", "<=", ">", ">=", "in", "is null", "is not null"]

_VALUES = {"is null": (0, 0), "is not null": (0, 0), "in": (1, 1000)}
"""The least and the greatest number of values of an operator, where it is not one."""


class HoldCondition(Model):
    """A condition on one column. As in SQL, a NULL is matched by `is null` alone: it is not equal, not unequal, not less, not greater."""

    column: Identifier = Field(description="the column whose value decides, at most 63 bytes")
    operator: Operator = Field(description="one of =, !=, <, <=, >, >=, in, is null, is not null")
    values: Annotated[tuple[str, ...], Listed] = Field(
        default=(),
        description="a list of texts in quotes, as PostgreSQL reads them for the column's type: one to 1000 for in, none for is null and "
        "is not null, else one",
    )

    @model_validator(mode="after")
    def _as_many_values_as_the_operator_takes(self) -> Self:
        least, most = _VALUES.get(self.operator, (1, 1))
        if not least <= len(self.values) <= most:
            reason = f"expected {f'{least} to {most}' if least < most else least} values for {self.operator}, found {len(self.values)}"
            raise refusal(reason)
        if any("\0" in value for value in self.values):
            reason = "expected values that PostgreSQL can hold, found one with a NUL character"
            raise refusal(reason)
        return self


class Hold(Model):
    """One legal hold: rows of a table that no purge may delete while it is in force."""

    id: PlainText = Field(max_length=200, description="the name of the hold, at most 200 characters")
    reason: str = Field(min_length=1, max_length=10_000, description="why the rows are held, at most 10000 characters")
    requestor: str | None = Field(default=None, max_length=10_000, description="who asked for the hold, or null")
    schema_name: PlainText | None = Field(default=None, description="the schema of the table, or null for all of them")
    table_name: PlainText = Field(
        description="the table whose rows are held, as name or schema.name, in every database; upper and lower case are the same"
    )
    first_day: Day | None = Field(
        default=None, description="the first day of the rows held as YYYY-MM-DD, in the table's time zone, or null for no limit"
    )
    last_day: Day | None = Field(default=None, description="the last day of the rows held, included, or null for no limit")
    start_date: When | None = Field(
        default=None, description="the day or RFC 3339 time from which the hold is in force, by the database's clock, or null for always"
    )
    expiration_date: When | None = Field(
        default=None, description="the last day, included, or the RFC 3339 time until which the hold is in force, or null for ever"
    )
    conditions: Annotated[tuple[HoldCondition, ...], Listed] = Field(
        default=(), max_length=100, description="a list of conditions, all of which a row has to meet to be held; none holds all rows"
    )

    @model_validator(mode="after")
    def _days_in_order(self) -> Self:
        if self.first_day and self.last_day and self.first_day > self.last_day:
            reason = "expected a last_day that is not before first_day, found one that is; it would hold nothing"
            raise refusal(reason)
        return self

    def names(self, schema: str, table: str) -> bool:
        """Tell whether the hold is on the table of these names, in whatever database.

        Upper and lower case, quotes, outer spaces, and what stands before `schema.name`, do not tell names apart.
        """
        if self.schema_name is not None and _plain(self.schema_name) != _plain(schema):
            return False
        name = _plain(self.table_name)
        return name == _plain(table) or f".{name}".endswith(f".{_plain(schema)}.{_plain(table)}")

    def covers(self, day: date) -> bool:
        """Tell whether rows of the day can be held."""
        return (self.first_day is None or self.first_day <= day) and (self.last_day is None or day <= self.last_day)

    def holds_all_of(self, day: date) -> bool:
        """Tell whether every row of the day is held."""
        return self.covers(day) and not self.conditions


class HoldsTable(Model):
    """A table of a configured database that holds are read from, a row each."""

    database: PathPart = Field(description="the label of the configured database that has the table of holds")
    schema_name: Identifier = Field(default="public", description="the schema of the table of holds, at most 63 bytes")
    name: Identifier = Field(description="the name of the table or view of holds, at most 63 bytes")


class LegalHolds(Model):
    """The holds of the config, and the table where more of them are."""

    holds: Annotated[tuple[Hold, ...], Listed] = Field(default=(), description="a list of holds")
    table: HoldsTable | None = Field(default=None, description="a mapping with database, schema and name of a table of holds, or null")


class Compliance(Model):
    """Limits on the settings of all tables, checked when the config is loaded, and by every archive and purge."""

    min_retention_days: int = Field(
        default=1, ge=1, le=36_500, description="a whole number of days, 1 to 36500: no table may have a lower retention_days"
    )
    max_retention_days: int = Field(
        default=36_500, ge=1, le=36_500, description="a whole number of days, 1 to 36500: no table may have a higher retention_days"
    )
    enforce_encryption: bool = Field(
        default=True, description="true if tables that are critical need an s3.encryption other than none, or false"
    )

    @model_validator(mode="after")
    def _limits_in_order(self) -> Self:
        if self.min_retention_days > self.max_retention_days:
            reason = "expected a max_retention_days that is not below min_retention_days, found one that is"
            raise refusal(reason)
        return self

    def problems(self, *, retention_days: int, critical: bool, encryption: str) -> Iterator[tuple[str, str]]:
        """Yield what is against the limits in a table's settings: the setting, and what was expected and found."""
        least, most = self.min_retention_days, self.max_retention_days
        if not least <= retention_days <= most:
            yield "retention_days", f"expected {least} to {most} days, the limits of compliance, found {retention_days}"
        if critical and self.enforce_encryption and encryption == "none":
            yield "critical", "expected s3.encryption to be SSE-S3 or SSE-KMS for a critical table, found none"


def _plain(name: str) -> str:
    return name.replace('"', "").strip().casefold()
