"""What was archived comes back as it was, into whatever table, whatever happens on the way; and nothing else is touched."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from archiver_assets.config import Hold
from archiver_assets.errors import NotRestored, NotVerified, PartitionBusy
from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.purging.purge import purge
from archiver_assets.lifecycle.restoring.request import Conflict, Drift, Restored, RestoreRequest, Triggers, Versions
from archiver_assets.lifecycle.restoring.restore import restore
from archiver_assets.lifecycle.task import Step, Task
from archiver_assets.store.hold_objects import place_hold
from archiver_assets_tests.kills import Killed, kill_at
from archiver_assets_tests.lab import DAY, PREFIX, Lab, only
from archiver_assets_tests.restoring import INTO_ITSELF, TRIGGER, differing, two_generations


@pytest.fixture(name="purged")
def purged_lab(lab: Lab) -> Lab:
    """A day of 100 rows that was archived and purged, and a copy of it in `before`."""
    lab.fill(rows=100)
    lab.execute("CREATE TABLE before AS SELECT * FROM audit_logs")
    archive(lab.task())
    purge(lab.task())
    assert lab.count() == 0
    return lab


def test_a_table_is_made_for_restored_rows(purged: Lab) -> None:
    result = restore(purged.task(), RestoreRequest())
    assert (result.outcome, result.tally.loaded, result.target) == ("restored", 100, '"public"."audit_logs_restored"')
    assert differing(purged, "audit_logs_restored") == 0
    assert result.hold is None
    with pytest.raises(psycopg.errors.UniqueViolation):
        purged.execute("INSERT INTO audit_logs_restored SELECT * FROM audit_logs_restored LIMIT 1")


def test_running_it_twice_changes_nothing(purged: Lab) -> None:
    restore(purged.task(), RestoreRequest())
    again = restore(purged.task(), RestoreRequest())
    assert (again.outcome, again.tally.loaded, again.tally.present) == ("already there", 0, 100)
    assert differing(purged, "audit_logs_restored") == 0


def test_a_partition_without_a_generation_restores_nothing(lab: Lab) -> None:
    assert restore(lab.task(), RestoreRequest()).outcome == "empty"
    assert lab.execute("SELECT to_regclass('audit_logs_restored')") == [(None,)]


def test_rows_restored_into_the_table_itself_are_held_from_the_next_purge(purged: Lab) -> None:
    result = restore(purged.task(), INTO_ITSELF)
    assert differing(purged, "audit_logs") == 0
    assert result.hold is not None
    archive(purged.task())
    assert purge(purged.task()).outcome == "held"
    assert differing(purged, "audit_logs") == 0


def test_after_the_hold_restored_rows_are_archived_and_purged_again(purged: Lab) -> None:
    restore(purged.task(), replace(INTO_ITSELF, hold_days=0))
    archive(purged.task())
    assert purge(purged.task()).tally.purged == 100
    restore(purged.task(), RestoreRequest())
    assert differing(purged, "audit_logs_restored") == 0


def test_the_hold_is_there_before_the_rows_are(purged: Lab) -> None:
    class Unwilling:
        """A store that cannot take a hold."""

        def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- of whatever the store has
            return getattr(purged.store, name)

        def create(self, *_: object, **__: object) -> object:
            raise Killed

    with pytest.raises(Killed):
        restore(purged.task(store=Unwilling()), INTO_ITSELF)
    assert purged.count() == 0
    with pytest.raises(Killed):
        restore(purged.task(reached=kill_at(Step.ROWS_LOADED)), INTO_ITSELF)
    assert purged.count() == 0


@pytest.mark.parametrize("step", [Step.LOCKED, Step.READ_BACK, Step.ROWS_LOADED, Step.ROWS_RESTORED, Step.UNLOCKED])
def test_a_restore_that_dies_is_finished_by_the_next(lab: Lab, step: Step) -> None:
    two_generations(lab)
    with pytest.raises(Killed):
        restore(lab.task(reached=kill_at(step)), RestoreRequest())
    restore(lab.task(), RestoreRequest())
    assert differing(lab, "audit_logs_restored", "after") == 0


def test_of_several_versions_the_newest_is_restored(lab: Lab) -> None:
    two_generations(lab)
    result = restore(lab.task(), RestoreRequest())
    assert (result.generations, result.tally.loaded, result.tally.superseded) == ((2, 1), 10, 5)
    assert differing(lab, "audit_logs_restored", "after") == 0


def test_all_versions_are_restored_if_asked_for(lab: Lab) -> None:
    two_generations(lab)
    assert restore(lab.task(), RestoreRequest(versions=Versions.all)).tally.loaded == 15
    assert lab.execute("SELECT count(*), count(DISTINCT id), count(DISTINCT (id, _xmin)) FROM audit_logs_restored") == [(15, 10, 15)]
    assert restore(lab.task(), RestoreRequest(versions=Versions.all)).tally.present == 15


def test_a_conflict_changes_nothing_and_says_what_to_do(purged: Lab) -> None:
    purged.execute("INSERT INTO audit_logs SELECT * FROM before WHERE id <= 5")
    purged.execute("UPDATE audit_logs SET action = 'another' WHERE id = 3")
    with pytest.raises(NotRestored, match=r"(?s)1 of the keys.*'id': '3'.*HINT.*skip.*overwrite"):
        restore(purged.task(), INTO_ITSELF)
    assert purged.count() == 5


def test_conflicting_rows_can_be_skipped(purged: Lab) -> None:
    purged.execute("INSERT INTO audit_logs SELECT * FROM before WHERE id <= 5")
    purged.execute("UPDATE audit_logs SET action = 'another' WHERE id = 3")
    tally = restore(purged.task(), replace(INTO_ITSELF, conflict=Conflict.skip)).tally
    assert (tally.loaded, tally.present, tally.skipped) == (95, 4, 1)
    assert purged.execute("SELECT action FROM audit_logs WHERE id = 3") == [("another",)]


def test_a_row_that_no_generation_holds_is_not_overwritten(purged: Lab) -> None:
    purged.execute("INSERT INTO audit_logs SELECT * FROM before")
    purged.execute("UPDATE audit_logs SET action = 'another' WHERE id = 3")
    overwriting = replace(INTO_ITSELF, conflict=Conflict.overwrite, hold_days=0)
    with pytest.raises(NotRestored, match=r"(?s)1 rows of .* are in no generation.*archive the partition first"):
        restore(purged.task(), overwriting)
    assert purged.execute("SELECT action FROM audit_logs WHERE id = 3") == [("another",)]


def test_a_row_that_an_older_generation_holds_is_overwritten_by_the_newer(lab: Lab) -> None:
    lab.fill(rows=10)
    archive(lab.task())
    restore(lab.task(), RestoreRequest())
    lab.execute("UPDATE audit_logs SET action = 'changed' WHERE id <= 5")
    archive(lab.task())
    lab.execute("CREATE TABLE after AS SELECT * FROM audit_logs")
    with pytest.raises(NotRestored):
        restore(lab.task(), RestoreRequest())
    tally = restore(lab.task(), RestoreRequest(conflict=Conflict.overwrite)).tally
    assert (tally.loaded, tally.overwritten, tally.present) == (5, 5, 5)
    assert differing(lab, "audit_logs_restored", "after") == 0


@pytest.mark.parametrize("hold_id", ["case 1", "restored-files of case 1", "restored-2024-03-05-0123456789abcdef"])
def test_a_held_row_is_not_overwritten(lab: Lab, hold_id: str) -> None:
    two_generations(lab)
    lab.execute("INSERT INTO audit_logs SELECT * FROM after")
    lab.execute("UPDATE audit_logs SET action = 'action 0' WHERE id = 1")
    archive(lab.task())
    # Now the table has the newest version; go back to an older one, which a generation holds.
    lab.execute("UPDATE audit_logs SET action = 'changed' WHERE id = 1")
    place_hold(lab.store, PREFIX, Hold(id=hold_id, reason="court", table_name="audit_logs"))
    overwriting = replace(INTO_ITSELF, conflict=Conflict.overwrite)
    with pytest.raises(NotRestored, match="or held"):
        restore(lab.task(), overwriting)
    assert lab.execute("SELECT action FROM audit_logs WHERE id = 1") == [("changed",)]


def test_another_table_can_be_named(purged: Lab) -> None:
    purged.execute("CREATE SCHEMA elsewhere")
    purged.execute('CREATE TABLE elsewhere."Odd name" (LIKE audit_logs INCLUDING ALL)')
    restore(purged.task(), RestoreRequest(table_name="Odd name", schema_name="elsewhere"))
    assert differing(purged, 'elsewhere."Odd name"') == 0


@pytest.mark.parametrize(
    ("made_by", "found"),
    [
        ("SELECT 1", "found none"),
        ("CREATE VIEW target AS SELECT 1 AS id", "to be a table"),
        ("CREATE TABLE target (LIKE before)", "unique index"),
        ("CREATE TABLE target (LIKE before INCLUDING ALL, UNIQUE (id, created_at))", "unique index"),
        ("CREATE TABLE target (id bigint PRIMARY KEY)", "- created_at timestamp with time zone: archived, and not in the table"),
        ("CREATE TABLE target (LIKE before, PRIMARY KEY (id)); ALTER TABLE target ADD more int", r"\+ more integer: in the table"),
        ("CREATE TABLE target (LIKE before, PRIMARY KEY (id)); ALTER TABLE target ALTER amount TYPE numeric(8,1)", r"~ amount: .*8,1"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(purged: Lab, made_by: str, found: str) -> None:
    purged.execute(made_by)
    with pytest.raises(NotRestored, match=found):
        restore(purged.task(), RestoreRequest(table_name="target"))


def test_rows_can_be_restored_by_name_into_a_table_of_another_shape(purged: Lab) -> None:
    purged.execute("CREATE TABLE target (more int DEFAULT 7, action varchar, id numeric PRIMARY KEY)")
    result = restore(purged.task(), RestoreRequest(table_name="target", drift=Drift.by_name))
    assert len(result.drift) == 9
    assert purged.execute("SELECT count(*), min(more) FROM target t JOIN before b USING (id) WHERE t.action = b.action") == [(100, 7)]


def test_a_type_that_would_change_values_is_noticed(purged: Lab) -> None:
    purged.execute("CREATE TABLE target (LIKE before, PRIMARY KEY (id)); ALTER TABLE target ALTER details TYPE json")
    restore(purged.task(), RestoreRequest(table_name="target", drift=Drift.by_name))
    purged.execute("CREATE TABLE narrow (id bigint PRIMARY KEY, action char(3))")
    with pytest.raises(NotRestored, match="too long"):
        restore(purged.task(), RestoreRequest(table_name="narrow", drift=Drift.by_name))
    assert purged.count("narrow") == 0


def test_some_columns_are_restored_with_the_key(purged: Lab) -> None:
    restore(purged.task(), RestoreRequest(columns=("action",)))
    assert purged.execute("SELECT count(*) FROM audit_logs_restored r JOIN before b ON (r.id, r.action) = (b.id, b.action)") == [(100,)]
    with pytest.raises(NotRestored, match="found nonsense"):
        restore(purged.task(), RestoreRequest(columns=("nonsense",)))


def test_a_dry_run_writes_nothing(purged: Lab) -> None:
    before = purged.objects()
    assert restore(purged.task(), RestoreRequest(dry_run=True)).tally.loaded == 100
    assert purged.execute("SELECT to_regclass('audit_logs_restored')") == [(None,)]
    purged.execute("INSERT INTO audit_logs SELECT * FROM before WHERE id <= 5")
    result = restore(purged.task(), replace(INTO_ITSELF, dry_run=True))
    assert (result.outcome, result.tally.loaded, result.tally.present) == ("dry run", 95, 5)
    assert purged.count() == 5
    assert purged.objects() == before


def test_triggers_fire_only_if_asked_for(purged: Lab) -> None:
    purged.execute(TRIGGER)
    with pytest.raises(NotRestored, match=r"(?s)fire triggers .*on_insert.*disable"):
        restore(purged.task(), INTO_ITSELF)
    restore(purged.task(), replace(INTO_ITSELF, triggers=Triggers.disable))
    assert (purged.count("fired"), purged.count()) == (0, 100)
    assert purged.execute("SELECT tgenabled FROM pg_trigger WHERE tgname = 'on_insert'") == [("O",)]
    purged.execute("DELETE FROM audit_logs")
    restore(purged.task(), replace(INTO_ITSELF, triggers=Triggers.fire))
    assert purged.count("fired") == 100


def test_a_trigger_that_waits_for_the_commit_to_change_rows_is_noticed(purged: Lab) -> None:
    purged.execute(
        "CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN UPDATE public.audit_logs SET action = 'x' WHERE id = new.id; RETURN NULL; END $$;"
        "CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON audit_logs DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION change()"
    )
    with pytest.raises(NotRestored, match="byte for byte, found 0"):
        restore(purged.task(), replace(INTO_ITSELF, triggers=Triggers.fire))
    assert purged.count() == 0


def test_triggers_are_switched_off_beside_a_foreign_key_that_is_checked_at_the_commit(purged: Lab) -> None:
    purged.execute(TRIGGER)
    purged.execute(
        "CREATE TABLE actions (action text PRIMARY KEY); INSERT INTO actions SELECT DISTINCT action FROM before;"
        "ALTER TABLE audit_logs ADD FOREIGN KEY (action) REFERENCES actions DEFERRABLE INITIALLY DEFERRED"
    )
    restore(purged.task(), replace(INTO_ITSELF, triggers=Triggers.disable))
    assert (differing(purged, "audit_logs"), purged.count("fired")) == (0, 0)


def test_a_trigger_that_changes_rows_is_noticed(purged: Lab) -> None:
    purged.execute(
        "CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN new.action := 'x'; RETURN new; END $$;"
        "CREATE TRIGGER on_insert BEFORE INSERT ON audit_logs FOR EACH ROW WHEN (new.id = 50) EXECUTE FUNCTION change()"
    )
    with pytest.raises(NotRestored, match=r"expected 100 rows .* found 99"):
        restore(purged.task(), replace(INTO_ITSELF, triggers=Triggers.fire))
    assert purged.count() == 0


def test_a_sequence_that_is_behind_goes_on_after_the_restored_numbers(purged: Lab) -> None:
    purged.execute("ALTER SEQUENCE audit_logs_id_seq RESTART")
    assert restore(purged.task(), INTO_ITSELF).sequences == ('"public"."audit_logs_id_seq"',)
    purged.fill(rows=1)
    assert purged.execute("SELECT max(id) FROM audit_logs") == [(101,)]


def test_a_sequence_that_is_ahead_is_left_alone(purged: Lab) -> None:
    assert restore(purged.task(), INTO_ITSELF).sequences == ()
    purged.fill(rows=1)
    assert purged.execute("SELECT max(id) FROM audit_logs") == [(101,)]


def test_generated_and_identity_columns_come_back(lab: Lab) -> None:
    lab.execute(
        "CREATE TABLE made (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, gone int, at timestamptz NOT NULL, a int, "
        "twice int GENERATED ALWAYS AS (a * 2) STORED, b text DEFAULT 'default'); ALTER TABLE made DROP gone;"
        "INSERT INTO made (at, a, b) SELECT '2024-03-05 10:00+00', n, nullif(n, 3)::text FROM generate_series(1, 5) n;"
        "CREATE TABLE before AS SELECT * FROM made"
    )
    task = lab.task(DAY, lab.table(name="made", timestamp_column="at"))
    archive(task)
    purge(task)
    restore(task, RestoreRequest(table_name="made"))
    restore(task, RestoreRequest())
    assert (differing(lab, "made"), differing(lab, "made_restored")) == (0, 0)


def test_a_generated_column_that_is_made_otherwise_now_is_noticed(lab: Lab) -> None:
    test_generated_and_identity_columns_come_back(lab)
    lab.execute(
        "CREATE TABLE other (LIKE before, PRIMARY KEY (id)); ALTER TABLE other DROP twice;"
        "ALTER TABLE other ADD twice int GENERATED ALWAYS AS (a * 3) STORED"
    )
    with pytest.raises(NotRestored, match="found 0"):
        restore(lab.task(DAY, lab.table(name="made", timestamp_column="at")), RestoreRequest(table_name="other"))
    assert lab.count("other") == 0


def test_a_partition_that_is_not_there_is_named(lab: Lab) -> None:
    lab.fill(rows=5)
    archive(lab.task())
    lab.execute("CREATE TABLE parts (LIKE audit_logs, PRIMARY KEY (id)) PARTITION BY RANGE (id)")
    with pytest.raises(NotRestored, match=r"(?s)no partition of relation .*HINT: create what is missing"):
        restore(lab.task(), RestoreRequest(table_name="parts"))


def damage(lab: Lab, key: str) -> None:
    """Turn one bit of an object."""
    data = bytearray(lab.content(key))
    data[len(data) // 2] ^= 1
    lab.overwrite(key, bytes(data))


def test_a_good_generation_below_a_damaged_one_is_restored_if_chosen(purged: Lab) -> None:
    purged.execute("INSERT INTO audit_logs (created_at, action) VALUES ('2024-03-05 12:00+00', 'late')")
    archive(purged.task())
    purge(purged.task())
    damage(purged, only(purged.objects(), lambda key: "rows-0002" in key))
    with pytest.raises(NotVerified):
        restore(purged.task(), RestoreRequest())
    with pytest.raises(NotRestored, match="found 3\nHINT: those that count are: 1, 2"):
        restore(purged.task(), RestoreRequest(generations=(1, 3)))
    assert restore(purged.task(), RestoreRequest(generations=(1,))).generations == (1,)
    assert differing(purged, "audit_logs_restored") == 0


def test_what_an_older_generation_is_refused_for_stops_the_newer_one_too(purged: Lab) -> None:
    purged.execute("ALTER TABLE audit_logs ADD COLUMN added int")
    purged.execute("INSERT INTO audit_logs (created_at, action) VALUES ('2024-03-05 12:00+00', 'late')")
    archive(purged.task())
    purge(purged.task())
    with pytest.raises(NotRestored, match="generation 1"):
        restore(purged.task(), INTO_ITSELF)
    assert purged.count() == 0


def test_a_damaged_object_restores_nothing(purged: Lab) -> None:
    damage(purged, only(purged.objects(), lambda each: each.endswith(".parquet")))
    with pytest.raises(NotVerified):
        restore(purged.task(), RestoreRequest())
    assert purged.count("audit_logs_restored") == 0


def test_a_restore_waits_for_nobody_on_its_partition(purged: Lab) -> None:
    def again(step: Step) -> None:
        if step is Step.READ_BACK:
            with pytest.raises(PartitionBusy):
                restore(purged.task(), RestoreRequest())

    restore(purged.task(reached=again), RestoreRequest())
    assert differing(purged, "audit_logs_restored") == 0


def test_a_lost_connection_is_made_again(purged: Lab) -> None:
    cut: list[Step] = []

    def cutting(step: Step) -> None:
        if step is Step.ROWS_LOADED and not cut:
            cut.append(step)
            purged.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'audit-archiver' "
                "AND datname = current_database()"
            )

    result = restore(purged.task(reached=cutting), RestoreRequest())
    assert cut
    assert result.tally.loaded == 100
    assert differing(purged, "audit_logs_restored") == 0


def test_a_role_that_may_not_insert_is_told(purged: Lab) -> None:
    purged.execute("CREATE TABLE target (LIKE before, PRIMARY KEY (id))")
    result: Restored | None = None
    role = f"reader_{datetime.now(UTC):%H%M%S%f}"
    purged.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    try:
        limited = replace(purged.database, user=role, password="x")  # noqa: S106 - of a role that lives as long as the test
        task: Task = replace(purged, database=limited).task()
        with pytest.raises(Exception, match=r"permission denied(?s:.*)grant the missing right"):
            result = restore(task, RestoreRequest(table_name="target"))
    finally:
        purged.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
    assert result is None


def test_holds_of_a_restore_end_by_themselves(purged: Lab) -> None:
    restore(purged.task(), INTO_ITSELF)
    (key,) = [key for key in purged.objects() if "_holds/" in key]
    text = purged.content(key).decode()
    until = datetime.now(UTC) + timedelta(days=30)
    assert f"{until:%Y-%m-%d}" in text
