"""The content digest: the same for the same rows in any form, different for anything else."""

import re
import struct
from decimal import Decimal
from random import Random

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archiver_assets.store.digest import ContentDigest, content_digest
from archiver_assets_tests.unit.arrow_values import TYPES, arrays, batches, cut, rebuilt, schema_of

fixed_types = st.sampled_from(
    [pa.int16(), pa.int32(), pa.int64(), pa.float32(), pa.float64(), pa.date32(), pa.timestamp("us"), pa.decimal128(38, 10), pa.uint32()]
)
cells = st.none() | st.sampled_from(["", "a", "b", "ab", "c", "bc", "abc", "\u0001", "null", "None"])


def digest_of(*columns: pa.Array, names: list[str] | None = None) -> str:
    batch = pa.RecordBatch.from_arrays(list(columns), names=names or [f"c{number}" for number in range(len(columns))])
    return content_digest(batch.schema, [batch])


def strings(*values: str | None) -> pa.Array:
    return pa.array(values, pa.string())


def float_of(bits: int) -> pa.Array:
    return pa.Array.from_buffers(pa.float64(), 1, [None, pa.py_buffer(struct.pack("<Q", bits))])


def test_the_digest_never_changes_from_version_to_version() -> None:
    batch = pa.RecordBatch.from_pydict({"id": pa.array([1, 2, None], pa.int64()), "text": ["a", None, "\u00e9"], "ok": [True, False, None]})
    # Archives outlive the code: another value here means that no older archive verifies any more.
    assert content_digest(batch.schema, [batch]) == "sha256:53b2070c1006356b24da1aefe51d51bd9b9915b8cd7b215ef80923bec569f5dc"


@settings(max_examples=40)
@given(batches())
def test_a_digest_names_its_algorithm(batch: pa.RecordBatch) -> None:
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", content_digest(batch.schema, [batch]))


@given(batches(), st.lists(st.integers(0, 12), max_size=4), st.lists(st.integers(0, 12), max_size=4))
def test_chunks_do_not_matter(batch: pa.RecordBatch, at: list[int], other: list[int]) -> None:
    want = content_digest(batch.schema, [batch])
    assert content_digest(batch.schema, cut(batch, at)) == want
    assert content_digest(batch.schema, cut(batch, other)) == want


@settings(max_examples=40)
@given(batches(), st.lists(st.integers(0, 12), max_size=3))
def test_slices_are_as_good_as_copies(batch: pa.RecordBatch, at: list[int]) -> None:
    for piece in cut(batch, at):
        # A table that is written and read has no offsets left.
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(piece)
        copied = list(pa.ipc.open_stream(sink.getvalue()))
        assert content_digest(batch.schema, [piece]) == content_digest(batch.schema, copied)


@settings(max_examples=40)
@given(batches(types=st.just(["text", "float8", "bool"])), batches(types=st.just(["text", "float8", "bool"])))
def test_what_surrounds_a_slice_does_not_matter(before: pa.RecordBatch, batch: pa.RecordBatch) -> None:
    around = before if before.schema == batch.schema else batch
    piece = pa.concat_batches([around, batch, around]).slice(around.num_rows, batch.num_rows)
    assert content_digest(batch.schema, [piece]) == content_digest(batch.schema, [batch])


@given(st.data(), fixed_types, st.integers(0, 12), st.binary(min_size=1, max_size=16))
def test_bitmaps_without_nulls_and_garbage_under_nulls_do_not_matter(
    data: st.DataObject, kind: pa.DataType, rows: int, garbage: bytes
) -> None:
    column = data.draw(arrays(kind, rows))
    want = digest_of(column)
    assert digest_of(rebuilt(column, bitmap=False, garbage=garbage)) == want
    assert digest_of(rebuilt(column, bitmap=True, garbage=garbage)) == want


def test_garbage_under_a_null_string_does_not_matter() -> None:
    offsets, data = pa.py_buffer(struct.pack("<4i", 0, 1, 5, 6)), pa.py_buffer(b"aGARBb")
    column = pa.Array.from_buffers(pa.string(), 3, [pa.py_buffer(b"\x05"), offsets, data])
    assert column.to_pylist() == ["a", None, "b"]
    assert digest_of(column) == digest_of(strings("a", None, "b"))


