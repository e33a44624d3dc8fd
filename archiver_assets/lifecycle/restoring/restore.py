"""Restore: load the generations of a partition back into a table, and have the server confirm that the rows are there.

What belongs here: which rows are restored, the order of load, comparison and commit, and what stops a restore. What does not: the
statements and the checks of the table (`source/destination.py`), and reading back (`verifying/readback.py`).

Each generation is one transaction: proven by reading it back, loaded, compared row by row by the server, committed. Newer generations come
first; of a key in several generations, only the newest version is loaded. A crash leaves whole generations, and running the same restore
again completes it: a row already present, byte for byte, is no conflict.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from archiver_assets.errors import ArchiverError, ConfigError, NotRestored
from archiver_assets.lifecycle.coverage import Coverage
from archiver_assets.lifecycle.generations import Generation, read_generations
from archiver_assets.lifecycle.progress import of_generation
from archiver_assets.lifecycle.restoring.loading import Loading, Rows
from archiver_assets.lifecycle.restoring.overwriting import require_purged
from archiver_assets.lifecycle.restoring.own_hold import OwnHold
from archiver_assets.lifecycle.restoring.request import Conflict, Drift, Restored, RestoreRequest, RestoreTally, Triggers
from archiver_assets.lifecycle.restoring.session import Session, archived_columns
from archiver_assets.lifecycle.retrying import persistently
from archiver_assets.lifecycle.task import Step, Task, log
from archiver_assets.source import destination as at
from archiver_assets.source import sql, sql_restore
from archiver_assets.source.catalog import find_relation
from archiver_assets.source.destination import Destination, TargetColumn
from archiver_assets.source.session import partition_lock

_NAME_BYTES = 63
_MOST_HOLD_DAYS = 36_500


def restore(task: Task, request: RestoreRequest) -> Restored:
    """Restore a partition. Without a live generation there is nothing to restore, which is a success.

    A copy of the archive's bucket, made by another tool, can be restored from too, but overwrites no row. Raises NotVerified for a
    generation that does not match its manifest; NotRestored if the target has another shape, triggers, or other rows with the same keys,
    or does not store the rows as archived; PartitionBusy; and the errors of source and store. What was restored before an error is whole
    generations, all newer than the one that failed.
    """
    hold = OwnHold()
    try:
        return persistently(task, "restore", lambda: _restore(task, request, hold))
    except ArchiverError:
        if hold.id is not None:
            log.warning("%s: the hold %s stays, since rows may have been restored: `archiver hold remove` ends it", task.label, hold.id)
        raise


def _restore(task: Task, request: RestoreRequest, hold: OwnHold) -> Restored:
    started = task.monotonic()
    if not 0 <= request.hold_days <= _MOST_HOLD_DAYS:
        message = f"expected hold_days of 0 to {_MOST_HOLD_DAYS}, found {request.hold_days}"
        raise ConfigError(message, hint="0 places no hold; for longer, place a legal hold of your own")
    relation = _target(task, request)
    with task.source.connect() as connection, partition_lock(connection, table=task.table.label, partition=task.partition):
        task.reached(Step.LOCKED)
        live = tuple(reversed(read_generations(task).live))
        generations = _chosen(task, request, live)
        result = Restored("empty", relation.identifier.as_string(), (), RestoreTally(), 0.0)
        if generations:
            session = Session(task, request, connection, generations, live, relation)
            result = _restore_all(session, hold)
        task.reached(Step.UNLOCKED)
    tally = result.tally
    log.info(
        "restore %s into %s: %s, %s rows loaded, %s there before", task.label, result.target, result.outcome, tally.loaded, tally.present
    )
    return replace(result, seconds=task.monotonic() - started, hold=hold.id)


def _chosen(task: Task, request: RestoreRequest, live: tuple[Generation, ...]) -> tuple[Generation, ...]:
    """Return the generations to restore, in order. Raises NotRestored for a number that is not a live generation's."""
    numbers = [generation.number for generation in live]
    if unknown := [number for number in request.generations if number not in numbers]:
        message = f"expected generations of {task.label} that count, found {', '.join(map(str, unknown))}"
        raise NotRestored(message, hint=f"those that count are: {', '.join(map(str, sorted(numbers))) or 'none'}")
    return tuple(generation for generation in live if not request.generations or generation.number in request.generations)


