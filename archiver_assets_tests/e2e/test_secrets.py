"""Where secrets and the values of rows may not be: canaries are planted, and all that runs and commands leave behind is searched for them.

One story is told to all tests: runs that succeed and runs that fail, with wrong passwords and credentials, errors of ours and others',
and commands, on servers that log all they can. What each place may hold is said in docs/explanation/secrets.md.
"""

import base64
import hashlib
import hmac
import io
import logging
import os
import re
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from secrets import token_hex
from typing import Any

import dagster as dg
import psycopg
import pytest
from dagster._core.errors import ScheduleExecutionError
from dagster._utils.error import serializable_error_info_from_exc_info
from psycopg import sql

from archiver_assets.cli.app import Status, main
from archiver_assets.config import load_config
from archiver_assets.demo.postgres import EmbeddedPostgres
from archiver_assets.demo.seaweed import EmbeddedS3
from archiver_assets.lifecycle import retrying
from archiver_assets.orchestration import steps
from archiver_assets.orchestration.assets import table_keys
from archiver_assets.orchestration.build import build_definitions
from archiver_assets.orchestration.partitions import shared_job_name
from archiver_assets.orchestration.tags import run_tags
from archiver_assets.services import Services
from archiver_assets.store.s3 import S3ObjectStore
from archiver_assets_tests.conftest import fresh_bucket, fresh_database
from archiver_assets_tests.lab import AUDIT_LOGS, DAY, PASSWORD_VARIABLE, SCRATCH_PASSWORD_VARIABLE, Lab
from archiver_assets_tests.leftovers import Part, all_found, in_bucket, in_database, in_folder, places_of, watching
from archiver_assets_tests.pod_processes import RunPods, open_run_pods
from archiver_assets_tests.servers import Database, PostgresServer

ODD = "'\" \\%&/+é"
"""What a password may hold, and URLs, connection strings and JSON write in other ways."""
LOGS_ALL = {"log_statement": "all", "log_connections": "on", "log_min_error_statement": "debug1", "log_error_verbosity": "verbose"}
TARGET = "CREATE TABLE target (id bigint PRIMARY KEY, created_at timestamptz, action integer)"
QUIET = {"loggers": {"console": {"config": {"log_level": "DEBUG"}}}}


@dataclass
class Canaries:
    """Texts that are nowhere else. What is planted is longer; any piece of it with the text in it is found."""

    secrets: dict[str, str] = field(default_factory=dict)
    value: str = field(default_factory=lambda: f"value{token_hex(12)}")

    def secret(self, name: str) -> str:
        """Return another secret of this name."""
        self.secrets[name] = token_hex(12)
        return self.secrets[name]


Left = tuple[Canaries, list[Part]]


