"""What is said about a bad config file."""

from pathlib import Path

import pytest

from archiver_assets.config import load_config
from archiver_assets.errors import ConfigError
from archiver_assets_tests.unit.config_files import (
    HEAD,
    SEED,
    SHORTEST,
    config_from,
    only_table,
    problem_of,
    problems_of,
    with_database_key,
    with_s3_key,
    with_table_key,
)


def test_a_missing_file_names_the_path_and_the_variable(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: expected a config file, found none\nHINT: .*ARCHIVER_CONFIG"):
        load_config(tmp_path / "nowhere.yaml", {})


def test_an_unreadable_file_says_why(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a readable config file, found: Is a directory"):
        load_config(tmp_path, {})


def test_an_impossible_path_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="impossible path"):
        load_config("a\0b", {})


def test_bytes_that_are_not_utf8_are_named_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"version: '2.0'\ns3:\n  prefix: \xe4\n")
    with pytest.raises(ConfigError, match=r"config\.yaml:3: expected UTF-8"):
        load_config(path, {})


def test_a_file_over_one_mebibyte_is_not_read(tmp_path: Path) -> None:
    assert problem_of(tmp_path, SEED + "#" * 1024 * 1024) == "config.yaml: expected at most 1 MiB, found more"


def test_a_file_of_exactly_one_mebibyte_is_read(tmp_path: Path) -> None:
    text = SEED + "#" * (1024 * 1024 - len(SEED))
    assert config_from(tmp_path, text) == config_from(tmp_path, SEED)


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n", "\ufeff"])
def test_an_empty_file_says_what_to_begin_with(tmp_path: Path, text: str) -> None:
    assert problem_of(tmp_path, text) == "config.yaml: expected a mapping, found an empty file"


@pytest.mark.parametrize(("text", "found"), [("- a\n", "['a']"), ("text", "'text'"), ("7", "7"), ("~", "~"), ("[]", "an empty list")])
def test_a_file_that_is_no_mapping_says_what_it_is(tmp_path: Path, text: str, found: str) -> None:
    assert problem_of(tmp_path, text) == f"config.yaml:1: expected a mapping, found {found}"


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("a: 1\nb: [1, 2\nc: 3\n", 3, "not valid YAML: while parsing a flow sequence expected ',' or ']'"),
        ("a: 1\n\tb: 2\n", 2, "not valid YAML: while scanning for the next token found character '\\t' that cannot start any token"),
        ("a: 'b\n", 2, "not valid YAML: while scanning a quoted scalar found unexpected end of stream"),
        ("a: 1\n---\nb: 2\n", 2, "not valid YAML: expected a single document in the stream but found another document"),
        ("a: 1\nb: \x07\n", 2, "expected printable characters, found a control character"),
        ('a: 1\nb: "\\UFFFFFFFF"\n', 2, "expected YAML, found a number out of range in an escape or a directive"),
        ("%YAML " + "9" * 5000 + ".1\n---\na: 1\n", 1, "expected YAML, found a number out of range in an escape or a directive"),
    ],
)
def test_a_syntax_error_is_named_with_its_line(tmp_path: Path, text: str, line: int, problem: str) -> None:
    assert problem_of(tmp_path, text).startswith(f"config.yaml:{line}: {problem}")


def test_aliases_are_refused_so_that_no_bomb_can_expand(tmp_path: Path) -> None:
    levels = "".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]\n" for i in range(1, 20))
    problem = problem_of(tmp_path, f"l0: &l0 [x]\n{levels}")
    assert problem.startswith("config.yaml:2: not valid YAML: aliases are not supported; repeat the value")


def test_a_merge_is_an_alias_too(tmp_path: Path) -> None:
    text = SHORTEST.replace("databases:", "defaults: &d {batch_size: 5}\ndatabases:") + "        <<: *d\n"
    assert problem_of(tmp_path, text).startswith("config.yaml:14: not valid YAML: aliases are not supported")


def test_a_merge_without_an_alias_is_an_unknown_key(tmp_path: Path) -> None:
    assert problem_of(tmp_path, with_table_key("<<: {batch_size: 5}")).startswith(
        "config.yaml:13: databases[0].tables[0].'<<': unknown key"
    )


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_nesting_without_end_is_refused(tmp_path: Path, opening: str) -> None:
    assert "expected at most 20 levels, found more" in problem_of(tmp_path, opening * 3000)


@pytest.mark.parametrize("value", ["!!python/object/apply:os.system [id]", "!!int '5'", "!!binary aGk=", "!mine x", "! x"])
def test_tags_are_refused(tmp_path: Path, value: str) -> None:
    assert problem_of(tmp_path, with_table_key(f"description: {value}")).startswith(
        "config.yaml:13: not valid YAML: tags are not supported"
    )


def test_a_duplicate_key_is_named_with_the_line_of_the_first(tmp_path: Path) -> None:
    assert problem_of(tmp_path, with_table_key("retention_days: 3650")) == (
        "config.yaml:13: databases[0].tables[0].retention_days: duplicate key; the first is on line 12, remove one"
    )


