"""What a good config file becomes."""

import copy
import pickle
from datetime import date
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from archiver_assets.config import (
    ColumnConfig,
    Config,
    DatabaseConfig,
    ReplicaConfig,
    S3Config,
    ScratchConfig,
    Settings,
    TableConfig,
    config_path,
    load_config,
)
from archiver_assets.errors import ConfigError
from archiver_assets_tests.unit.config_files import (
    SEED,
    SHORTEST,
    config_from,
    only_table,
    with_database_key,
    with_s3_key,
    with_table_key,
)


def a_table(**changes: object) -> TableConfig:
    base = {"database": "app", "name": "log", "timestamp_column": "at", "primary_key": "id", "retention_days": 30}
    return TableConfig.model_validate(base | changes)


def a_database(**changes: object) -> DatabaseConfig:
    base = {"name": "app", "host": "db", "user": "archiver", "password_env": "PW", "tables": (a_table(),)}
    return DatabaseConfig.model_validate(base | changes)


def test_the_config_of_the_deployment_guide_works_unchanged(tmp_path: Path) -> None:
    config = config_from(tmp_path, SEED)
    assert config.s3 == S3Config(bucket="audit-archives", prefix="archives/", region="us-east-1", storage_class="STANDARD_IA")
    [(database, table)] = config.tables()
    assert (database.name, database.host, database.port, database.user) == ("production_db", "db.example.com", 5432, "archiver")
    assert database.password_env == "DB_PASSWORD"  # noqa: S105 - a name, not a password
    assert table.label == "production_db/public/audit_logs"
    assert (table.timestamp_column, table.primary_key, table.retention_days, table.batch_size) == ("created_at", ("id",), 90, 10_000)


def test_what_a_file_leaves_out_has_the_documented_default(tmp_path: Path) -> None:
    config = config_from(tmp_path, SHORTEST)
    assert config.s3.model_dump() == {
        "endpoint": None,
        "bucket": "archives",
        "prefix": "",
        "region": None,
        "storage_class": "STANDARD",
        "path_style": False,
        "encryption": "none",
        "kms_key_id": None,
        "object_lock": None,
    }
    assert config.legal_holds.model_dump() == {"holds": (), "table": None}
    assert config.compliance.model_dump() == {"min_retention_days": 1, "max_retention_days": 36_500, "enforce_encryption": True}
    database = config.database("app")
    assert (database.port, database.database, database.dbname) == (5432, None, "app")
    assert (database.sslmode, database.sslrootcert) == (None, None)
    assert (database.read_replica, database.scratch_database) == (None, None)
    assert (database.statement_timeout_seconds, database.checks_schedule) == (21_600, "0 8 * * *")
    assert only_table(config).model_dump() == {
        "database": "app",
        "schema_name": "public",
        "name": "log",
        "timestamp_column": "at",
        "primary_key": ("id",),
        "retention_days": 30,
        "batch_size": 10_000,
        "start_date": date(2015, 1, 1),
        "timezone": "UTC",
        "schedule": "0 2 * * *",
        "schedule_timezone": "UTC",
        "max_backlog_days": 7,
        "max_partitions_per_tick": 10,
        "parallelism": 1,
        "sleep_between_batches": 0.0,
        "purge": True,
        "purge_method": "delete",
        "max_replication_lag_seconds": 30.0,
        "verification": "full",
        "vacuum_strategy": "none",
        "resources": None,
        "node_affinity": None,
        "tolerations": None,
        "deadline_seconds": None,
        "accepted_risks": (),
        "allow_sequential_scan": False,
        "critical": False,
        "columns": {},
        "description": None,
        "owners": (),
        "tags": {},
    }


