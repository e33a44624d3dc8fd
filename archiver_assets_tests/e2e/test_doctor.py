"""`archiver doctor`: every look has a verdict and a next step, whatever becomes of the others."""

import json
import re
import socket
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from archiver_assets.cli.app import Status, main
from archiver_assets.demo.seaweed import EmbeddedS3
from archiver_assets.lifecycle.reporting.doctor import Verdict, clock_line, examine_bucket, examine_endpoint, utc_now
from archiver_assets.store.object_lock import ObjectLock
from archiver_assets.store.probing import Probe
from archiver_assets.store.s3 import S3ObjectStore
from archiver_assets_tests.commands import AUDIT_LOGS_TABLE, write_config
from archiver_assets_tests.lab import PASSWORD_VARIABLE, PREFIX, Lab
from archiver_assets_tests.pages import ROOT
from archiver_assets_tests.proxies import Fault, HttpProxy, Rule

Capture = pytest.CaptureFixture[str]
Lines = dict[str, tuple[str, str, str]]


@pytest.fixture(autouse=True)
def environment(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, lab.database.password)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)


def examine(config: str, capsys: Capture, *more: str) -> tuple[int, Lines]:
    """Run the command, and return its status, and verdict, finding and hint of each subject (of several lines the last one)."""
    status = main(["doctor", "--json", "--config", config, *more])
    lines = json.loads(capsys.readouterr().out)["lines"]
    return status, {each["subject"]: (each["verdict"], each["found"], each["hint"]) for each in lines}


def verdicts(lines: Lines, verdict: Verdict) -> list[str]:
    return [subject for subject, line in lines.items() if line[0] == verdict]


def test_all_is_well_and_nothing_is_left_behind(lab: Lab, tmp_path: Path, capsys: Capture) -> None:
    assert main(["doctor", "--config", write_config(lab, tmp_path)]) == Status.DONE
    said = capsys.readouterr().out
    assert re.search(r"^passed   bucket: conditional writes: an existing key is refused$", said, re.MULTILINE)
    assert re.search(r"^passed   table lab/public/audit_logs: can be archived and purged", said, re.MULTILINE)
    assert re.search(r"^skipped  dagster: no instance is configured\n         HINT: set DAGSTER_HOME", said, re.MULTILINE)
    assert re.search(r"^\d+ passed, 0 warned, 0 failed, 1 skipped$", said, re.MULTILINE)
    assert max(map(len, said.splitlines())) <= 100
    assert lab.objects() == []


def test_each_table_that_is_not_sound_is_told_and_the_others_too(lab: Lab, tmp_path: Path, capsys: Capture) -> None:
    lab.execute(
        "CREATE TABLE child (log bigint REFERENCES audit_logs ON DELETE CASCADE); CREATE TABLE sound (LIKE audit_logs INCLUDING ALL)"
    )
    missing, sound = ({**AUDIT_LOGS_TABLE, "name": name} for name in ("missing", "sound"))
    hold = {"id": "7", "reason": "a case", "table_name": "elsewhere"}
    lab.store.create(f"{PREFIX}_holds/7.json", json.dumps(hold).encode())
    status, lines = examine(write_config(lab, tmp_path, AUDIT_LOGS_TABLE, missing, sound), capsys)
    assert status == Status.FOUND
    assert verdicts(lines, Verdict.FAILED) == ["table lab/public/audit_logs", "table lab/public/missing"]
    assert "archive and purge would be refused: foreign key" in lines["table lab/public/audit_logs"][1]
    assert lines["table lab/public/sound"][0] == Verdict.PASSED
    assert lines["legal holds"][:2] == (Verdict.WARNED, "7 names the table elsewhere, which is not configured: the hold keeps nothing here")


