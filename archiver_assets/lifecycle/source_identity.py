"""The server and database that a table's archive comes from, and a deliberate move to another one.

What belongs here: the identity of a source, comparing it with the archive's record, and accepting a new source. What does not: the meaning
of a generation of a former source (`generations.py`).

A clone, a restored backup or a mistaken config leads to rows with the same keys, which may by chance have the same xmin. So nothing is
archived or purged there until an operator accepts the new source. The archive keeps each acceptance as a numbered object that is never
replaced; the newest one applies. Without any, all manifests of a table have the same source, so reading one of them is enough.
"""

from collections.abc import Iterable
from datetime import datetime
from shlex import quote

from archiver_assets.config import TableConfig
from archiver_assets.errors import ManifestInvalid, SourceChanged
from archiver_assets.lifecycle.task import Task, log
from archiver_assets.source.catalog import Server, read_server
from archiver_assets.source.session import Source, require_primary
from archiver_assets.store.keys import TableKeys
from archiver_assets.store.manifest import AcceptedSource, Manifest, SourceFacts, decode, encode
from archiver_assets.store.objects import ObjectStore, read_whole

_NEIGHBOURS = 1000
"""The number of objects searched for a manifest of another day: one request to S3."""

Identity = tuple[str, int]
"""The system identifier of a server, set by initdb and shared by physical copies, and the oid of a database on it."""


def identity(source: Server | SourceFacts | AcceptedSource) -> Identity:
    """Return the system identifier and the database oid of a source."""
    return source.system_identifier, source.database_oid


def require_accepted(task: Task, server: Server, recorded: Iterable[SourceFacts]) -> None:
    """Raise SourceChanged unless the table's archive comes from this server and database, or they have since been accepted.

    `recorded` are the sources of the partition's own generations. If there are none, the source is read from a manifest of another day.
    """
    keys = task.table_keys
    accepted = accepted_source(task.store, keys)
    known = {identity(accepted)} if accepted else {identity(each) for each in recorded} or set(_of_another_day(task.store, keys))
    if wrong := sorted(known - {identity(server)}):
        message = f"{task.label}: expected the source of the archive, {_described(wrong[0])}, found {_described(identity(server))}"
        raise SourceChanged(message, hint=f"correct the config; or, if the table was moved on purpose, run: {accept_command(task.table)}")


def accept_command(table: TableConfig) -> str:
    """Return the shell command that accepts the table's configured source."""
    names = {"--database": table.database, "--schema": table.schema_name, "--table": table.name}
    return " ".join(["archiver accept-source", *(f"{option}={quote(name)}" for option, name in names.items())])


def accept_source(source: Source, store: ObjectStore, keys: TableKeys, *, at: datetime, run_id: str) -> AcceptedSource | None:
    """Accept the server and database of `source` for the table's archive, as of `at`. Return None if they already were its source.

    Generations of the former source stay in the archive. They cover and purge no rows, so rows still in the table are archived again.
    Raises ObjectExists if another process accepts a source at the same time, and the errors of source and store.
    """
    with source.connect() as connection:
        require_primary(connection, keys.folder)
        server = read_server(connection)
    newest = accepted_source(store, keys)
    known = {identity(newest)} if newest else set(_of_another_day(store, keys))
    if known == {identity(server)}:
        return None
    accepted = AcceptedSource(system_identifier=server.system_identifier, database_oid=server.database_oid, at=at, run_id=run_id)
    store.create(keys.source(max(_numbers(store, keys), default=0) + 1), encode(accepted))
    log.warning("%s: the source is now %s", keys.folder, _described(identity(server)))
    return accepted


def accepted_source(store: ObjectStore, keys: TableKeys) -> AcceptedSource | None:
    """Return the source that was accepted last; None if none ever was, so that the archive has only one source."""
    numbers = _numbers(store, keys)
    if not numbers:
        return None
    key = keys.source(max(numbers))
    return decode(AcceptedSource, read_whole(store, key), key=key)


def _numbers(store: ObjectStore, keys: TableKeys) -> list[int]:
    return [number for found in store.list(keys.sources) if (number := keys.source_number(found.key)) is not None]


def _of_another_day(store: ObjectStore, keys: TableKeys) -> Iterable[Identity]:
    for found in store.list(f"{keys.folder}dt=", at_most=_NEIGHBOURS):
        if keys.is_manifest(found.key):
            try:
                yield identity(decode(Manifest, read_whole(store, found.key), key=found.key).source)
            except ManifestInvalid as error:  # damage to one day must not block the others
                log.warning("%s", error.message)
            else:
                return


def _described(source: Identity) -> str:
    return f"the server with system identifier {source[0]}, database oid {source[1]}"
