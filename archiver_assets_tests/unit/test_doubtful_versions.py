"""Which transaction ids name a row version no longer."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from archiver_assets.lifecycle.purge import doubtful_versions

EPOCH = 2**32


def _count(xmins: list[int], snapshot: str, next_xid: int) -> int:
    return doubtful_versions(pa.array(xmins, pa.uint32()), snapshot, next_xid)


def test_ids_older_than_the_snapshot_are_believed() -> None:
    assert _count([3, 740, 741], "742:742:", 100_000) == 0


def test_ids_given_out_since_the_snapshot_are_doubted() -> None:
    assert _count([742, 743, 99_999, 100_000], "742:742:", 100_000) == 3


def test_ids_in_progress_at_the_snapshot_are_doubted() -> None:
    assert _count([740, 741, 742], "740:745:740,742", 745) == 2


def test_an_id_of_the_former_epoch_is_doubted_once_the_counter_has_passed_it() -> None:
    snapshot = f"{EPOCH + 100}:{EPOCH + 100}:"
    assert _count([500], snapshot, EPOCH + 400) == 0
    assert _count([500], snapshot, EPOCH + 501) == 1


def test_every_id_is_doubted_after_a_whole_epoch() -> None:
    assert _count([0, 3, 742, EPOCH - 1], "742:742:", 742 + EPOCH) == 4


def test_every_id_is_doubted_on_a_server_that_went_back_in_time() -> None:
    assert _count([3, 960], "1000:1000:", 950) == 2


def test_no_ids_are_none() -> None:
    assert _count([], "742:742:", 800) == 0


@given(xmax=st.integers(3, 2**40), given_out=st.integers(0, 2**33), behind=st.integers(0, 2**33))
def test_an_id_is_doubted_exactly_if_it_was_given_out_since(xmax: int, given_out: int, behind: int) -> None:
    full = xmax + given_out - 1 - behind
    if full < 0:
        return
    named_since = any(xmax <= full + epoch * EPOCH < xmax + given_out for epoch in range(-3, 4))
    assert _count([full % EPOCH], f"{xmax}:{xmax}:", xmax + given_out) == int(named_since)
