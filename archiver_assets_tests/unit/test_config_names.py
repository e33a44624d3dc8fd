"""Names in Dagster, and names that two entries would share."""

from pathlib import Path

import pytest
from dagster import AssetKey, AssetSpec, Definitions
from hypothesis import given
from hypothesis import strategies as st

from archiver_assets.config import Config, TableName, dagster_name
from archiver_assets_tests.unit.config_files import config_from, problem_of, problems_of

Names = list[tuple[str, list[tuple[str, str]]]]


def a_file(databases: Names) -> str:
    """Return a config with these labels, each with its schemas and tables; a database begins on line 4, 6 + its tables, …"""
    lines = ['version: "2.0"', "s3: {bucket: archives}", "databases:"]
    for label, tables in databases:
        lines += [f"  - name: '{label}'", "    host: h", "    user: u", "    password_env: P", "    retention_days: 1", "    tables:"]
        lines += [f"      - {{schema: '{s}', name: '{t}', timestamp_column: c, primary_key: k}}" for s, t in tables]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("part", "name"), [("audit_Log9", "audit_Log9"), ("a-b.c d", "a_b_c_d"), ("Änd", "_nd"), ("a/b\n", "a_b_"), ("a__b", "a__b")]
)
def test_each_character_that_dagster_does_not_allow_becomes_an_underscore(part: str, name: str) -> None:
    assert dagster_name(part) == name


def test_a_table_knows_its_names(tmp_path: Path) -> None:
    config = config_from(tmp_path, a_file([("live-db", [("audit.x", "log")])]))
    [(database, table)] = config.tables()
    assert table.table_name == TableName("live-db", "audit.x", "log")
    assert table.label == "live-db/audit.x/log"
    assert table.asset_path == ("live_db", "audit_x", "log")
    assert table.dagster_name == "live_db__audit_x__log"
    assert database.dagster_group == "live_db"


@given(st.text(min_size=1))
def test_dagster_accepts_every_name_that_is_made(part: str) -> None:
    name = TableName(part, part, part)
    Definitions(assets=[AssetSpec(AssetKey(list(name.asset_path)), group_name=dagster_name(part))])
    assert len(dagster_name(part)) == len(part)


def test_a_duplicate_database_is_refused(tmp_path: Path) -> None:
    assert problem_of(tmp_path, a_file([("a", [("s", "t")]), ("a", [("s", "t")])])) == (
        "config.yaml:11: databases[1].name: duplicate database; databases[0] on line 4 has the same label"
    )


def test_a_duplicate_table_is_refused_also_when_its_schema_is_implied(tmp_path: Path) -> None:
    text = a_file([("a", [("public", "t"), ("s", "t"), ("public", "t")])]).replace("schema: 'public', ", "", 1)
    assert problem_of(tmp_path, text) == (
        "config.yaml:12: databases[0].tables[2]: duplicate table; databases[0].tables[0] on line 10 has the same schema and name"
    )


def test_two_databases_with_one_group_are_refused(tmp_path: Path) -> None:
    problem = problem_of(tmp_path, a_file([("a-b", [("s", "t")]), ("a.b", [("s", "u")])]))
    assert problem.startswith(
        "config.yaml:11: databases[1].name: the label collides in Dagster with that of databases[0] on line 4; in Dagster"
    )


@pytest.mark.parametrize(
    "databases",
    [
        [("d", [("s", "a-b"), ("s", "a_b")])],
        [("d", [("s.t", "a"), ("s_t", "a")])],
        [("d", [("a__b", "c"), ("a", "b__c")])],
        [("d__a", [("b", "c")]), ("d", [("a__b", "c")])],
        [("d", [("s", "log"), ("s", "log__archive")])],
        [("d", [("s", "log__purge"), ("s", "log")])],
        [("d/a", [("b", "c")]), ("d", [("a/b", "c")])],
        [("d", [("a_", "b"), ("a", "_b")])],
    ],
)
def test_two_tables_with_one_name_in_dagster_are_refused(tmp_path: Path, databases: Names) -> None:
    problem = problem_of(tmp_path, a_file(databases))
    assert ": the table's names collide in Dagster with those of databases[0].tables[0] on line 10; in Dagster" in problem


def test_a_table_whose_schedule_would_have_the_name_of_a_databases_is_refused(tmp_path: Path) -> None:
    problem = problem_of(tmp_path, a_file([("a__b", [("s", "t")]), ("a", [("b", "checks")])]))
    assert "databases[1].tables[0]: the table's names collide in Dagster with those of databases[0] on line 4; in Dagster" in problem


def test_names_that_only_look_alike_are_accepted(tmp_path: Path) -> None:
    databases: Names = [("d", [("s", "a_b"), ("s", "ab"), ("s", "A_B"), ("t", "a_b"), ("s", "archive")]), ("e", [("s", "a_b")])]
    config = config_from(tmp_path, a_file(databases))
    assert len(all_names(config)) == 6 * len(TableName("d", "s", "t").all_names)


def all_names(config: Config) -> set[str]:
    return set().union(*(table.table_name.all_names for _, table in config.tables()))


def test_collisions_are_named_together_with_other_problems(tmp_path: Path) -> None:
    text = a_file([("d", [("s", "a-b"), ("s", "a_b")])]).replace("host: h", "host: ''")
    assert [problem.split(": ")[1] for problem in problems_of(tmp_path, text)] == ["databases[0].host", "databases[0].tables[1]"]


@pytest.mark.parametrize("label", ["", "..", ".", "a\tb", "a" * 64])
def test_a_label_that_cannot_be_a_name_is_refused(tmp_path: Path, label: str) -> None:
    text = a_file([("LABEL", [("s", "t")])]).replace("'LABEL'", '"' + label.replace("\t", "\\t") + '"')
    assert problem_of(tmp_path, text).startswith("config.yaml:4: databases[0].name: expected the database's label")