@dataclass
class Story:
    """What is told, and where it leaves something."""

    canaries: Canaries
    lab: Lab
    pods: RunPods
    config: str
    said: io.StringIO = field(default_factory=io.StringIO)
    kept: list[Part] = field(default_factory=list)

    def run(self, day: date, *names: str, ops: Mapping[str, Any] | None = None) -> bool:
        """Run parts of the table's graph in this process, with all that they say; keep what they raise."""
        config = load_config(self.config)
        (_, table), *_ = config.tables()
        keys = table_keys(table)
        services = Services(config)
        job = build_definitions(config, services).resolve_job_def(shared_job_name(table))
        with self.listening():
            result = job.execute_in_process(
                run_config={**QUIET, "ops": dict(ops or {})},
                instance=self.pods.instance,
                partition_key=str(day),
                asset_selection=[getattr(keys, name) for name in names],
                raise_on_error=False,
            )
        task = services.task(table, str(day), "run")
        self.kept.append(("repr", repr((config, services, task, services.store, task.source)).encode()))
        return bool(result.success)

    def command(self, *arguments: str) -> int:
        """Run a command of `archiver`."""
        with self.listening():
            return main(["--config", self.config, *arguments])

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Keep what is said on the standard streams, and in the log."""
        handler = logging.StreamHandler(self.said)
        with redirect_stdout(self.said), redirect_stderr(self.said):
            logging.getLogger().addHandler(handler)
            try:
                yield
            finally:
                logging.getLogger().removeHandler(handler)
                logging.basicConfig(handlers=[], force=True)


def tell(story: Story, environment: pytest.MonkeyPatch) -> None:
    """Let everything happen that can leave something behind."""
    lab, canaries = story.lab, story.canaries
    days = iter(DAY + timedelta(days=number) for number in range(10))
    (_, table), *_ = load_config(story.config).tables()
    keys = table_keys(table)

    loud = "ARCHIVER_LOG_LEVEL=DEBUG"
    pod = story.pods.start(shared_job_name(table), str(next(days)), [keys.archive, keys.purge], run_tags(table), loud)
    with environment.context() as wrong:
        wrong.setenv(PASSWORD_VARIABLE, canaries.secret("a wrong password") + ODD)
        assert not story.run(next(days), "archive")
        _tick(story)
        for command in ("doctor", "plan", "status", "run"):
            story.command(command, "--json")
        place = ["--host", lab.database.host, "--port", str(lab.database.port), "--user", lab.database.user, "--dbname", lab.database.name]
        assert story.command("init", *place, "--password-env", PASSWORD_VARIABLE, "--output", f"{story.config}.new") == Status.FAILED
    with environment.context() as wrong:
        wrong.setenv(SCRATCH_PASSWORD_VARIABLE, canaries.secret("a wrong password of the scratch database") + ODD)
        assert not story.run(next(days), "archive", "purge")
    with environment.context() as wrong:
        wrong.setenv("AWS_SECRET_ACCESS_KEY", canaries.secret("a wrong key"))
        wrong.setenv("AWS_SESSION_TOKEN", canaries.secret("a session token"))
        assert not story.run(next(days), "archive")
        for words in (["doctor"], ["list"], ["verify"], ["query", "SELECT * FROM audit_logs"], ["hold", "list"]):
            assert story.command(*words)
    with environment.context() as wrong:
        wrong.setenv("DAGSTER_PG_PASSWORD", canaries.secret("a wrong password of Dagster's storage") + "-")
        assert story.command("run", "--all", "--dagster-home", os.environ["DAGSTER_HOME"]) == Status.USAGE
    with environment.context() as wrong:
        wrong.setattr(steps, "archive", _a_bug)
        assert not story.run(next(days), "archive")
    out, err = pod.process.communicate(timeout=60)
    story.kept.append(("streams of a run", f"{out}\n{err}".encode()))
    assert pod.process.returncode == 0, out + err
    lab.execute(TARGET)
    ops = {"lab__public__audit_logs__restore": {"config": {"target_table": "target", "drift": "by_name"}}}
    assert not story.run(DAY, "restore", ops=ops)
    lab.execute("CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN OLD; END $$")
    lab.execute("CREATE TRIGGER t BEFORE DELETE ON audit_logs FOR EACH ROW EXECUTE FUNCTION f()")
    assert not story.run(next(days), "archive", "purge")
    for words in (["validate", "--json"], ["validate"], ["doctor"], ["list", "--json"], ["verify"], ["query", "SELECT getenv('HOME')"]):
        story.command(*words)
    _notify(story)


def _a_bug(task: Any) -> None:  # noqa: ANN401 -- a task
    """Fail in the middle of a session, with an error that is none of ours."""
    with task.source.connect() as connection:
        connection.execute("SELECT 1")
        message = f"a bug, beside {task.source!r} and {connection!r}"
        raise RuntimeError(message)


def _tick(story: Story) -> None:
    """Let a tick of the schedule fail, whose error Dagster records with its trace."""
    repository = build_definitions(load_config(story.config)).get_repository_def()
    schedule = repository.get_schedule_def("lab__public__audit_logs__schedule")
    with (
        story.listening(),
        dg.build_schedule_context(story.pods.instance, scheduled_execution_time=datetime.now(UTC), repository_def=repository) as context,
        pytest.raises(ScheduleExecutionError) as failure,
    ):
        schedule.evaluate_tick(context)
    story.kept.append(("a failed tick", repr(serializable_error_info_from_exc_info((failure.type, failure.value, failure.tb))).encode()))


def _notify(story: Story) -> None:
    """Let the sensor tell two targets, one that is gone and one that is no URL, of what failed."""
    repository = build_definitions(load_config(story.config)).get_repository_def()
    sensor = repository.get_sensor_def("notifications_sensor")
    cursor = '{"position": 0}'
    for _ in range(2):
        with story.listening(), dg.build_sensor_context(story.pods.instance, repository_def=repository, cursor=cursor) as context:
            tick = sensor.evaluate_tick(context)
        cursor = tick.cursor or cursor
        story.kept.append(("ticks", f"{tick.skip_message} {tick.cursor}".encode()))


def _login(embedded: EmbeddedPostgres, database: Database, name: str, password: str) -> Database:
    """Make a role that owns what is in the database. Its password reaches the server as a verifier, so that no log can have it."""
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        made = sql.SQL("CREATE ROLE {} LOGIN SUPERUSER PASSWORD {}")
        connection.execute(made.format(sql.Identifier(name), sql.Literal(_verifier(password))))
    assert password not in embedded.log_text()
    return replace(database, user=name, password=password)


def _verifier(password: str) -> str:
    """Return what the server keeps of a password (RFC 5803), hashed 16 times: libpq's 4096 would be most of the time of the story."""
    salt = os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 16)
    client, server = (hmac.digest(salted, f"{which} Key".encode(), "sha256") for which in ("Client", "Server"))
    written = (base64.b64encode(each).decode() for each in (salt, hashlib.sha256(client).digest(), server))
    return "SCRAM-SHA-256$16:{}${}:{}".format(*written)


