"""The config, fully resolved: what the rest of the archiver reads.

What belongs here: the models, their keys, defaults, units and bounds. What does not: reading files (load.py), and connecting.

A description reads well after "expected", where the messages about a bad file put it.
"""

import os
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, PlainSerializer, SecretStr, model_validator

from archiver_assets.config.base import Model
from archiver_assets.config.fields import (
    ACCEPTABLE_RISKS,
    Bucket,
    Columns,
    Copied,
    Cron,
    Day,
    FrozenMapping,
    Host,
    Identifier,
    KmsKey,
    Label,
    PathPart,
    PlainText,
    Prefix,
    Risks,
    StorageClass,
    Url,
    VariableName,
    Version,
    Zone,
    refusal,
)
from archiver_assets.config.kubernetes import PodSettings
from archiver_assets.config.labels import Owners, Tags
from archiver_assets.config.legal import Compliance, LegalHolds
from archiver_assets.config.naming import TableName, dagster_name
from archiver_assets.config.notifications import Notifications
from archiver_assets.config.object_lock import ObjectLock
from archiver_assets.config.prices import Prices
from archiver_assets.errors import ConfigError

SSLMODES = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]
Auth = Literal["password", "aws_iam"]
Encryption = Literal["none", "SSE-S3", "SSE-KMS"]
VerificationLevel = Literal["rows", "full", "restore"]
"""How an object is verified; each level includes the ones before."""
READABLE_STORAGE_CLASSES = Literal[
    "STANDARD", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR", "REDUCED_REDUNDANCY", "EXPRESS_ONEZONE"
]


class ColumnConfig(Model):
    """How one column is archived when not by its type's own Arrow type."""

    store_as: Literal["text"] = Field(description="text: the column is stored as PostgreSQL's own text, which can represent every value")


class Settings(PodSettings):
    """The settings that `defaults`, databases and tables may have; the innermost wins."""

    retention_days: int = Field(
        ge=1, le=36_500, description="a whole number of days, 1 to 36500, to keep rows in the table after the end of their day"
    )
    batch_size: int = Field(
        default=10_000,
        ge=1,
        le=100_000,
        description="a whole number of rows, 1 to 100000: the most that a transaction of a purge deletes",
    )
    start_date: Day = Field(
        default=date(2015, 1, 1),
        ge=date(1900, 1, 1),
        le=date(2999, 12, 31),
        description="the day of the first partition as YYYY-MM-DD, 1900-01-01 to 2999-12-31; older rows are not archived",
    )
    timezone: Zone = Field(default="UTC", description="an IANA time zone such as UTC or Europe/Berlin, whose days are the partitions")
    schedule: Cron | None = Field(
        default="0 2 * * *",
        description='a cron expression of five fields, in schedule_timezone, such as "0 2 * * *"; or null for no schedule',
    )
    schedule_timezone: Zone = Field(default="UTC", description="an IANA time zone such as UTC or Europe/Berlin, for schedule")
    max_partitions_per_tick: int = Field(
        default=10, ge=1, le=1000, description="a whole number of partitions, 1 to 1000: the most that one tick of the schedule starts"
    )
    max_backlog_days: int | None = Field(
        default=7,
        ge=1,
        le=36_500,
        description="a whole number of days, 1 to 36500, that an expired day may wait before the check backlog fails, or null for no limit",
    )
    parallelism: int = Field(
        default=1, ge=1, le=8, description="a whole number of sessions, 1 to 8, that read a day in parallel, in one snapshot"
    )
    sleep_between_batches: float = Field(
        default=0.0, ge=0, le=3600, allow_inf_nan=False, description="a number of seconds, 0 to 3600, that a purge pauses between batches"
    )
    purge: bool = Field(
        default=True,
        description="true, or false to archive only: no row is deleted, and late rows are not archived until purge is true",
    )
    purge_method: Literal["delete", "drop_partition"] = Field(
        default="delete",
        description="delete, or drop_partition to drop leaves of a natively partitioned table: whole days at once, others when empty",
    )
    verification: VerificationLevel = Field(
        default="full",
        description="one of rows (bytes and row counts), full (all values too), restore (loading the object too): what is verified "
        "before a purge",
    )
    max_replication_lag_seconds: float | None = Field(
        default=30.0,
        ge=1,
        le=86_400,
        allow_inf_nan=False,
        description="a number of seconds, 1 to 86400, that a replica may lag before a purge pauses, or null for no limit",
    )
    vacuum_strategy: Literal["none", "analyze", "standard"] = Field(
        default="none", description="one of none, analyze (ANALYZE), standard (VACUUM with ANALYZE): what follows a purge"
    )


