"""Parquet files: what goes in comes out, bounded row groups, and nothing that looks whole unless it is."""

import gc
import io
import random
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archiver_assets.store.digest import content_digest
from archiver_assets.store.parquet import ROW_GROUP_BYTES, ROW_GROUP_ROWS, ParquetEncoder, open_parquet, read_batches
from archiver_assets_tests.unit.arrow_values import TYPES, arrays, batches, cut, schema_of

MEBIBYTE = 1024 * 1024
BLOBS = pa.schema([pa.field("blob", pa.binary())])
NUMBERS = pa.schema([pa.field("number", pa.int32())])


class KeptSink:
    """Keeps all bytes."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> None:
        self._pieces.append(bytes(data))

    def getvalue(self) -> bytes:
        return b"".join(self._pieces)


class CountingSink:
    """Counts the bytes, and keeps the last ones."""

    def __init__(self) -> None:
        self.size = 0
        self.tail = b""

    def write(self, data: bytes) -> None:
        self.size += len(data)
        self.tail = (self.tail + bytes(data))[-8:]


class SinkGone(Exception):
    """The connection of a sink was lost."""


class FailingSink:
    """Takes so many bytes, and then fails at every write."""

    def __init__(self, limit: int) -> None:
        self.left = limit
        self.failures = 0

    def write(self, data: bytes) -> None:
        self.left -= len(data)
        if self.left < 0:
            self.failures += 1
            raise SinkGone


def encoded(schema: pa.Schema, pieces: Iterator[pa.RecordBatch] | list[pa.RecordBatch], metadata: dict[str, str] | None = None) -> bytes:
    sink = KeptSink()
    with ParquetEncoder(sink, schema, metadata or {}) as encoder:
        for piece in pieces:
            encoder.write(piece)
        encoder.finish()
    return sink.getvalue()


def row_groups(data: bytes) -> list[int]:
    metadata = open_parquet(io.BytesIO(data)).metadata
    return [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]


def blobs(*sizes: int) -> pa.RecordBatch:
    # Zeros compress to nothing: the limits are on Arrow data.
    return pa.RecordBatch.from_arrays([pa.array([bytes(size) for size in sizes], pa.binary())], schema=BLOBS)


def numbers(count: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(range(count), pa.int32())], schema=NUMBERS)


@given(batches(min_rows=1), st.lists(st.integers(0, 12), max_size=3))
def test_rows_come_back_with_the_digest_they_had(batch: pa.RecordBatch, at: list[int]) -> None:
    want = content_digest(batch.schema, [batch])
    parquet = open_parquet(io.BytesIO(encoded(batch.schema, cut(batch, at))))
    assert content_digest(parquet.schema_arrow, read_batches(parquet)) == want
    assert parquet.metadata.num_rows == batch.num_rows


@pytest.mark.parametrize("name", sorted(TYPES))
@settings(max_examples=6)
@given(data=st.data())
def test_every_stored_type_comes_back_exactly(name: str, data: st.DataObject) -> None:
    schema = schema_of([name])
    rows = data.draw(st.integers(1, 40))
    batch = pa.RecordBatch.from_arrays([data.draw(arrays(field.type, rows, nulls=field.nullable)) for field in schema], schema=schema)
    parquet = open_parquet(io.BytesIO(encoded(schema, [batch])))
    assert parquet.schema_arrow.remove_metadata().equals(schema, check_metadata=False)
    assert content_digest(schema, read_batches(parquet)) == content_digest(schema, [batch])


def test_values_that_repeat_come_back_through_their_dictionary() -> None:
    schema = pa.schema([("few", pa.string()), ("many", pa.string())])
    few = pa.array((["insert", "update", None, ""] * 50_000)[:150_000], pa.string())
    many = pa.array([str(number) for number in range(150_000)])
    batch = pa.RecordBatch.from_arrays([few, many], schema=schema)
    parquet = open_parquet(io.BytesIO(encoded(schema, [batch])))
    encodings = [parquet.metadata.row_group(0).column(number).encodings for number in (0, 1)]
    assert "RLE_DICTIONARY" in encodings[0]
    assert "RLE_DICTIONARY" not in encodings[1]
    assert content_digest(schema, read_batches(parquet)) == content_digest(schema, [batch])


def test_a_column_can_be_read_alone() -> None:
    batch = pa.RecordBatch.from_pydict({"a.b": pa.array([1, 2]), "a": pa.array(["x", None]), "\u00e9": pa.array([True, False])})
    parquet = open_parquet(io.BytesIO(encoded(batch.schema, [batch])))
    for name in batch.schema.names:
        found = pa.Table.from_batches(read_batches(parquet, [name]))
        assert found.to_pydict() == {name: batch.column(name).to_pylist()}


@pytest.mark.parametrize(
    ("given_rows", "expected"),
    [
        ([1], [1]),
        ([ROW_GROUP_ROWS], [ROW_GROUP_ROWS]),
        ([ROW_GROUP_ROWS + 1], [ROW_GROUP_ROWS, 1]),
        ([200_000], [65_536, 65_536, 65_536, 3_392]),
        ([0, 10, 0, 20, 0], [30]),
        ([60_000, 60_000], [60_000, 60_000]),
        ([ROW_GROUP_ROWS - 1, 1, 1], [ROW_GROUP_ROWS, 1]),
    ],
)
def test_a_row_group_has_at_most_65536_rows(given_rows: list[int], expected: list[int]) -> None:
    assert row_groups(encoded(NUMBERS, [numbers(count) for count in given_rows])) == expected


@pytest.mark.parametrize(
    ("sizes", "most_rows_in_a_group"),
    [
        ([MEBIBYTE] * 100, 48),
        ([30 * MEBIBYTE] * 3, 1),
        ([60 * MEBIBYTE, 1, 1], 2),
        ([1] * 500 + [40 * MEBIBYTE, 40 * MEBIBYTE] + [1] * 500, 501),  # large values side by side among small ones
    ],
)
def test_a_row_group_of_wide_rows_has_at_most_48_mebibytes(sizes: list[int], most_rows_in_a_group: int) -> None:
    one_batch = encoded(BLOBS, [blobs(*sizes)])
    many_batches = encoded(BLOBS, [blobs(size) for size in sizes])
    for data in (one_batch, many_batches):
        groups = row_groups(data)
        assert sum(groups) == len(sizes)
        start = 0
        for rows in groups:
            assert rows == 1 or sum(sizes[start : start + rows]) <= ROW_GROUP_BYTES
            start += rows
    assert max(row_groups(many_batches)) <= most_rows_in_a_group


sizes_of_rows = st.lists(st.sampled_from([0, 1, 1000, 5 * MEBIBYTE, 30 * MEBIBYTE]), min_size=1, max_size=8)


@settings(max_examples=8)
@given(sizes_of_rows, st.lists(st.integers(0, 8), max_size=3))
def test_any_mixture_of_sizes_keeps_to_the_limit(sizes: list[int], at: list[int]) -> None:
    groups = row_groups(encoded(BLOBS, cut(blobs(*sizes), at)))
    assert sum(groups) == len(sizes)
    for number, rows in enumerate(groups):
        start = sum(groups[:number])
        assert rows == 1 or sum(sizes[start : start + rows]) <= ROW_GROUP_BYTES


def test_one_huge_value_is_a_row_group_of_its_own() -> None:
    assert row_groups(encoded(BLOBS, [blobs(1), blobs(100 * MEBIBYTE), blobs(1)])) == [1, 1, 1]


@pytest.mark.parametrize("pieces", [[], [numbers(0)], [numbers(0), numbers(0)]])
def test_a_file_without_rows_is_refused(pieces: list[pa.RecordBatch]) -> None:
    sink = KeptSink()
    with ParquetEncoder(sink, NUMBERS, {}) as encoder:
        for piece in pieces:
            encoder.write(piece)
        with pytest.raises(ValueError, match="expected at least one row, found none"):
            encoder.finish()
    del encoder
    gc.collect()
    assert sink.getvalue() == b""


def write_and_fail(sink: CountingSink, rows: int) -> None:
    with ParquetEncoder(sink, NUMBERS, {}) as encoder:
        encoder.write(numbers(rows))
        raise SinkGone


@pytest.mark.parametrize("rows", [1, ROW_GROUP_ROWS + 1, 3 * ROW_GROUP_ROWS])
def test_an_encoder_abandoned_by_an_error_writes_no_footer(rows: int) -> None:
    sink = CountingSink()
    with pytest.raises(SinkGone):
        write_and_fail(sink, rows)
    size = sink.size
    gc.collect()
    assert sink.size == size
    assert sink.tail[-4:] != b"PAR1"


def test_an_encoder_that_is_left_without_finish_writes_no_footer() -> None:
    sink = KeptSink()
    with ParquetEncoder(sink, NUMBERS, {}) as encoder:
        encoder.write(numbers(2 * ROW_GROUP_ROWS))
    del encoder
    gc.collect()
    with pytest.raises((pa.ArrowInvalid, OSError)):
        open_parquet(io.BytesIO(sink.getvalue()))


def encode_numbers(sink: FailingSink) -> None:
    with ParquetEncoder(sink, NUMBERS, {}) as encoder:
        for _ in range(4):
            encoder.write(numbers(ROW_GROUP_ROWS))
        encoder.finish()


@pytest.mark.parametrize("limit", [0, 4, 100_000, 300_000])
def test_an_error_of_the_sink_comes_through_as_it_is(limit: int) -> None:
    sink = FailingSink(limit)
    with pytest.raises(SinkGone):
        encode_numbers(sink)
    gc.collect()
    # Once: a library that dies with a row group half written would go on writing, behind a gap.
    assert sink.failures == 1


def test_an_error_of_the_sink_at_the_footer_comes_through() -> None:
    whole = len(encoded(NUMBERS, [numbers(10)]))
    sink = FailingSink(whole - 1)
    with ParquetEncoder(sink, NUMBERS, {}) as encoder:
        encoder.write(numbers(10))
        with pytest.raises(SinkGone):
            encoder.finish()


def test_the_footer_explains_the_object() -> None:
    schema = schema_of(["numeric(38,10)", "jsonb", "uuid"])
    metadata = {"table": "audit_logs", "partition": '{"column":"created_at"}', "caf\u00e9": "\U0001f600", "empty": ""}
    columns = [pa.nulls(2, field.type) if field.nullable else pa.array([1, 2], field.type) for field in schema]
    batch = pa.RecordBatch.from_arrays(columns, schema=schema)
    parquet = open_parquet(io.BytesIO(encoded(schema, [batch], metadata)))
    found = {name.decode(): value.decode() for name, value in parquet.metadata.metadata.items() if name != b"ARROW:schema"}
    assert found == metadata
    assert [field.metadata[b"pg_type"].decode() for field in parquet.schema_arrow] == ["numeric(38,10)", "jsonb", "uuid", "xid"]
    assert parquet.schema_arrow.remove_metadata().equals(schema.remove_metadata())
    assert [field.nullable for field in parquet.schema_arrow] == [True, True, True, False]


def test_rows_of_another_schema_are_refused() -> None:
    with ParquetEncoder(KeptSink(), BLOBS, {}) as encoder:
        encoder.write(numbers(ROW_GROUP_ROWS))
        with pytest.raises(ValueError, match="schema"):
            encoder.finish()


def test_the_memory_of_the_encoder_is_that_of_a_row_group() -> None:
    gc.collect()
    before, most, sink = pa.total_allocated_bytes(), 0, CountingSink()
    with ParquetEncoder(sink, BLOBS, {}) as encoder:
        for _ in range(300):
            encoder.write(blobs(*[64 * 1024] * 16))
            most = max(most, pa.total_allocated_bytes() - before)
        encoder.finish()
    assert sink.size > 0
    assert most < 2 * ROW_GROUP_BYTES  # of 300 MiB


def test_reading_holds_one_row_group() -> None:
    data = encoded(BLOBS, [blobs(*[64 * 1024] * 16) for _ in range(200)])
    gc.collect()
    before, most = pa.total_allocated_bytes(), 0
    for batch in read_batches(open_parquet(io.BytesIO(data))):
        most = max(most, pa.total_allocated_bytes() - before)
        assert batch.num_rows <= ROW_GROUP_ROWS
    assert most < 3 * ROW_GROUP_BYTES  # of 200 MiB


def damaged_file() -> tuple[pa.Schema, bytes, str]:
    schema = pa.schema([("id", pa.int64()), ("blob", pa.binary()), ("action", pa.string())])
    source = random.Random(1)
    columns = [
        pa.array(range(500)),
        pa.array([source.randbytes(20) for _ in range(500)]),
        pa.array([["insert", "update", None][number % 3] for number in range(500)]),
    ]
    batch = pa.RecordBatch.from_arrays(columns, schema=schema)
    return schema, encoded(schema, [batch]), content_digest(schema, [batch])


SCHEMA, FILE, DIGEST = damaged_file()


def pages() -> list[range]:
    """Where the compressed bytes of the columns' data lie, without the headers of the pages: the last 90 % of each chunk."""
    group = open_parquet(io.BytesIO(FILE)).metadata.row_group(0)
    chunks = [group.column(number) for number in range(group.num_columns)]
    return [range(chunk.data_page_offset + 80, chunk.data_page_offset + chunk.total_compressed_size) for chunk in chunks[:2]]