@pytest.fixture(scope="module")
def left(s3_server: EmbeddedS3, s3_store: S3ObjectStore, tmp_path_factory: pytest.TempPathFactory) -> Left:
    """Everything that the story leaves behind."""
    canaries = Canaries({"the secret key": s3_server.secret_key})
    home, temporary = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("temporary")
    with ExitStack() as stack, pytest.MonkeyPatch.context() as environment:
        for name in [each for each in os.environ if each.startswith(("AWS_", "DAGSTER_", "ARCHIVER_"))]:
            environment.delenv(name)
        variables = {
            **s3_server.environ(),
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1",
            "HOME": str(home),
            "TMPDIR": str(temporary),
            "GONE_URL": f"json://user:{canaries.secret('a token')}@127.0.0.1:{_closed_port()}/{canaries.secret('another token')}",
            "WRONG_URL": f"pagerduty://{canaries.secret('a token of a bad URL')}",
        }
        embedded = stack.enter_context(EmbeddedPostgres(settings=LOGS_ALL))
        for name, value in variables.items():
            environment.setenv(name, value)
        environment.setattr(tempfile, "tempdir", None)
        environment.setattr(retrying, "_PAUSES", (0.01,))
        server = PostgresServer(embedded.dsn())
        source, scratch, storage = (stack.enter_context(fresh_database(server)) for _ in range(3))
        source = _login(embedded, source, "archiver", canaries.secret("the password") + ODD)
        scratch = _login(embedded, scratch, "prover", canaries.secret("the password of the scratch database") + ODD)
        storage = _login(embedded, storage, "dagster", canaries.secret("the password of Dagster's storage") + "-")
        environment.setenv(SCRATCH_PASSWORD_VARIABLE, scratch.password)
        bucket = stack.enter_context(fresh_bucket(s3_server))
        lab = Lab(source, replace(s3_store, bucket=bucket), bucket, s3_server.endpoint)
        lab.execute(AUDIT_LOGS)
        for number in range(7):
            lab.fill(DAY + timedelta(days=number), rows=20)
        lab.execute("UPDATE audit_logs SET action = %s || id", [canaries.value])
        with watching(embedded.dsn()) as seen:
            proves = {"host": scratch.host, "port": scratch.port, "database": scratch.name, "user": scratch.user}
            pods = stack.enter_context(
                open_run_pods(
                    lab,
                    storage,
                    home,
                    database={"scratch_database": {**proves, "password_env": SCRATCH_PASSWORD_VARIABLE}},
                    top={"notifications": {"targets": [{"name": "gone", "url_env": "GONE_URL"}, {"name": "bad", "url_env": "WRONG_URL"}]}},
                    verification="restore",
                )
            )
            story = Story(canaries, lab, pods, os.environ["ARCHIVER_CONFIG"])
            tell(story, environment)
        parts = [
            *story.kept,
            ("streams", story.said.getvalue().encode()),
            *in_database(storage.dsn),
            *in_bucket(s3_server.client(), bucket),
            *in_folder(home),
            *in_folder(temporary),
            *seen.parts(),
            ("log of the server", embedded.log_text().encode()),
        ]
    return canaries, parts


def _closed_port() -> int:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port: int = closed.getsockname()[1]
    return port


def test_no_secret_is_left_anywhere(left: Left) -> None:
    canaries, parts = left
    assert len(canaries.secrets) == 12
    assert all_found(canaries.secrets, parts) == {}


def test_values_of_rows_are_in_objects_and_in_the_log_of_their_own_server_alone(left: Left) -> None:
    canaries, parts = left
    found = places_of(canaries.value, parts)
    assert {re.sub(r" .*/rows-.*", "", place) for place in found} == {"object", "rows", "log of the server"}