class TableConfig(Settings):
    """One table, with every setting resolved. Equal configs are equal objects, and can be keys of a dict."""

    database: PathPart = Field(description="the label of the table's database")
    schema_name: PathPart = Field(default="public", serialization_alias="schema", description="the table's schema, at most 63 bytes")
    name: PathPart = Field(description="the table's name, at most 63 bytes")
    timestamp_column: Identifier = Field(description="the column that determines the day of a row, at most 63 bytes")
    primary_key: Columns = Field(min_length=1, description="the column of the primary key, or a list of its columns in order")
    columns: Annotated[Mapping[str, ColumnConfig], Copied, AfterValidator(FrozenMapping), PlainSerializer(dict, return_type=dict)] = Field(
        default=FrozenMapping({}), description="a mapping from column names to how each is stored; other columns are stored by their types"
    )
    accepted_risks: Risks = Field(
        default=(),
        description=f"a list of risks to accept, of {', '.join(ACCEPTABLE_RISKS)}; preflight warns of accepted risks, and refuses others",
    )
    allow_sequential_scan: bool = Field(
        default=False,
        description="true to read a whole large table for each day if no index begins with the timestamp, or false",
    )
    critical: bool = Field(default=False, description="true if compliance.enforce_encryption applies to this table, or false")
    description: str | None = Field(default=None, max_length=2000, description="a text for Dagster's UI, at most 2000 characters, or null")
    owners: Owners = Field(default=(), description="a list of owners, each an e-mail address or team:NAME")
    tags: Tags = Field(
        default=FrozenMapping({}), description="a mapping of tags to text values, by which Dagster's UI filters the table's assets"
    )

    @property
    def table_name(self) -> TableName:
        """The table's true names."""
        return TableName(self.database, self.schema_name, self.name)

    @property
    def label(self) -> str:
        """`D/S/T`, of the true names."""
        return self.table_name.label

    @property
    def asset_path(self) -> tuple[str, str, str]:
        """The key of the source table's asset in Dagster, `[D, S, T]`; other assets of the table append to it."""
        return self.table_name.asset_path

    @property
    def dagster_name(self) -> str:
        """`D__S__T`, in Dagster's characters: what names of ops and schedules begin with."""
        return self.table_name.dagster_name


class ReplicaConfig(Model):
    """A streaming standby of a database, from which its rows may be read; role, password and TLS are those of the primary."""

    host: Host = Field(max_length=255, description="the standby's host name or address, or the absolute path of its socket directory")
    port: int = Field(default=5432, ge=1, le=65_535, description="the standby's port, 1 to 65535")


