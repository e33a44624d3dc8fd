"""Legal holds and compliance without servers: what a file may say, which tables and times a hold is for, and holds as objects."""

from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver_assets.config import Compliance, Hold, HoldCondition, HoldsTable, LegalHolds, TableConfig
from archiver_assets.errors import HoldsUnreadable
from archiver_assets.lifecycle.holding.holds import HoldPlaces, in_force
from archiver_assets.store.hold_objects import place_hold
from archiver_assets.store.keys import hold_key, parse_hold_key
from archiver_assets_tests.doubles import MemoryObjectStore
from archiver_assets_tests.unit.config_files import SHORTEST, config_from, problem_of, problems_of, with_table_key

HOLDS = """\
legal_holds:
  table: {database: app, schema: legal, name: holds}
  holds:
    - id: 2024/17
      reason: an investigation
      requestor: ${WHO}
      table_name: Log
      schema_name: PUBLIC
      first_day: 2024-01-01
      last_day: 2024-12-31
      start_date: "2024-06-01T12:00:00+02:00"
      expiration_date: 2030-12-31
      conditions:
        - {column: tenant, operator: in, values: ["7", "8"]}
        - {column: note, operator: is not null}
    - {id: b, reason: r, table_name: log, conditions: []}
"""
TABLE = TableConfig(database="app", name="log", timestamp_column="at", primary_key=("id",), retention_days=30)


def hold(**values: object) -> Hold:
    return Hold.model_validate({"id": "a", "reason": "r", "table_name": "log", **values})


def test_a_file_may_hold_holds_and_name_their_table(tmp_path: Path) -> None:
    legal_holds = config_from(tmp_path, SHORTEST + HOLDS, {"WHO": "counsel"}).legal_holds

    assert legal_holds.table == HoldsTable(database="app", schema_name="legal", name="holds")
    assert legal_holds.holds == (
        Hold(
            id="2024/17",
            reason="an investigation",
            requestor="counsel",
            table_name="Log",
            schema_name="PUBLIC",
            first_day=date(2024, 1, 1),
            last_day=date(2024, 12, 31),
            start_date=datetime(2024, 6, 1, 12, tzinfo=timezone(timedelta(hours=2))),
            expiration_date=date(2030, 12, 31),
            conditions=(
                HoldCondition(column="tenant", operator="in", values=("7", "8")),
                HoldCondition(column="note", operator="is not null"),
            ),
        ),
        Hold(id="b", reason="r", table_name="log"),
    )


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("{reason: r, table_name: log}", "holds[0].id: missing key; expected the id of the hold"),
        ("{id: a, table_name: log}", "holds[0].reason: missing key"),
        ("{id: a, reason: r, table_name: logs}", "holds[0]: expected the name of a configured table, found another"),
        ("{id: a, reason: r, table_name: log, schema_name: private}", "found another; the hold would keep nothing"),
        ("{id: a, reason: r, table_name: log, where: x = 1}", "holds[0].where: unknown key"),
        ("{id: a, reason: r, table_name: log, expiration_date: soon}", "write a day as 2026-08-01"),
        ('{id: a, reason: r, table_name: log, start_date: "2024-02-30"}', "the calendar has no such day"),
        ("{id: a, reason: r, table_name: log, first_day: 2024-01-02, last_day: 2024-01-01}", "the hold would keep nothing"),
        ("{id: a, reason: r, table_name: log, conditions: x = 1}", "holds[0].conditions: expected a list of at most 100 conditions"),
        ("{id: a, reason: r, table_name: log, conditions: [x = 1]}", "conditions[0]: expected a mapping"),
        ("{id: a, reason: r, table_name: log, conditions: [{column: x, operator: ~}]}", "operator: expected one of =, !="),
        ("{id: a, reason: r, table_name: log, conditions: [{column: x, operator: =}]}", "expected 1 values for =, found 0"),
        ('{id: a, reason: r, table_name: log, conditions: [{column: x, operator: is null, values: ["1"]}]}', "expected 0 values"),
        ("{id: a, reason: r, table_name: log, conditions: [{column: x, operator: in, values: []}]}", "expected 1 to 1000 values"),
        ("{id: a, reason: r, table_name: log, conditions: [{column: x, operator: =, values: [5]}]}", "a list of strings in quotes"),
        ("{id: a, reason: r, table_name: log}, {id: a, reason: r, table_name: log}", "holds[1].id: duplicate hold; legal_holds.holds[0]"),
    ],
)
def test_a_hold_that_is_not_one_is_a_problem_of_the_file(tmp_path: Path, entry: str, problem: str) -> None:
    found = problem_of(tmp_path, f"{SHORTEST}legal_holds:\n  holds: [{entry}]\n")
    assert found.startswith("config.yaml:14: legal_holds.holds[")
    assert problem in found


def test_the_table_of_holds_lies_in_a_configured_database(tmp_path: Path) -> None:
    text = SHORTEST + "legal_holds: {table: {database: other, name: holds}}\n"
    assert problem_of(tmp_path, text).startswith("config.yaml:13: legal_holds.table.database: expected the label of a configured database")
    assert config_from(tmp_path, SHORTEST + "legal_holds: {table: null, holds: []}\n").legal_holds == LegalHolds()


def test_no_database_has_the_folder_of_the_holds(tmp_path: Path) -> None:
    assert "legal holds are stored in the folder of this name" in problem_of(tmp_path, SHORTEST.replace("name: app", "name: _holds"))


