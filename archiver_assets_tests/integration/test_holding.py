"""Conditions of holds against Python's own idea of them, for values that look like SQL."""

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archiver_assets.config import Hold
from archiver_assets.source.catalog import count_held, read_table
from archiver_assets.source.hold_rows import held_rows
from archiver_assets_tests.lab import Lab

TEXTS = ["", " ", "a", "A", "'", "''", "' OR true --", "\\", "\\'", "%s", "$1", "{}", '"', "é", "\n", "NULL", "null", "x" * 300]
texts = st.sampled_from(TEXTS) | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)
MEANS: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda found, values: found in values,
    "in": lambda found, values: found in values,
    "!=": lambda found, values: found is not None and found not in values,
    "is null": lambda found, _: found is None,
    "is not null": lambda found, _: found is not None,
}
COUNTS = {"in": (1, 4), "is null": (0, 0), "is not null": (0, 0)}


@st.composite
def conditions(draw: st.DrawFn) -> dict[str, object]:
    operator = draw(st.sampled_from(sorted(MEANS)))
    least, most = COUNTS.get(operator, (1, 1))
    values = draw(st.lists(texts, min_size=least, max_size=most))
    return {"column": draw(st.sampled_from(["note", "other"])), "operator": operator, "values": values}


@given(
    rows=st.lists(st.tuples(texts | st.none(), texts | st.none()), max_size=8),
    holds=st.lists(st.lists(conditions(), max_size=2), max_size=3),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_are_held_that_meet_all_conditions_of_any_hold(
    lab: Lab, rows: list[tuple[str | None, str | None]], holds: list[list[dict[str, object]]]
) -> None:
    lab.execute("CREATE TABLE IF NOT EXISTS t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at date, note text, other varchar(400))")
    lab.execute("TRUNCATE t")
    for note, other in rows:
        lab.execute("INSERT INTO t (at, note, other) VALUES ('2024-03-05', %s, %s)", [note, other])
    models = [Hold.model_validate({"id": "h", "reason": "r", "table_name": "t", "conditions": each}) for each in holds]
    config = lab.table(name="t", timestamp_column="at")
    task = lab.task(table=config)

    with task.source.connect() as connection:
        table = read_table(connection, config)
        counted = count_held(connection, table.days(task.partition), held_rows(connection, config, table, models))

    def met(row: tuple[str | None, str | None], condition: dict[str, object]) -> bool:
        return MEANS[str(condition["operator"])](row[condition["column"] == "other"], condition["values"])

    held = [row for row in rows if any(all(met(row, condition) for condition in each) for each in holds)]
    assert (counted.all, counted.held) == (len(rows), len(held))