def test_duplicate_keys_are_seen_at_every_level(tmp_path: Path) -> None:
    text = with_s3_key("bucket: other").replace("    host: db\n", "    host: db\n    host: dc\n") + 'version: "2.0"\n'
    assert [problem.split(";")[0] for problem in problems_of(tmp_path, text)] == [
        "config.yaml:2: s3.bucket: duplicate key",
        "config.yaml:6: databases[0].host: duplicate key",
        "config.yaml:14: version: duplicate key",
    ]


def test_a_key_that_is_no_text_is_refused(tmp_path: Path) -> None:
    assert problem_of(tmp_path, SHORTEST + "? [a, b]\n: c\n") == "config.yaml:13: expected a key that is plain text, found something else"


def test_an_unknown_key_is_named_with_its_line_and_the_nearest_known_key(tmp_path: Path) -> None:
    assert problem_of(tmp_path, with_table_key("batchsize: 5")) == (
        "config.yaml:13: databases[0].tables[0].batchsize: unknown key; did you mean batch_size?"
    )


def test_unknown_keys_are_seen_at_every_level(tmp_path: Path) -> None:
    text = with_s3_key("prefx: a").replace("databases:", "defaults: {time_zone: UTC}\ndatabases:", 1)
    text = (
        text.replace("    host: db\n", "    host: db\n    ports: 5\n")
        + "        columns: {a: {store_as: text, store: text}}\ndatabase: 1\n"
    )
    assert problems_of(tmp_path, text) == [
        "config.yaml:2: s3.prefx: unknown key; did you mean prefix?",
        "config.yaml:3: defaults.time_zone: unknown key; did you mean timezone?",
        "config.yaml:7: databases[0].ports: unknown key; did you mean port?",
        "config.yaml:15: databases[0].tables[0].columns.a.store: unknown key; did you mean store_as?",
        "config.yaml:16: database: unknown key; did you mean databases?",
    ]


def test_an_unknown_key_near_to_none_lists_the_known_ones(tmp_path: Path) -> None:
    assert problem_of(tmp_path, SHORTEST + "zzz: []\n") == (
        "config.yaml:13: zzz: unknown key; expected one of compliance, databases, defaults, legal_holds, notifications, prices, s3, version"
    )


def test_the_models_own_names_are_not_keys(tmp_path: Path) -> None:
    assert "schema_name: unknown key; did you mean schema?" in problem_of(tmp_path, with_table_key("schema_name: a"))
    assert "database: unknown key" in problem_of(tmp_path, with_table_key("database: a"))
    assert "tables: unknown key" in problem_of(tmp_path, with_table_key("tables: []"))


def test_a_key_cannot_forge_a_line_of_the_error(tmp_path: Path) -> None:
    problem = problem_of(tmp_path, with_table_key(r'"a\nconfig.yaml:1: fine\u202E": 5'))
    assert problem.startswith(r"config.yaml:13: databases[0].tables[0].'a\nconfig.yaml:1: fine\u202e': unknown key")


@pytest.mark.parametrize("key", ["password", "PASSWORD", "passwd", "pgpassword", "dsn"])
def test_a_password_in_the_file_is_refused_unseen_and_points_to_password_env(tmp_path: Path, key: str) -> None:
    problem = problem_of(tmp_path, with_database_key(f"{key}: hunter2"))
    assert problem.startswith(f"config.yaml:8: databases[0].{key}: unknown key; no secret belongs in this file; password_env names")
    assert "hunter2" not in problem


@pytest.mark.parametrize("key", ["access_key_id", "secret_access_key", "aws_secret_access_key", "session_token"])
def test_credentials_in_the_file_are_refused_unseen_and_point_to_the_default_chain(tmp_path: Path, key: str) -> None:
    problem = problem_of(tmp_path, with_s3_key(f"{key}: hunter2"))
    assert problem.startswith(f"config.yaml:2: s3.{key}: unknown key; credentials come from AWS's default credential chain")
    assert "hunter2" not in problem


@pytest.mark.parametrize(
    ("key", "path", "line"),
    [
        ('version: "2.0"', "version", 2),
        ("bucket: archives", "s3.bucket", 2),
        ("  - name: app", "databases[0].name", 4),
        ("    host: db", "databases[0].host", 4),
        ("    user: archiver", "databases[0].user", 4),
        ("    password_env: PW", "databases[0].password_env", 4),
        ("      - name: log", "databases[0].tables[0].name", 9),
        ("        timestamp_column: at", "databases[0].tables[0].timestamp_column", 9),
        ("        primary_key: id", "databases[0].tables[0].primary_key", 9),
        ("        retention_days: 30", "databases[0].tables[0].retention_days", 9),
    ],
)
def test_a_missing_key_is_named_with_the_line_of_its_mapping(tmp_path: Path, key: str, path: str, line: int) -> None:
    blank = "  -" if key.startswith("  - ") else "      -" if key.startswith("      - ") else ""
    problem = problem_of(tmp_path, SHORTEST.replace(key, blank))
    found_line, _, rest = problem.removeprefix("config.yaml:").partition(": ")
    assert rest.startswith(f"{path}: missing key; expected ")
    assert abs(int(found_line) - line) <= 1


