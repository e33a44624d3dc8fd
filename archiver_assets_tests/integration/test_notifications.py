"""Failures of real runs in a real Dagster instance, told to real servers on loopback. Time passes by an injected clock."""

import logging
import re
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import dagster as dg
import pytest
from dagster._core.events import (
    DagsterEvent,
    DagsterEventType,
    EventSpecificData,
    JobFailureData,
    RunFailureReason,
    StepMaterializationData,
)
from dagster._core.events.log import EventLogEntry
from dagster_shared.error import SerializableErrorInfo

from archiver_assets.config import Config, DatabaseConfig, Notifications, NotificationTarget, S3Config, TableConfig
from archiver_assets.errors import SourceUnavailable
from archiver_assets.orchestration.build import build_definitions
from archiver_assets.orchestration.partitions import shared_job_name
from archiver_assets.telemetry.delivery import AppriseDelivery
from archiver_assets.telemetry.events import Done, EventLog, Failed, Item
from archiver_assets.telemetry.incidents import MOST_MARKS
from archiver_assets.telemetry.messages import LONGEST_TEXT
from archiver_assets.telemetry.notifier import Notifier, Tick
from archiver_assets_tests.receivers import Webhook, mailbox, webhook

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
CANARY = "canary-7f3a"
PASSWORD = "PW"  # noqa: S105 - the name of a variable
MINUTE, HOUR = 60.0, 3600.0
TABLES = 20


def table(database: str, name: str) -> TableConfig:
    return TableConfig(database=database, name=name, timestamp_column="at", primary_key=("id",), retention_days=30)


def config(**targets: dict[str, object]) -> Config:
    databases = tuple(
        DatabaseConfig(name=name, host="db", user="u", password_env=PASSWORD, tables=tuple(table(name, f"t{n:02}") for n in range(TABLES)))
        for name in ("one", "two", "d3", "d4", "d5", "d6")
    )
    made = tuple(NotificationTarget.model_validate({"name": name, "url_env": f"{name}_URL", **keys}) for name, keys in targets.items())
    notifications = Notifications(base_url="https://dagster.example.com", targets=made)
    return Config(version="2.0", s3=S3Config(bucket="archives"), databases=databases, notifications=notifications)