def test_every_key_that_a_file_may_have_reaches_the_model(tmp_path: Path) -> None:
    text = """\
version: 2.0
s3: {endpoint: "https://s3.example.com:9000", bucket: b-1, prefix: /a/b, region: eu-west-1, storage_class: GLACIER_IR, path_style: yes}
defaults: {retention_days: 1, batch_size: 2, start_date: 2020-02-29, timezone: Asia/Tokyo, schedule: null, max_partitions_per_tick: 3}
databases:
  - name: live
    checks_schedule: "5 5 * * *"
    max_backlog_days: null
    host: /var/run/postgresql
    port: 6543
    user: "on"
    password_env: _PW1
    database: app
    sslmode: verify-full
    sslrootcert: system
    sleep_between_batches: 0.5
    statement_timeout_seconds: 600
    max_replication_lag_seconds: null
    read_replica: {host: standby.example.com, port: 6544}
    scratch_database:
      {host: proof.example.com, port: 6545, database: scratch, user: prover, password_env: _PW2, sslmode: require, sslrootcert: /ca.pem}
    tables:
      - name: Änderungen
        schema: audit
        timestamp_column: at
        primary_key: [tenant, id]
        columns: {on: {store_as: text}, amount: {store_as: text}}
        description: who changed what
        vacuum_strategy: standard
        start_date: "2021-01-01"
        schedule: "*/15 0-6 1,15 jan-mar MON"
        schedule_timezone: Europe/Berlin
"""
    config = config_from(tmp_path, text)
    assert config.version == "2.0"
    assert config.s3.endpoint == "https://s3.example.com:9000"
    assert (config.s3.prefix, config.s3.storage_class, config.s3.path_style) == ("a/b/", "GLACIER_IR", True)
    database = config.database("live")
    assert (database.host, database.port, database.user, database.dbname) == ("/var/run/postgresql", 6543, "on", "app")
    assert (database.sslmode, database.sslrootcert) == ("verify-full", "system")
    assert database.read_replica == ReplicaConfig(host="standby.example.com", port=6544)
    assert database.scratch_database == ScratchConfig(
        host="proof.example.com",
        port=6545,
        database="scratch",
        user="prover",
        password_env="_PW2",  # noqa: S106 - the name of a variable
        sslmode="require",
        sslrootcert="/ca.pem",
    )
    table = only_table(config)
    assert (table.label, table.primary_key, table.description) == ("live/audit/Änderungen", ("tenant", "id"), "who changed what")
    assert (table.retention_days, table.batch_size, table.max_partitions_per_tick, table.sleep_between_batches) == (1, 2, 3, 0.5)
    assert (table.start_date, table.timezone, table.schedule) == (date(2021, 1, 1), "Asia/Tokyo", "*/15 0-6 1,15 jan-mar MON")
    assert (table.schedule_timezone, table.max_backlog_days, database.checks_schedule) == ("Europe/Berlin", None, "5 5 * * *")
    assert list(table.columns) == ["on", "amount"]
    assert (database.statement_timeout_seconds, table.max_replication_lag_seconds, table.vacuum_strategy) == (600, None, "standard")


def test_a_schedule_of_null_nearer_to_the_table_wins(tmp_path: Path) -> None:
    text = SHORTEST.replace("databases:", 'defaults: {schedule: "5 5 * * *"}\ndatabases:')
    assert only_table(config_from(tmp_path, text)).schedule == "5 5 * * *"
    assert only_table(config_from(tmp_path, f"{text}        schedule: null\n")).schedule is None
    in_database = text.replace("    tables:", "    schedule:\n    tables:")
    assert only_table(config_from(tmp_path, in_database)).schedule is None


@pytest.mark.parametrize(
    ("written", "prefix"),
    [('""', ""), ("/", ""), ("a", "a/"), ("/a/b/", "a/b/"), ("a..b", "a..b/"), ('"été"', "été/")],
)
def test_a_prefix_begins_without_a_slash_and_ends_with_one(tmp_path: Path, written: str, prefix: str) -> None:
    assert config_from(tmp_path, with_s3_key(f"prefix: {written}")).s3.prefix == prefix


@pytest.mark.parametrize("written", ["created", "[created]", '["created"]', "\n        - created"])
def test_a_primary_key_of_one_column_may_be_a_text_or_a_list(tmp_path: Path, written: str) -> None:
    text = SHORTEST.replace("primary_key: id", f"primary_key: {written}")
    assert only_table(config_from(tmp_path, text)).primary_key == ("created",)


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    text = "\ufeff" + SHORTEST.replace("\n", "\r\n")
    assert config_from(tmp_path, text) == config_from(tmp_path, SHORTEST)


def test_tables_come_in_the_order_of_the_file(tmp_path: Path) -> None:
    database = "\n  - {name: %s, host: h, user: u, password_env: P, retention_days: 1, tables: [%s]}"
    table = "{name: %s, timestamp_column: t, primary_key: k}"
    text = "version: '2.0'\ns3: {bucket: abc}\ndatabases:" + "".join(
        database % (label, ", ".join(table % name for name in names)) for label, names in (("z", "ba"), ("y", "dc"))
    )
    assert [table.label for _, table in config_from(tmp_path, text).tables()] == [
        "z/public/b",
        "z/public/a",
        "y/public/d",
        "y/public/c",
    ]


def test_the_file_is_found_by_its_variable_or_in_etc() -> None:
    assert config_path({}) == Path("/etc/archiver/config.yaml")
    assert config_path({"ARCHIVER_CONFIG": ""}) == Path("/etc/archiver/config.yaml")
    assert config_path({"ARCHIVER_CONFIG": "/tmp/c.yaml"}) == Path("/tmp/c.yaml")  # noqa: S108 - a name, nothing is written


def test_a_path_may_be_a_text(tmp_path: Path) -> None:
    config = config_from(tmp_path, SEED)
    assert load_config(str(tmp_path / "config.yaml"), {}) == config