@pytest.mark.parametrize("key", ["s3", "databases"])
def test_a_missing_section_is_named(tmp_path: Path, key: str) -> None:
    text = {"s3": SHORTEST.replace("s3: {bucket: archives}\n", ""), "databases": HEAD}[key]
    assert problem_of(tmp_path, text).startswith(f"config.yaml:1: {key}: missing key; expected ")


def test_a_retention_that_is_set_nowhere_is_not_guessed(tmp_path: Path) -> None:
    problem = problem_of(tmp_path, SHORTEST.replace("        retention_days: 30\n", ""))
    assert problem.startswith(
        "config.yaml:9: databases[0].tables[0].retention_days: missing key; expected a whole number of days, 1 to 36500"
    )
    assert problem.endswith("; set it here, in the database, or under defaults")


def test_a_refused_default_is_named_once_and_not_for_each_table(tmp_path: Path) -> None:
    text = SEED.replace("        retention_days: 90\n", "").replace("retention_days: 90", "retention_days: 0")
    assert problem_of(tmp_path, text).startswith("config.yaml:11: defaults.retention_days: expected a whole number of days")


@pytest.mark.parametrize("version", ['"2.1"', "2", "3.0", "true", "null", "[]", '"2"'])
def test_another_version_is_refused(tmp_path: Path, version: str) -> None:
    problem = problem_of(tmp_path, SHORTEST.replace('"2.0"', version))
    assert problem.startswith('config.yaml:1: version: expected "2.0", found ')


@pytest.mark.parametrize(
    ("line", "end"),
    [
        ("batch_size: 0", "found 0"),
        ("batch_size: 100001", "found 100001"),
        ("batch_size: many", "found 'many'"),
        ("batch_size: '5'", "found '5'; write it without quotes"),
        ("batch_size: 5.0", "found 5.0"),
        ("batch_size: true", "found true"),
        ("batch_size: null", "found null"),
        ("batch_size:", "found nothing"),
        ("batch_size: [5]", "found [5]"),
        ("batch_size: {a: 5}", "found a mapping"),
        ("max_partitions_per_tick: 0", "found 0"),
        ("max_partitions_per_tick: 1001", "found 1001"),
        ("parallelism: 0", "found 0"),
        ("parallelism: 9", "found 9"),
        ("sleep_between_batches: -1", "found -1"),
        ("sleep_between_batches: 3600.5", "found 3600.5"),
        ("max_replication_lag_seconds: 0.5", "found 0.5"),
        ("max_replication_lag_seconds: never", "found 'never'"),
        ("vacuum_strategy: full", "found 'full'"),
        ("vacuum_strategy: null", "found null"),
        ("start_date: 1899-12-31", "found 1899-12-31"),
        ("start_date: 3000-01-01", "found 3000-01-01"),
        ("start_date: '2026-02-30'", "found '2026-02-30'; the calendar has no such day"),
        ("start_date: 20260101", "found 20260101"),
        ("start_date: '20260101'", "found '20260101'"),
        ("description: 5", "found 5; put text in quotes"),
        ("schema: 2026-01-01", "found 2026-01-01; put text in quotes"),
        ("schema: ''", "found ''; it is empty"),
        (r'schema: "a\0b"', r"found 'a\x00b'; it contains a control character"),
        (f"schema: {'ä' * 32}", f"found '{'ä' * 32}'; it is longer than PostgreSQL's 63 bytes of UTF-8"),
        ("schema: ..", "found '..'; it is part of object keys, where . and .. have another meaning"),
        ("timezone: Europe/Berln", "it is not in the IANA time zone database; names are case-sensitive"),
        ("timezone: utc", "names are case-sensitive"),
        ("timezone: ''", "names are case-sensitive"),
        ("timezone: localtime", "names are case-sensitive"),
        ("timezone: /usr/share/zoneinfo/UTC", "names are case-sensitive"),
        ("timezone: ../UTC", "names are case-sensitive"),
        ("schedule: 0 2 * *", "with numbers, names and * , - /"),
        ("schedule: 0 0 2 * * *", "with numbers, names and * , - /"),
        ("schedule: '@daily'", "with numbers, names and * , - /"),
        ("schedule: 0 0 L * *", "with numbers, names and * , - /"),
        ("schedule: 60 2 * * *", "found '60 2 * * *'; bad minute"),
        ("schedule: 0 24 * * *", "found '0 24 * * *'; bad hour"),
        ("schedule: 0 0 30 2 *", "found '0 0 30 2 *'; bad day-of-month"),
        ("schedule: 0 0 31 2 MON", "found '0 0 31 2 MON'; bad day-of-month"),
        ("schedule: '*/90 * * * *'", "a step is longer than its range, so it would run more often than the step"),
        ("schedule: 0 1-5/6 * * *", "a step is longer than its range, so it would run more often than the step"),
        (f"schedule: {'0,' * 100}0 2 * * *", "with numbers, names and * , - /"),
        ("schedule: 5", "found 5; put text in quotes"),
        ("schedule: ''", "with numbers, names and * , - /"),
    ],
)
def test_a_refused_value_says_what_was_expected_and_what_was_found(tmp_path: Path, line: str, end: str) -> None:
    problem = problem_of(tmp_path, with_table_key(line))
    assert problem.startswith(f"config.yaml:13: databases[0].tables[0].{line.partition(':')[0]}: expected ")
    assert problem.endswith(end)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("010", "a whole number in decimal notation, found '010'"),
        ("0x10", "a whole number in decimal notation, found '0x10'"),
        ("1:30", "a whole number in decimal notation, found '1:30'"),
        ("9" * 5000, "a whole number in decimal notation, found '999"),
        (".inf", "a number in decimal notation, without an exponent, found '.inf'"),
        ("1.0e+3", "a number in decimal notation, without an exponent, found '1.0e+3'"),
        ("2026-02-30", "a day that exists, found '2026-02-30'"),
        ("2026-01-01T00:00:00Z", "a date as YYYY-MM-DD, found '2026-01-01T00:00:00Z'"),
        ("x" * 10_001, "at most 10000 characters, found more"),
        (r'"\ud800"', "Unicode text, found half of a surrogate pair"),
    ],
)
def test_a_value_that_yaml_would_misread_is_refused_once(tmp_path: Path, value: str, expected: str) -> None:
    problem = problem_of(tmp_path, with_table_key(f"batch_size: {value}"))
    assert problem.startswith(f"config.yaml:13: databases[0].tables[0].batch_size: expected {expected}")


