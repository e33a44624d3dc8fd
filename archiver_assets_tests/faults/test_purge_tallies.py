"""What a purge says it did: rows deleted, gone, late and held stay true through lost connections, lifted holds and changed tables."""

from typing import Any

import pytest

from archiver_assets.errors import SourceChanged
from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.purging.purge import purge
from archiver_assets.lifecycle.task import Step
from archiver_assets.source.catalog import count_held
from archiver_assets.store.hold_objects import release_hold
from archiver_assets.store.manifest import Receipt, decode
from archiver_assets_tests.holds import condition, place
from archiver_assets_tests.kills import after, lose_connection
from archiver_assets_tests.lab import PREFIX, Lab

LATE = "INSERT INTO audit_logs (created_at, action) VALUES ('2024-03-05 12:00Z', 'late')"


def receipt(lab: Lab, number: int = 1) -> Receipt:
    (key,) = [key for key in lab.objects() if key.endswith(f"_purged-{number:04}.json")]
    return decode(Receipt, lab.content(key), key=key)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note each count of the table's rows, which goes on to be made."""
    counts: list[str] = []

    def counting(*arguments: Any) -> object:  # noqa: ANN401 - whatever is passed on
        counts.append("count")
        return count_held(*arguments)

    monkeypatch.setattr("archiver_assets.lifecycle.purging.remaining.count_held", counting)
    return counts


@pytest.mark.parametrize(("step", "nth"), [(Step.BATCH_DELETED, 1), (Step.BATCH_DELETED, 3), (Step.RECEIPT_WRITTEN, 1), (Step.UNLOCKED, 1)])
def test_a_lost_connection_loses_no_count_of_what_was_deleted_before_it(lab: Lab, step: Step, nth: int) -> None:
    table = lab.table(batch_size=10)
    lab.fill(rows=30)
    archive(lab.task(table=table))

    purged = purge(lab.task(table=table, reached=after(step, lose_connection, nth)))

    assert (purged.outcome, purged.tally.purged, purged.tally.rows.gone, purged.tally.rows.changed, purged.late) == ("purged", 30, 0, 0, 0)
    assert (receipt(lab).rows_purged_by_version, receipt(lab).rows_gone) == (30, 0)


def test_rows_that_others_deleted_are_gone_also_after_a_lost_connection(lab: Lab) -> None:
    table = lab.table(batch_size=10)
    lab.fill(rows=30)
    archive(lab.task(table=table))
    lab.execute("DELETE FROM audit_logs WHERE id IN (1, 2, 30)")

    purged = purge(lab.task(table=table, reached=after(Step.BATCH_DELETED, lose_connection, 2)))

    assert (purged.tally.purged, purged.tally.rows.gone) == (27, 3)
    assert (receipt(lab).rows_purged_by_version, receipt(lab).rows_gone) == (27, 3)