def read_digest(data: bytes) -> str:
    parquet: pq.ParquetFile = open_parquet(io.BytesIO(data))
    return content_digest(parquet.schema_arrow, read_batches(parquet))


def test_the_sound_file_is_read() -> None:
    assert read_digest(FILE) == DIGEST


@given(st.sampled_from(pages()), st.integers(0), st.integers(1, 255))
def test_a_flipped_byte_in_a_page_is_found_by_its_checksum(page: range, at: int, mask: int) -> None:
    damaged = bytearray(FILE)
    damaged[page[at % len(page)]] ^= mask
    with pytest.raises(OSError, match="CRC checksum verification failed"):
        read_digest(bytes(damaged))


@given(st.integers(0, pages()[-1].stop), st.integers(1, 255))
def test_a_flipped_byte_before_the_footer_is_an_error_or_harmless(position: int, mask: int) -> None:
    damaged = bytearray(FILE)
    damaged[position] ^= mask
    try:
        found = read_digest(bytes(damaged))
    except (pa.ArrowException, OSError):
        return
    # The headers of pages have fields that nobody reads; then the rows are the same.
    assert found == DIGEST or position not in {number for page in pages() for number in page}


@given(st.integers(0, len(FILE) - 1))
def test_a_truncated_file_is_an_error(size: int) -> None:
    with pytest.raises((pa.ArrowException, OSError)):
        read_digest(FILE[:size])


NO_FILES = [b"", b"PAR1", b"PAR1PAR1", b"PAR1\0\0\0\0PAR1", b"{}", bytes(1000)]


@pytest.mark.parametrize("data", NO_FILES, ids=lambda data: repr(data[:12]))
def test_what_is_no_parquet_file_is_an_error(data: bytes) -> None:
    with pytest.raises((pa.ArrowException, OSError)):
        open_parquet(io.BytesIO(data))
