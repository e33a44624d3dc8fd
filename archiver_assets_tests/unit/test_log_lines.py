"""Lines of the log: what is in them, and that nothing that is logged can begin a new one."""

import json
import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.contextvars import bound_contextvars

from archiver_assets.orchestration.build import build_definitions
from archiver_assets.telemetry.lines import CONTEXT, MOST_CHARACTERS, JsonFormatter, TextFormatter, step_of
from archiver_assets.telemetry.process_kind import kind_of
from archiver_assets_tests.unit.config_files import SHORTEST, config_from

RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def record(message: object, *arguments: object, level: int = logging.INFO, **attributes: object) -> logging.LogRecord:
    made = logging.LogRecord("archiver", level, __file__, 1, message, arguments, None)
    vars(made).update(attributes)
    return made


def parsed(made: logging.LogRecord, run: Mapping[str, object] | None = None) -> dict[str, Any]:
    """Return the JSON of a record, which is one line."""
    formatter = JsonFormatter()
    formatter.run = run or {}
    line = formatter.format(made)
    assert line.isascii()
    assert len(line.splitlines()) == 1
    found: dict[str, Any] = json.loads(line)
    return found


def meta(**changes: object) -> dict[str, object]:
    """Return what Dagster gives a record of a run."""
    tags = {"archiver/database": "d", "archiver/table": "d/s/t", "dagster/partition": "2026-08-01"}
    return {"run_id": "r", "step_key": "d__s__t__purge", "job_tags": tags, "orig_message": "said", "dagster_event": None, **changes}


def test_a_line_has_its_time_in_utc_its_level_its_message_and_all_of_the_context() -> None:
    made = record("%s rows", 3, created=datetime(2026, 8, 1, 12, 30, 15, 1, tzinfo=UTC).timestamp())
    assert parsed(made) == {
        "timestamp": "2026-08-01T12:30:15.000001Z",
        "level": "info",
        "logger": "archiver",
        "message": "3 rows",
        **dict.fromkeys(("database", "table", "partition", "step", "run_id", "generation")),
    }
    assert RFC_3339.fullmatch(parsed(record("now"))["timestamp"])


def test_the_context_is_that_of_the_code_that_logs_then_that_of_dagster_then_that_of_the_process() -> None:
    made = record("Execution of step", dagster_meta=meta())
    with bound_contextvars(generation=2, table="d/s/the true name"):
        found = parsed(made, {"run_id": "of the process", "database": "of the process"})
    assert {key: found[key] for key in CONTEXT} == {
        "database": "d",
        "table": "d/s/the true name",
        "partition": "2026-08-01",
        "step": "purge",
        "run_id": "r",
        "generation": 2,
    }
    assert found["message"] == "said"
    assert parsed(record("of a library"), {"run_id": "of the process"})["run_id"] == "of the process"


def test_what_is_given_beside_the_message_is_in_fields_and_what_dagster_and_logging_need_is_not() -> None:
    found = parsed(record("m", rows=3, rate=0.5, nothing=None, dagster_event=object(), dagster_meta=meta(), archiver_written=True))
    assert {name: found[name] for name in ("rows", "rate", "nothing")} == {"rows": 3, "rate": 0.5, "nothing": None}
    assert found.keys() == {"timestamp", "level", "logger", "message", *CONTEXT, "rows", "rate", "nothing"}


def test_nothing_that_is_given_beside_the_message_takes_the_place_of_what_every_line_has() -> None:
    found = parsed(record("m", timestamp="its own", logger="its own"))
    assert found["logger"] == "archiver"
    assert RFC_3339.fullmatch(found["timestamp"])


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_json_has_not_are_text(number: float) -> None:
    assert parsed(record("m", rate=number))["rate"] == str(number)


@settings(max_examples=50)
@given(st.text(max_size=20), st.text(max_size=20))
def test_no_text_begins_a_line_in_json(message: str, value: str) -> None:
    made = record("%s", message, name_of_a_table=value)
    assert (parsed(made)["message"], parsed(made)["name_of_a_table"]) == (message, value)


