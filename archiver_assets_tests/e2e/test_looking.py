"""The commands that look, as a person runs them: init, validate, plan, status. What they say, when all is well and when it is not."""

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from archiver_assets.cli.app import Status, main
from archiver_assets.config import load_config
from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.generations import read_generations, reject
from archiver_assets.lifecycle.purging.purge import purge
from archiver_assets.orchestration.assets import table_keys
from archiver_assets.orchestration.build import build_definitions
from archiver_assets_tests.commands import AUDIT_LOGS_TABLE, write_config
from archiver_assets_tests.lab import DAY, PASSWORD_VARIABLE, Lab
from archiver_assets_tests.servers import Database

MISSING = {**AUDIT_LOGS_TABLE, "name": "missing"}
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def environment(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, lab.database.password)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)


def document(capsys: Capture) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def only_table(capsys: Capture) -> dict[str, Any]:
    (table,) = document(capsys)["tables"]
    return dict(table)


def init(database: Database, output: Path, *more: str) -> int:
    place = ["--host", database.host, "--port", str(database.port), "--user", database.user, "--dbname", database.name]
    return main(["init", *place, "--password-env", PASSWORD_VARIABLE, "--output", str(output), *more])


OTHER_TABLES = """
CREATE TABLE settings (id int PRIMARY KEY, value text);
CREATE TABLE login_log (at timestamptz);
CREATE TABLE orders (id int PRIMARY KEY, created_at timestamptz NOT NULL);
CREATE TABLE order_lines (id int, of int REFERENCES orders);
CREATE TABLE events (tenant int NOT NULL, n int NOT NULL, updated_at timestamptz, "on" timestamptz NOT NULL, UNIQUE (tenant, n));
CREATE INDEX ON events ("on");
CREATE TABLE "odd
- name: evil" (id int PRIMARY KEY, at timestamptz);
"""


def test_init_drafts_a_config_that_validate_accepts_as_it_is(lab: Lab, tmp_path: Path, capsys: Capture) -> None:
    lab.fill(rows=5)
    lab.execute(OTHER_TABLES + "INSERT INTO events VALUES (1, 1, now(), '1999-05-05')")
    path = tmp_path / "drafted.yaml"

    assert init(lab.database, path) == Status.DONE
    tables = {table.name: table for _, table in load_config(path).tables()}
    assert sorted(tables) == ["audit_logs", "events"]
    assert (tables["audit_logs"].timestamp_column, tables["audit_logs"].primary_key) == ("created_at", ("id",))
    assert (tables["events"].timestamp_column, tables["events"].primary_key) == ("on", ("tenant", "n"))
    assert tables["events"].start_date.isoformat() == "1999-01-01"
    text = path.read_text()
    assert lab.database.password not in text
    assert re.search(r"# public.orders: .*\n +# Not recommended: foreign key", text)
    assert "#   timestamp_column: created_at" in text
    assert "Not recommended: no primary key, and no unique index" in text
    assert "evil" in text
    assert max(map(len, capsys.readouterr().out.splitlines()[:-2])) <= 100
    assert main(["validate", "--config", str(path)]) == Status.DONE