def test_late_rows_are_told_without_a_second_count_where_every_version_went(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.fill(rows=30)
    archive(lab.task())
    lab.execute(LATE)
    counts = counted(monkeypatch)

    purged = purge(lab.task())

    assert (purged.tally.purged, purged.late, receipt(lab).rows_late, len(counts)) == (30, 1, 1, 1)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE audit_logs SET action = 'changed' WHERE id = 5",
        "UPDATE audit_logs SET action = action WHERE id = 5",
        "DELETE FROM audit_logs WHERE id = 5",
        "DELETE FROM audit_logs WHERE id < 20; INSERT INTO audit_logs (id, created_at, action) VALUES (500, '2024-03-05 12:00Z', 'late')",
    ],
)
def test_rows_are_counted_at_the_end_where_any_version_did_not_go(lab: Lab, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    lab.fill(rows=30)
    archive(lab.task())
    lab.execute(change)
    counts = counted(monkeypatch)

    purged = purge(lab.task())

    assert (purged.outcome, purged.late, len(counts)) == ("purged", lab.count(), 3)


def test_more_rows_gone_than_there_were_before_are_counted(lab: Lab) -> None:
    table = lab.table(batch_size=10)
    lab.fill(rows=30)
    archive(lab.task(table=table))
    lab.execute("CREATE TABLE kept AS SELECT * FROM audit_logs WHERE id > 20")
    lab.execute("DELETE FROM audit_logs WHERE id > 20")
    back = "INSERT INTO audit_logs SELECT * FROM kept"

    purged = purge(lab.task(table=table, reached=after(Step.BATCH_DELETED, lambda: lab.execute(back))))

    assert (purged.tally.purged, purged.late, lab.count()) == (30, 0, 0)


def test_two_generations_are_told_apart_from_late_rows_at_the_end(lab: Lab) -> None:
    lab.fill(rows=20)
    archive(lab.task())
    lab.execute(LATE)
    archive(lab.task())
    lab.execute(LATE)

    purged = purge(lab.task())

    assert (purged.tally.purged, purged.late) == (21, 1)
    assert [receipt(lab, number).rows_late for number in (1, 2)] == [2, 1]


def test_the_receipt_says_how_many_rows_were_held_before_the_hold_was_lifted(lab: Lab) -> None:
    table = lab.table(batch_size=10)
    lab.fill(rows=30)
    archive(lab.task(table=table))
    place(lab, condition("action", "in", "action 25", "action 27"))

    purged = purge(lab.task(table=table, reached=after(Step.BATCH_DELETED, lambda: release_hold(lab.store, PREFIX, "case-1"))))

    assert (purged.outcome, purged.tally.purged, purged.held, lab.count()) == ("purged", 30, 0, 0)
    assert receipt(lab).rows_held_before == 2


def test_a_hold_that_comes_between_two_batches_is_counted_at_the_end(lab: Lab) -> None:
    table = lab.table(batch_size=10)
    lab.fill(rows=30)
    archive(lab.task(table=table))

    def hold() -> None:
        place(lab, condition("action", "in", "action 25", "action 27"))

    purged = purge(lab.task(table=table, reached=after(Step.BATCH_DELETED, hold)))

    assert (purged.outcome, purged.tally.purged, purged.held, purged.late, lab.count()) == ("held", 28, 2, 0, 2)


def test_rows_of_a_generation_of_another_shape_do_not_fail_the_day_for_ever_while_they_are_held(lab: Lab) -> None:
    lab.fill(rows=20)
    archive(lab.task())
    place(lab, condition("action", "=", "action 3"))
    assert purge(lab.task()).outcome == "held"
    lab.execute("ALTER TABLE audit_logs ADD more text")
    lab.execute(LATE)
    with pytest.raises(SourceChanged, match="has changed since generation 1 recorded it"):
        purge(lab.task())
    archive(lab.task())

    purged = purge(lab.task())

    assert (purged.outcome, purged.tally.purged, purged.held, purged.late, lab.count()) == ("held", 1, 1, 0, 1)


def test_rows_that_went_before_a_generation_was_refused_half_way_are_not_late(lab: Lab) -> None:
    table = lab.table(batch_size=10)
    lab.fill(rows=30)
    archive(lab.task(table=table))
    lab.execute(LATE)
    archive(lab.task(table=table))
    steps: list[Step] = []

    def altered_for_a_while(step: Step) -> None:
        steps.append(step)
        if step is Step.BATCH_DELETED and steps.count(step) == 1:
            lab.execute("ALTER TABLE audit_logs RENAME action TO renamed")
        if step is Step.READ_BACK and steps.count(step) == 2:
            lab.execute("ALTER TABLE audit_logs RENAME renamed TO action")

    with pytest.raises(SourceChanged, match="altered"):
        purge(lab.task(table=table, reached=altered_for_a_while))

    assert (lab.count(), receipt(lab, 2).rows_purged_by_version, receipt(lab, 2).rows_late) == (20, 1, 20)


def test_a_hold_that_comes_between_two_batches_and_keeps_only_late_rows_is_counted_at_the_end(lab: Lab) -> None:
    table = lab.table(batch_size=10)
    lab.fill(rows=30)
    archive(lab.task(table=table))
    lab.execute(LATE)

    purged = purge(lab.task(table=table, reached=after(Step.BATCH_DELETED, lambda: place(lab, condition("action", "=", "late")))))

    assert (purged.outcome, purged.tally.purged, purged.held, purged.late, lab.count()) == ("purged", 30, 1, 0, 1)


def test_late_rows_are_counted_rightly_after_a_lost_connection(lab: Lab) -> None:
    table = lab.table(batch_size=10)
    lab.fill(rows=30)
    archive(lab.task(table=table))
    lab.execute(f"{LATE}, {', '.join(['(%s, %s)'] * 14)}", ["2024-03-05 13:00Z", "late"] * 14)

    purged = purge(lab.task(table=table, reached=after(Step.BATCH_DELETED, lose_connection)))

    assert (purged.tally.purged, purged.late, receipt(lab).rows_late, lab.count()) == (30, 15, 15, 15)
