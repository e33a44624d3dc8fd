"""Dry runs: that they say what a real run then does, name everything that would stop it at once, and change nothing at all."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from archiver_assets.config import Hold
from archiver_assets.errors import SourceLoginRefused, StoreError
from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.dry_run import Findings, dry_archive, look_at
from archiver_assets.lifecycle.purging.dry_purge import DryPurge, dry_purge
from archiver_assets.lifecycle.purging.purge import purge
from archiver_assets.lifecycle.task import Step
from archiver_assets.source.session import partition_lock
from archiver_assets.store.hold_objects import place_hold
from archiver_assets.store.keys import Mark
from archiver_assets_tests.kills import Killed, kill_at
from archiver_assets_tests.lab import PREFIX, Lab, only
from archiver_assets_tests.outcomes import assert_purged

TUPLES = "SELECT ctid::text, xmin::text, xmax::text, cmin::text, t::text FROM audit_logs t ORDER BY ctid"


def state(lab: Lab) -> dict[str, Any]:
    """Return all that a dry run must leave alone: every object and its bytes, every tuple, the sequence, and who is locked."""
    return {
        "objects": {key: lab.content(key) for key in lab.objects()},
        "tuples": lab.execute(TUPLES),
        "size": lab.execute("SELECT pg_total_relation_size('audit_logs')"),
        "sequence": lab.execute("SELECT last_value, is_called FROM audit_logs_id_seq"),
        "relations": lab.execute("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1"),
    }


def unchanged(lab: Lab, work: Callable[[], DryPurge]) -> DryPurge:
    """Do some work that must change nothing."""
    before = state(lab)
    done = work()
    assert state(lab) == before
    return done


def damage(lab: Lab) -> None:
    """Replace the only object of data by other bytes."""
    key = only(lab.objects(), lambda each: "rows-" in each)
    lab.store.remove(key)
    lab.store.create(key, b"not what was written")


def stops(found: DryPurge) -> list[str]:
    return [each.name for each in found.findings if "purge" in each.stops]


def test_a_login_that_is_refused_is_no_finding_because_nothing_after_it_could_be_known(lab: Lab) -> None:
    wrong = replace(lab, database=replace(lab.database, user="nobody"))
    findings = Findings(wrong.task())
    with pytest.raises(SourceLoginRefused), findings.noting(), wrong.task().source.connect():
        pytest.fail("a session was opened")
    assert findings.met == []


def test_a_dry_archive_counts_what_the_archive_then_archives(lab: Lab) -> None:
    lab.fill(rows=30)
    archive(lab.task())
    lab.execute("UPDATE audit_logs SET action = 'corrected' WHERE id <= 4")
    lab.fill(rows=3)
    before = state(lab)

    dry = dry_archive(lab.task())

    assert state(lab) == before
    assert (dry.outcome, dry.rows, dry.rows_in_table, dry.rows_without_day, dry.findings) == ("would archive", 7, 33, 0, ())
    assert [each.passed for each in dry.verifications] == [True]
    done = archive(lab.task())
    assert (done.rows, done.rows_in_table) == (dry.rows, dry.rows_in_table)
    assert dry_archive(lab.task()).outcome == "already archived"


def test_a_dry_purge_foresees_what_the_purge_then_does(lab: Lab) -> None:
    """Rows of every fate, in two generations that hold some of them both."""
    lab.fill(rows=40)
    archive(lab.task())
    lab.execute("UPDATE audit_logs SET action = action WHERE id IN (1, 2)")  # the same content in other versions: archived twice
    lab.execute("UPDATE audit_logs SET action = 'corrected' WHERE id = 3")
    lab.fill(rows=2)
    archive(lab.task())
    lab.execute("DELETE FROM audit_logs WHERE id = 5")
    lab.execute("UPDATE audit_logs SET action = 'again' WHERE id IN (6, 41)")
    lab.execute("UPDATE audit_logs SET created_at = created_at + interval '5 days' WHERE id = 7")
    lab.fill(rows=4)
    place_hold(lab.store, PREFIX, Hold.model_validate(hold("case", "1")))
    place_hold(lab.store, PREFIX, Hold.model_validate(hold("other", "9")))

    dry = unchanged(lab, lambda: dry_purge(lab.task(table=lab.table(batch_size=7))))
    done = purge(lab.task())

    assert dry.outcome == "would purge"
    assert dry.rows == done.tally.rows
    assert dry.kept is not None
    assert (dry.purged, dry.late, dry.kept.held, dry.kept.held_by) == (done.tally.purged, done.late, done.held, done.held_by)
    assert_purged(done, by_content=1, late=6)
    assert done.held_by == (1, 1)
    assert_purged(done, changed=3, gone=3)


def hold(name: str, key: str) -> dict[str, object]:
    conditions = [{"column": "id", "operator": "=", "values": (key,)}]
    return {"id": name, "reason": "a case", "table_name": "audit_logs", "conditions": tuple(conditions)}


def test_a_dry_run_names_everything_that_would_stop_the_run(lab: Lab) -> None:
    recent = datetime.now(UTC).date() - timedelta(days=3)
    lab.fill(day=recent, rows=5)
    lab.execute("CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
    lab.execute("CREATE TRIGGER keep BEFORE DELETE ON audit_logs FOR EACH ROW EXECUTE FUNCTION keep()")
    lab.store.create(f"{PREFIX}_holds/broken.json", b"{")
    task = lab.task(recent)

    with task.source.connect() as other, partition_lock(other, table=task.table.label, partition=task.partition):
        dry = unchanged(lab, lambda: dry_purge(task))
        archived = dry_archive(task)

    assert dry.outcome == archived.outcome == "would be refused"
    assert stops(dry) == ["partition_busy", "not_expired", "delete_trigger", "holds_unreadable"]
    assert (archived.rows, archived.rows_in_table) == (None, 5)


def test_rows_that_are_not_archived_stop_a_purge_unless_the_same_run_archives_them(lab: Lab) -> None:
    lab.fill(rows=5)
    alone = unchanged(lab, lambda: dry_purge(lab.task()))
    assert (alone.outcome, stops(alone), alone.late) == ("would be refused", ["not_archived"], 5)
    after = unchanged(lab, lambda: dry_purge(lab.task(), archived_first=True))
    assert (after.outcome, after.findings, after.late) == ("would purge", (), 5)


def test_a_table_of_another_shape_stops_a_purge_while_it_has_rows(lab: Lab) -> None:
    lab.fill(rows=5)
    archive(lab.task())
    lab.execute("ALTER TABLE audit_logs ADD COLUMN extra text")
    dry = unchanged(lab, lambda: dry_purge(lab.task()))
    assert (dry.outcome, stops(dry)) == ("would be refused", ["source_changed"])
    lab.execute("DELETE FROM audit_logs")
    gone = unchanged(lab, lambda: dry_purge(lab.task()))
    assert (gone.outcome, [each.name for each in gone.findings], stops(gone)) == ("already purged", ["source_changed"], [])


def test_a_damaged_object_is_not_rejected_and_its_rows_would_be_archived_again(lab: Lab) -> None:
    lab.fill(rows=5)
    archive(lab.task())
    damage(lab)
    before = state(lab)
    dry = dry_archive(lab.task())
    assert state(lab) == before
    assert (dry.rows, [(each.name, each.stopped) for each in dry.findings]) == (5, [("not_verified", "nothing")])


def test_a_damaged_object_stops_a_purge_but_for_one_that_archives_its_rows_again(lab: Lab) -> None:
    lab.fill(rows=5)
    archive(lab.task())
    damage(lab)
    alone = unchanged(lab, lambda: dry_purge(lab.task()))
    assert stops(alone) == ["not_verified"]
    assert [each.what for each in alone.verifications[0].comparisons if not each.same] == ["bytes", "sha256", "content"]
    assert stops(unchanged(lab, lambda: dry_purge(lab.task(), archived_first=True))) == []


def test_a_damaged_object_whose_purge_has_begun_stops_whatever_comes_first(lab: Lab) -> None:
    lab.fill(rows=5)
    archive(lab.task())
    with pytest.raises(Killed):
        purge(lab.task(reached=kill_at(Step.PURGE_MARKED)))
    damage(lab)
    dry = unchanged(lab, lambda: dry_purge(lab.task(), archived_first=True))
    assert stops(dry) == ["not_verified"]


def test_a_day_that_is_held_whole_is_left_whole(lab: Lab) -> None:
    lab.fill(rows=5)
    archive(lab.task())
    place_hold(lab.store, PREFIX, Hold(id="all", reason="a case", table_name="audit_logs"))
    dry = unchanged(lab, lambda: dry_purge(lab.task()))
    assert dry.kept is not None
    assert (dry.outcome, dry.purged, dry.kept.held, dry.late) == ("held", 0, 5, 0)


def test_whatever_a_dry_run_calls_neither_the_server_nor_the_store_lets_it_write(lab: Lab) -> None:
    lab.fill(rows=5)
    before = state(lab)
    with look_at(lab.task()) as look:
        for statement in ("DELETE FROM public.audit_logs", "SELECT nextval('public.audit_logs_id_seq')", "CREATE TEMPORARY TABLE t ()"):
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                look.connection.execute(statement)
        store, key = look.task.store, look.task.keys.mark(Mark.PURGING, 1)
        for write in (
            lambda: store.create(key, b""),
            lambda: store.upload(key),
            lambda: store.remove(key),
            lambda: store.abort_uploads(""),
        ):
            with pytest.raises(StoreError, match="change nothing"):
                write()
    assert state(lab) == before


def test_a_dry_run_is_in_no_real_runs_way(lab: Lab) -> None:
    """It holds the lock of no partition, so that a purge can run from its beginning to its end in the middle of it."""
    lab.fill(rows=5)
    archive(lab.task())
    with look_at(lab.task()):
        assert purge(lab.task()).outcome == "purged"
    receipt = json.loads(lab.content(only(lab.objects(), lambda key: "_purged" in key)))
    assert receipt["rows_purged_by_version"] == 5


def test_a_dry_run_that_is_killed_leaves_nothing(lab: Lab) -> None:
    lab.fill(rows=50)
    archive(lab.task())
    before = state(lab)

    class Dying:
        """A store whose process is killed in the middle of reading an object."""

        def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as the store has it
            return getattr(lab.store, name)

        def read(self, key: str, *, version_id: str | None = None) -> Any:  # noqa: ANN401 - as the store has it
            yield from lab.store.read(key, version_id=version_id)
            if key.endswith(".parquet"):
                raise Killed

    for work in (dry_archive, dry_purge):
        with pytest.raises(Killed):
            work(lab.task(store=Dying()))
    assert state(lab) == before
    assert purge(lab.task()).outcome == "purged"