@dataclass
class World:
    """An instance, a clock, and a notifier whose cursor is kept as Dagster keeps it."""

    instance: dg.DagsterInstance
    config: Config
    environ: dict[str, str]
    now: float = field(default_factory=lambda: datetime(2026, 8, 2, 2, 0, tzinfo=UTC).timestamp())
    cursor: str | None = None
    time_limit: float = 60.0
    runs: int = 0

    def tick(self, minutes: float = 0, page: int = 500) -> Tick:
        """Let time pass, and make the notifier anew, as each tick of the sensor does."""
        self.now += minutes * MINUTE
        delivery = AppriseDelivery(("PW", "ops_URL"), self.environ, self.time_limit)
        log = EventLog(self.instance, self.config, page)
        notifier = Notifier(self.config.notifications, log, delivery, clock=lambda: self.now, stopwatch=lambda: 0.0)
        tick = notifier.tick(self.cursor)
        self.cursor = tick.cursor
        return tick

    def fail(
        self, database: str, number: int = 0, *, day: str = "2026-05-01", error: str = "SourceUnavailable", text: str = "refused"
    ) -> str:
        """Store what a failed run of a table's purge leaves, as Dagster stores it."""
        self.runs += 1
        label = f"{database}/public/t{number % TABLES:02}"
        run = self.instance.create_run_for_job(
            _job, tags={"archiver/database": database, "archiver/table": label, "dagster/partition": day}, asset_selection=None
        )
        info = SerializableErrorInfo(f"archiver_assets.errors.{error}: {text}\nHINT: look at the server\n", [], error)
        wrapped = SerializableErrorInfo("dagster: wrapped\n", [], "Failure", cause=info)
        self._store(run, DagsterEventType.RUN_FAILURE, JobFailureData(wrapped, RunFailureReason.RUN_EXCEPTION))
        return run.run_id

    def succeed(self, database: str, number: int = 0, *, day: str = "2026-05-01", step: str = "purge", rows: int = 0) -> None:
        """Report the materialization of a table's step."""
        key = dg.AssetKey([database, "public", f"t{number % TABLES:02}", step])
        metadata = {"rows_archived" if step == "archive" else "rows_purged": rows, "bytes": rows * 10}
        entry = dg.AssetMaterialization(key, partition=day, metadata=metadata)
        self._report(DagsterEventType.ASSET_MATERIALIZATION, entry)

    def check(self, database: str, *, passed: bool, severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR) -> None:
        """Report an evaluation of the check `preflight` of a table, outside of any run."""
        key = dg.AssetKey([database, "public", "t00"])
        evaluation = dg.AssetCheckEvaluation(key, "preflight", passed, {}, severity=severity, description="no rights\nmore")
        self._report(DagsterEventType.ASSET_CHECK_EVALUATION, evaluation)

    def _report(self, kind: DagsterEventType, data: dg.AssetMaterialization | dg.AssetCheckEvaluation) -> None:
        specific = StepMaterializationData(data, []) if isinstance(data, dg.AssetMaterialization) else data
        run = self.instance.create_run_for_job(_job)
        self._store(run, kind, specific)

    def _store(self, run: dg.DagsterRun, kind: DagsterEventType, data: EventSpecificData | None) -> None:
        event = DagsterEvent(kind.value, run.job_name, event_specific_data=data)
        entry = EventLogEntry(None, 10, "", run.run_id, self.now, None, run.job_name, event)  # type: ignore[no-untyped-call] # Dagster's own
        self.instance.handle_new_event(entry)


@dg.job
def _job() -> None:
    """A job whose runs stand for those of the archiver."""


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def hook() -> Iterator[Webhook]:
    with webhook() as made:
        yield made


def world_of(instance: dg.DagsterInstance, environ: Mapping[str, str], **targets: dict[str, object]) -> World:
    world = World(instance, config(**targets), dict(environ))
    world.tick()
    return world


@pytest.fixture
def world(instance: dg.DagsterInstance, hook: Webhook) -> World:
    return world_of(instance, {"ops_URL": hook.url(CANARY), "PW": "hunter2-canary"}, ops={})


def test_an_outage_of_one_database_is_one_message(world: World, hook: Webhook) -> None:
    first = world.fail("one", 3)
    for number in range(29):
        world.tick(0.05)
        world.fail("one", number)

    for _ in range(30):
        world.tick(1)

    assert hook.titles == ["one: SourceUnavailable"]
    (text,) = hook.texts
    assert text == (
        "one: 30 runs failed since 2026-08-02 02:00 UTC: SourceUnavailable: refused\n"
        "tables: one/public/t03, one/public/t00, one/public/t01 and 17 more\n"
        "next step: look at the server\n"
        f"first run: https://dagster.example.com/runs/{first}\n"
        "all: https://dagster.example.com/runs?q[]=status%3AFAILURE&q[]=tag%3Aarchiver%2Fdatabase%3Done"
    )


def test_two_databases_are_two_messages_and_so_are_two_kinds_of_failure(world: World, hook: Webhook) -> None:
    for number in range(5):
        world.fail("one", number)
        world.fail("two", number)
    world.fail("two", error="NotVerified")

    world.tick(3)

    assert hook.titles == ["one: SourceUnavailable", "two: SourceUnavailable", "two: NotVerified"]


def test_more_than_a_few_at_once_are_one_message(world: World, hook: Webhook) -> None:
    for database in ("one", "two", "d3", "d4", "d5", "d6"):
        world.fail(database, error="StoreUnavailable")

    world.tick(3)
    world.tick(3)

    assert hook.titles == ["6 kinds of failures"]
    assert "d6: 1 run failed since 2026-08-02 02:00 UTC: StoreUnavailable" in hook.texts[0]


