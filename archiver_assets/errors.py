"""The errors that the archiver raises on purpose.

What belongs here: the tree of errors below. What does not: what causes them, and catching or retrying.

    ArchiverError
    ├── ConfigError              the config file, or a variable that it names
    ├── NotExpired               a partition that retention still protects
    ├── PartitionBusy            another session is working on the partition
    ├── SourceError              PostgreSQL
    │   ├── SourceUnavailable    cannot connect, or the connection was lost
    │   ├── SourceLoginRefused   the server rejected the role, its password or the database
    │   ├── SourceConflict       a conflict with other transactions, or with a standby's recovery
    │   ├── SourceTimeout        a statement exceeded its timeout or was cancelled
    │   ├── SourceStrained       a purge was asked to pause for longer than its limit
    │   ├── TableRefused         the table cannot be archived or purged safely
    │   ├── ValueRefused         a value that the archive cannot store losslessly
    │   ├── SourceChanged        the table is not the one that the manifest describes
    │   └── NotRestored          rows that the destination could not store as archived
    ├── StoreError               the object store
    │   ├── StoreUnavailable     no answer, or a server-side error
    │   ├── ObjectMissing        an expected object does not exist
    │   ├── ObjectDamaged        content that does not match its checksum
    │   └── ObjectExists         a conditional create found an existing object
    ├── ManifestInvalid          a manifest that cannot be trusted
    ├── HoldsUnreadable          legal holds that cannot be read; every row is treated as held
    ├── QueryRefused             SQL over the archive that could not be run
    ├── NotArchived              rows that no generation contains
    └── NotVerified              a generation that failed verification

A message starts in lower case, has no final full stop, and states what was expected, what was found, and where. The hint is the
next step. `transient` marks the classes whose call may succeed later without anyone's intervention.
"""

from typing import ClassVar


class ArchiverError(Exception):
    """The root of the tree. `str()` returns the message, then `HINT: ` and the next step on a separate line."""

    transient: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str) -> None:
        """Store `message` and `hint` separately so that a caller can show them in different places."""
        super().__init__(f"{message}\nHINT: {hint}")
        self.message = message
        self.hint = hint


class ConfigError(ArchiverError):
    """The config file, or an environment variable that it names, is unusable. One error lists all problems of a file."""


class NotExpired(ArchiverError):
    """Retention still protects the partition, according to the database's clock."""


class PartitionBusy(ArchiverError):
    """Another session holds the partition's advisory lock, or Dagster has a run of its table."""

    transient = True


class SourceError(ArchiverError):
    """PostgreSQL refused a request, or its contents stop the archiver."""


class SourceUnavailable(SourceError):
    """The connection to PostgreSQL failed or was lost."""

    transient = True


class SourceLoginRefused(SourceError):
    """PostgreSQL refused the login because of the role, its password or token, the database, or pg_hba.conf."""


class SourceConflict(SourceError):
    """The server ended a transaction because it conflicted with another one, or with a standby's recovery."""

    transient = True


class SourceTimeout(SourceError):
    """The server ended a statement that exceeded its timeout or was cancelled."""


class SourceStrained(SourceError):
    """Lagging standbys or blocked sessions required a longer pause than a purge waits; it has deleted only whole batches."""

    transient = True


class TableRefused(SourceError):
    """The table cannot be archived or purged safely in its current state."""


class ValueRefused(SourceError):
    """A value that the column's stored type cannot hold exactly."""


class SourceChanged(SourceError):
    """The table or the server is not the one that the manifest's generation was archived from."""


class NotRestored(SourceError):
    """The destination has different rows with the same keys, has another shape, or would not store the rows as archived."""


class StoreError(ArchiverError):
    """The object store refused a request."""


class StoreUnavailable(StoreError):
    """The object store did not answer, or reported a server-side error."""

    transient = True


class ObjectMissing(StoreError):
    """An expected object does not exist."""


class ObjectDamaged(StoreError):
    """An object's content does not match the store's own checksum; it was damaged in the store or in transit."""


class ObjectExists(StoreError):
    """A conditional create found that the key already exists."""


class ManifestInvalid(ArchiverError):
    """A manifest cannot be read, or describes a partition other than the one whose folder contains it."""


class HoldsUnreadable(ArchiverError):
    """Legal holds cannot be read or parsed; until they can, every row is held."""


class QueryRefused(ArchiverError):
    """SQL over the archive is invalid in DuckDB, asks for more than the archive, or found a value that it cannot convert."""


class NotArchived(ArchiverError):
    """The table has rows of the partition that no generation contains."""


class NotVerified(ArchiverError):
    """Generations were read back and do not match their manifests; those rejected for it are ignored from now on."""

    def __init__(self, message: str, *, hint: str, rejected: int = 0) -> None:
        """Store the number of generations that were rejected."""
        super().__init__(message, hint=hint)
        self.rejected = rejected