@pytest.mark.parametrize("retention", ["0", "-1", "36501", "90 days", "1.5", "null"])
def test_a_retention_out_of_bounds_is_refused(tmp_path: Path, retention: str) -> None:
    problem = problem_of(tmp_path, SHORTEST.replace("retention_days: 30", f"retention_days: {retention}"))
    assert problem.startswith("config.yaml:12: databases[0].tables[0].retention_days: expected a whole number of days, 1 to 36500")


@pytest.mark.parametrize("retention", [1, 36500])
def test_a_retention_at_its_bounds_is_accepted(tmp_path: Path, retention: int) -> None:
    text = SHORTEST.replace("retention_days: 30", f"retention_days: {retention}")
    assert only_table(config_from(tmp_path, text)).retention_days == retention


@pytest.mark.parametrize(
    ("written", "end"),
    [
        ("[]", "found an empty list"),
        ("''", "found ''; it is empty"),
        ("[a, b, a]", "found ['a', 'b', 'a']; a column is named twice"),
        ("[a, '']", "found ['a', '']; it is empty"),
        ("[a, 5]", "found ['a', 5]"),
        ("[[a]]", "found [['a']]"),
        ("[a, b, c, d, e, f, f]", "found ['a', 'b', 'c', 'd', 'e', …]; a column is named twice"),
        ("null", "found null"),
        ("{a: b}", "found a mapping"),
    ],
)
def test_a_primary_key_without_columns_or_with_one_twice_is_refused(tmp_path: Path, written: str, end: str) -> None:
    problem = problem_of(tmp_path, SHORTEST.replace("primary_key: id", f"primary_key: {written}"))
    assert problem.startswith("config.yaml:11: databases[0].tables[0].primary_key: expected the column of the primary key")
    assert problem.endswith(end)


@pytest.mark.parametrize(
    ("written", "path", "end"),
    [
        ("5", "columns", "found 5"),
        ("[a]", "columns", "found ['a']"),
        ("{a: text}", "columns.a", "expected a mapping, found 'text'"),
        ("{a: {}}", "columns.a.store_as", "text, which can represent every value"),
        ("{a: {store_as: json}}", "columns.a.store_as", "found 'json'"),
        ("{'': {store_as: text}}", "columns.''", "it is empty"),
        ("{" + "a" * 64 + ": {store_as: text}}", "columns." + "a" * 64, "it is longer than PostgreSQL's 63 bytes of UTF-8"),
    ],
)
def test_bad_columns_are_refused(tmp_path: Path, written: str, path: str, end: str) -> None:
    problem = problem_of(tmp_path, with_table_key(f"columns: {written}"))
    assert problem.startswith(f"config.yaml:13: databases[0].tables[0].{path}: ")
    assert problem.endswith(end)


@pytest.mark.parametrize(
    ("written", "path", "end"),
    [
        ("owners: dba@example.com", "owners", "found 'dba@example.com'"),
        ("owners: [dba]", "owners", "found ['dba']; an owner is an e-mail address or team:NAME"),
        ("tags: [a]", "tags", "found ['a']"),
        ("tags: {a: 1}", "tags.a", "found 1; put text in quotes"),
        ("tags: {a b: x}", "tags.'a b'", "optionally after a namespace of as many and a /"),
        ("tags: {archiver/table: x}", "tags.'archiver/table'", "are reserved"),
        ("tags: {a: 'x y'}", "tags.a", "a tag's value is at most 63 letters, digits, _ . and -"),
    ],
)
def test_bad_owners_and_tags_are_refused_with_their_line(tmp_path: Path, written: str, path: str, end: str) -> None:
    problem = problem_of(tmp_path, with_table_key(written))
    assert problem.startswith(f"config.yaml:13: databases[0].tables[0].{path}: ")
    assert problem.endswith(end)