def test_the_same_trouble_is_told_again_only_after_the_interval_and_only_if_it_goes_on(world: World, hook: Webhook) -> None:
    world.fail("one", 1)
    world.tick(3)
    world.fail("one", 2)
    world.tick(50)
    assert len(hook.received) == 1

    world.tick(11)
    assert "2 runs failed since 2026-08-02 02:00 UTC" in hook.texts[1]
    assert "1 of them since the last message" in hook.texts[1]

    world.tick(24 * 60)
    assert len(hook.received) == 2


def test_recovered_is_said_once_when_every_failed_step_of_every_day_has_succeeded(world: World, hook: Webhook) -> None:
    world.fail("one", 1, day="2026-05-01")
    world.fail("one", 1, day="2026-05-02")
    world.succeed("two", 1)
    world.tick(3)

    world.succeed("one", 1, day="2026-05-01")
    world.succeed("one", 1, day="2026-05-02", step="archive")
    world.tick(10)
    assert len(hook.received) == 1

    world.succeed("one", 1, day="2026-05-02")
    for _ in range(10):
        world.tick(30)
    assert hook.titles == ["one: SourceUnavailable"] * 2
    assert [each["type"] for each in hook.received] == ["failure", "success"]
    assert "recovered: everything that failed has since succeeded, the last at 2026-08-02 02:13 UTC" in hook.texts[1]
    assert '"incidents"' not in str(world.cursor)


def test_a_run_of_a_table_that_is_archived_only_is_made_good_by_its_archive(world: World, hook: Webhook) -> None:
    databases = tuple(
        each.model_copy(update={"tables": tuple(table.model_copy(update={"purge": False}) for table in each.tables)})
        for each in world.config.databases
    )
    world.config = world.config.model_copy(update={"databases": databases})
    world.fail("one", 1)
    world.tick(3)

    world.succeed("one", 1, step="archive")
    for _ in range(3):
        world.tick(30)

    assert [each["type"] for each in hook.received] == ["failure", "success"]


def test_what_comes_and_goes_is_no_message_each_time(world: World, hook: Webhook) -> None:
    for _ in range(10):
        world.fail("one")
        world.tick(3)
        world.succeed("one")
        world.tick(3)

    assert len(hook.received) == 2  # the failure and the recovery, in an hour of both
    world.tick(60)
    assert "10 runs failed" in hook.texts[2]
    assert "recovered" in hook.texts[2]


def test_a_failure_that_was_made_good_before_anybody_was_told_is_told_all_the_same(world: World, hook: Webhook) -> None:
    world.fail("one")
    world.tick(1)
    world.succeed("one")
    world.tick(5)
    world.tick(5)

    (text,) = hook.texts
    assert "1 run failed" in text
    assert "recovered" in text


def test_a_failed_check_counts_and_a_warning_does_not(world: World, hook: Webhook) -> None:
    world.check("one", passed=False)
    world.check("two", passed=False, severity=dg.AssetCheckSeverity.WARN)
    world.tick(3)
    assert hook.titles == ["one: check preflight"]
    assert "one: 1 check preflight failed since 2026-08-02 02:00 UTC: check preflight: no rights" in hook.texts[0]

    world.check("one", passed=True)
    world.tick(1)
    world.tick(3)
    assert "recovered" in hook.texts[1]


