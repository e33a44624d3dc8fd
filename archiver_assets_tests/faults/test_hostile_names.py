"""Names that would be something else in SQL, in a URL, in a format string or on a terminal: their tables are archived, proven, purged and
restored like any other, and nothing else is touched.
"""

import re
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.purging.purge import purge
from archiver_assets.lifecycle.restoring.request import RestoreRequest
from archiver_assets.lifecycle.restoring.restore import restore
from archiver_assets.lifecycle.verifying.verify import verify
from archiver_assets.reader import archived
from archiver_assets_tests.lab import DAY, Lab

PIECES = [
    *('"', "'", "\\", "%", "%s", "%(a)s", "{", "}", "{}", "{0!r}", "$1", "$$", "$a$", ";--", "/*", "*/", "`", " ", ".", "..", "/", "a.b"),
    *(
        "\u202e",
        "\u200b",
        "\u2028",
        "\u00e9",
        "e\u0301",
        "\U0001f600",
        "\ufeff",
        "[red]",
        "[/]",
        "[link=x]",
        "&",
        "<!channel>",
        "+",
        "?",
        "#",
        "=",
        "~",
    ),
    *("DROP TABLE bystander", "NULL", "select", "_xmin", "dt=", "_manifest-0001.json", ":a", "::text", "${A}", "E'", "\\x00", "\\N"),
]
NAMES = st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join).filter(lambda name: 0 < len(name.encode()) <= 60)
WORST = [
    'a"; DROP TABLE bystander; --',
    "a'; DROP TABLE bystander; --",
    "$$; DROP TABLE bystander; $$",
    "%s %(a)s {} {0!r} $1 ${A}",
    "\u202e\u200b\u2028[red]\\",
    "x" * 63,
    "\U0001f600" * 15,
    "a.b",
]


def make(lab: Lab, schema: str, table: str, columns: Sequence[str], label: str) -> None:
    """Make a table of these names, the last two of which are those of an enum and a text, with three rows of a day."""
    key, at, mood, text = map(sql.Identifier, columns)
    place, kind = sql.Identifier(schema, table), sql.Identifier(schema, f"{table}"[:1] + "~kind")
    statements = (
        sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)),
        sql.SQL("CREATE TYPE {} AS ENUM ({}, 'b')").format(kind, sql.Literal(label)),
        sql.SQL("CREATE TABLE {} ({} text, {} timestamptz NOT NULL, {} {}, {} text, PRIMARY KEY ({}))").format(
            place, key, at, mood, kind, text, key
        ),
        sql.SQL("CREATE INDEX ON {} ({})").format(place, at),
        sql.SQL("INSERT INTO {} SELECT {} || n, {}::timestamptz + n * interval '1 hour', {}, {} FROM generate_series(1, 3) AS n").format(
            place, sql.Literal(table), sql.Literal(str(DAY) + "Z"), sql.Literal(label), sql.Literal(f"{label}{table}")
        ),
    )
    for statement in statements:
        lab.execute(statement.as_string())


def rows_of(lab: Lab, schema: str, table: str) -> list[tuple[object, ...]]:
    return lab.execute(sql.SQL("SELECT t.*::text FROM {} AS t ORDER BY 1").format(sql.Identifier(schema, table)).as_string())


def bystanders(lab: Lab) -> list[tuple[object, ...]]:
    """Return what nobody may touch: a table with a row, and the names of all tables."""
    return lab.execute("SELECT 1 FROM bystander") + lab.execute(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND oid > 16384 ORDER BY 1"
    )


def go_round(lab: Lab, schema: str, table: str, columns: Sequence[str], label: str) -> None:
    """Archive, verify, purge, read and restore a table of these names."""
    make(lab, schema, table, columns, label)
    before, others = rows_of(lab, schema, table), bystanders(lab)
    names = {"schema_name": schema, "name": table, "primary_key": (columns[0],), "timestamp_column": columns[1]}
    task = lab.task(table=lab.table(**names))
    assert archive(task).rows == 3
    assert verify(task).passed
    assert purge(task).outcome == "purged"
    assert rows_of(lab, schema, table) == []
    with archived(lab.services(task.table).config, "lab", table, DAY, DAY, schema=schema) as found:
        assert sorted(found.to_table().column(columns[0]).to_pylist()) == sorted(f"{table}{n}" for n in (1, 2, 3))
    assert restore(task, RestoreRequest(table_name=table, schema_name=schema)).tally.loaded == 3
    assert rows_of(lab, schema, table) == before
    assert bystanders(lab) == others
    assert all(
        re.fullmatch(r"archives/(lab/([A-Za-z0-9._~-]|%[0-9A-F]{2})+/([A-Za-z0-9._~-]|%[0-9A-F]{2})+/dt=|_holds/).*", key)
        for key in lab.objects()
    )


@pytest.fixture(name="lab")
def lab_with_a_bystander(lab: Lab) -> Lab:
    lab.execute("CREATE TABLE bystander (a int); INSERT INTO bystander VALUES (1)")
    return lab


@pytest.mark.parametrize("first", [0, 3])
def test_the_worst_names_go_round(lab: Lab, first: int) -> None:
    schema, table, key, at, mood, text, label, _ = WORST[first:] + WORST[:first]
    go_round(lab, schema, table, [key, at, mood, text], label)


def test_columns_whose_names_begin_with_those_of_others_and_a_dot_go_round(lab: Lab) -> None:
    """To Parquet such a name is the path of a nested column."""
    go_round(lab, "s", "t", ["a", "a.b", "a.b.c", "b"], "a.b")


def test_any_names_go_round(lab: Lab) -> None:
    number = iter(range(1_000_000))

    @settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
    @given(schema=NAMES, table=NAMES, columns=st.lists(NAMES, min_size=4, max_size=4, unique=True), label=NAMES)
    def check(schema: str, table: str, columns: list[str], label: str) -> None:
        # Tables of earlier examples stay: they are bystanders too.
        unique = f"{next(number):03}"
        go_round(lab, f"{unique}{schema}", f"{unique}{table}"[:60], [f"{unique}{column}" for column in columns], label)

    check()