class ScratchConfig(Model):
    """A database where objects are loaded to prove them, on the same or on another server; null is what the database itself has.

    The password alone is never the database's own unless the file says so: it would go to another server.
    """

    host: Host = Field(
        max_length=255, description="the scratch server's host name or address, or the absolute path of its socket directory"
    )
    port: int = Field(default=5432, ge=1, le=65_535, description="the scratch server's port, 1 to 65535")
    database: Identifier | None = Field(
        default=None, description="the name of the scratch database, at most 63 bytes, or null to use the database's name"
    )
    user: Identifier | None = Field(
        default=None, description="the role to connect to the scratch server as, at most 63 bytes, or null to use the database's role"
    )
    auth: Auth = Field(
        default="password", description="password, or aws_iam: an AWS IAM token for each connection; not inherited from the database"
    )
    password_env: VariableName | None = Field(
        default=None, description="the name of the environment variable that holds the password of this role: letters, digits, _"
    )
    sslmode: SSLMODES | None = Field(
        default=None, description="one of disable, allow, prefer, require, verify-ca, verify-full, or null to use the database's value"
    )
    sslrootcert: PlainText | None = Field(
        default=None, description="the path of a CA bundle file, or system, or null to use the database's value"
    )


class DatabaseConfig(Model):
    """One database and how to reach it. The password is not here: `password()` reads it when a connection is made.

    With `auth: aws_iam` there is none, and `password_env` is None; otherwise it is not.
    """

    name: Label = Field(description="the database's label in Dagster and in object keys, at most 63 bytes")
    host: Host = Field(
        max_length=255, description="the PostgreSQL server's host name or address, or the absolute path of its socket directory"
    )
    port: int = Field(default=5432, ge=1, le=65_535, description="the server's port, 1 to 65535")
    user: Identifier = Field(description="the role to connect as, at most 63 bytes")
    auth: Auth = Field(default="password", description="password, or aws_iam: an AWS IAM token for each connection")
    password_env: VariableName | None = Field(
        default=None, description="the name of the environment variable that holds the password: letters, digits, _"
    )
    database: Identifier | None = Field(
        default=None, description="the database's name on the server, at most 63 bytes, or null if it is the label"
    )
    sslmode: SSLMODES | None = Field(
        default=None,
        description="one of disable, allow, prefer, require, verify-ca, verify-full, or null: verify-full with auth: aws_iam or with "
        "sslrootcert, otherwise libpq's default",
    )
    sslrootcert: PlainText | None = Field(default=None, description="the path of a CA bundle file, or system, or null for libpq's default")
    read_replica: ReplicaConfig | None = Field(
        default=None, description="a mapping with host and port of a streaming standby that archives read rows from, or null"
    )
    scratch_database: ScratchConfig | None = Field(
        default=None,
        description="a mapping with host and password_env of a database where verification: restore loads objects, or null for this one",
    )
    statement_timeout_seconds: int = Field(
        default=21_600, ge=1, le=604_800, description="a whole number of seconds, 1 to 604800, after which the server cancels a statement"
    )
    checks_schedule: Cron | None = Field(
        default="0 8 * * *",
        description="a cron expression of five fields, in UTC, for the checks preflight and backlog of all tables, or null for no schedule",
    )
    max_concurrent_runs: int = Field(
        default=2, ge=1, le=1000, description="a whole number of runs, 1 to 1000: the most that work on the database at once"
    )
    tables: tuple[TableConfig, ...] = Field(min_length=1, description="a list of at least one table")

    @property
    def dbname(self) -> str:
        """The database's name on the server."""
        return self.database or self.name

    @property
    def dagster_group(self) -> str:
        """The group of the database's assets in Dagster: the label, in Dagster's characters."""
        return dagster_name(self.name)

    def password(self, environ: Mapping[str, str] = os.environ) -> SecretStr:
        """Return the password that the variable `password_env` holds in `environ`.

        Raises ConfigError if the variable is not set, or empty.
        """
        value = environ.get(self.password_env) if self.password_env else None
        if not value:
            found = "an empty one" if value == "" else "none"
            variable = self.password_env or "that password_env names"
            message = f"database {self.name}: expected its password in the environment variable {variable}, found {found}"
            hint = f"set {variable} in the environment of the process, in Kubernetes from a Secret, or correct password_env"
            raise ConfigError(message, hint=hint)
        return SecretStr(value)

    @property
    def tls_mode(self) -> str | None:
        """The `sslmode` that is meant: a token, and naming an authority, ask for proof; None is libpq's own default."""
        return self.sslmode or ("verify-full" if self.auth == "aws_iam" or self.sslrootcert else None)

    @model_validator(mode="after")
    def _one_secret(self) -> Self:
        if (self.auth == "password") == (self.password_env is None):
            reason = "auth: password requires password_env, and auth: aws_iam excludes it"
            raise refusal(reason)
        return self

    @model_validator(mode="after")
    def _own_tables(self) -> Self:
        if any(table.database != self.name for table in self.tables):
            reason = "a table names a database other than its own"
            raise refusal(reason)
        return self


