"""Which row versions are covered: those with the same key and xmin, however a key is stored and in whatever order they come."""

from collections.abc import Sequence

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver_assets.lifecycle.coverage import Coverage

Version = tuple[int, int]
# Few and near, so that they meet; and some whose last bytes are zeros.
_KEYS = st.sampled_from([-(2**63), -256, -1, 0, 1, 2, 256, 65_536, 2**32, 2**63 - 1])
_VERSIONS = st.lists(st.tuples(_KEYS, st.sampled_from([3, 256, 2**16, 2**32 - 1])), max_size=12)
KINDS = (pa.int64(), pa.string(), pa.timestamp("us"))


def batch(versions: Sequence[Version], kind: pa.DataType) -> pa.RecordBatch:
    keys = [key for key, _ in versions]
    column = pa.array([str(key) for key in keys], kind) if pa.types.is_string(kind) else pa.array(keys, pa.int64())
    if pa.types.is_timestamp(kind):
        column = pa.array([key % 2**60 for key in keys], pa.int64()).cast(kind)
    return pa.RecordBatch.from_arrays([column, pa.array([xmin for _, xmin in versions], pa.uint32())], names=["id", "_xmin"])


@pytest.mark.parametrize("kind", KINDS[:2], ids=str)
@given(first=_VERSIONS, second=_VERSIONS, asked=_VERSIONS)
def test_a_version_is_covered_if_a_generation_has_its_key_and_its_xmin(
    kind: pa.DataType, first: list[Version], second: list[Version], asked: list[Version]
) -> None:
    coverage = Coverage([batch(first, kind), batch(second, kind)])
    held = [*first, *second]
    assert coverage.uncovered(batch(asked, kind)).to_pylist() == [version not in held for version in asked]
    assert (len(coverage), coverage.distinct) == (len(held), len(set(held)))


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_versions_asked_in_the_order_of_the_generation_are_covered(kind: pa.DataType) -> None:
    versions = [(key, 741) for key in range(1000)]
    coverage = Coverage([batch(versions, kind)])
    assert not any(coverage.uncovered(batch(versions[100:900], kind)).to_pylist())
    assert coverage.uncovered(batch([*versions[990:], (1000, 741)], kind)).to_pylist() == [False] * 10 + [True]


def test_a_key_stored_in_another_type_is_another_version_and_no_error() -> None:
    versions = [(1, 741), (2, 741)]
    coverage = Coverage([batch(versions, pa.int64()), batch(versions, pa.string())])
    assert not any(coverage.uncovered(batch(versions, pa.int64())).to_pylist())
    assert not any(coverage.uncovered(batch(versions, pa.string())).to_pylist())
    assert len(coverage) == 4
