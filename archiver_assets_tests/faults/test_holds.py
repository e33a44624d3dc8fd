"""Legal holds under attack: no held row is ever deleted, and a hold that cannot be read or understood holds everything."""

from archiver_assets.config import Hold
from archiver_assets.lifecycle.archive import archive
from archiver_assets.lifecycle.purge import purge
from archiver_assets.store.holding import place_hold, release_hold
from archiver_assets_tests.lab import PREFIX, Lab


def hold(**values: object) -> Hold:
    return Hold.model_validate({"id": "case-1", "reason": "an investigation", "table_name": "audit_logs", **values})


def test_a_hold_on_a_table_keeps_its_rows_until_it_is_released(lab: Lab) -> None:
    lab.fill(rows=20)
    archive(lab.task())
    place_hold(lab.store, PREFIX, hold())

    held = purge(lab.task())

    assert (held.outcome, held.held, held.late, lab.count()) == ("held", 20, 0, 20)
    assert [(each.id, each.reason) for each in held.holds] == [("case-1", "an investigation")]
    assert not [key for key in lab.objects() if "_purg" in key]
    release_hold(lab.store, PREFIX, "case-1")
    assert (purge(lab.task()).outcome, lab.count()) == ("purged", 0)
    assert [key for key in lab.objects() if "_purged" in key]


def test_rows_that_meet_the_conditions_stay_and_the_others_go(lab: Lab) -> None:
    lab.fill(rows=20)
    archive(lab.task())
    conditions = [{"column": "action", "operator": "in", "values": ["action 3", "action 5"]}]
    place_hold(lab.store, PREFIX, hold(conditions=conditions))

    held = purge(lab.task())

    assert (held.outcome, held.tally.purged, held.held, held.late) == ("held", 18, 2, 0)
    assert lab.execute("SELECT action FROM audit_logs ORDER BY 1") == [("action 3",), ("action 5",)]
    assert not [key for key in lab.objects() if "_purged" in key]
    release_hold(lab.store, PREFIX, "case-1")
    finished = purge(lab.task())
    assert (finished.outcome, finished.tally.purged, finished.tally.rows.gone, lab.count()) == ("purged", 2, 18, 0)
    assert [key for key in lab.objects() if "_purged" in key]
