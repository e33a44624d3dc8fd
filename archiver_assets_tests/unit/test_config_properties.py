"""Properties of the config that hold for any file."""

from copy import deepcopy
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster import ScheduleDefinition
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from archiver_assets.config import Settings, load_config
from archiver_assets.errors import ConfigError
from archiver_assets_tests.unit.config_files import SEED, config_from, only_table

ENVIRON = {"A": "v", "B": "", "C": "5", "D": "\udcff", "E": "${A}", "F": "\0"}
KEYS = [
    *("version", "s3", "defaults", "databases", "tables", "endpoint", "bucket", "prefix", "region", "storage_class", "path_style"),
    *("encryption", "kms_key_id", "legal_holds", "holds", "conditions", "compliance", "min_retention_days"),
    *(
        "name",
        "host",
        "port",
        "user",
        "auth",
        "password_env",
        "database",
        "sslmode",
        "sslrootcert",
        "schema",
        "timestamp_column",
        "primary_key",
    ),
    *("retention_days", "batch_size", "start_date", "timezone", "schedule", "max_partitions_per_tick", "parallelism"),
    *("max_replication_lag_seconds", "vacuum_strategy", "verification", "purge", "purge_method", "statement_timeout_seconds"),
    *("legal_holds", "compliance", "critical", "holds", "conditions", "read_replica", "scratch_database"),
    *("schedule_timezone", "max_backlog_days", "checks_schedule", "sleep_between_batches"),
    *("columns", "store_as", "description", "password", "<<", "=", "~", ""),
    *("resources", "limits", "cpu", "memory", "node_affinity", "tolerations", "operator", "key", "deadline_seconds"),
    *("requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms", "matchExpressions", "values"),
]
YAML_PIECES = [
    *KEYS,
    *": \n-[]{},&*!|>'\"%@`#?$",
    "\n  - ",
    "\n    ",
    "${A}",
    "${X}",
    "${C:-1}",
    "2.0",
    "0x1",
    "1:2",
    "!!int",
    "\\U",
    "\x07",
    "é",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("config")


def check(folder: Path, data: bytes) -> None:
    """Load a file of these bytes: anything but a config, or a ConfigError whose lines are sound, is a failure."""
    path = folder / "config.yaml"
    path.write_bytes(data)
    try:
        load_config(path, ENVIRON)
    except ConfigError as error:
        lines = error.message.split("\n")
    else:
        return
    assert all(line.startswith(str(path)) for line in lines)
    assert lines == sorted(lines, key=line_number)
    assert all(line.isprintable() for line in lines)


def line_number(problem: str) -> int:
    number = problem.split("config.yaml", 1)[1].lstrip(":").split(":")[0]
    return int(number) if number.isdigit() else 0


@given(data=st.binary() | st.text().map(str.encode) | st.lists(st.sampled_from(YAML_PIECES)).map(lambda parts: "".join(parts).encode()))
@settings(max_examples=200, deadline=None)
def test_no_text_raises_anything_but_a_config_error(folder: Path, data: bytes) -> None:
    check(folder, data)


@given(at=st.integers(0, len(SEED)), cut=st.integers(0, 12), piece=st.sampled_from(YAML_PIECES) | st.text(max_size=5))
@settings(max_examples=200, deadline=None)
def test_no_damage_to_a_good_file_raises_anything_but_a_config_error(folder: Path, at: int, cut: int, piece: str) -> None:
    check(folder, (SEED[:at] + piece + SEED[at + cut :]).encode(errors="replace"))


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.dates()
    | st.datetimes()
    | st.text()
    | st.sampled_from(["${A}", "${C}", "${D}", "${E}", "${F}", "${MISSING}", "${", "UTC", "* * * * *", "text", "id"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_no_value_at_any_key_raises_anything_but_a_config_error(folder: Path, data: st.DataObject) -> None:
    tree = yaml.safe_load(SEED)
    tree["defaults"] |= {"resources": {"limits": {}}, "node_affinity": {}}
    pods = [tree["defaults"]["resources"], tree["defaults"]["resources"]["limits"], tree["defaults"]["node_affinity"]]
    sections = [tree, tree["s3"], tree["defaults"], tree["databases"][0], tree["databases"][0]["tables"][0], *pods]
    for section in data.draw(st.lists(st.sampled_from(sections), min_size=1, max_size=3)):
        section[data.draw(st.sampled_from(KEYS))] = data.draw(VALUES)
    check(folder, yaml.safe_dump(tree, allow_unicode=True).encode(errors="replace"))


SETTINGS: dict[str, st.SearchStrategy[Any]] = {
    "retention_days": st.integers(1, 36_500),
    "batch_size": st.integers(1, 100_000),
    "start_date": st.dates(date(1900, 1, 1), date(2999, 12, 31)),
    "timezone": st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu"]),
    "schedule": st.sampled_from([None, "0 2 * * *", "*/5 * * * *", "30 1 1 1 *"]),
    "schedule_timezone": st.sampled_from(["UTC", "Europe/Berlin"]),
    "max_partitions_per_tick": st.integers(1, 1000),
    "max_backlog_days": st.none() | st.integers(1, 36_500),
    "parallelism": st.integers(1, 8),
    "sleep_between_batches": st.integers(0, 36_000).map(lambda tenths: tenths / 10),
    "max_replication_lag_seconds": st.one_of(st.none(), st.integers(1, 86_400).map(float)),
    "verification": st.sampled_from(["rows", "full", "restore"]),
    "vacuum_strategy": st.sampled_from(["none", "analyze", "standard"]),
    "purge": st.booleans(),
    "purge_method": st.sampled_from(["delete", "drop_partition"]),
    # Copies, as the same object at two levels is written as an alias, which no file may have.
    "resources": st.sampled_from([None, {}, {"limits": {"cpu": "2"}}, {"limits": {"ephemeral-storage": "1Gi"}}]).map(deepcopy),
    "node_affinity": st.sampled_from([None, {}, {"preferredDuringSchedulingIgnoredDuringExecution": ()}]).map(deepcopy),
    "tolerations": st.sampled_from([None, (), ({"operator": "Exists"},)]).map(deepcopy),
    "deadline_seconds": st.none() | st.integers(2400, 604_800),
}
SOME_SETTINGS = st.fixed_dictionaries({}, optional=SETTINGS)


@given(defaults=SOME_SETTINGS, database=SOME_SETTINGS, table=SOME_SETTINGS)
@settings(deadline=None)
def test_the_nearest_setting_wins(folder: Path, defaults: dict[str, Any], database: dict[str, Any], table: dict[str, Any]) -> None:
    assume("retention_days" in defaults | database | table)
    tree = yaml.safe_load(SEED)
    tree["defaults"] = defaults
    del tree["databases"][0]["tables"][0]["retention_days"]
    tree["databases"][0].update(database)
    tree["databases"][0]["tables"][0].update(table)
    resolved = only_table(config_from(folder, yaml.safe_dump(tree)))
    built_in = {name: info.default for name, info in Settings.model_fields.items()}
    said = resolved.model_dump(by_alias=True, exclude_unset=True)
    assert {name: said.get(name, built_in[name]) for name in SETTINGS} == built_in | defaults | database | table


CRON_TERMS = st.sampled_from(
    [*"*0123456789L", "31", "59", "02", "JAN", "dec", "SUN-SAT", "fri", "*/5", "*/90", "5/15", "1-5", "1-5/6", "5-1", "0-7"]
)
CRON_FIELDS = st.lists(CRON_TERMS, min_size=1, max_size=2).map(",".join)


@given(
    schedule=st.lists(CRON_FIELDS, min_size=5, max_size=5).map(" ".join) | st.sampled_from(["0 0 31 2 MON", "*/90 * * * *", "0 0 29 2 *"])
)
@settings(max_examples=300, deadline=None)
def test_every_schedule_that_is_accepted_is_one_for_dagster_without_a_warning(schedule: str) -> None:
    try:
        Settings(retention_days=1, schedule=schedule)
    except ValidationError:
        return
    ScheduleDefinition(name="s", cron_schedule=schedule, job_name="j", execution_timezone="UTC")