def test_rights_that_are_missing_are_told_as_statements(lab: Lab, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    role = f"r_{lab.database.name[-12:]}"
    lab.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'pw'; GRANT SELECT ON audit_logs TO {role}")
    try:
        monkeypatch.setenv(PASSWORD_VARIABLE, "pw")
        status, lines = examine(write_config(lab, tmp_path, user=role), capsys)
    finally:
        lab.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
    assert status == Status.FOUND
    verdict, found, hint = lines["table lab/public/audit_logs"]
    assert (verdict, hint) == (
        Verdict.FAILED,
        f'GRANT DELETE ON "public"."audit_logs" TO "{role}"; archiver roles prints the SQL of all rights',
    )
    assert "purge would be refused" in found


def test_a_password_that_is_wrong_or_not_set_is_told_and_the_rest_is_looked_at(
    lab: Lab, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write_config(lab, tmp_path)
    monkeypatch.setenv(PASSWORD_VARIABLE, "wrong-secret")
    status, lines = examine(config, capsys)
    assert (status, verdicts(lines, Verdict.FAILED)) == (Status.FOUND, ["database lab"])
    assert "password authentication failed" in lines["database lab"][1]
    assert "wrong-secret" not in str(lines)
    assert lines["table lab/public/audit_logs"][:2] == (Verdict.SKIPPED, "database lab could not be checked")
    monkeypatch.delenv(PASSWORD_VARIABLE)
    _, lines = examine(config, capsys)
    assert f"set {PASSWORD_VARIABLE} in the environment" in lines["database lab"][2]


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_hosts_that_do_not_answer_take_no_longer_than_a_timeout(
    lab: Lab, silent_port: int, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archiver_assets.source.transport._CONNECT_TIMEOUT_SECONDS", 2)
    silent = {"host": "127.0.0.1", "port": silent_port, "user": "u", "password_env": PASSWORD_VARIABLE, "tables": [AUDIT_LOGS_TABLE]}
    others = [{"name": name, **silent} for name in ("one", "two")]
    started = utc_now()
    status, lines = examine(write_config(lab, tmp_path, others=others), capsys)
    assert utc_now() - started < timedelta(seconds=10)
    assert (status, verdicts(lines, Verdict.FAILED)) == (Status.FOUND, ["database one", "database two"])
    assert "timeout expired" in lines["database one"][1]
    assert lines["table lab/public/audit_logs"][0] == Verdict.PASSED


def test_no_bucket_and_a_wrong_key_are_told_apart(lab: Lab, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    _, lines = examine(write_config(lab, tmp_path, s3={"bucket": "no-such-bucket"}), capsys)
    assert lines["bucket: list"] == (Verdict.FAILED, lines["bucket: list"][1], "create the bucket, or correct s3.bucket in the config")
    assert lines["bucket: remove"][:2] == (Verdict.SKIPPED, "the bucket could not be listed")
    assert lines["table lab/public/audit_logs"][0] == Verdict.PASSED
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    _, lines = examine(write_config(lab, tmp_path), capsys)
    assert lines["bucket: list"][0] == Verdict.FAILED
    assert lines["bucket: list"][2].startswith("correct the credentials")
    assert lines["legal holds"][0] == Verdict.FAILED


def probed(lab: Lab, port: int, *rules: Rule) -> Lines:
    with HttpProxy(port, *rules) as proxy:
        store = S3ObjectStore.connect(bucket=lab.bucket, endpoint=proxy.endpoint, region="us-east-1", path_style=True)
        lines = list(examine_bucket(Probe(store, PREFIX), utc_now))
    return {each.subject: (each.verdict, each.found, each.hint) for each in lines}


def denied(method: str, path: str = "_probe-") -> Rule:
    return Rule(Fault.STATUS, method, path, times=None, status=403, code="AccessDenied")


def test_a_store_that_ignores_conditions_fails(lab: Lab) -> None:
    port = int(lab.endpoint.rpartition(":")[2])
    lines = probed(lab, port, Rule(Fault.IGNORE_CONDITION, "PUT", times=None))
    assert verdicts(lines, Verdict.FAILED) == ["bucket: conditional writes"]
    assert "use a store that supports conditional writes" in lines["bucket: conditional writes"][2]


@pytest.mark.parametrize(
    ("rule", "subject", "verdict", "right"),
    [
        (denied("PUT"), "bucket: write", Verdict.FAILED, "s3:PutObject"),
        (denied("GET", "_probe-[0-9a-f]{16}$"), "bucket: read back", Verdict.FAILED, "s3:GetObject"),
        (denied("GET", "uploads"), "bucket: multipart upload", Verdict.FAILED, "s3:ListBucketMultipartUploads"),
        (denied("DELETE", "_probe-[0-9a-f]{16}$"), "bucket: remove", Verdict.WARNED, "s3:DeleteObject"),
    ],
)
def test_a_right_that_is_missing_is_named(lab: Lab, rule: Rule, subject: str, verdict: Verdict, right: str) -> None:
    lines = probed(lab, int(lab.endpoint.rpartition(":")[2]), rule)
    assert lines[subject][0] == verdict
    assert f"see that {right} is allowed" in lines[subject][2]
    assert verdicts(lines, Verdict.FAILED) == ([subject] if verdict is Verdict.FAILED else [])


LOCK = {"object_lock": {"mode": "GOVERNANCE", "days": 7}}


def test_object_lock_is_tried_with_a_lock_that_is_soon_over(lab: Lab, s3_server: EmbeddedS3, tmp_path: Path, capsys: Capture) -> None:
    bucket = f"locked-{lab.bucket}"
    s3_server.create_bucket(bucket, locking=True)
    status, lines = examine(write_config(lab, tmp_path, s3={**LOCK, "bucket": bucket}), capsys)
    assert (status, verdicts(lines, Verdict.FAILED)) == (Status.DONE, [])
    assert lines["config: object lock"][:2] == (
        Verdict.WARNED,
        "7 days are fewer than the 30 retention_days of lab/public/audit_logs: the archive can be removed before the rows would have been",
    )
    verdict, found, _ = lines["bucket: object lock"]
    assert verdict == Verdict.PASSED
    assert re.match(r"this object is locked: GOVERNANCE until .* UTC, and its version could not be removed; .* default is no lock$", found)
    assert "a delete marker hides the test object" in lines["bucket: remove"][1]
    versions = s3_server.client().list_object_versions(Bucket=bucket)
    (left,) = versions["Versions"]
    until = s3_server.client().head_object(Bucket=bucket, Key=left["Key"], VersionId=left["VersionId"])["ObjectLockRetainUntilDate"]
    assert until < utc_now() + timedelta(minutes=20)
    assert lab.store.client.list_objects_v2(Bucket=bucket)["KeyCount"] == 0  # type: ignore[attr-defined]


def test_a_lock_on_a_bucket_that_has_none_fails_with_what_to_do(lab: Lab, tmp_path: Path, capsys: Capture) -> None:
    status, lines = examine(write_config(lab, tmp_path, s3=LOCK), capsys)
    assert (status, verdicts(lines, Verdict.FAILED)) == (Status.FOUND, ["bucket: write"])
    assert "see that Object Lock is enabled on the bucket" in lines["bucket: write"][2]
    assert lines["bucket: object lock"][0] == Verdict.SKIPPED


def test_a_store_that_reports_a_lock_and_does_not_keep_it_fails(lab: Lab, s3_server: EmbeddedS3) -> None:
    bucket = f"locked-{lab.bucket}"
    s3_server.create_bucket(bucket, locking=True)
    client = lab.services().bucket_store().client
    client.meta.events.register(
        "before-call.s3.DeleteObject", lambda params, **_: params["headers"].update({"x-amz-bypass-governance-retention": "true"})
    )
    store = S3ObjectStore(client, bucket, "STANDARD", lambda _: None, lock=ObjectLock("GOVERNANCE", timedelta(days=7)))
    lines = {line.subject: line for line in examine_bucket(Probe(store, PREFIX), utc_now)}
    assert lines["bucket: object lock"].verdict is Verdict.FAILED
    assert "but the store removed its version" in lines["bucket: object lock"].found


def test_bytes_that_were_damaged_on_the_way_fail(lab: Lab) -> None:
    lines = probed(lab, int(lab.endpoint.rpartition(":")[2]), Rule(Fault.WRONG_BYTE, "GET", "_probe-[0-9a-f]{16}$", times=None))
    assert lines["bucket: read back"][:2] == (Verdict.FAILED, "read other bytes than were written")


def test_a_clock_that_is_off_is_a_warning_that_says_which_way() -> None:
    now = utc_now()
    assert clock_line("c", now + timedelta(seconds=4), now).verdict is Verdict.PASSED
    found = clock_line("c", now - timedelta(seconds=90), now)
    assert (found.verdict, found.found) == (Verdict.WARNED, "90 s behind this machine's")


def test_replica_and_scratch_are_looked_at_by_what_they_are_for(lab: Lab, tmp_path: Path, capsys: Capture) -> None:
    place = {"host": lab.database.host, "port": lab.database.port}
    config = write_config(lab, tmp_path, read_replica=place, scratch_database={**place, "password_env": PASSWORD_VARIABLE})
    status, lines = examine(config, capsys)
    assert (status, verdicts(lines, Verdict.FAILED)) == (Status.FOUND, ["database lab: replica"])
    assert "to be a standby of its primary" in lines["database lab: replica"][1]
    assert "temporary tables can be created" in lines["database lab: scratch"][1]


def test_an_instance_without_daemon_monitoring_and_queue_fails_with_the_next_steps(lab: Lab, tmp_path: Path, capsys: Capture) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\nrun_monitoring: {enabled: false}\n")
    status, lines = examine(write_config(lab, tmp_path), capsys, "--dagster-home", str(home))
    assert status == Status.FOUND
    assert lines["dagster: storage"][:2] == (Verdict.PASSED, "SqliteRunStorage answers, with 0 runs")
    assert verdicts(lines, Verdict.FAILED) == ["dagster: daemons", "dagster: run monitoring"]
    assert "start dagster-daemon run" in lines["dagster: daemons"][2]
    assert "set run_coordinator to ArchiverRunCoordinator" in lines["dagster: run coordinator"][2]


def test_every_line_that_a_box_before_production_names_is_printed(lab: Lab, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    _, lines = examine(write_config(lab, tmp_path), capsys, "--dagster-home", str(tmp_path))
    boxes = (ROOT / "docs" / "how-to" / "kubernetes.md").read_text().partition("## Before production")[2]
    named = set(re.findall(r"`((?:bucket|dagster): [\w ]+)`", boxes))
    assert len(named) >= 10
    only_of_plain_http = {line.subject for line in examine_endpoint("http://store.example.com")}
    assert named - lines.keys() - only_of_plain_http == set()


def test_a_target_whose_url_is_none_fails_without_its_secret(
    lab: Lab, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets = [{"name": "good", "url_env": "GOOD_URL"}, {"name": "bad", "url_env": "BAD_URL"}, {"name": "unset", "url_env": "UNSET_URL"}]
    monkeypatch.setenv("GOOD_URL", "json://localhost/path")
    monkeypatch.setenv("BAD_URL", "nosuchservice://secret-token")
    _, lines = examine(write_config(lab, tmp_path, top={"notifications": {"targets": targets}}), capsys)
    assert verdicts(lines, Verdict.FAILED) == ["notifications: bad", "notifications: unset"]
    assert "secret-token" not in str(lines)
    assert lines["notifications: good"][0] == Verdict.PASSED


def test_a_lost_connection_fails_the_table_and_is_no_traceback(
    lab: Lab, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(connection: psycopg.Connection, _config: object) -> None:
        with psycopg.connect(lab.database.dsn, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s)", [connection.info.backend_pid])
        connection.execute("SELECT 1")

    monkeypatch.setattr("archiver_assets.lifecycle.reporting.doctor.read_preflight", cut)
    status, lines = examine(write_config(lab, tmp_path), capsys)
    assert status == Status.FOUND
    assert "terminat" in lines["table lab/public/audit_logs"][1]