@pytest.mark.parametrize(
    "line",
    [
        "port: 0",
        "port: 65536",
        "port: '5432'",
        "port: x",
        "sslmode: strict",
        "sslmode: true",
        "sslrootcert: ''",
        "database: ''",
        "database: 5",
    ],
)
def test_a_bad_way_to_a_database_is_refused(tmp_path: Path, line: str) -> None:
    problem = problem_of(tmp_path, with_database_key(line))
    assert problem.startswith(f"config.yaml:8: databases[0].{line.partition(':')[0]}: expected ")


@pytest.mark.parametrize(
    "host", ["''", "a b", "a,b", "db/app", "postgres://u:hunter2@db/app", "host=db password=hunter2", "5", "[hunter2]"]
)
def test_a_bad_host_is_refused_and_not_repeated(tmp_path: Path, host: str) -> None:
    problem = problem_of(tmp_path, SHORTEST.replace("host: db", f"host: {host}"))
    assert problem.startswith("config.yaml:5: databases[0].host: expected the PostgreSQL server's host name or address")
    assert "hunter2" not in problem


@pytest.mark.parametrize("name", ["hunter2!", "9hunter2", "''", "hunter2-x", "[hunter2]"])
def test_a_password_in_place_of_its_variable_is_refused_and_not_repeated(tmp_path: Path, name: str) -> None:
    problem = problem_of(tmp_path, SHORTEST.replace("password_env: PW", f"password_env: {name}"))
    assert problem.startswith("config.yaml:7: databases[0].password_env: expected the name of the environment variable")
    assert "hunter2" not in problem


@pytest.mark.parametrize(
    "endpoint",
    [
        "s3.example.com",
        "ftp://a",
        "http://",
        "''",
        "https://u:hunter2@a",
        "https://a?key=hunter2",
        "http://a:99999",
        "'http://['",
        "'http://a b'",
    ],
)
def test_a_bad_endpoint_is_refused_and_not_repeated(tmp_path: Path, endpoint: str) -> None:
    quoted = endpoint if endpoint.startswith("'") else f"'{endpoint}'"
    problem = problem_of(tmp_path, with_s3_key(f"endpoint: {quoted}"))
    assert problem.startswith("config.yaml:2: s3.endpoint: expected the http or https URL")
    assert "hunter2" not in problem


@pytest.mark.parametrize("bucket", ["ab", "A-b", "a_b", "a..b", "-ab", "ab-", "192.168.0.1", "a/b", "''", "a" * 64, "5", '"ab\\n"'])
def test_a_bad_bucket_is_refused(tmp_path: Path, bucket: str) -> None:
    problem = problem_of(tmp_path, SHORTEST.replace("bucket: archives", f"bucket: {bucket}"))
    assert problem.startswith("config.yaml:2: s3.bucket: expected the name of a bucket, 3 to 63 characters, found ")


@pytest.mark.parametrize("prefix", ["a//b", "//a", "../a", "a/..", "a/./b", r'"a\tb"', "é" * 201, "5", "null"])
def test_a_bad_prefix_is_refused(tmp_path: Path, prefix: str) -> None:
    problem = problem_of(tmp_path, with_s3_key(f"prefix: {prefix}"))
    assert problem.startswith("config.yaml:2: s3.prefix: expected the prefix of all keys")


@pytest.mark.parametrize("region", ["''", "eu west", '"eu\\n"', "5"])
def test_a_bad_region_is_refused(tmp_path: Path, region: str) -> None:
    assert problem_of(tmp_path, with_s3_key(f"region: {region}")).startswith("config.yaml:2: s3.region: expected a region")


@pytest.mark.parametrize("name", ["GLACIER", "DEEP_ARCHIVE"])
def test_a_storage_class_that_cannot_be_read_at_once_is_refused_with_the_reason(tmp_path: Path, name: str) -> None:
    problem = problem_of(tmp_path, with_s3_key(f"storage_class: {name}"))
    assert problem.startswith("config.yaml:2: s3.storage_class: expected one of STANDARD, ")
    assert "each object must be read back" in problem


KEY_ID = "1234abcd-12ab-34cd-56ef-1234567890ab"
KEY_ARN = f"arn:aws:kms:eu-west-1:111122223333:key/{KEY_ID}"


@pytest.mark.parametrize("key", [KEY_ID, f"'{KEY_ARN}'", "mrk-1234abcd12ab34cd56ef1234567890ab"])
def test_a_key_of_kms_goes_with_its_encryption(tmp_path: Path, key: str) -> None:
    s3 = config_from(tmp_path, with_s3_key(f"encryption: SSE-KMS, kms_key_id: {key}")).s3
    assert (s3.encryption, s3.kms_key_id) == ("SSE-KMS", key.strip("'"))


