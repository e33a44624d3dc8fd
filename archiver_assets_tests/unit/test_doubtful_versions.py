"""Which transaction ids name a row version no longer."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from archiver_assets.lifecycle.believed_versions import WHILE_IT_RUNS, doubtful
from archiver_assets.store.manifest import SourceFacts

EPOCH = 2**32


def _source(snapshot: str) -> SourceFacts:
    values = {"system_identifier": "1", "database_oid": 5, "table_oid": 16_384, "timeline": 1, "server_version": "17.0", "lsn": "0/1"}
    return SourceFacts.model_validate({**values, "snapshot": snapshot, "read_from": "primary", "leaves": ()})


def _count(xmins: list[int], snapshot: str, next_xid: int, *, soon: int = 0) -> int:
    found = doubtful(pa.array(xmins, pa.uint32()), _source(snapshot), next_xid, soon)
    return sum(found.to_pylist())


def test_ids_older_than_the_snapshot_are_believed() -> None:
    assert _count([3, 740, 741], "742:742:", 100_000) == 0


def test_ids_given_out_since_the_snapshot_are_doubted() -> None:
    assert _count([742, 743, 99_999, 100_000], "742:742:", 100_000) == 3


def test_ids_from_the_oldest_on_that_ran_at_the_snapshot_are_doubted() -> None:
    """What lies between two that ran may be a subtransaction of the first, which the snapshot does not name."""
    assert _count([738, 739], "740:745:740,742", 745) == 0
    assert _count([740, 741, 742, 744], "740:745:740,742", 745) == 4


def test_an_id_of_the_former_epoch_is_doubted_once_the_counter_has_passed_it() -> None:
    snapshot = f"{EPOCH + 100}:{EPOCH + 100}:"
    assert _count([500], snapshot, EPOCH + 400) == 0
    assert _count([500], snapshot, EPOCH + 501) == 1


def test_every_id_is_doubted_after_a_whole_epoch() -> None:
    assert _count([0, 3, 742, EPOCH - 1], "742:742:", 742 + EPOCH) == 4


def test_every_id_is_doubted_on_a_server_that_went_back_in_time() -> None:
    assert _count([3, 960], "1000:1000:", 950) == 2


def test_ids_that_come_round_while_the_purge_runs_are_doubted() -> None:
    assert _count([EPOCH - 1], "742:742:", EPOCH - 2, soon=WHILE_IT_RUNS) == 1
    assert _count([EPOCH - 1], "742:742:", EPOCH - 2) == 0


def test_no_ids_are_none() -> None:
    assert _count([], "742:742:", 800) == 0


@given(oldest=st.integers(3, 2**40), ran=st.integers(0, 2**31), given_out=st.integers(0, 2**33), behind=st.integers(0, 2**33))
def test_an_id_is_doubted_exactly_if_it_was_given_out_since_the_oldest_that_ran(oldest: int, ran: int, given_out: int, behind: int) -> None:
    xmax = oldest + ran
    full = xmax + given_out - 1 - behind
    if full < 0:
        return
    named_since = any(oldest <= full + epoch * EPOCH < xmax + given_out for epoch in range(-3, 4))
    assert _count([full % EPOCH], f"{oldest}:{xmax}:", xmax + given_out) == int(named_since)