def test_a_target_that_cannot_be_reached_blocks_no_other_and_gets_the_whole_story_later(
    instance: dg.DagsterInstance, hook: Webhook
) -> None:
    with webhook() as other:
        other.status = 503
        world = world_of(instance, {"ops_URL": hook.url(), "down_URL": other.url(CANARY)}, down={}, ops={})
        world.fail("one", 1)
        tick = world.tick(3)
        assert len(hook.received) == 1
        assert "target down: not sent, it answered 503, the next attempt at 02:04 UTC" in tick.said

        for _ in range(120):
            tick = world.tick(1)
        assert other.tries == 7  # after 1, 2, 4, 8, 16 and 32 minutes more
        assert "target down: 7 attempts failed (it answered 503)" in tick.said
        assert CANARY not in tick.said + tick.cursor

        world.fail("one", 2)
        other.status = 200
        world.tick(60)
        assert "2 runs failed since 2026-08-02 02:00 UTC" in other.texts[0]


def test_a_target_that_cannot_be_reached_for_a_day_misses_the_message_and_gets_the_next_one(world: World, hook: Webhook) -> None:
    hook.status = 500
    world.fail("one", 1)
    said = [world.tick(10).said for _ in range(24 * 7)]
    assert sum("given up" in each for each in said) == 1
    tries = hook.tries
    hook.status = 200
    world.tick(600)
    assert (hook.tries, hook.received) == (tries, [])

    world.fail("one", 2)
    world.tick(60)
    assert "2 runs failed" in hook.texts[0]


def test_a_tick_that_dies_before_its_cursor_is_kept_tells_again_and_loses_nothing(world: World, hook: Webhook) -> None:
    world.fail("one")
    world.tick(0.5)
    kept = world.cursor
    world.tick(3)
    world.cursor = kept
    world.tick()
    world.tick(5)

    assert hook.titles == ["one: SourceUnavailable"] * 2


def test_what_failed_before_the_first_tick_is_no_news_and_a_cursor_that_is_none_begins_anew(world: World, hook: Webhook) -> None:
    world.fail("one")
    world.cursor = "from another version"
    world.tick(3)
    world.tick(3)
    assert hook.received == []

    world.fail("one")
    world.tick(3)
    assert len(hook.received) == 1


def test_a_log_that_was_wiped_is_followed_from_its_new_beginning(world: World, hook: Webhook) -> None:
    world.cursor = str(world.cursor).replace('"position":0', '"position":10000')
    assert "10000" in world.cursor
    world.tick(1)
    world.fail("one")
    world.tick(3)
    assert len(hook.received) == 1


def test_a_target_is_told_of_its_own_databases(instance: dg.DagsterInstance, hook: Webhook) -> None:
    with webhook() as other:
        world = world_of(instance, {"ops_URL": hook.url(), "two_URL": other.url()}, ops={}, two={"databases": ("two",)})
        world.fail("one")
        world.fail("two")
        world.tick(3)

        assert (hook.titles, other.titles) == (["one: SourceUnavailable", "two: SourceUnavailable"], ["two: SourceUnavailable"])


def test_events_are_read_in_their_order_however_small_the_pages(world: World, hook: Webhook) -> None:
    """A success that came before a failure of the same step does not make it good, though successes are read page by page."""
    for number in range(7):
        world.succeed("one", number)
    for number in range(7):
        world.fail("one", number)
    for number in range(6):
        world.succeed("one", number)

    world.tick(3, page=2)
    world.tick(3, page=2)

    assert len(hook.received) == 1
    assert "7 runs failed" in hook.texts[0]
    assert "recovered" not in hook.texts[0]


def test_an_event_that_has_not_settled_waits_for_the_next_tick(world: World) -> None:
    world.fail("one")
    before = world.tick().cursor
    assert '"incidents"' not in before
    assert '"incidents"' in world.tick(1).cursor


def test_a_quiet_log_is_not_read_from_its_beginning_each_time(world: World) -> None:
    end = EventLog(world.instance, world.config).end()
    for _ in range(3):
        run = world.instance.create_run_for_job(_job)
        world._store(run, DagsterEventType.RUN_SUCCESS, None)
    world.tick(1)
    world.tick(1)
    assert f'"position":{end + 3}' in str(world.cursor)