@settings(max_examples=50)
@given(st.text(max_size=40))
def test_no_text_looks_like_a_line_on_a_terminal(message: str) -> None:
    first, *others = TextFormatter().format(record("%s", message)).split("\n")
    assert RFC_3339.match(first)
    assert all(line.startswith("  ") for line in others)
    assert all(each.isprintable() or each == "\t" for line in (first, *others) for each in line)


def test_a_trace_is_one_field_of_its_line() -> None:
    message = "of\ntwo lines"
    try:
        raise ValueError(message)  # noqa: TRY301 -- the line under test
    except ValueError as error:
        made = record("failed", exc_info=(ValueError, error, error.__traceback__))
    assert parsed(made)["exception"].endswith("ValueError: of\ntwo lines")
    assert TextFormatter().format(made).splitlines()[-1] == "  two lines"


def test_a_long_value_loses_its_middle() -> None:
    found = parsed(record("a" * 50_000 + "z", value="b" * MOST_CHARACTERS, emoji="\U0001f600" * 50_000))
    assert re.fullmatch(r"(a+) \[\.\.\. 44,001 characters \.\.\.\] a+z", found["message"])
    assert found["value"] == "b" * MOST_CHARACTERS
    assert len(json.dumps(found["emoji"])) <= MOST_CHARACTERS + 2
    assert len(found["emoji"]) > 100


def test_what_structlog_gives_dagster_is_taken_apart() -> None:
    found = parsed(record({"event": "evaluated", "asset": "a", "timestamp": "its own"}))
    assert (found["message"], found["asset"]) == ("evaluated", "a")
    assert RFC_3339.fullmatch(found["timestamp"])


def test_every_op_of_the_code_location_is_a_step_by_the_name_that_metrics_have(tmp_path: Path) -> None:
    definitions = build_definitions(config_from(tmp_path, SHORTEST))
    ops = {node.name for asset in definitions.assets or [] if isinstance(asset, dg.AssetsDefinition) for node in [asset.node_def]}
    ops |= {check.node_def.name for check in definitions.asset_checks or [] if isinstance(check, dg.AssetChecksDefinition)}
    assert {op.rpartition("__")[2]: step_of(op) for op in ops} == {
        "archive": "archive",
        "archive_row_counts": "verify",
        "purge": "purge",
        "restore": "restore",
        "checks": "checks",
    }
    assert step_of("another") is None
    assert step_of(None) is None


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        ("/opt/archiver/bin/python /opt/archiver/bin/dagster api execute_run {}", "run"),
        ("/opt/archiver/bin/dagster api execute_run {}", "run"),
        ("python -m dagster api execute_step --compressed-input-json x", "run"),
        ("dagster code-server start -h 0.0.0.0 -p 3030", "server"),
        ("/a/dagster/__main__.py api grpc --lazy-load-user-code", "server"),
        ("python -m dagster api grpc --lazy-load-user-code", "server"),
        ("/opt/archiver/bin/python /opt/archiver/bin/dagster-webserver -h 0.0.0.0", "server"),
        ("/opt/archiver/bin/dagster-daemon run", "server"),
        ("python -m dagster._daemon run", "server"),
        ("/a/dagster/_daemon/__main__.py run", "server"),
        ("/a/dagster_webserver/__main__.py -p 80", "server"),
        ("dagster asset materialize --select x", None),
        ("dagster schedule list", None),
        ("dg list defs --json", None),
        ("/opt/archiver/bin/dagster-webserver --version", None),
        ("/opt/archiver/bin/python /opt/archiver/bin/dagster-daemon liveness-check", None),
        ("python -m dagster._daemon --help", None),
        ("archiver run --all", None),
        ("python -m pytest dagster/test_execute_run.py", None),
        ("", None),
    ],
)
def test_the_processes_of_dagster_are_known_by_their_command_line(command: str, kind: str | None) -> None:
    assert kind_of(command.split()) == kind