class S3Config(Model):
    """Where the objects go. Credentials come from AWS's default chain and never from the config."""

    endpoint: Url | None = Field(default=None, description="the http or https URL of an S3-compatible store, or null for AWS")
    bucket: Bucket = Field(description="the name of a bucket, 3 to 63 characters")
    prefix: Prefix = Field(default="", description="the prefix of all keys, such as archives/, at most 400 bytes")
    region: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9_-]{1,64}\z",
        description="a region such as us-east-1, or null to use the environment's",
    )
    storage_class: Annotated[READABLE_STORAGE_CLASSES, StorageClass] = Field(
        default="STANDARD",
        description="one of STANDARD, STANDARD_IA, ONEZONE_IA, INTELLIGENT_TIERING, GLACIER_IR, REDUCED_REDUNDANCY, EXPRESS_ONEZONE",
    )
    path_style: bool = Field(
        default=False, description="true for URLs like host/bucket/key, which many stores other than AWS need, or false"
    )
    encryption: Encryption = Field(
        default="none", description="one of none, SSE-S3, SSE-KMS: the encryption that every write requests and the store must confirm"
    )
    kms_key_id: KmsKey | None = Field(
        default=None, description="the id or ARN of a KMS key, not an alias, if encryption is SSE-KMS, otherwise null"
    )
    object_lock: ObjectLock | None = Field(
        default=None,
        description="a mapping with mode and days of the Object Lock that every write requests, or null",
    )


class Config(Model):
    """The whole config file, valid and resolved, in the order of the file."""

    version: Annotated[Literal["2.0"], Version] = Field(description='"2.0"')
    s3: S3Config = Field(description="a mapping of the bucket's settings")
    databases: tuple[DatabaseConfig, ...] = Field(min_length=1, description="a list of at least one database")
    legal_holds: LegalHolds = Field(default=LegalHolds(), description="a mapping with holds, and a table that has more holds")
    compliance: Compliance = Field(default=Compliance(), description="a mapping of limits on the settings of all tables")
    notifications: Notifications = Field(default=Notifications(), description="a mapping of who is notified of failures")
    prices: Prices = Field(default=Prices(), description="a mapping of storage prices, for plan and status")

    def table(self, database: str, schema: str, name: str) -> TableConfig:
        """Return the table of these names. Raises ConfigError if there is none."""
        tables = {(table.database, table.schema_name, table.name): table for _, table in self.tables()}
        if (database, schema, name) not in tables:
            message = f"expected a table in the config, found {database}/{schema}/{name}"
            raise ConfigError(message, hint=f"choose one of: {', '.join('/'.join(each) for each in tables)}")
        return tables[database, schema, name]

    def tables(self) -> Iterator[tuple[DatabaseConfig, TableConfig]]:
        """Yield every table with its database, in the order of the file."""
        for database in self.databases:
            for table in database.tables:
                yield database, table

    def database(self, name: str) -> DatabaseConfig:
        """Return the database with the label `name`.

        Raises ConfigError if there is none.
        """
        for database in self.databases:
            if database.name == name:
                return database
        labels = ", ".join(database.name for database in self.databases)
        message = f"expected the label of a configured database, found {name!r}"
        raise ConfigError(message, hint=f"choose one of: {labels}")
