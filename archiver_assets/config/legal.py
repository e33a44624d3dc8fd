"""Legal holds and compliance: the models.

What belongs here: the form of a hold, wherever it is kept (config, bucket, table), and limits on other settings. What does not: reading
holds, and which rows they keep (`lifecycle/holding/`).

Days and conditions narrow a hold. A field that is left out narrows nothing, so a forgotten field holds more rows, not fewer.
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

    column: Identifier = Field(description="the column to compare, at most 63 bytes")
    operator: Operator = Field(description="one of =, !=, <, <=, >, >=, in, is null, is not null")
    values: Annotated[tuple[str, ...], Listed] = Field(
        default=(),
        description="a list of strings in quotes, as PostgreSQL reads them for the column's type: 1 to 1000 for in, none for is null and "
        "is not null, otherwise one",
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

    id: PlainText = Field(max_length=200, description="the id of the hold, at most 200 characters")
    reason: str = Field(min_length=1, max_length=10_000, description="why the rows are held, at most 10000 characters")
    requestor: str | None = Field(default=None, max_length=10_000, description="who requested the hold, at most 10000 characters, or null")
    schema_name: PlainText | None = Field(default=None, description="the schema of the table, or null for all schemas")
    table_name: PlainText = Field(description="the table whose rows are held, as name or schema.name, in every database; case is ignored")
    first_day: Day | None = Field(
        default=None, description="the first day of the rows held as YYYY-MM-DD, in the table's time zone, or null for no limit"
    )
    last_day: Day | None = Field(default=None, description="the last day of the rows held as YYYY-MM-DD, included, or null for no limit")
    start_date: When | None = Field(
        default=None, description="the day or RFC 3339 time from which the hold is in force, by the database's clock, or null for always"
    )
    expiration_date: When | None = Field(
        default=None, description="the last day, included, or the RFC 3339 time until which the hold is in force, or null for no end"
    )
    conditions: Annotated[tuple[HoldCondition, ...], Listed] = Field(
        default=(),
        max_length=100,
        description="a list of at most 100 conditions that held rows must all meet; without any, all rows are held",
    )

    @model_validator(mode="after")
    def _days_in_order(self) -> Self:
        if self.first_day and self.last_day and self.first_day > self.last_day:
            reason = "expected last_day on or after first_day, found an earlier day; the hold would keep nothing"
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
    schema_name: Identifier = Field(
        default="public", serialization_alias="schema", description="the schema of the table of holds, at most 63 bytes"
    )
    name: Identifier = Field(description="the name of the table or view of holds, at most 63 bytes")


class LegalHolds(Model):
    """The holds of the config, and the table where more of them are."""

    holds: Annotated[tuple[Hold, ...], Listed] = Field(default=(), description="a list of holds")
    table: HoldsTable | None = Field(default=None, description="a mapping with database, schema and name of a table of holds, or null")


class Compliance(Model):
    """Limits on the settings of all tables, checked when the config is loaded, and by every archive and purge."""

    min_retention_days: int = Field(
        default=1, ge=1, le=36_500, description="a whole number of days, 1 to 36500: the lowest retention_days that tables may have"
    )
    max_retention_days: int = Field(
        default=36_500, ge=1, le=36_500, description="a whole number of days, 1 to 36500: the highest retention_days that tables may have"
    )
    enforce_encryption: bool = Field(
        default=True, description="true to require an s3.encryption other than none for critical tables, or false"
    )

    @model_validator(mode="after")
    def _limits_in_order(self) -> Self:
        if self.min_retention_days > self.max_retention_days:
            reason = "expected max_retention_days of at least min_retention_days, found a lower one"
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