@pytest.mark.parametrize("kind", ["none", "SSE-S3"])
def test_other_encryption_needs_no_key(tmp_path: Path, kind: str) -> None:
    s3 = config_from(tmp_path, with_s3_key(f"encryption: {kind}, kms_key_id: null")).s3
    assert (s3.encryption, s3.kms_key_id) == (kind, None)


@pytest.mark.parametrize("key", ["", ", kms_key_id: null"])
def test_encryption_by_kms_without_its_key_is_refused_with_the_line(tmp_path: Path, key: str) -> None:
    problem = problem_of(tmp_path, with_s3_key(f"\n  encryption: SSE-KMS{key}"))
    assert problem.startswith("config.yaml:3: s3.kms_key_id: missing key; expected the id or ARN of a KMS key")


@pytest.mark.parametrize("kind", ["", "encryption: none, ", "encryption: SSE-S3, ", "encryption: '${KIND}', "])
def test_a_key_without_encryption_by_kms_is_refused_with_the_line(tmp_path: Path, kind: str) -> None:
    problem = problem_of(tmp_path, with_s3_key(f"{kind}\n  kms_key_id: {KEY_ID}"), {"KIND": "SSE-S3"})
    assert problem == (
        "config.yaml:3: s3.kms_key_id: expected none, because encryption is not SSE-KMS; remove it, or set encryption to SSE-KMS"
    )


@pytest.mark.parametrize("key", ["alias/mine", "'arn:aws:kms:eu-west-1:111122223333:alias/mine'"])
def test_an_alias_of_a_key_is_refused_with_the_reason(tmp_path: Path, key: str) -> None:
    problem = problem_of(tmp_path, with_s3_key(f"encryption: SSE-KMS, kms_key_id: {key}"))
    assert problem.startswith("config.yaml:2: s3.kms_key_id: expected the id or ARN of a KMS key, not an alias")
    assert problem.endswith("an alias cannot be compared with the key that the store reports; give the key of the alias")


@pytest.mark.parametrize("key", ["''", "a b", "key/1", "'arn:aws:s3:::bucket'", f"'{KEY_ARN} '", "5"])
def test_what_is_no_key_of_kms_is_refused(tmp_path: Path, key: str) -> None:
    problem = problem_of(tmp_path, with_s3_key(f"encryption: SSE-KMS, kms_key_id: {key}"))
    assert problem.startswith("config.yaml:2: s3.kms_key_id: expected the id or ARN of a KMS key, not an alias")


@pytest.mark.parametrize("kind", ["sse-s3", "AES256", "aws:kms", "true", "null"])
def test_unknown_encryption_is_refused(tmp_path: Path, kind: str) -> None:
    problem = problem_of(tmp_path, with_s3_key(f"encryption: {kind}, kms_key_id: {KEY_ID}"))
    assert problem.startswith("config.yaml:2: s3.encryption: expected one of none, SSE-S3, SSE-KMS")


@pytest.mark.parametrize("mode", ["GOVERNANCE", "COMPLIANCE"])
def test_object_lock_has_a_mode_and_days(tmp_path: Path, mode: str) -> None:
    lock = config_from(
        tmp_path, with_s3_key("object_lock: {mode: '${MODE}', days: '${DAYS}'}"), {"MODE": mode, "DAYS": "2557"}
    ).s3.object_lock
    assert lock is not None
    assert (lock.mode, lock.days) == (mode, 2557)


def test_no_object_lock_is_as_good_as_null(tmp_path: Path) -> None:
    assert config_from(tmp_path, with_s3_key("object_lock: null")).s3.object_lock is None


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("{mode: governance, days: 1}", "s3.object_lock.mode: expected GOVERNANCE, which users with the bypass permission can lift"),
        ("{mode: COMPLIANCE, days: 0}", "s3.object_lock.days: expected a whole number of days, 1 to 36500"),
        ("{mode: COMPLIANCE, days: 36501}", "s3.object_lock.days: expected a whole number of days, 1 to 36500"),
        ("{mode: COMPLIANCE, days: '7'}", "s3.object_lock.days: expected a whole number of days, 1 to 36500"),
        ("{mode: COMPLIANCE}", "s3.object_lock.days: missing key; expected a whole number of days, 1 to 36500"),
        ("{days: 7}", "s3.object_lock.mode: missing key; expected GOVERNANCE"),
        ("{mode: COMPLIANCE, days: 7, years: 1}", "s3.object_lock.years: unknown key; "),
        ("COMPLIANCE", "s3.object_lock: expected a mapping with mode and days of the Object Lock"),
        ("[]", "s3.object_lock: expected a mapping with mode and days of the Object Lock"),
    ],
)
def test_an_object_lock_that_says_too_little_or_something_else_is_refused(tmp_path: Path, written: str, problem: str) -> None:
    assert problem_of(tmp_path, with_s3_key(f"object_lock: {written}")).startswith(f"config.yaml:2: {problem}")


def test_an_unknown_storage_class_is_refused(tmp_path: Path) -> None:
    assert problem_of(tmp_path, with_s3_key("storage_class: standard")).endswith("found 'standard'")