def test_the_cursor_is_bounded_and_what_it_could_not_hold_is_never_called_recovered(world: World, hook: Webhook) -> None:
    log = EventLog(world.instance, world.config)
    notifier = Notifier(world.config.notifications, log, AppriseDelivery(environ=world.environ), clock=lambda: world.now)
    state = notifier._state(world.cursor)
    items = [Item("one", f"one/public/t{number % 1000}", "purge", f"day {number // 1000}") for number in range(MOST_MARKS + 1)]
    for item in items:
        state.take(Failed(world.now, item, "SourceUnavailable", "", "run"), world.config.notifications.targets)
    world.cursor = state.model_dump_json()
    assert len(world.cursor) < 60_000
    world.tick(3)
    assert f"{MOST_MARKS + 1} runs failed" in hook.texts[0]

    state = notifier._state(world.cursor)
    for item in items:
        state.take(Done(world.now, item), world.config.notifications.targets)
    world.cursor = state.model_dump_json()
    world.tick(3)
    assert len(hook.received) == 1
    world.tick(31 * 24 * 60)
    assert '"incidents"' not in str(world.cursor)


def test_the_digest_counts_what_was_done_since_the_last_one(instance: dg.DagsterInstance, hook: Webhook) -> None:
    world = world_of(instance, {"ops_URL": hook.url()}, ops={"digest": "0 7 * * *"})
    for number in range(3):
        world.succeed("one", number, step="archive", rows=500)
        world.succeed("one", number, rows=400)
    world.fail("two", error="NotVerified")
    world.tick(3)
    hook.received.clear()

    world.tick(299)
    assert hook.titles == ["summary since 2026-08-02 02:00 UTC"]
    (text,) = hook.texts
    assert text == (
        "two: 0 days archived (0 rows, 0 bytes), 0 purged (0 rows), 1 failures\n"
        "one: 3 days archived (1,500 rows, 15,000 bytes), 3 purged (1,200 rows), 0 failures\n"
        "open: two: 1 run failed since 2026-08-02 02:00 UTC: NotVerified"
    )
    world.tick(60)
    assert len(hook.received) == 1
    world.tick(24 * 60)
    assert "nothing was archived or purged" in hook.texts[1]


def test_no_message_is_longer_than_the_services_take(world: World, hook: Webhook) -> None:
    world.fail("one", text="x" * 5000)
    world.tick(3)
    assert len(hook.texts[0]) <= LONGEST_TEXT
    assert "first run: https://dagster.example.com/runs/" in hook.texts[0]


