"""The archive of a table as a pyarrow dataset, with or without the rows that are still in the table, each row version once.

What belongs here: which objects are live, and which of their rows, and of the table's, are duplicates. What does not: the public functions
(`reader.py`). Nothing is written to the store or the database, and no partition is locked: other runs may archive and purge.

An object that shares no row with a newer one stays in the store, and is read when the dataset is. The other objects' remaining rows,
without duplicates, and the rows of the table are written to local files.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyarrow import fs

from archiver_assets.errors import SourceChanged, StoreError
from archiver_assets.lifecycle.believed_versions import doubtful
from archiver_assets.lifecycle.coverage import Coverage
from archiver_assets.lifecycle.generations import Generation, drift, read_generations, versions_believed
from archiver_assets.lifecycle.restoring.copied_bucket import readable
from archiver_assets.lifecycle.restoring.newer_versions import NewerVersions, shared_key
from archiver_assets.lifecycle.source_identity import identity
from archiver_assets.lifecycle.task import Task
from archiver_assets.partition import Partition
from archiver_assets.source import sql
from archiver_assets.source.catalog import XMIN, Connection, Server, Table, read_server, read_table
from archiver_assets.source.reading import read_rows
from archiver_assets.source.session import open_snapshot

_FIRST_DAY, _LAST_DAY = date(1, 1, 2), date(9999, 12, 30)
"""The first and last days whose bounds are within Python's calendar in every time zone."""


@dataclass(frozen=True)
class Reading:
    """The inputs of a dataset: `task` returns a day's task, `objects` reads the store, and `folder` takes local files."""

    task: Callable[[date], Task]
    objects: fs.FileSystem
    folder: Path
    first: date
    last: date


@dataclass
class _Parts:
    """Datasets of one file each, oldest day first, with their origins."""

    datasets: list[tuple[str, ds.Dataset]] = field(default_factory=list)

    def add(self, what: str, path: str, filesystem: fs.FileSystem | None = None) -> None:
        try:
            self.datasets.append((what, ds.dataset(path, filesystem=filesystem, format="parquet")))
        except (OSError, pa.ArrowException) as error:
            message = f"expected to read {what} as Parquet from {path}, found: {' '.join(str(error).split())}"
            raise StoreError(
                message, hint="see whether the store can be reached; if so, verify the day: its object may be damaged"
            ) from error

    def together(self, otherwise: pa.Schema) -> ds.Dataset:
        """Return one dataset of all parts, empty if there are none. Raises SourceChanged."""
        schema = _common([(what, part.schema) for what, part in self.datasets]) or otherwise
        parts = [part.replace_schema(schema) for _, part in self.datasets]
        return ds.dataset(parts) if parts else ds.dataset(schema.empty_table())


def archived(reading: Reading) -> ds.Dataset:
    """Return the live generations of the days from `first` to `last`, both included, each version of a key once.

    The columns are the newest generation's, then those that only older ones have, then `_xmin`; a column that a day lacks is NULL.
    Raises NotVerified for a damaged object that had to be compared with another, ManifestInvalid, SourceChanged if a column's type changed
    within the days, and the errors of the store.
    """
    parts = _Parts()
    for day, live in _live(reading).items():
        _add_archived(reading, reading.task(day), live, parts)
    return parts.together(pa.schema([]))


def archived_and_current(reading: Reading) -> ds.Dataset:
    """Return the same, plus the table's rows of these days that no generation contains.

    The table is read first, in one snapshot, and the archive is listed afterwards, so rows purged meanwhile are in one or the other. The
    archive is listed once: a generation committed later contains rows that come from the table here. Also raises the errors of the source.
    """
    parts = _Parts()
    server, table, files = _read_table(reading)
    generations = _live(reading)
    for day, live in generations.items():
        _add_archived(reading, reading.task(day), live, parts)
    for day, path in files.items():
        left = path.with_suffix(".left")
        if _write(left, _not_archived(reading.task(day), server, table, generations.get(day, ()), path)):
            parts.add(f"the table, {day}", str(left))
    return parts.together(table.schema)


def _live(reading: Reading) -> dict[date, tuple[Generation, ...]]:
    """Return the live generations of each day, as currently in the store."""
    return {day: read_generations(reading.task(day)).live for day in _days_with_manifests(reading)}


def _days_with_manifests(reading: Reading) -> list[date]:
    keys = reading.task(reading.first).table_keys
    manifests = (each.key for each in reading.task(reading.first).store.list(keys.folder) if keys.is_manifest(each.key))
    days = {keys.day(key) for key in manifests}
    return sorted(day for day in days if day is not None and reading.first <= day <= reading.last)


def _add_archived(reading: Reading, task: Task, live: Sequence[Generation], parts: _Parts) -> None:
    newer, found = NewerVersions(), []
    for place, generation in reversed(list(enumerate(live))):
        found.append((generation, _without_duplicates(reading, task, generation, newer, older=live[:place])))
    for generation, local in reversed(found):
        what = f"generation {generation.number} of {task.partition.key}"
        if local is None:
            parts.add(what, task.store.uri(generation.object_key).removeprefix("s3://"), reading.objects)
        elif local.exists():
            parts.add(what, str(local))


def _without_duplicates(
    reading: Reading, task: Task, generation: Generation, newer: NewerVersions, older: Sequence[Generation]
) -> Path | None:
    """Return the path of a local file of the rows that no newer generation contains; None if all rows remain.

    The file does not exist if no row remains. Adds the generation's versions to `newer`, as far as `older` generations need them. Reads the
    generation at most once, and not at all if neither needs it.
    """
    covered = newer.shared_with(generation)
    keys = {shared_key(each, generation) for each in older} - {()}
    if not covered and not keys:
        return None
    path = reading.folder / f"{task.partition.key}-{generation.number}.parquet"
    with readable(task, generation) as copy:
        kept = _write(path, (_uncovered(group.whole, covered) for group in copy.row_groups())) if covered else generation.manifest.rows
        newer.add(generation, keys, copy)
    return None if kept == generation.manifest.rows else path