@pytest.mark.parametrize(("section", "text"), [("s3", "s3: 5"), ("defaults", "s3: {bucket: archives}\ndefaults: []")])
def test_a_section_that_is_no_mapping_is_refused(tmp_path: Path, section: str, text: str) -> None:
    problem = problem_of(tmp_path, SHORTEST.replace("s3: {bucket: archives}", text))
    assert f": {section}: expected a mapping, found " in problem


@pytest.mark.parametrize("databases", ["[]", "null", "{}", "app"])
def test_a_config_without_databases_is_refused(tmp_path: Path, databases: str) -> None:
    problem = problem_of(tmp_path, f"{HEAD}databases: {databases}\n")
    assert problem.startswith("config.yaml:3: databases: expected a list of at least one database, found ")


def test_a_database_without_tables_is_refused(tmp_path: Path) -> None:
    text = HEAD + "databases: [{name: a, host: b, user: c, password_env: D, tables: []}, 5]\n"
    assert problems_of(tmp_path, text) == [
        "config.yaml:3: databases[0].tables: expected a list of at least one table, found an empty list",
        "config.yaml:3: databases[1]: expected a mapping, found 5",
    ]


def test_a_table_that_is_no_mapping_is_refused(tmp_path: Path) -> None:
    assert problem_of(tmp_path, SHORTEST + "      - audit\n") == "config.yaml:13: databases[0].tables[1]: expected a mapping, found 'audit'"


def test_all_problems_come_in_one_error_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """\
version: "1.0"
s3: {bucket: archives, prefx: a}
databases:
  - name: app
    host: ${DB_HOST}
    user: archiver
    password: x
    tables:
      - name: log
        timestamp_column: at
        primary_key: []
        retention_day: 30
      - name: log
        timestamp_column: at
        primary_key: id
        retention_days: 30
"""
    with pytest.raises(ConfigError) as caught:
        config_from(tmp_path, text)
    assert [problem.split(": ")[:2] for problem in caught.value.message.replace(f"{tmp_path}/", "").splitlines()] == [
        ["config.yaml:1", "version"],
        ["config.yaml:2", "s3.prefx"],
        ["config.yaml:4", "databases[0].password_env"],
        ["config.yaml:5", "databases[0].host"],
        ["config.yaml:7", "databases[0].password"],
        ["config.yaml:9", "databases[0].tables[0].retention_days"],
        ["config.yaml:11", "databases[0].tables[0].primary_key"],
        ["config.yaml:12", "databases[0].tables[0].retention_day"],
        ["config.yaml:13", "databases[0].tables[1]"],
    ]
    assert caught.value.hint.startswith("correct the 9 problems above in ")


def test_a_missing_variable_is_named_with_its_line_and_the_way_out(tmp_path: Path) -> None:
    assert problem_of(tmp_path, SHORTEST.replace("host: db", "host: ${DB_HOST}")) == (
        "config.yaml:5: databases[0].host: the environment variable DB_HOST is not set; set it, or give a default as in ${DB_HOST:-default}"
    )


@pytest.mark.parametrize("written", ["${", "${}", "${A B}", "${1A}", "${A-b}", "${A", "a ${A:b} c", "${ÄB}"])
def test_a_malformed_reference_is_refused(tmp_path: Path, written: str) -> None:
    problem = problem_of(tmp_path, with_table_key(f"description: '{written}'"), {"A": "v"})
    assert problem == (
        "config.yaml:13: databases[0].tables[0].description: "
        "expected ${VAR} or ${VAR:-default}, found something else after ${; write $${ for a literal ${"
    )


def test_values_of_variables_are_not_in_the_error(tmp_path: Path) -> None:
    keys = ["version", "bucket", "endpoint", "prefix", "region", "storage_class", "path_style", "name", "host", "port", "user", "sslmode"]
    keys += ["encryption", "kms_key_id"]
    keys += ["password_env", "timezone", "schedule", "start_date", "retention_days", "batch_size", "sleep_between_batches", "store_as"]
    text = """\
version: ${V}
s3: {bucket: "${V}", endpoint: "${V}", prefix: "${V}", region: "${V}", storage_class: "${V}", path_style: "${V}",
  encryption: "${V}", kms_key_id: "${V}", object_lock: {mode: "${V}", days: "${V}"}}
databases:
  - {name: "${V}", host: "${V}", port: "${V}", user: "${V}", sslmode: "${V}", password_env: "${V}", tables: [
      {name: "${V}", schema: "${V}", timestamp_column: "${V}", primary_key: ["${V}"], timezone: "${V}", schedule: "${V}",
       start_date: "${V}", retention_days: "${V}", batch_size: "${V}", sleep_between_batches: "${V}", columns: {a: {store_as: "${V}"}}}]}
"""
    with pytest.raises(ConfigError) as caught:
        config_from(tmp_path, text, {"V": "hunter2//\n" * 20})
    assert "hunter2" not in str(caught.value)
    assert caught.value.__context__ is None
    assert {problem.split(": ")[1].split(".")[-1] for problem in caught.value.message.splitlines()} >= set(keys)
    assert "found '${V}'" in caught.value.message