def _target(task: Task, request: RestoreRequest) -> sql.Relation:
    schema, name = request.target(task.table)
    if len(name.encode()) > _NAME_BYTES:
        message = f"expected the name of a target table of at most {_NAME_BYTES} bytes, found {name!r}"
        raise ConfigError(message, hint="name the target table of the restore")
    return sql.Relation(schema, name)


def _restore_all(session: Session, hold: OwnHold) -> Restored:
    task, request = session.task, session.request
    _require_types(session)
    columns = archived_columns(session, session.generations[0].manifest)
    with at.errors_of(session.relation):
        if not request.dry_run and request.table_name is None:
            at.create_destination(session.connection, session.relation, columns, session.key)
        destination = at.read_destination(session.connection, session.relation, session.key)
    if destination is None and not (request.dry_run and request.table_name is None):
        message = f"expected a table {session.relation.identifier.as_string()} to restore {task.label} into, found none"
        raise NotRestored(message, hint="create it, or name none: then a table is made from what the archive knows of the original")
    if destination is not None:
        _require_safe(session, destination)
    results, superseded = _Results(hold), Coverage()
    # Check all generations before loading a row: a refused one should not leave the day half restored.
    names = [_names(session, destination, generation, results) for generation in session.generations]
    for generation, columns_of_it in zip(session.generations, names, strict=True):
        with of_generation(generation.number):
            _restore_one(session, destination, generation, superseded, columns_of_it, results)
    outcome: Literal["restored", "already there", "dry run"] = "restored" if results.tally.loaded else "already there"
    numbers = tuple(generation.number for generation in session.generations)
    return Restored(
        "dry run" if request.dry_run else outcome,
        session.relation.identifier.as_string(),
        numbers,
        results.tally,
        0.0,
        tuple(dict.fromkeys(results.drift)),
        sequences=tuple(dict.fromkeys(results.sequences)),
        newest=session.generations[0],
        columns=tuple(columns),
    )


def _require_types(session: Session) -> None:
    """Require that every manifest type that may enter SQL is a type name, also if its rows are only compared. Raises ManifestInvalid."""
    columns = [(column, each.number) for each in session.used for column in each.manifest.columns]
    at.require_types(session.connection, {column.pg_type: f"column {column.name!r} of generation {number}" for column, number in columns})


@dataclass
class _Results:
    """The totals of the generations restored so far, and their hold."""

    hold: OwnHold
    tally: RestoreTally = field(default_factory=RestoreTally)
    drift: list[str] = field(default_factory=list)
    sequences: list[str] = field(default_factory=list)


def _require_safe(session: Session, destination: Destination) -> None:
    name = destination.relation.identifier.as_string()
    overwrites = session.request.conflict == Conflict.overwrite
    if overwrites:
        require_purged(session.task, session.connection, destination)
    triggers = at.insert_triggers(session.connection, destination)
    if triggers and session.request.triggers == Triggers.refuse:
        message = f"restored rows would fire triggers of {name}: {', '.join(dict.fromkeys(trigger.name for trigger in triggers))}"
        raise NotRestored(message, hint="set triggers to disable (as the table's owner) or fire, or restore into another table")
    effects = at.side_effects_of_delete(session.connection, destination) if overwrites else []
    if effects:
        message = f"overwriting rows of {name} would have side effects, or not delete them: {'; '.join(effects)}"
        raise NotRestored(message, hint="restore into another table, or with conflict: skip")


