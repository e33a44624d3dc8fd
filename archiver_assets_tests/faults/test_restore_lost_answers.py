"""Answers that are lost while rows go back into their own table: they are held once, and what is reported is what is there."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from archiver_assets.config import Hold
from archiver_assets.errors import ObjectExists, SourceUnavailable
from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.purging.purge import purge
from archiver_assets.lifecycle.restoring.restore import restore
from archiver_assets.lifecycle.task import Step
from archiver_assets.store.hold_objects import place_hold, read_hold_objects
from archiver_assets.store.objects import ObjectStore, StoredObject
from archiver_assets_tests.lab import PREFIX, Lab
from archiver_assets_tests.restoring import INTO_ITSELF, differing


@pytest.fixture(name="purged")
def purged_lab(lab: Lab) -> Lab:
    """A day of 100 rows that was archived and purged, and a copy of it in `before`."""
    lab.fill(rows=100)
    lab.execute("CREATE TABLE before AS SELECT * FROM audit_logs")
    archive(lab.task())
    purge(lab.task())
    return lab


@dataclass
class Meddling:
    """A store in which something happens around each write."""

    store: ObjectStore
    before: Callable[[str, bytes], object] = lambda _key, _data: None
    after: Callable[[], object] = lambda: None

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- of whatever the store has
        return getattr(self.store, name)

    def create(self, key: str, data: bytes, *, locked: bool = True) -> StoredObject:
        self.before(key, data)
        made = self.store.create(key, data, locked=locked)
        self.after()
        return made


def holds(lab: Lab) -> list[Hold]:
    return list(read_hold_objects(lab.store, PREFIX, {}))


def test_a_hold_whose_answer_was_lost_is_the_hold(purged: Lab) -> None:
    """The client asks again by itself, and finds the key taken."""
    store = Meddling(purged.store, before=lambda key, data: purged.store.create(key, data, locked=False))
    result = restore(purged.task(store=store), INTO_ITSELF)
    assert differing(purged, "audit_logs") == 0
    assert [hold.id for hold in holds(purged)] == [result.hold]


def test_a_hold_of_another_under_its_id_is_none_of_this_restore(purged: Lab) -> None:
    def take(key: str, _data: bytes) -> None:
        place_hold(purged.store, PREFIX, Hold(id=key.rpartition("/")[2].removesuffix(".json"), reason="court", table_name="other"))

    with pytest.raises(ObjectExists):
        restore(purged.task(store=Meddling(purged.store, before=take)), INTO_ITSELF)
    assert purged.count() == 0


def cutting(lab: Lab, at_most: int = 1) -> Callable[[], None]:
    """End the archiver's sessions, the first times that it is called."""
    calls: list[None] = []

    def cut() -> None:
        calls.append(None)
        if len(calls) <= at_most:
            lab.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'audit-archiver' "
                "AND datname = current_database()"
            )

    return cut


def test_rows_whose_commit_failed_after_they_were_held_are_held_once(purged: Lab) -> None:
    result = restore(purged.task(store=Meddling(purged.store, after=cutting(purged))), INTO_ITSELF)
    assert differing(purged, "audit_logs") == 0
    assert [hold.id for hold in holds(purged)] == [result.hold]


def test_rows_whose_commit_was_not_heard_of_are_reported_as_held(purged: Lab) -> None:
    cut = cutting(purged)

    def reached(step: Step) -> None:
        if step is Step.ROWS_RESTORED:
            cut()

    result = restore(purged.task(reached=reached), INTO_ITSELF)
    assert (result.outcome, result.tally.present) == ("already there", 100)
    assert [hold.id for hold in holds(purged)] == [result.hold]


def test_a_restore_that_finds_all_rows_places_no_hold(purged: Lab) -> None:
    restore(purged.task(), replace(INTO_ITSELF, hold_days=0))
    assert restore(purged.task(), INTO_ITSELF).hold is None
    assert holds(purged) == []


def test_a_hold_of_a_restore_that_failed_for_good_is_named(purged: Lab, caplog: pytest.LogCaptureFixture) -> None:
    cut = cutting(purged, at_most=9)

    def reached(step: Step) -> None:
        if step is Step.ROWS_LOADED and holds(purged):
            cut()

    with pytest.raises(SourceUnavailable):
        restore(purged.task(store=Meddling(purged.store, after=cut), reached=reached), INTO_ITSELF)
    (hold,) = holds(purged)
    assert f"the hold {hold.id} stays" in caplog.text