def test_a_duplicate_made_by_variables_does_not_show_them(tmp_path: Path) -> None:
    table = "      - {name: '${V}', timestamp_column: t, primary_key: k, retention_days: 1}\n"
    problem = problem_of(tmp_path, SHORTEST + table * 2, {"V": "hunter2"})
    assert problem == (
        "config.yaml:14: databases[0].tables[2]: duplicate table; databases[0].tables[1] on line 13 has the same schema and name"
    )


def test_everything_that_is_wrong_with_a_scratch_database_is_named_where_it_stands(tmp_path: Path) -> None:
    text = with_database_key("scratch_database: {port: 0, user: [x], password: hunter2, sslmode: off, data_base: x}")
    assert sorted(problem.split(": expected")[0].split("; ")[0] for problem in problems_of(tmp_path, text)) == [
        f"config.yaml:8: databases[0].scratch_database.{line}"
        for line in (
            "data_base: unknown key",
            "host: missing key",
            "password: unknown key",
            "password_env: missing key",
            "port",
            "sslmode",
            "user",
        )
    ]
    assert "hunter2" not in str(problems_of(tmp_path, text))


@pytest.mark.parametrize(("value", "found"), [("yes", "expected a mapping, found yes"), ("[a]", "expected a mapping, found ['a']")])
def test_a_scratch_database_is_a_mapping(tmp_path: Path, value: str, found: str) -> None:
    assert problem_of(tmp_path, with_database_key(f"scratch_database: {value}")).endswith(found)


def test_a_scratch_database_of_null_is_none(tmp_path: Path) -> None:
    assert config_from(tmp_path, with_database_key("scratch_database: null")).databases[0].scratch_database is None


def test_a_scratch_database_has_no_password_by_omission(tmp_path: Path) -> None:
    """Else the database's own would go to another server."""
    assert "password_env: missing key" in problem_of(tmp_path, with_database_key("scratch_database: {host: other}"))


def test_a_variable_cannot_make_a_small_file_large(tmp_path: Path) -> None:
    text = with_table_key(f"description: '{'${A}' * 1000}'")
    assert problem_of(tmp_path, text, {"A": "x" * 20}) == (
        "config.yaml:13: databases[0].tables[0].description: expected at most 10000 characters with variables resolved, found more"
    )
    found = problem_of(tmp_path, with_table_key("description: '${A}'"), {"A": "x" * 10_001})
    assert found == (
        "config.yaml:13: databases[0].tables[0].description: expected at most 10000 characters in the environment variable A, found more"
    )


@pytest.mark.parametrize(
    "value", ["!!python/object/apply:os.system ['true']", "!!python/name:os.system", "!!binary YQ==", "!x y", "!!str a"]
)
def test_no_tag_makes_an_object(tmp_path: Path, value: str) -> None:
    assert "tags are not supported" in problem_of(tmp_path, with_table_key(f"description: {value}"))


@pytest.mark.parametrize(
    "text",
    [
        with_s3_key("object_lock: {mode: '${UNSET}', days: 1}"),
        SHORTEST + "legal_holds: {holds: [{id: a, reason: r, table_name: log, expiration_date: '${UNSET}'}]}\n",
        SHORTEST + "legal_holds: {holds: [{id: a, reason: r, table_name: log, conditions: [{column: '${UNSET}', operator: is null}]}]}\n",
        SHORTEST + "notifications: {targets: [{name: a, url_env: U, digest: '${UNSET}'}]}\n",
    ],
)
def test_a_variable_that_is_not_set_is_named_once_in_a_part_of_a_section(tmp_path: Path, text: str) -> None:
    assert "the environment variable UNSET is not set" in problem_of(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("legal_holds: {holds: null}", "legal_holds.holds: expected a list of holds, found null"),
        ("legal_holds: {holds: a}", "legal_holds.holds: expected a list of holds, found 'a'"),
        ("legal_holds: [a]", "legal_holds: expected a mapping, found ['a']"),
        ("legal_holds: {table: holds}", "legal_holds.table: expected a mapping with database, schema and name"),
        ("notifications: {targets: {name: a}}", "notifications.targets: expected a list of at most 20 targets"),
        ("compliance: null", "compliance: expected a mapping, found null"),
    ],
)
def test_a_part_of_another_kind_is_named_with_what_it_should_be(tmp_path: Path, text: str, path: str) -> None:
    assert path in problem_of(tmp_path, SHORTEST + text + "\n")


def test_more_conditions_than_a_hold_takes_are_a_problem_of_the_first_that_is_too_many(tmp_path: Path) -> None:
    conditions = ", ".join(["{column: a, operator: is null}"] * 101)
    text = f"{SHORTEST}legal_holds: {{holds: [{{id: a, reason: r, table_name: log, conditions: [{conditions}]}}]}}\n"
    assert "holds[0].conditions[100]: expected a list of at most 100 conditions" in problem_of(tmp_path, text)