def test_limits_are_checked_for_every_table_when_the_file_is_loaded(tmp_path: Path) -> None:
    text = with_table_key("critical: true")
    assert problem_of(tmp_path, text).endswith("critical: expected s3.encryption to be SSE-S3 or SSE-KMS for a critical table, found none")
    assert list(config_from(tmp_path, text + "compliance: {enforce_encryption: false}\n").tables())
    assert list(config_from(tmp_path, text.replace("{bucket: archives}", "{bucket: archives, encryption: SSE-S3}")).tables())
    assert problems_of(tmp_path, SHORTEST + "compliance: {min_retention_days: 31, max_retention_days: 40}\n") == [
        "config.yaml:9: databases[0].tables[0].retention_days: expected 31 to 40 days, the limits of compliance, found 30"
    ]
    assert list(config_from(tmp_path, SHORTEST + "compliance: {min_retention_days: 30, max_retention_days: 30}\n").tables())
    reversed_limits = problem_of(tmp_path, SHORTEST + "compliance: {min_retention_days: 31, max_retention_days: 30}\n")
    assert reversed_limits.startswith("config.yaml:13: compliance: expected max_retention_days of at least")


@pytest.mark.parametrize("name", ["log", "LOG", ' "Log" ', "app.log", '"App"."Log"', "production.app.log"])
def test_a_name_that_is_written_in_another_way_is_still_that_of_the_table(name: str) -> None:
    assert hold(table_name=name).names("app", "Log")
    assert hold(table_name=name, schema_name="APP").names("app", "log")


@pytest.mark.parametrize(
    ("name", "schema"), [("logs", None), ("other.log", None), ("xapp.log", None), ("log", "other"), ("app.log", "other")]
)
def test_a_hold_on_another_table_is_none_on_this(name: str, schema: str | None) -> None:
    assert not hold(table_name=name, schema_name=schema).names("app", "log")


BERLIN = "Europe/Berlin"


@pytest.mark.parametrize(
    ("start", "end", "now", "expected"),
    [
        (None, None, "2024-06-01T00:00Z", True),
        ("2024-06-01", None, "2024-05-31T21:59:59Z", False),
        ("2024-06-01", None, "2024-05-31T22:00:00Z", True),
        (None, "2024-06-01", "2024-06-01T21:59:59Z", True),
        (None, "2024-06-01", "2024-06-01T22:00:00Z", False),
        ("2024-06-01T00:00:00Z", None, "2024-05-31T23:59:59Z", False),
        ("2024-06-01T00:00:00Z", "2024-06-02T00:00:00Z", "2024-06-01T00:00:00Z", True),
        (None, "2024-06-02T00:00:00Z", "2024-06-02T00:00:00Z", False),
        # Local times, and one that happens twice.
        (None, "2024-06-02 00:00:00", "2024-06-01T21:59:59Z", True),
        (None, "2024-06-02 00:00:00", "2024-06-01T22:00:00Z", False),
        ("2024-10-27 02:30:00", None, "2024-10-27T00:30:00Z", True),
        (None, "2024-10-27 02:30:00", "2024-10-27T01:29:59Z", True),
        (None, "2024-10-27 02:30:00", "2024-10-27T01:30:00Z", False),
        ("0001-01-01", "9999-12-31", "2024-06-01T00:00Z", True),
        ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "2024-06-01T00:00Z", True),
        ("9999-12-31", None, "2024-06-01T00:00Z", False),
        (None, "0001-01-01", "2024-06-01T00:00Z", False),
    ],
)
def test_a_hold_is_in_force_from_its_first_to_its_last_instant(start: str | None, end: str | None, now: str, *, expected: bool) -> None:
    assert in_force(hold(start_date=start, expiration_date=end), datetime.fromisoformat(now), BERLIN) is expected


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20) | st.text("./%2Ee _§", min_size=1))
def test_the_key_of_a_hold_is_the_only_one_of_its_id(hold_id: str) -> None:
    key = hold_key("audit/", hold_id)
    assert key.startswith("audit/_holds/")
    assert "/" not in key.removeprefix("audit/_holds/")
    assert parse_hold_key("audit/", key) == hold_id


@pytest.mark.parametrize("key", ["_holds/", "_holds/.json", "_holds/a.JSON", "_holds/a/b.json", "_holds/%61.json", "holds/a.json"])
def test_other_keys_are_those_of_no_hold(key: str) -> None:
    assert parse_hold_key("", key) is None


def test_a_hold_is_read_back_as_it_was_placed(tmp_path: Path) -> None:
    store = MemoryObjectStore()
    placed = config_from(tmp_path, SHORTEST + HOLDS, {"WHO": "counsel"}).legal_holds.holds
    for each in placed:
        place_hold(store, "audit/", each)

    found = HoldPlaces(LegalHolds(), None, store, "audit/").in_force(TABLE, datetime(2025, 1, 1, tzinfo=UTC))

    assert [Hold(**{name: getattr(each, name) for name in Hold.model_fields}) for each in found] == list(placed)


@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode(errors="replace")))
def test_no_content_of_an_object_is_taken_for_no_hold(content: bytes) -> None:
    places = HoldPlaces(LegalHolds(), None, MemoryObjectStore({"_holds/a.json": content}), "")
    with pytest.raises(HoldsUnreadable):
        places.in_force(TABLE, datetime(2025, 1, 1, tzinfo=UTC))


def test_compliance_says_all_that_is_wrong_with_a_table() -> None:
    found = Compliance(min_retention_days=5).problems(retention_days=4, critical=True, encryption="none")
    assert [setting for setting, _ in found] == ["retention_days", "critical"]
    assert list(Compliance().problems(retention_days=1, critical=True, encryption="SSE-KMS")) == []