def test_garbage_under_a_null_boolean_does_not_matter() -> None:
    column = pa.Array.from_buffers(pa.bool_(), 3, [pa.py_buffer(b"\x05"), pa.py_buffer(b"\xff")])
    assert digest_of(column) == digest_of(pa.array([True, None, True]))


def test_strings_whose_data_begin_elsewhere_are_the_same() -> None:
    offsets, data = pa.py_buffer(struct.pack("<3i", 3, 4, 6)), pa.py_buffer(b"???abc???")
    column = pa.Array.from_buffers(pa.string(), 2, [None, offsets, data])
    assert digest_of(column) == digest_of(strings("a", "bc"))


@given(st.lists(cells, max_size=8), st.randoms())
def test_how_a_dictionary_is_made_does_not_matter(values: list[str | None], random: Random) -> None:
    words = sorted({value for value in values if value is not None} | {"unused"})
    random.shuffle(words)
    kind = pa.dictionary(pa.int32(), pa.string())
    indices = pa.array([None if value is None else words.index(value) for value in values], pa.int32())
    column = pa.DictionaryArray.from_arrays(indices, strings(*words))
    assert digest_of(column) == digest_of(pa.array(values, kind))
    with_null = pa.DictionaryArray.from_arrays(indices.fill_null(len(words)), strings(*words, None))
    assert digest_of(column) == digest_of(with_null)


@given(st.lists(st.tuples(cells, cells), max_size=5), st.lists(st.tuples(cells, cells), max_size=5))
def test_different_rows_have_different_digests(one: list[tuple[str | None, ...]], other: list[tuple[str | None, ...]]) -> None:
    def digest(rows: list[tuple[str | None, ...]]) -> str:
        return digest_of(strings(*(row[0] for row in rows)), strings(*(row[1] for row in rows)))

    assert (digest(one) == digest(other)) == (one == other)


@given(st.data(), st.sampled_from(sorted(TYPES)), st.integers(1, 6))
def test_a_change_of_one_value_changes_the_digest(data: st.DataObject, name: str, rows: int) -> None:
    schema = schema_of([name])
    kind = TYPES[name]
    xmins = pa.array(range(rows), pa.uint32())
    one, other = data.draw(arrays(kind, rows)), data.draw(arrays(kind, rows))
    at = data.draw(st.integers(0, rows - 1))
    mixed = pa.concat_arrays([one.slice(0, at), other.slice(at, 1), one.slice(at + 1)])

    def digest(column: pa.Array) -> str:
        return content_digest(schema, [pa.RecordBatch.from_arrays([column, xmins], schema=schema)])

    assert (digest(mixed) == digest(one)) == (bits_of(mixed[at]) == bits_of(one[at]))


def bits_of(value: pa.Scalar) -> object:
    """Return a value by which NaNs of one payload are equal, and zeros of different signs are not."""
    if value.is_valid and pa.types.is_floating(value.type):
        column = pa.array([value.as_py()], value.type) if value.as_py() == value.as_py() else pa.array([value])
        return bytes(memoryview(column.buffers()[1])[: value.type.bit_width // 8])
    if value.is_valid and (pa.types.is_timestamp(value.type) or pa.types.is_date(value.type)):
        return value.value
    return value.as_py()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (strings("", "a"), strings(None, "a")),
        (strings("ab", "c"), strings("a", "bc")),
        (strings("a", None), strings(None, "a")),
        (strings("a", "b"), strings("b", "a")),
        (strings("a"), strings("a", None)),
        (strings("a"), strings("a", "")),
        (strings(), strings(None)),
        (strings("\u00e9"), strings("e\u0301")),
        (strings("a"), strings("a ")),
        (pa.array([None], pa.int32()), pa.array([0], pa.int32())),
        (pa.array([None, 0], pa.int32()), pa.array([0, None], pa.int32())),
        (pa.array([0.0]), pa.array([-0.0])),
        (pa.array([1], pa.int32()), pa.array([1], pa.int64())),
        (pa.array([1], pa.int32()), pa.array([1], pa.uint32())),
        (pa.array([0], pa.timestamp("us")), pa.array([0], pa.timestamp("us", tz="UTC"))),
        (pa.array([0], pa.timestamp("us")), pa.array([0], pa.timestamp("ms"))),
        (pa.array(["a"], pa.string()), pa.array([b"a"], pa.binary())),
        (pa.array([Decimal("1.0")], pa.decimal128(5, 1)), pa.array([Decimal("1.00")], pa.decimal128(5, 2))),
        (pa.array([Decimal("1.0")], pa.decimal128(5, 1)), pa.array([Decimal("1.0")], pa.decimal128(6, 1))),
        (pa.array([True, False]), pa.array([False, True])),
        (float_of(0x7FF8000000000000), float_of(0x7FF8000000000001)),
        (float_of(0x7FF8000000000000), float_of(0xFFF8000000000000)),
        (float_of(0x7FF0000000000001), float_of(0x7FF8000000000001)),
    ],
)
def test_what_looks_alike_has_different_digests(one: pa.Array, other: pa.Array) -> None:
    assert digest_of(one) != digest_of(other)