def test_init_overwrites_nothing_unless_it_is_forced(lab: Lab, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("mine")
    assert init(lab.database, path) == Status.USAGE
    assert f"error: expected no file at {path}, found one\nHINT: give another file" in capsys.readouterr().err
    assert path.read_text() == "mine"
    assert init(lab.database, path, "--force") == Status.DONE
    assert load_config(path).databases[0].name == lab.database.name
    assert list(tmp_path.iterdir()) == [path]


def test_init_says_what_stands_in_the_way(lab: Lab, tmp_path: Path, capsys: Capture) -> None:
    lab.execute("DROP TABLE audit_logs; CREATE TABLE audit_log (at timestamptz)")
    path = tmp_path / "none.yaml"
    assert init(lab.database, path) == Status.FOUND
    said = capsys.readouterr().out
    assert "leave   public.audit_log" in said
    assert "nothing was written" in said
    assert init(lab.database, path, "--bucket", "Not_A_Bucket") == Status.USAGE
    assert "--bucket: expected the name of a bucket, 3 to 63 characters" in capsys.readouterr().err
    assert init(lab.database, tmp_path / "no" / "folder.yaml", "--json") == Status.FOUND
    assert document(capsys)["config"] is None
    assert not path.exists()


def test_init_says_that_the_password_is_wrong_and_does_not_say_it(
    lab: Lab, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, "wrong-secret")
    assert init(lab.database, tmp_path / "a.yaml") == Status.FAILED
    said = capsys.readouterr().err
    assert "password authentication failed" in said
    assert "HINT: correct user, database or the password" in said
    assert "wrong-secret" not in said
    monkeypatch.delenv(PASSWORD_VARIABLE)
    assert init(lab.database, tmp_path / "a.yaml") == Status.USAGE
    assert f"HINT: set {PASSWORD_VARIABLE} in the environment" in capsys.readouterr().err


def test_validate_sums_up_what_was_understood_and_connects_to_nothing(lab: Lab, tmp_path: Path, capsys: Capture) -> None:
    config = write_config(lab, tmp_path, {**AUDIT_LOGS_TABLE, "schedule": "30 3 * * *"}, {**MISSING, "schedule": None}, port=1)
    assert main(["validate", "--config", config]) == Status.DONE
    said = capsys.readouterr().out
    assert f"{config}: valid; 1 database, 2 tables" in said
    assert re.search(r"public.audit_logs +id +created_at, UTC +30 days +30 3 \* \* \* +\d{4}-\d\d-\d\d 03:30 UTC", said)
    assert re.search(r"public.missing .* none +none", said)
    assert main(["validate", "--config", config, "--json"]) == Status.DONE
    assert [each["next_run"] is None for each in document(capsys)["tables"]] == [False, True]


def test_validate_says_every_problem_at_once(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "config.yaml"
    path.write_text('version: "2.0"\ns3: {bukket: archives}\ndatabases: []\n')
    assert main(["validate", "--config", str(path)]) == Status.USAGE
    said = capsys.readouterr().err
    assert "did you mean bucket?" in said
    assert "expected a list of at least one database" in said


def fill_days(lab: Lab, days: int, rows: int = 10) -> None:
    for number in range(days):
        lab.fill(DAY + timedelta(days=number), rows)
    lab.execute("ANALYZE audit_logs")


def test_plan_says_what_the_next_run_would_do_and_changes_nothing(lab: Lab, tmp_path: Path, capsys: Capture) -> None:
    fill_days(lab, 4)
    config = write_config(lab, tmp_path, {**AUDIT_LOGS_TABLE, "max_partitions_per_tick": 3})
    assert main(["plan", "--config", config]) == Status.DONE
    said = capsys.readouterr().out
    assert re.search(r"next run +3 days, 2024-03-05 to 2024-03-07, with 30 rows, counted; 1 more day in", said)
    assert "(assumed: 4 to 1)" in said
    assert re.search(r"not expired +\d{4}-\d\d-\d\d and later: kept 30 days", said)
    assert (lab.objects(), lab.count()) == ([], 40)


def test_plan_goes_by_the_generations_that_there_are(lab: Lab, tmp_path: Path, capsys: Capture) -> None:
    fill_days(lab, 2, rows=1000)
    archive(lab.task())
    purge(lab.task())
    size = next(each.bytes for each in lab.store.list("") if each.key.endswith(".parquet"))
    assert main(["plan", "--config", write_config(lab, tmp_path), "--json"]) == Status.DONE
    plan = only_table(capsys)
    assert (plan["days"], plan["rows"], plan["bytes_in_archive"]) == (["2024-03-06"], 1000, size)
    assert (plan["bytes_assumed"], plan["seconds_assumed"]) == (False, False)


def test_plan_counts_so_far_and_estimates_the_rest(lab: Lab, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_days(lab, 3, rows=1000)
    monkeypatch.setattr("archiver_assets.lifecycle.reporting.plan.MOST_COUNTED", 1500)
    assert main(["plan", "--config", write_config(lab, tmp_path)]) == Status.DONE
    (rows,) = re.findall(r"with about ([0-9,]+) rows, estimated by the server", capsys.readouterr().out)
    assert 2500 < int(rows.replace(",", "")) < 3500


def test_plan_says_what_is_left_out_and_why(lab: Lab, tmp_path: Path, capsys: Capture) -> None:
    fill_days(lab, 1)
    lab.execute(
        "CREATE TABLE child (log bigint REFERENCES audit_logs ON DELETE CASCADE); CREATE TABLE held (LIKE audit_logs INCLUDING ALL)"
    )
    lab.execute("INSERT INTO held SELECT * FROM audit_logs")
    hold = {"id": "2026/17", "reason": "a case", "table_name": "held"}
    config = write_config(
        lab, tmp_path, AUDIT_LOGS_TABLE, {**AUDIT_LOGS_TABLE, "name": "held"}, MISSING, top={"legal_holds": {"holds": [hold]}}
    )
    assert main(["plan", "--config", config]) == Status.FOUND
    first, second, third, last = capsys.readouterr().out.split("\n\n")
    assert "would be refused" in first
    assert re.search(r"refused +foreign key", first)
    assert "nothing to do" in second
    assert re.search(r"held +1 expired day entirely under legal holds: 2026/17", second)
    assert "found none (compare" in " ".join(third.split())
    assert "2 tables would be refused" in last
    assert max(map(len, (first + second + third + last).splitlines())) <= 100


def test_no_backlog_is_said_in_so_many_words(lab: Lab, tmp_path: Path, capsys: Capture) -> None:
    config = write_config(lab, tmp_path)
    assert main(["plan", "--config", config]) == Status.DONE
    assert "nothing to do: no expired day has rows to purge" in capsys.readouterr().out
    assert main(["status", "--check", "--config", config]) == Status.DONE
    assert "nothing needs attention" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["plan", "status"])
def test_a_table_that_is_not_configured_is_named_with_those_that_are(command: str, lab: Lab, tmp_path: Path, capsys: Capture) -> None:
    assert main([command, "--table", "nope", "--config", write_config(lab, tmp_path)]) == Status.USAGE
    assert capsys.readouterr().err == (
        "error: expected tables in the config that match --table nope, found none\nHINT: choose one of: lab/public/audit_logs\n"
    )


@pytest.mark.parametrize("command", [["plan"], ["status", "--check"]])
def test_a_server_that_is_down_is_tried_once_and_the_others_are_told_of(
    command: list[str], lab: Lab, tmp_path: Path, capsys: Capture
) -> None:
    down = {
        "name": "down",
        "host": "127.0.0.1",
        "port": 1,
        "user": "u",
        "password_env": PASSWORD_VARIABLE,
        "tables": [AUDIT_LOGS_TABLE, MISSING],
    }
    config = write_config(lab, tmp_path, others=[down])
    assert main([*command, "--config", config]) == Status.FOUND
    said = capsys.readouterr().out
    assert said.count("Connection refused") == 2
    assert "HINT" in said
    assert "lab/public/audit_logs" in said


def test_no_bucket_is_said_with_the_next_step(lab: Lab, tmp_path: Path, capsys: Capture) -> None:
    config = write_config(lab, tmp_path, s3={"bucket": "no-such-bucket"})
    assert main(["status", "--config", config]) == Status.DONE
    said = " ".join(capsys.readouterr().out.split())
    assert "NoSuchBucket" in said
    assert "HINT create the bucket, or correct s3.bucket in the config" in said


def test_status_says_what_waits_what_was_done_and_what_it_costs(lab: Lab, tmp_path: Path, capsys: Capture) -> None:
    fill_days(lab, 3, rows=200)
    for number in range(2):
        task = lab.task(DAY + timedelta(days=number))
        archive(task)
        purge(task)
    lab.fill(DAY, rows=1)
    assert main(["status", "--config", write_config(lab, tmp_path)]) == Status.DONE
    said = capsys.readouterr().out
    assert re.search(r"lab/public/audit_logs +2 d +2024-03-05 +\d+ s ago +\d+ s ago", said)
    assert re.search(r"waiting +2 days waited longer than 7 days: 2024-03-05, 2024-03-07; check why", said)
    assert re.search(r"late +new rows in 1 day purged before: 2024-03-05", said)
    assert max(map(len, said.splitlines())) <= 100


def test_status_is_exact_for_programs_and_fails_a_check(lab: Lab, tmp_path: Path, capsys: Capture) -> None:
    fill_days(lab, 3, rows=50)
    for number in range(3):
        archive(lab.task(DAY + timedelta(days=number)))
    purge(lab.task())
    task = lab.task(DAY + timedelta(days=1))
    reject(task, read_generations(task).committed[0], ("a test",))
    lab.store.create(lab.task().keys.new_rows(2), b"left by a crash")
    config = write_config(lab, tmp_path, top={"prices": {"storage_per_gib_month": 50, "database_per_gib_month": 100}})
    assert main(["status", "--check", "--json", "--config", config]) == Status.FOUND
    facts = only_table(capsys)
    size = sum(each.bytes for each in lab.store.list("archives/lab/"))
    assert facts["generations_rejected"] == ["2024-03-06 generation 1"]
    assert (facts["days_archived"], facts["days_purged"], facts["generations"], facts["leftovers"]) == (2, 1, 2, 1)
    assert (facts["days_waiting"], facts["days_stalled"]) == (2, ["2024-03-06", "2024-03-07"])
    assert (facts["archive_bytes"], facts["usd_per_month_in_bucket"]) == (size, round(size / 2**30 * 50, 4))
    assert facts["runs"] is None


def test_a_manifest_that_cannot_be_read_is_said_and_hides_nothing(lab: Lab, tmp_path: Path, capsys: Capture) -> None:
    lab.fill()
    archive(lab.task())
    lab.store.create(lab.task("2024-03-09").keys.folder + "_manifest-0001.json", b"{}")
    assert main(["status", "--json", "--config", write_config(lab, tmp_path)]) == Status.DONE
    facts = only_table(capsys)
    assert "dt=2024-03-09/_manifest-0001.json" in str(facts["damaged"])
    assert facts["last_archived_at"] is not None


def test_with_an_instance_plan_knows_what_failed_and_status_counts_it(lab: Lab, tmp_path: Path, capsys: Capture) -> None:
    fill_days(lab, 2)
    home, services, keys = tmp_path / "home", lab.services(), table_keys(lab.table())
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    job = build_definitions(services.config, services).resolve_implicit_global_asset_job_def()
    lab.execute("CREATE RULE r AS ON DELETE TO audit_logs DO ALSO NOTHING")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        failed = job.execute_in_process(
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            instance=instance,
            partition_key=str(DAY),
            asset_selection=[keys.archive, keys.purge],
            tags={"archiver/table": "lab/public/audit_logs"},
            raise_on_error=False,
        )
    lab.execute("DROP RULE r ON audit_logs")
    arguments = ["--config", write_config(lab, tmp_path), "--dagster-home", str(home)]
    assert main(["plan", *arguments]) == Status.DONE
    said = " ".join(capsys.readouterr().out.split())
    assert "1 day, 2024-03-06, with 10 rows" in said
    assert "put off: 2024-03-05 after 1 run that failed" in said
    assert main(["status", *arguments]) == Status.DONE
    assert f"failed 1 run in the last 7 days; the latest, {failed.run_id}" in " ".join(capsys.readouterr().out.split())


def test_a_folder_that_is_no_instance_is_said(lab: Lab, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "dagster.yaml").write_text("storage: {nonsense: {}}\n")
    assert main(["plan", "--config", write_config(lab, tmp_path), "--dagster-home", str(tmp_path)]) == Status.USAGE
    assert "HINT: correct dagster.yaml" in capsys.readouterr().err