def test_a_variable_is_resolved_wherever_a_value_stands(tmp_path: Path) -> None:
    text = with_database_key("port: ${PORT}")
    text = text.replace("bucket: archives", 'bucket: "archives-${STAGE:-dev}", path_style: "${PATHS}"')
    text = text.replace("primary_key: id", "primary_key: [tenant, '${KEY}']")
    text += "        sleep_between_batches: ${REST}\n        start_date: ${SINCE}\n        columns: {a: {store_as: '${AS}'}}\n"
    environ = {"PORT": "6000", "PATHS": "true", "KEY": "no", "REST": "2", "SINCE": "2019-05-06", "AS": "text"}
    config = config_from(tmp_path, text, environ)
    table = only_table(config)
    assert (config.s3.bucket, config.s3.path_style, config.database("app").port) == ("archives-dev", True, 6000)
    assert (table.primary_key, table.sleep_between_batches, table.start_date) == (("tenant", "no"), 2.0, date(2019, 5, 6))
    assert table.columns == {"a": ColumnConfig(store_as="text")}


@pytest.mark.parametrize(
    ("written", "environ", "value"),
    [
        ("${X:-5432}", {}, "5432"),
        ("${X:-}", {}, ""),
        ("${X:-a:-b}", {"X": ""}, "a:-b"),
        ("${X:-d}", {"X": "v"}, "v"),
        ("a${X}b${Y}", {"X": "1", "Y": "2"}, "a1b2"),
        ("$${X}", {"X": "v"}, "${X}"),
        ("$$${X}", {"X": "v"}, "$${X}"),
        ("$ $X {X} $$", {"X": "v"}, "$ $X {X} $$"),
        ("${X}", {"X": "${Y}", "Y": "v"}, "${Y}"),
        ("${X}", {"X": "[a, {b: c}] # d\nschedule: null"}, "[a, {b: c}] # d\nschedule: null"),
        ("${X}", {"X": "null"}, "null"),
        ("${X}", {"X": "7"}, "7"),
        ("${X}", {"X": ""}, ""),
    ],
)
def test_a_variable_gives_its_text_and_nothing_more(tmp_path: Path, written: str, environ: dict[str, str], value: str) -> None:
    config = config_from(tmp_path, with_table_key(f"description: '{written}'"), environ)
    assert only_table(config).description == value


def test_a_key_is_not_resolved(tmp_path: Path) -> None:
    config = config_from(tmp_path, with_table_key("columns: {'a$b': {store_as: text}, '${X}': {store_as: text}}"), {"X": "v"})
    assert list(only_table(config).columns) == ["a$b", "${X}"]


def test_the_password_is_read_when_it_is_asked_for() -> None:
    database = a_database()
    assert database.password({"PW": "s3cret"}).get_secret_value() == "s3cret"
    assert "s3cret" not in repr(database.password({"PW": "s3cret"}))


@pytest.mark.parametrize(("environ", "found"), [({}, "none"), ({"PW": ""}, "an empty one")])
def test_a_missing_password_names_the_database_the_variable_and_the_next_step(environ: dict[str, str], found: str) -> None:
    with pytest.raises(ConfigError) as caught:
        a_database().password(environ)
    assert caught.value.message == f"database app: expected its password in the environment variable PW, found {found}"
    assert caught.value.hint.startswith("set PW in the environment")


def test_an_unknown_label_names_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"found 'live'\nHINT: choose one of: app"):
        config_from(tmp_path, SHORTEST).database("live")


def test_a_config_cannot_be_changed_and_can_be_hashed_copied_and_pickled(tmp_path: Path) -> None:
    config = config_from(tmp_path, with_table_key("columns: {a: {store_as: text}}"))
    table = only_table(config)
    with pytest.raises(ValidationError):
        table.retention_days = 1  # type: ignore[misc] # that it is frozen is the test
    with pytest.raises(TypeError):
        table.columns["b"] = ColumnConfig(store_as="text")  # type: ignore[index] # that it is immutable is the test
    assert hash(table) == hash(copy.deepcopy(table))
    assert pickle.loads(pickle.dumps(config)) == config  # noqa: S301 - our own bytes
    assert Config.model_validate_json(config.model_dump_json()) == config
    assert repr(table.columns) == "{'a': ColumnConfig(store_as='text')}"


def test_a_model_made_in_code_is_checked_as_a_file_is() -> None:
    for wrong in ({"retention_days": True}, {"retention_days": "5"}, {"timezone": "localtime"}, {"columns": 5}, {"size": 1}):
        with pytest.raises(ValidationError):
            a_table(**wrong)
    with pytest.raises(ValidationError, match="other than its own"):
        a_database(name="other")


def test_a_validation_error_of_a_model_holds_no_input() -> None:
    with pytest.raises(ValidationError) as caught:
        a_database(password_env="hunter2!")  # noqa: S106 - stands for a password in the wrong place
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("model", [ColumnConfig, Settings, TableConfig, DatabaseConfig, ReplicaConfig, ScratchConfig, S3Config, Config])
def test_every_field_has_a_description(model: type[BaseModel]) -> None:
    assert [name for name, info in model.model_fields.items() if not info.description] == []
