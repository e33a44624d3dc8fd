"""Create the objects that the lifecycle needs from the config, for commands, readers and (as a resource) Dagster's assets.

What belongs here: construction. What does not: connecting and reading secrets, which the objects do when they are used.

Modules that import Arrow or AWS's client are imported in the methods that need them, because a code server needs none of them
(`orchestration/steps.py`).
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from archiver_assets.config import Config, TableConfig
from archiver_assets.lifecycle.archive_only import done_days
from archiver_assets.partition import Partition
from archiver_assets.source.session import Source
from archiver_assets.source.sharing import SharedSession, SharedSessions
from archiver_assets.store.keys import TableKeys
from archiver_assets.store.links import Links
from archiver_assets.store.objects import ObjectStore

if TYPE_CHECKING:
    from pyarrow import fs

    from archiver_assets.lifecycle.holding.holds import HoldPlaces
    from archiver_assets.lifecycle.progress import Progress
    from archiver_assets.lifecycle.task import Task
    from archiver_assets.store.s3 import Patience, S3ObjectStore


@dataclass(frozen=True)
class Services:
    """The databases and the store of a config, the clock to compare the times of Dagster's runs with, and the sessions that ticks share.

    `watch`, if given, is called with the progress of each task's steps.
    """

    config: Config
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    clock: Callable[[], datetime] = field(default=lambda: datetime.now(UTC), repr=False)
    sessions: SharedSessions = field(default_factory=SharedSessions, repr=False, compare=False)
    watch: "Callable[[Progress], None] | None" = field(default=None, repr=False)

    def source(self, table: TableConfig) -> Source:
        """Return the database of a table."""
        return Source(self.config.database(table.database), self.environ)

    def shared_source(self, table: TableConfig) -> SharedSession:
        """Return the database of a table, through the one session that ticks share."""
        return self.sessions.of(self.source(table))

    @cached_property
    def store(self) -> ObjectStore:
        """The object store. It is created once, because creating its client takes 0.3 s and threads can share it."""
        return self.bucket_store()

    def bucket_store(self, patience: "Patience | None" = None) -> "S3ObjectStore":
        """Return the object store with a separate client. `patience` bounds the time of its calls; the default is that of a run."""
        from archiver_assets.store.object_lock import ObjectLock  # noqa: PLC0415 -- see above
        from archiver_assets.store.s3 import Patience, S3ObjectStore  # noqa: PLC0415

        s3 = self.config.s3
        return S3ObjectStore.connect(
            bucket=s3.bucket,
            endpoint=s3.endpoint,
            region=s3.region,
            storage_class=s3.storage_class,
            path_style=s3.path_style,
            encryption=s3.encryption,
            kms_key_id=s3.kms_key_id,
            patience=patience or Patience(),
            lock=ObjectLock(s3.object_lock.mode, timedelta(days=s3.object_lock.days)) if s3.object_lock else None,
        )

    @property
    def links(self) -> Links:
        """The links to the objects for people."""
        return Links(self.config.s3)

    def objects(self) -> "fs.FileSystem":
        """Return the object store as pyarrow reads it, with AWS's default credentials; a path begins with the bucket.

        pyarrow ignores AWS_CA_BUNDLE, so the certificate authorities that boto3 trusts are passed to it.
        """
        from botocore.session import Session  # noqa: PLC0415 -- see above
        from pyarrow import fs  # noqa: PLC0415

        s3 = self.config.s3
        scheme, _, host = (s3.endpoint or "").rpartition("://")
        return fs.S3FileSystem(
            region=s3.region,
            endpoint_override=host or None,
            scheme=scheme or None,
            force_virtual_addressing=not s3.path_style,
            tls_ca_file_path=Session().get_config_variable("ca_bundle"),
        )

    def table_keys(self, table: TableConfig) -> TableKeys:
        """Return the keys of a table's objects."""
        return TableKeys.of(prefix=self.config.s3.prefix, database=table.database, schema=table.schema_name, table=table.name)

    def task(self, table: TableConfig, partition_key: str, run_id: str) -> "Task":
        """Return the task of one partition in one run. Raises ValueError if the key is not a day."""
        from archiver_assets.lifecycle.progress import unwatched  # noqa: PLC0415 -- see above
        from archiver_assets.lifecycle.task import Task  # noqa: PLC0415

        partition = Partition.from_key(partition_key, table.timezone)
        return Task(
            table=table,
            partition=partition,
            source=self.source(table),
            store=self.store,
            run_id=run_id,
            prefix=self.config.s3.prefix,
            legal_holds=self.config.legal_holds,
            holds_source=self._holds_source(),
            compliance=self.config.compliance,
            encryption=self.config.s3.encryption,
            watch=self.watch or unwatched,
        )

    def done_days(self, table: TableConfig) -> frozenset[date]:
        """Return the days of a table that need no run although they have rows; empty unless it is only archived. Raises as `done_days`."""
        return done_days(self.store, self.table_keys(table), table)

    def hold_places(self) -> "HoldPlaces":
        """Return the places where legal holds are kept."""
        from archiver_assets.lifecycle.holding.holds import HoldPlaces  # noqa: PLC0415 -- see above

        return HoldPlaces(self.config.legal_holds, self._holds_source(), self.store, self.config.s3.prefix)

    def _holds_source(self) -> Source | None:
        table = self.config.legal_holds.table
        return None if table is None else Source(self.config.database(table.database), self.environ)
