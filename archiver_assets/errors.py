"""The errors that the archiver raises on purpose.

What belongs here: the tree of errors below, and nothing that knows how they come about. What does not: catching or retrying.

    ArchiverError
    ├── ConfigError              the config file, or a variable that it names
    ├── NotExpired               a partition that the retention still protects
    ├── PartitionBusy            another session works on the partition
    ├── SourceError              PostgreSQL
    │   ├── SourceUnavailable    cannot connect, or the connection was lost
    │   ├── SourceLoginRefused   the server does not know the role, its password, or the database
    │   ├── SourceConflict       a conflict with other transactions, or with a standby's recovery
    │   ├── SourceTimeout        a statement took longer than it may, or somebody cancelled it
    │   ├── SourceStrained       a purge had to pause for longer than it waits
    │   ├── TableRefused         the table cannot be archived or purged safely
    │   ├── ValueRefused         a value that the archive could not store losslessly
    │   ├── SourceChanged        the table is not the one that the manifest speaks of
    │   └── NotRestored          rows that their destination could not take as they were archived
    ├── StoreError               the object store
    │   ├── StoreUnavailable     no answer, or a server-side error
    │   ├── ObjectMissing        a key that should be there is not
    │   ├── ObjectDamaged        content that is not what the checksum beside it says
    │   └── ObjectExists         a conditional create met an object
    ├── ManifestInvalid          a manifest that cannot be believed
    ├── HoldsUnreadable          legal holds that cannot be read, so that every row is held
    ├── QueryRefused             SQL over the archive that could not be run
    ├── NotArchived              rows without a generation that holds them
    └── NotVerified              a generation that failed its verification

A message starts in lower case and ends without a full stop; it says what was expected, what was found, and where. The hint is
the next step. `transient` says once for each class whether the same call may succeed later without anybody's doing.
"""

from typing import ClassVar


class ArchiverError(Exception):
    """The root of the tree. `str()` gives the message and, on a line of its own, `HINT: ` with the next step."""

    transient: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str) -> None:
        """Keep `message` and `hint` apart, so that a caller can show them in different places."""
        super().__init__(f"{message}\nHINT: {hint}")
        self.message = message
        self.hint = hint


class ConfigError(ArchiverError):
    """The config file, or an environment variable that it names, is not usable; all problems of a file in one error."""


class NotExpired(ArchiverError):
    """The partition is still protected by the retention, by the clock of the database."""


class PartitionBusy(ArchiverError):
    """Another session holds the advisory lock of the partition, or Dagster has a run of its table."""

    transient = True


class SourceError(ArchiverError):
    """PostgreSQL refused, or holds something that stops the archiver."""


class SourceUnavailable(SourceError):
    """No connection to PostgreSQL, or a connection that was lost."""

    transient = True


class SourceLoginRefused(SourceError):
    """PostgreSQL answered and refused the login: by the role, its password or token, the database, or pg_hba.conf."""


class SourceConflict(SourceError):
    """The server ended a transaction for the sake of another one, or of a standby's recovery."""

    transient = True


class SourceTimeout(SourceError):
    """The server ended a statement that took longer than it may, or that somebody cancelled."""


class SourceStrained(SourceError):
    """The server's standbys or sessions asked for a pause that was longer than a purge waits; what it deleted so far is whole batches."""

    transient = True


class TableRefused(SourceError):
    """The table cannot be archived or purged safely as it is."""


class ValueRefused(SourceError):
    """A value that the column's stored type cannot hold exactly."""


class SourceChanged(SourceError):
    """The table, or the server, is not the one from which the manifest's generation was archived."""


class NotRestored(SourceError):
    """The destination has other rows under the same keys, another shape, or would not keep the rows as they were archived."""


class StoreError(ArchiverError):
    """The object store refused."""


class StoreUnavailable(StoreError):
    """The object store did not answer, or answered with an error of its own."""

    transient = True


class ObjectMissing(StoreError):
    """An object that should be there is not."""


class ObjectDamaged(StoreError):
    """The content of an object is not what the store's own checksum says, whether it was damaged there or on the way."""


class ObjectExists(StoreError):
    """A conditional create found that the key is taken."""


class ManifestInvalid(ArchiverError):
    """A manifest is not readable, or speaks of another partition than the one in whose folder it lies."""


class HoldsUnreadable(ArchiverError):
    """Legal holds cannot be read, or are not understood; until they are, every row is held."""


class QueryRefused(ArchiverError):
    """SQL over the archive is not DuckDB's, asks for more than the archive, or met a value that it could not convert."""


class NotArchived(ArchiverError):
    """The table has rows of the partition, and no generation holds them."""


class NotVerified(ArchiverError):
    """Generations were read back and are not what their manifests say; so many of them were rejected, and do not count any more."""

    def __init__(self, message: str, *, hint: str, rejected: int = 0) -> None:
        """Keep how many generations were rejected for it."""
        super().__init__(message, hint=hint)
        self.rejected = rejected
