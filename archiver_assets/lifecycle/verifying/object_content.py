"""Comparing the content of an object with its manifest: footer, columns, row groups, rows, digest and extremes.

What belongs here: every comparison of what a local copy holds, and their list. What does not: fetching the copy, and the object as the
store reports it (`readback.py`).
"""

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import partial
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from archiver_assets.lifecycle.progress import Progress
from archiver_assets.lifecycle.task import Task
from archiver_assets.source.catalog import instant_of
from archiver_assets.store.digest import content_digest
from archiver_assets.store.manifest import Manifest, format_instant
from archiver_assets.store.parquet import open_parquet, oversized, read_batches
from archiver_assets.threads import gathered
from archiver_assets.untrusted_text import bounded


@dataclass(frozen=True)
class Comparison:
    """One comparison of a generation: the manifest's value and the value found. `in_footer` marks the identifying facts in the footer."""

    generation: int
    what: str
    expected: str
    found: str
    in_footer: bool = False

    @property
    def same(self) -> bool:
        """Whether both values are equal."""
        return self.expected == self.found


@dataclass
class Compared:
    """The comparisons of one generation so far. `mismatches` has a line for each difference and for each failed comparison."""

    generation: int
    comparisons: list[Comparison] = field(default_factory=list)
    mismatches: list[str] = field(default_factory=list)

    def same(self, what: str, expected: object, found: object, *, in_footer: bool = False) -> None:
        """Record a comparison, and a mismatch if the values differ."""
        words = bounded(str(expected)), bounded(str(found))
        self.comparisons.append(Comparison(self.generation, what, *words, in_footer))
        if expected != found:
            self.mismatches.append(f"{what}: expected {words[0]}, found {words[1]}")

    def wrong(self, what: str, expected: str, line: str) -> None:
        """Note what is wrong and has no two values to compare."""
        self.comparisons.append(Comparison(self.generation, what, expected, bounded(line)))
        self.mismatches.append(bounded(line))


def compare_content(task: Task, manifest: Manifest, file: IO[bytes], compared: Compared) -> int:
    """Compare a local copy with its manifest, and return its number of rows, 0 if it is not Parquet.

    Rows are decoded only if nothing differed before, and unless `verification` is `rows`.
    """
    decode = not compared.mismatches and task.table.verification != "rows"
    try:
        parquet = open_parquet(file)
        rows = int(parquet.metadata.num_rows)
        compared.same("rows", manifest.rows, rows)
        _compare_footer(manifest, parquet, compared)
        _compare_columns(manifest, parquet.schema_arrow, compared)
        if (group := oversized(parquet)) is not None:
            compared.wrong("row groups", "as the archive writes them", f"row groups: {group}; it is not decoded")
        elif decode:
            # One thread decodes while another hashes: both release the interpreter lock while they work.
            with (
                task.progress("decode", manifest.rows, beside=manifest.object.bytes) as progress,
                closing(gathered([partial(read_batches, parquet)], lambda: None)) as batches,
            ):
                extremes = _Extremes(manifest)
                digest = content_digest(parquet.schema_arrow, extremes.of(_counted(batches, progress)))
                compared.same("content_digest", manifest.content_digest, digest)
                extremes.compare(compared)
    except (pa.ArrowException, OSError, TypeError, ValueError) as error:
        # ValueError because no checksum covers the footer: a column name in a damaged footer may not be valid UTF-8.
        compared.wrong("content", "Parquet", f"it does not decode as Parquet: {' '.join(str(error).split())}")
        return 0
    return rows


@dataclass
class _Extremes:
    """The smallest and largest timestamps of the decoded rows."""

    manifest: Manifest
    values: list[datetime | date] = field(default_factory=list)

    def of(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield the batches unchanged, recording the extremes of each."""
        name = self.manifest.partition.column
        for batch in batches:
            kind = batch.schema.field(name).type if name in batch.schema.names else pa.null()
            if pa.types.is_timestamp(kind) or pa.types.is_date(kind):  # any other type is reported as a mismatch separately
                found = pc.min_max(batch.column(name)).as_py()
                present = [value for value in (*self.values, found["min"], found["max"]) if value is not None]
                self.values = [min(present), max(present)] if present else []
            yield batch

    def compare(self, compared: Compared) -> None:
        """Compare with the manifest's extremes."""
        zone, expected = self.manifest.partition.timezone, (self.manifest.timestamp_min, self.manifest.timestamp_max)
        # In UTC: Python never considers times of two zones equal within an hour that a clock repeats.
        found = [instant_of(value, zone).astimezone(UTC) for value in self.values]
        compared.same(
            "timestamp_min and timestamp_max", " and ".join(map(format_instant, expected)), " and ".join(map(format_instant, found))
        )


def _counted(batches: Iterable[pa.RecordBatch], progress: Progress) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield batch
        progress.add(batch.num_rows)


def _compare_footer(manifest: Manifest, parquet: pq.ParquetFile, compared: Compared) -> None:
    footer = (parquet.metadata.metadata or {}).items()
    found = {_text(name): _text(value) for name, value in footer if name != b"ARROW:schema"}
    for name, value in manifest.footer().items():
        compared.same(f"{name} in its footer", value, found.get(name), in_footer=True)


def _compare_columns(manifest: Manifest, schema: pa.Schema, compared: Compared) -> None:
    expected = [(column.name, column.arrow_type, column.pg_type, column.not_null) for column in manifest.columns]
    expected.append(("_xmin", "uint32", "xid", True))
    found = [(each.name, str(each.type), _text((each.metadata or {}).get(b"pg_type", b"")), not each.nullable) for each in schema]
    compared.same("columns", expected, found)


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")
