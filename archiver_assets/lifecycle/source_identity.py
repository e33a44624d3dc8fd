"""Which server and database the archive of a table is of, and the deliberate move to another one.

What belongs here: the identity of a source, comparing it with what the archive says, and accepting a new one. What does not: what a
generation of a former source still means (`generations.py`).

A clone, a restored backup or a config that points elsewhere has rows with the same keys, and an xmin that may by chance be the same too.
So nothing is archived or purged there until a person has said that the table lives there now. The archive keeps that as a numbered object,
never replaced; the newest counts. Without one all manifests of a table are of one source, so that any of them tells which.
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
"""Objects looked through for a manifest of another day: one request to S3."""

Identity = tuple[str, int]
"""The system identifier of a server, given by initdb and kept by physical copies, and the oid of a database in it."""


def identity(source: Server | SourceFacts | AcceptedSource) -> Identity:
    """Return what tells one source from another."""
    return source.system_identifier, source.database_oid


def require_accepted(task: Task, server: Server, recorded: Iterable[SourceFacts]) -> None:
    """Raise SourceChanged unless the archive of the table is of this server and database, or they were accepted since.

    `recorded` are the sources of the partition's own generations. Where there are none, a manifest of another day is asked.
    """
    keys = task.table_keys
    accepted = accepted_source(task.store, keys)
    known = {identity(accepted)} if accepted else {identity(each) for each in recorded} or set(_of_another_day(task.store, keys))
    if wrong := sorted(known - {identity(server)}):
        message = f"{task.label}: expected {_described(wrong[0])}, of which the archive is, found {_described(identity(server))}"
        raise SourceChanged(message, hint=f"point the config back, or, if the table was moved on purpose: {accept_command(task.table)}")


def accept_command(table: TableConfig) -> str:
    """Return the command that accepts the source as it is configured."""
    names = {"--database": table.database, "--schema": table.schema_name, "--table": table.name}
    return " ".join(["archiver accept-source", *(f"{option}={quote(name)}" for option, name in names.items())])


def accept_source(source: Source, store: ObjectStore, keys: TableKeys, *, at: datetime, run_id: str) -> AcceptedSource | None:
    """Make the server and database of `source` those of the table's archive, from `at` on. None: they were so already.

    Generations of the former source stay in the archive. They cover no rows and purge none: what the table still holds is archived again.
    Raises ObjectExists if somebody else accepts a source at the same time, and the errors of source and store.
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
    """Return the source that was accepted last; None where nobody had to, and the archive is of one."""
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
            except ManifestInvalid as error:  # a damaged day is no reason to refuse the others
                log.warning("%s", error.message)
            else:
                return


def _described(source: Identity) -> str:
    return f"the server with system identifier {source[0]}, database oid {source[1]}"