def _uncovered(rows: pa.RecordBatch, covered: Sequence[tuple[list[str], Coverage]]) -> pa.RecordBatch:
    for names, versions in covered:
        rows = rows.filter(versions.uncovered(rows.select(names))) if versions else rows
    return rows


def _write(path: Path, batches: Iterable[pa.RecordBatch]) -> int:
    """Write batches of one schema to a local file, unless they have no rows; return the number of rows."""
    rows, writer = 0, None
    try:
        for batch in batches:
            if batch.num_rows:
                writer = writer or pq.ParquetWriter(path, batch.schema, compression="zstd", compression_level=1)
                writer.write_batch(batch)
                rows += batch.num_rows
    finally:
        if writer is not None:
            writer.close()
    return rows


def _read_table(reading: Reading) -> tuple[Server, Table, dict[date, Path]]:
    """Read the rows of all days in one snapshot, into one local file for each day that has rows."""
    task, files = reading.task(reading.first), {}
    relation = sql.Relation(task.table.schema_name, task.table.name)
    with task.source.connect() as connection, open_snapshot(connection, relation) as snapshot:
        server, table = read_server(connection), read_table(connection, task.table)
        for day in _days_with_rows(reading, connection, table):
            path = reading.folder / f"{day}-table.parquet"
            with closing(read_rows(task.source, table, table.days(reading.task(day).partition), snapshot.id)) as batches:
                if _write(path, batches):
                    files[day] = path
    return server, table, files


def _days_with_rows(reading: Reading, connection: Connection, table: Table) -> Iterator[date]:
    """Yield the days of which the table has rows, oldest first, with one probe of the timestamp's index for each, however long the range.

    The session runs a query before each day, so the limit on its idle time in the transaction applies to one day.
    """
    timezone = reading.task(reading.first).table.timezone
    last = Partition(min(reading.last, _LAST_DAY), timezone)
    partition = Partition(max(reading.first, _FIRST_DAY), timezone)
    while partition <= last:
        row = connection.execute(sql.first_row(table.days(partition, last), ())).fetchone()
        if row is None:
            return
        partition = Partition.containing(table.instant(row["first"], timezone), timezone)
        yield partition.day
        partition = Partition(partition.next_day, timezone)


def _not_archived(task: Task, server: Server, table: Table, generations: Sequence[Generation], path: Path) -> Iterator[pa.RecordBatch]:
    """Yield the table's rows in a local file that no generation contains, neither by version nor, if rewritten unchanged, by content."""
    by_version = Coverage(batch for each in generations for batch in _believed(task, server, table, each))
    key, columns = [column.name for column in table.key], [column.name for column in table.columns]

    def other_versions() -> Iterator[pa.RecordBatch]:
        file = pq.ParquetFile(path)
        for number in range(file.num_row_groups):
            for batch in file.read_row_group(number).to_batches():
                yield batch.filter(by_version.uncovered(batch.select([*key, XMIN])))

    keys = Coverage(rows.select(key) for rows in other_versions())
    by_content = Coverage(batch for each in generations if keys for batch in _of_keys(task, table, each, keys))
    for rows in other_versions():
        yield rows.filter(by_content.uncovered(rows.select(columns))) if by_content else rows


def _doubt(server: Server, table: Table, generation: Generation, versions: pa.Array) -> pa.Array:
    """Return for each version whether its xmin may identify another row version today."""
    own = identity(generation.manifest.source) == identity(server) and versions_believed(generation, server, table)
    return doubtful(versions, generation.manifest.source, server.next_xid) if own else pc.is_valid(versions)


def _believed(task: Task, server: Server, table: Table, generation: Generation) -> Iterator[pa.RecordBatch]:
    names = [*(column.name for column in table.key), XMIN]
    if set(names) <= {XMIN, *(column.name for column in generation.manifest.columns)}:
        with readable(task, generation) as copy:
            for batch in copy.batches(names):
                rows = batch.select(names)
                yield rows.filter(pc.invert(_doubt(server, table, generation, rows.column(XMIN))))


def _of_keys(task: Task, table: Table, generation: Generation, keys: Coverage) -> Iterator[pa.RecordBatch]:
    """Yield the archived rows with the given keys, without their versions."""
    if drift(task, table, generation):
        return  # rows of another shape equal no row of the table
    key = [column.name for column in table.key]
    with readable(task, generation) as copy:
        for group in copy.row_groups():
            under_key = pc.invert(keys.uncovered(group.columns(key)))
            if pc.any(under_key).as_py():
                yield group.columns([column.name for column in table.columns]).filter(under_key)


def _common(schemas: Sequence[tuple[str, pa.Schema]]) -> pa.Schema | None:
    """Return one schema for all: the last schema's columns, then those only in earlier ones, and the version at the end."""
    fields: dict[str, tuple[str, pa.Field]] = {}
    for what, schema in reversed(schemas):
        for each in schema:
            seen_in, seen = fields.setdefault(each.name, (what, each.with_nullable(nullable=True)))
            if seen.type != each.type:
                message = f"column {each.name!r} is {seen.type} in {seen_in}, and {each.type} in {what}"
                raise SourceChanged(message, hint="ask for the days before the change and those after it apart")
    names = [*(name for name in fields if name != XMIN), XMIN]
    return pa.schema([fields[name][1] for name in names]) if fields else None