def _names(session: Session, destination: Destination | None, generation: Generation, results: _Results) -> list[str]:
    """Return a generation's columns to restore. Raises NotRestored for a destination of another shape, unless the request allows it."""
    columns = archived_columns(session, generation.manifest)
    if destination is None:
        return [column.name for column in columns]
    results.drift += (drift := at.differences(columns, destination) if not session.request.columns else _retyped(columns, destination))
    name = destination.relation.identifier.as_string()
    if drift and session.request.drift == Drift.refuse:
        message = f"{name} does not have the shape of generation {generation.number} of {session.task.label}: {'; '.join(drift)}"
        hint = "restore with drift: by_name (columns of the same name; what is archived and not in the table is left out), or elsewhere"
        raise NotRestored(message, hint=hint)
    present = {column.name for column in destination.columns}
    if missing := [each for each in session.key if each not in present]:
        message = f"expected the whole key in {name}, found no column {', '.join(missing)}"
        raise NotRestored(message, hint="restore into another table: without its whole key a row cannot be identified")
    return [column.name for column in columns if column.name in present]


def _restore_one(
    session: Session,
    destination: Destination | None,
    generation: Generation,
    superseded: Coverage,
    names: list[str],
    results: _Results,
) -> None:
    """Restore a generation except the keys in `superseded`, then add its own keys: the generation is not read again for older ones."""
    task = session.task
    with session.proven(generation) as copy:
        task.reached(Step.READ_BACK)
        with task.progress("restore", generation.manifest.rows, beside=generation.manifest.object.bytes) as progress:
            rows = Rows(session, copy, names, superseded, progress)
            if destination is None:
                loaded = sum(batch.num_rows for batch in rows)
                results.tally += RestoreTally(loaded=loaded, superseded=generation.manifest.rows - loaded)
            else:
                _load_in_one_transaction(session, destination, generation, rows, results)
        if generation is not session.generations[-1]:
            superseded.add(session.keys(batch) for batch in copy.batches(list(session.key)))


def _retyped(columns: Sequence[TargetColumn], destination: Destination) -> list[str]:
    """Return the differences of the requested columns; the request excludes the others."""
    return [line for line in at.differences(columns, destination) if not line.startswith("+")]


def _load_in_one_transaction(session: Session, destination: Destination, generation: Generation, rows: Rows, results: _Results) -> None:
    task, connection = session.task, session.connection
    with at.errors_of(destination.relation), connection.transaction(force_rollback=session.request.dry_run):
        connection.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE")
        # From here to the commit the checked table cannot change: its name, its columns, and the effects of an INSERT.
        at.lock_unchanged(connection, destination, alone=session.request.triggers == Triggers.disable)
        _require_safe(session, destination)
        triggers = at.insert_triggers(connection, destination) if session.request.triggers == Triggers.disable else []
        loading = Loading(session, destination, generation, rows)
        with at.disabled(connection, triggers):
            tally = loading.load()
            # Run what the table defers to the commit now, before the comparison. No trigger can be enabled before that.
            connection.execute(sql_restore.FIRE_DEFERRED)
        task.reached(Step.ROWS_LOADED)
        loading.require_same(tally)
        results.tally += replace(tally, superseded=generation.manifest.rows - loading.rows_read)
        if session.request.dry_run:
            return
        results.sequences += at.advance_sequences(connection, destination, loading.greatest)
        if tally.loaded:
            _hold(session, destination, results.hold)
    task.reached(Step.ROWS_RESTORED)


def _hold(session: Session, destination: Destination, hold: OwnHold) -> None:
    """Protect the rows from the next purge, before they become visible, if they were loaded into the archived table itself."""
    task, days = session.task, session.request.hold_days
    original = find_relation(session.connection, task.table)
    if days > 0 and original is not None and at.is_of(session.connection, destination, int(original["oid"])):
        hold.place(task, session.connection, session.generations, days)