def test_no_secret_is_in_messages_logs_or_ticks(instance: dg.DagsterInstance, hook: Webhook, caplog: pytest.LogCaptureFixture) -> None:
    """With every log at its loudest, for a target that takes messages, one that refuses them, one that is gone and one that is no URL."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        gone = closed.getsockname()[1]
    with webhook() as refusing, caplog.at_level(1):
        for name in ("apprise", "urllib3.connectionpool", "urllib3", "requests"):
            caplog.set_level(1, name)
        refusing.status = 403
        environ = {
            "PW": f"password-{CANARY}",
            "ops_URL": hook.url(f"token-{CANARY}"),
            "refusing_URL": refusing.url(f"token-{CANARY}"),
            "gone_URL": f"json://user:{CANARY}@127.0.0.1:{gone}/{CANARY}",
            "wrong_URL": f"pagerduty://{CANARY}",
            "odd_URL": f"{CANARY}",
        }
        world = world_of(instance, environ, ops={}, refusing={}, gone={}, wrong={}, odd={}, unset={})
        world.fail("one", text=f"login with password-{CANARY} was refused")
        world.fail("two", error="ValueError", text=f"{CANARY} from somewhere else")
        tick = world.tick(3)

    assert hook.titles == ["one: SourceUnavailable", "two: ValueError"]
    everything = [tick.said, tick.cursor.replace(f"password-{CANARY}", ""), caplog.text, str(hook.received)]
    assert [each for each in everything if CANARY in each] == []
    assert "target refusing: not sent, it answered 403" in tick.said
    assert "target gone: not sent, it could not be reached within 60 s, or accepted no message" in tick.said
    assert "target wrong: not sent, the variable wrong_URL does not hold a URL that Apprise knows" in tick.said
    assert "target unset: not sent, expected its URL in the environment variable unset_URL, found none" in tick.said


def test_logs_of_others_are_heard_while_no_message_is_sent(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.fail("one")
    world.tick(3)
    logging.getLogger("urllib3.connectionpool").warning("of somebody else")
    assert "of somebody else" in caplog.text


def test_a_target_may_be_a_mailbox(instance: dg.DagsterInstance) -> None:
    with mailbox() as (port, mails):
        world = world_of(
            instance, {"ops_URL": f"mailto://127.0.0.1:{port}?from=archiver@example.com&to=ops@example.com&mode=insecure"}, ops={}
        )
        world.fail("one")
        tick = world.tick(3)

    assert "target ops: sent" in tick.said
    (mail,) = mails
    assert "Audit Archiver: one: SourceUnavailable" in mail


def test_a_server_that_never_answers_is_given_up_at_the_limit(instance: dg.DagsterInstance) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        world = world_of(instance, {"ops_URL": f"json://127.0.0.1:{silent.getsockname()[1]}/x"}, ops={})
        world.time_limit = 1
        world.fail("one")
        tick = world.tick(3)
    assert "could not be reached within 1 s" in tick.said


def test_the_sensor_tells_of_real_runs_that_failed(
    kept_instance: dg.DagsterInstance, hook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database cannot be reached; the runs, their errors and the sensor are Dagster's own."""
    instance = kept_instance
    monkeypatch.setenv("ops_URL", hook.url())
    monkeypatch.setenv("PW", CANARY)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    own = config(ops={})
    databases = tuple(each.model_copy(update={"host": "127.0.0.1", "port": port}) for each in own.databases[:1])
    definitions = build_definitions(own.model_copy(update={"databases": databases}))
    repository = definitions.get_repository_def()
    sensor = repository.get_sensor_def("notifications_sensor")
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    job = definitions.resolve_job_def(shared_job_name(databases[0].tables[0]))
    key = dg.AssetKey(["one", "public", "t00", "archive"])

    with dg.build_sensor_context(instance, repository_def=repository) as first:
        cursor = sensor.evaluate_tick(first).cursor
    run = job.execute_in_process(QUIET, instance=instance, partition_key="2024-03-05", asset_selection=[key], raise_on_error=False)
    assert not run.success

    events = EventLog(instance, replace_databases(own, databases)).after(0, time.time() + HOUR).events
    assert [(each.item.table, each.item.step, each.item.partition) for each in events] == [("one/public/t00", "archive", "2024-03-05")]
    assert [getattr(each, "kind", None) for each in events] == [SourceUnavailable.__name__]
    log = EventLog(instance, replace_databases(own, databases))
    later = Notifier(own.notifications, log, AppriseDelivery(time_limit=60), clock=lambda: time.time() + HOUR).tick(cursor)
    assert "target ops: sent" in later.said
    assert hook.titles == ["one: SourceUnavailable"]
    assert CANARY not in hook.texts[0]


def replace_databases(own: Config, databases: tuple[DatabaseConfig, ...]) -> Config:
    return own.model_copy(update={"databases": databases})


def test_without_targets_there_is_no_sensor() -> None:
    assert build_definitions(config()).get_repository_def().sensor_defs == []


def test_runs_and_assets_of_others_are_none_of_ours(world: World, hook: Webhook) -> None:
    run = world.instance.create_run_for_job(_job)
    world._store(run, DagsterEventType.RUN_FAILURE, JobFailureData(None))
    world.succeed("elsewhere")
    world.tick(3)
    assert (hook.received, re.findall("incidents", str(world.cursor))) == ([], [])
