"""What keeps rows from being overwritten keeps them in every table that they are rows of: a partitioned one, and its leaves."""

import pytest

from archiver_assets.config import Hold, TableConfig
from archiver_assets.errors import NotRestored
from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.restoring.request import Conflict, RestoreRequest
from archiver_assets.lifecycle.restoring.restore import restore
from archiver_assets.lifecycle.task import Task
from archiver_assets.source.session import Source
from archiver_assets.store.hold_objects import place_hold
from archiver_assets_tests.lab import DAY, PREFIX, Lab

PARTS = """
CREATE SCHEMA leaves;
CREATE TABLE parts (LIKE audit_logs, PRIMARY KEY (id, created_at)) PARTITION BY RANGE (created_at);
CREATE TABLE leaves.march PARTITION OF parts FOR VALUES FROM ('2024-03-01') TO ('2024-04-01');
INSERT INTO parts SELECT * FROM audit_logs;
"""


def config(lab: Lab, **changes: object) -> TableConfig:
    return lab.table(**{"name": "parts", "primary_key": ("id", "created_at"), **changes})


@pytest.fixture(name="parts")
def two_versions_of_a_leaf(lab: Lab) -> Lab:
    """A day of a partitioned table in two generations; the table is as the older one is, so that the newer one would overwrite it."""
    lab.fill(rows=10)
    lab.execute(PARTS)
    archive(lab.task(table=config(lab)))
    lab.execute("UPDATE parts SET action = 'changed'")
    archive(lab.task(table=config(lab)))
    lab.execute("UPDATE parts SET action = 'action ' || (id - 1)")
    return lab


def overwriting(table: str, schema: str = "public") -> RestoreRequest:
    return RestoreRequest(table, schema, conflict=Conflict.overwrite)


def changed(lab: Lab) -> int:
    return int(lab.execute("SELECT count(*) FROM parts WHERE action = 'changed'")[0][0])


LEAF = ("march", "leaves")


@pytest.mark.parametrize("target", [("parts", "public"), LEAF])
def test_rows_give_way_where_nothing_protects_them(parts: Lab, target: tuple[str, str]) -> None:
    place_hold(parts.store, PREFIX, Hold(id="case 1", reason="court", table_name="april"))
    assert restore(parts.task(table=config(parts)), overwriting(*target)).tally.overwritten == 10
    assert changed(parts) == 10


@pytest.mark.parametrize("target", [("parts", "public"), LEAF])
def test_no_row_of_a_table_that_is_never_purged_gives_way(parts: Lab, target: tuple[str, str]) -> None:
    with pytest.raises(NotRestored, match="purge: true in the config of lab/public/parts"):
        restore(parts.task(table=config(parts, purge=False)), overwriting(*target))
    assert changed(parts) == 0


def test_no_row_of_another_table_that_is_never_purged_gives_way(parts: Lab) -> None:
    """The day is archived as that of its leaf, and the whole table is configured too."""
    leaf, whole = config(parts, name="march", schema_name="leaves"), config(parts, purge=False)
    archive(parts.task(table=leaf))
    parts.execute("UPDATE parts SET action = 'changed'")
    archive(parts.task(table=leaf))
    parts.execute("UPDATE parts SET action = 'action ' || (id - 1)")
    task: Task = parts.task(table=leaf, source=Source(parts.database_config(leaf, whole), parts.environ))
    with pytest.raises(NotRestored, match="purge: true in the config of lab/public/parts"):
        restore(task, overwriting(*LEAF))
    assert changed(parts) == 0


@pytest.mark.parametrize("held", ["parts", "leaves.march"])
@pytest.mark.parametrize("archived", ["audit_logs", "parts"])
def test_no_row_gives_way_under_a_hold_of_any_table_that_it_is_a_row_of(parts: Lab, held: str, archived: str) -> None:
    """Also where the rows are archived ones of another table."""
    table = config(parts)
    if archived == "audit_logs":
        table = config(parts, name="audit_logs")
        parts.execute("UPDATE audit_logs SET action = action")
        archive(parts.task(table=table))
        parts.execute("UPDATE audit_logs SET action = 'changed'")
        archive(parts.task(table=table))
    place_hold(parts.store, PREFIX, Hold(id="case 1", reason="court", table_name=held))
    with pytest.raises(NotRestored, match=r"case 1|or held"):
        restore(parts.task(table=table), overwriting(*LEAF))
    assert changed(parts) == 0


def test_a_held_day_of_the_archived_table_holds_no_other_day_of_a_leaf(parts: Lab) -> None:
    hold = Hold(id="case 1", reason="court", table_name="parts", first_day=DAY, last_day=DAY)
    next_day = DAY.replace(day=6)
    place_hold(parts.store, PREFIX, hold.model_copy(update={"id": "case 0", "first_day": next_day, "last_day": next_day}))
    assert restore(parts.task(table=config(parts)), overwriting(*LEAF)).tally.overwritten == 10
    parts.execute("UPDATE parts SET action = 'action ' || (id - 1)")
    place_hold(parts.store, PREFIX, hold)
    with pytest.raises(NotRestored, match="or held"):
        restore(parts.task(table=config(parts)), overwriting(*LEAF))
    assert changed(parts) == 0
