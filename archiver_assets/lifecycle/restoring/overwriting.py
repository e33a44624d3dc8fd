"""Which rows of a destination restored rows may overwrite.

What belongs here: the config and holds that protect rows from being overwritten, also in a leaf or a parent of the table. What does not:
which rows are in another generation, and deleting them (`loading.py`).

Tables are matched by identity: the rows of a leaf are also rows of the table that the config and holds name.
"""

from collections.abc import Sequence

from archiver_assets.config import Hold
from archiver_assets.errors import NotRestored
from archiver_assets.lifecycle.holding.holds import in_force
from archiver_assets.lifecycle.restoring.own_hold import is_of_a_restore
from archiver_assets.lifecycle.task import Task
from archiver_assets.source import destination as at
from archiver_assets.source import sql
from archiver_assets.source.catalog import Connection, read_table
from archiver_assets.source.destination import Destination
from archiver_assets.source.hold_rows import held_rows, read_clock
from archiver_assets.source.session import locked_table


def require_purged(task: Task, connection: Connection, destination: Destination) -> None:
    """Raise NotRestored if the rows belong to a configured table whose rows are never deleted."""
    family = at.family(connection, destination)
    for table in (task.table, *(each for each in task.source.config.tables if each.label != task.table.label)):
        relation = sql.Relation(table.schema_name, table.name)
        if not table.purge and relation in family:
            rows = f"rows of {destination.relation.identifier.as_string()}, which are rows of {table.label}"
            rows = "rows of it" if relation == destination.relation else rows
            message = f"expected purge: true in the config of {table.label} to overwrite {rows}, found purge: false: no row is ever deleted"
            raise NotRestored(message, hint="restore into another table, or with conflict: skip")


def held(task: Task, connection: Connection, destination: Destination) -> tuple[sql.HeldRows, ...]:
    """Return the held rows of the archived table, if the destination's rows belong to it. Holds that restores placed only stop purges.

    Raises HoldsUnreadable. Raises NotRestored if a hold names another table that contains the rows: which rows it holds is unknown.
    """
    now, table = read_clock(connection), task.table
    holds = [placed.hold for placed in task.hold_places().everywhere() if in_force(placed.hold, now, table.timezone)]
    holds = [hold for hold in holds if not is_of_a_restore(hold)]
    archived, family = sql.Relation(table.schema_name, table.name), at.family(connection, destination)
    _require_not_named(destination, [each for each in family if each != archived], holds)
    if archived not in family:
        return ()
    own = [hold for hold in holds if hold.names(table.schema_name, table.name)]
    with locked_table(connection, archived):
        return held_rows(connection, table, read_table(connection, table), own)


def _require_not_named(destination: Destination, relations: Sequence[sql.Relation], holds: Sequence[Hold]) -> None:
    if found := [hold.id for hold in holds if any(hold.names(each.schema, each.name) for each in relations)]:
        name = destination.relation.identifier.as_string()
        message = f"{name} is under the legal holds {', '.join(found)}: none of its rows is overwritten"
        raise NotRestored(message, hint="restore into another table, or with conflict: skip")
