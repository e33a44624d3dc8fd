"""A drafted config of a database whose names are hostile says exactly these names, and nothing else."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from archiver_assets.config import DatabaseConfig, S3Config, load_config
from archiver_assets.config.fields import identifier_problem
from archiver_assets.errors import ConfigError
from archiver_assets.lifecycle.reporting.config_draft import draft_config, judge
from archiver_assets.source.candidates import Candidate, TimeColumn

PIECES = [
    "\u2028",
    "\u2029",
    "\u202e",
    "\ufeff",
    "\U000e0001",
    "\U0001f600",
    "\u00a0",
    " ",
    "---",
    "...",
    "#",
    ": ",
    "- ",
    "${A}",
    "$${",
    '"',
    "\\",
    "\n",
    "\x85",
    "{",
    "[",
    "!",
    "&a",
    "*a",
]
NAMES = st.lists(st.sampled_from([*PIECES, "log", "x"]), min_size=1, max_size=7).map("".join)


def candidate(schema: str, name: str, column: str, key: str, size: int) -> Candidate:
    times = (TimeColumn(column, "timestamp with time zone", not_null=True, indexed=True),)
    numbers = {"oid": 1, "bytes": size, "rows": 1, "inserted": 1, "changed": 0, "deleted": 0}
    return Candidate(schema=schema, name=name, partitioned=False, readable=True, key=(key,), times=times, **numbers)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(schema=NAMES, name=NAMES, column=NAMES, key=NAMES, reason=NAMES)
@example(schema="a \u2028--- b", name="log\u2028evil: 1", column="c\u2029...", key="k \u2028 k", reason="x")
def test_a_draft_is_read_back_as_it_was_meant(tmp_path: Path, schema: str, name: str, column: str, key: str, reason: str) -> None:
    names: dict[str, Any] = {"schema_name": schema, "name": f"audit_log{name}", "timestamp_column": column, "primary_key": (key,)}
    if any(identifier_problem(each) for each in (schema, names["name"], column, key)) or {schema} & {".", ".."}:
        return
    table = {"database": "d", "name": "some", "timestamp_column": "at", "primary_key": "id", "retention_days": 1}
    database = DatabaseConfig.model_validate({"name": "d", "host": "h", "user": "u", "password_env": "P", "tables": (table,)})
    one = judge(
        candidate(schema, f"audit_log{name}", column, key, 1 << 40),
        TimeColumn(column, "x", not_null=True, indexed=True),
        date(2024, 1, 1),
        (),
    )
    other = judge(candidate(reason, reason, reason, reason, 1), None, None, ())
    assert one.recommended
    path = tmp_path / "config.yaml"
    path.write_text(draft_config(database, S3Config(bucket="bucket"), 90, [one, other]), encoding="utf-8")
    try:
        config = load_config(path, {})
    except ConfigError as error:
        pytest.fail(error.message)
    (((_, found),)) = config.tables()
    assert {field: getattr(found, field) for field in names} == names