def test_a_value_that_moves_to_the_next_column_changes_the_digest() -> None:
    assert digest_of(strings("ab"), strings("c")) != digest_of(strings("a"), strings("bc"))
    assert digest_of(strings("a"), strings(None)) != digest_of(strings(None), strings("a"))
    assert digest_of(strings("a"), strings("b")) != digest_of(strings("b"), strings("a"))


def test_the_order_of_rows_counts_across_columns() -> None:
    # Each column alone has the same values in the same order of its own.
    assert digest_of(strings("a", "a"), strings("x", "y")) != digest_of(strings("a", "a"), strings("y", "x"))


def test_names_of_columns_count() -> None:
    column = strings("a")
    digests = {digest_of(column, names=[name]) for name in ("a", "A", "a ", "\u00e9", "e\u0301", 'a","string', "")}
    assert len(digests) == 7


def test_a_uuid_is_not_just_sixteen_bytes() -> None:
    plain = pa.array([bytes(range(16))], pa.binary(16))
    assert digest_of(plain) != digest_of(pa.ExtensionArray.from_storage(pa.uuid(), plain))


def test_metadata_of_fields_does_not_count() -> None:
    schema = schema_of(["int4"])
    batch = pa.RecordBatch.from_arrays([pa.array([1], pa.int32()), pa.array([1], pa.uint32())], schema=schema)
    bare = batch.cast(schema.remove_metadata())
    assert content_digest(schema, [bare]) == content_digest(bare.schema, [batch]) == content_digest(schema, [batch])


def test_asking_for_the_result_changes_nothing() -> None:
    batch = pa.RecordBatch.from_arrays([strings("a", None)], names=["a"])
    digest = ContentDigest(batch.schema)
    assert digest.result() == content_digest(batch.schema, [])
    digest.update(batch)
    assert digest.result() == digest.result() == content_digest(batch.schema, [batch])
    digest.update(batch)
    assert digest.result() == content_digest(batch.schema, [batch, batch])


def test_empty_batches_do_not_count() -> None:
    batch = pa.RecordBatch.from_arrays([strings("a", None)], names=["a"])
    assert content_digest(batch.schema, [batch.slice(0, 0), batch, batch.slice(2)]) == content_digest(batch.schema, [batch])


@pytest.mark.parametrize("other", [[("a", pa.int64())], [("b", pa.int32())], [("a", pa.int32()), ("b", pa.int32())], []])
def test_a_batch_of_another_schema_is_refused(other: list[tuple[str, pa.DataType]]) -> None:
    schema = pa.schema([("a", pa.int32())])
    with pytest.raises(ValueError, match="expected a batch of the schema"):
        content_digest(schema, [pa.RecordBatch.from_arrays([pa.array([1], kind) for _, kind in other], schema=pa.schema(other))])


@pytest.mark.parametrize("kind", [pa.null(), pa.list_(pa.int8()), pa.struct([("a", pa.int8())]), pa.large_string(), pa.string_view()])
def test_a_type_without_a_canonical_form_is_refused(kind: pa.DataType) -> None:
    with pytest.raises(TypeError, match="no canonical form for the Arrow type"):
        digest_of(pa.nulls(1, kind))
