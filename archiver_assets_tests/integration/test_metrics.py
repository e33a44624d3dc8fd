"""The exporter against a Dagster instance whose events are stored as Dagster stores them: what lasts, what is bounded, what is served when.

What does not belong here: the numbers of real runs (`e2e/test_metrics.py`).
"""

import re
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.events.log import EventLogEntry

from archiver_assets.config import Config, DatabaseConfig, S3Config, TableConfig
from archiver_assets.errors import ConfigError
from archiver_assets.telemetry.exporter import Exporter, serving
from archiver_assets.telemetry.figures import Figures, Records
from archiver_assets.telemetry.log import SETTLED_AFTER
from archiver_assets.telemetry.log_follower import SILENT_AFTER, Keeper
from archiver_assets.telemetry.subjects import Subjects
from archiver_assets_tests.scraping import Past, Scrape, fill, full, get, keeper_of, scrape, scraped

ROOT = Path(__file__).parents[2]
NAMES = ("database", "schema", "table")


def config(*tables: str) -> Config:
    """Return a config of one database."""
    made = tuple(
        TableConfig(database="shop", name=name, timestamp_column="at", primary_key=("id",), retention_days=30, schema_name="s-1")
        for name in tables
    )
    database = DatabaseConfig(name="shop", host="db", user="u", password_env="PW", tables=made)  # noqa: S106 - the name of a variable
    return Config(version="2.0", s3=S3Config(bucket="archives"), databases=(database,))


@pytest.fixture
def past(instance: dg.DagsterInstance) -> Past:
    return Past(instance)


def test_an_exporter_that_starts_anew_and_a_second_one_say_the_same(past: Past) -> None:
    for number in range(7):
        past.archive(day=f"2026-05-0{number + 1}", rows=number)
    running = keeper_of(past.instance, None)
    with scraped(running) as address:
        for number in range(3):
            past.archive("log2", day=f"2026-06-0{number + 1}")
        while running.read():
            pass
        before = Scrape(get(f"{address}/metrics")[1])

    assert before.by("archiver_rows_archived_total", "table") == {("log",): 21, ("log2",): 30}
    assert scrape(past.instance, None).counted == before.counted
    assert scrape(past.instance, None, page=2).counted == before.counted


def test_with_a_config_its_tables_are_there_from_the_start_by_their_true_names_and_no_others(past: Past) -> None:
    for number in range(5):
        past.archive(f"other{number}")
    past.archive("log")

    found = scrape(past.instance, config("log", "quiet"))

    assert found.by("archiver_rows_archived_total", *NAMES) == {("shop", "s-1", "log"): 10, ("shop", "s-1", "quiet"): 0}
    assert found.by("archiver_runs_total", "table", "status")["quiet", "failure"] == 0


def test_the_number_of_series_does_not_grow_with_days_and_runs(past: Past) -> None:
    past.archive(day="2026-05-01")
    few = len(scrape(past.instance, None).text.splitlines())
    for number in range(20):
        past.archive(day=f"2026-06-{number + 1:02}")

    assert len(scrape(past.instance, None).text.splitlines()) == few


def test_deleted_runs_leave_a_running_exporter_as_it_is_and_are_missing_from_the_next(past: Past) -> None:
    runs = [past.archive(day=f"2026-05-0{number + 1}") for number in range(3)]
    keeper = keeper_of(past.instance, None)
    with scraped(keeper) as address:
        past.instance.delete_run(runs[0])
        past.archive(day="2026-05-09")
        keeper.read()
        assert get(f"{address}/healthz") == (200, "ok\n")
        assert Scrape(get(f"{address}/metrics")[1])["archiver_rows_archived_total"] == 40

    assert scrape(past.instance, None)["archiver_rows_archived_total"] == 30


@pytest.mark.parametrize("wiped", [True, False], ids=["wiped", "the newest run deleted"])
def test_a_log_that_ends_before_what_was_read_is_read_from_its_beginning(past: Past, *, wiped: bool) -> None:
    runs = [past.archive(day=f"2026-05-0{number + 1}") for number in range(3)]
    keeper = keeper_of(past.instance, None)
    while keeper.read():
        pass
    if wiped:
        past.instance.event_log_storage.wipe()
    else:
        past.instance.delete_run(runs[-1])
    keeper.read()
    past.archive(rows=1)
    while keeper.read():
        pass

    assert rows(keeper) == (1 if wiped else 21)


def test_what_reconciling_reports_of_the_past_succeeded_then(past: Past) -> None:
    past.archive(recorded_at=dg.MetadataValue.timestamp(1_700_000_000.0))

    assert scrape(past.instance, None)["archiver_last_success_timestamp_seconds"] == 1_700_000_000


def test_health_is_bad_until_all_is_read_and_while_the_storage_does_not_answer(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(4):
        past.archive()
    now = 0.0
    keeper = Keeper(past.instance, Subjects(None), 2, clock=lambda: past.at + 60, stopwatch=lambda: now)
    answers = Exporter(keeper)

    def ask(path: str) -> tuple[str, str]:
        said: list[str] = []
        body = answers({"PATH_INFO": path, "REQUEST_METHOD": "GET"}, lambda status, _headers: said.append(status[:3]))
        return said[0], b"".join(body).decode()

    assert keeper.read()
    assert ask("/healthz") == ("503", "reading Dagster's event log: 4 events so far\n")
    half = Scrape(ask("/metrics")[1])
    assert half["archiver_exporter_ready"] == 0
    assert "archiver_rows_archived" not in half.text  # half of what was done would look like work done now

    while keeper.read():
        pass
    assert ask("/healthz") == ("200", "ok\n")

    now = SILENT_AFTER + 1
    assert ask("/healthz") == ("503", "Dagster's storage has not answered for 61 s\n")
    keeper.read()
    assert ask("/healthz")[0] == "200"

    def refuse() -> None:
        raise ConnectionError

    monkeypatch.setattr(past.instance.event_log_storage, "get_maximum_record_id", refuse)
    with serving(answers, "127.0.0.1", 0) as address:
        while get(f"{address}/healthz")[0] == 200:
            time.sleep(0.01)
        assert get(f"{address}/healthz")[1] == "Dagster's storage does not answer: ConnectionError\n"
        assert Scrape(get(f"{address}/metrics")[1])["archiver_rows_archived_total"] == 40
        monkeypatch.undo()
    keeper.read()
    assert ask("/healthz")[0] == "200"


def test_an_event_is_taken_once_no_earlier_one_can_come_whatever_the_clock_of_its_writer(past: Past) -> None:
    now = time.time()
    keeper = Keeper(past.instance, Subjects(None), clock=lambda: now)
    past.at = now - 1
    past.archive(rows=1)
    keeper.read()
    assert rows(keeper) == 0

    now += SETTLED_AFTER
    keeper.read()
    assert rows(keeper) == 1

    past.at = now + 3600  # a clock that is an hour ahead
    past.archive(rows=2)
    keeper.read()
    assert rows(keeper) == 1
    for _ in range(2):
        now += SETTLED_AFTER
        keeper.read()
    assert rows(keeper) == 3


def test_a_scrape_of_a_thousand_tables_takes_less_than_a_second_and_asks_the_storage_nothing(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = keeper_of(instance, None)
    keeper.read()
    with keeper.figures() as figures:
        fill(figures, 1000)
    answers = Exporter(keeper)
    monkeypatch.setattr(Keeper, "read", None)
    monkeypatch.setattr(type(instance.event_log_storage), "index_connection", None)

    started = time.process_time()
    (body,) = answers({"PATH_INFO": "/metrics", "REQUEST_METHOD": "GET"}, lambda _status, _headers: None)
    seconds = time.process_time() - started

    assert body.count(b"\n") > 25_000
    assert seconds < 1


def test_a_look_reads_what_is_new_and_nothing_else(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(10):
        past.archive(day=f"2026-05-{number + 1:02}")
    keeper = keeper_of(past.instance, None)
    while keeper.read():
        pass
    past.archive(day="2026-06-01")
    storage, sizes = past.instance.event_log_storage, list[int]()

    def counted(*given: Any, **named: Any) -> Mapping[int, EventLogEntry]:  # noqa: ANN401 - whatever it takes
        found = type(storage).get_logs_for_all_runs_by_log_id(storage, *given, **named)
        sizes.append(len(found))
        return found

    monkeypatch.setattr(storage, "get_logs_for_all_runs_by_log_id", counted)
    keeper.read()

    assert sorted(sizes) == [0, 0, 0, 1, 1]  # a materialization, and the end of the run
    assert rows(keeper) == 110


def test_a_port_that_is_taken_is_an_error_that_says_so(instance: dg.DagsterInstance) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(ConfigError, match=f"port {port} of 127.0.0.1, found: Address already in use\nHINT: choose another --port"),
            serving(Exporter(keeper_of(instance, None)), "127.0.0.1", port),
        ):
            pass


def test_other_paths_are_not_found(instance: dg.DagsterInstance) -> None:
    with scraped(keeper_of(instance, None)) as address:
        assert get(f"{address}/")[0] == 404


def test_the_reference_has_every_metric_with_its_type_and_labels_and_no_other(instance: dg.DagsterInstance) -> None:
    reference = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    listed = re.findall(r"^\| `(archiver_\w+)` \| (\w+) \| (.*?) \|", reference, re.MULTILINE)

    found = []
    for each in full(instance).metrics.values():
        (labels,) = {frozenset(sample.labels) for sample in each.samples}
        own = ["table"] * labels.issuperset(NAMES) + [f"`{label}`" for label in sorted(labels - set(NAMES))]
        found.append((each.name + "_total" * (each.type == "counter"), each.type, ", ".join(own)))

    assert sorted(found) == sorted(listed)


def test_names_follow_the_conventions_of_prometheus(instance: dg.DagsterInstance) -> None:
    for each in full(instance).metrics.values():
        assert re.fullmatch(r"archiver_[a-z][a-z_]*[a-z]", each.name)
        assert each.documentation.endswith(".") or each.documentation.endswith("archiver_backlog_limit_days.")
        assert not re.search(r"_(ms|minutes|hours|kb|mb|kilobytes|milliseconds|count|sum|bucket)\b", each.name)
        assert each.type in {"counter", "gauge", "summary"}
        if each.type != "counter":
            assert not each.name.endswith("_total")
        for sample in each.samples:
            assert not {"job", "instance", "le", "quantile"} & set(sample.labels)


def rows(keeper: Keeper) -> int:
    with keeper.figures() as figures:
        return sum(each.rows_archived for each in figures.tables.values())


def test_a_run_that_was_killed_shows_by_what_killed_it(past: Past) -> None:
    run = dg.DagsterRun("any", asset_selection=frozenset({dg.AssetKey(["shop", "s_1", "log", "purge"])}))
    past.instance.add_run(run)
    state = "\nContainer 'dagster' status: Terminated with exit code 137: OOMKilled"
    past.instance.report_run_failed(run, f"Detected run worker status FAILED: 'Discovered failed Kubernetes job'{state}")

    found = scrape(past.instance, None)

    assert found.by("archiver_run_failures_total", "table", "error") == {("log", "OOMKilled"): 1}
    assert found.by("archiver_run_duration_seconds_count", "table") == {("log",): 0}  # it never began


def test_an_event_whose_writer_has_a_clock_that_lags_waits_for_earlier_ids_too(past: Past) -> None:
    now = time.time()
    keeper = Keeper(past.instance, Subjects(None), clock=lambda: now)
    past.at = now - 20
    past.archive()
    keeper.read()

    assert rows(keeper) == 0


def test_figures_are_served_once_all_that_was_there_is_taken_in_as_an_exporter_before_may_have_counted_it(past: Past) -> None:
    now = time.time()
    past.at = now + 3600  # a clock that is an hour ahead
    past.archive()
    keeper = Keeper(past.instance, Subjects(None), clock=lambda: now)
    keeper.read()
    assert keeper.trouble.startswith("reading")

    past.archive(day="2026-05-02")  # what comes later is not waited for
    now += SETTLED_AFTER
    keeper.read()
    assert keeper.caught_up
    assert rows(keeper) == 10


def test_an_event_that_cannot_be_taken_in_is_left_out_and_no_other_counts_twice(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    past.archive(rows=1)
    past.archive(rows=2, bad=dg.MetadataValue.bool(value=True))
    past.archive(rows=4)
    keeper, take = keeper_of(past.instance, None), Figures.take

    def refuse(figures: Figures, entry: EventLogEntry, records: Records) -> None:
        if entry.asset_materialization and "bad" in entry.asset_materialization.metadata:
            raise KeyError
        take(figures, entry, records)

    monkeypatch.setattr(Figures, "take", refuse)
    with pytest.raises(KeyError):
        keeper.read()
    while keeper.read():
        pass

    assert rows(keeper) == 5


def test_no_scrape_sees_figures_that_begin_anew_as_those_of_a_whole_log(past: Past) -> None:
    past.archive()
    keeper = keeper_of(past.instance, None)
    while keeper.read():
        pass
    seen, lock = list[tuple[bool, int]](), keeper._lock

    class Watched:
        def __enter__(self) -> None:
            lock.acquire()

        def __exit__(self, *_error: object) -> None:
            lock.release()
            seen.append((keeper.caught_up, len(keeper._figures.tables)))

    keeper._lock = Watched()  # type: ignore[assignment] # a lock that looks when it is free again
    past.instance.event_log_storage.wipe()
    keeper.read()

    assert seen
    assert (True, 0) not in seen[:1]


def test_a_run_that_ended_twice_took_as_long_for_an_exporter_that_comes_later(past: Past) -> None:
    run = dg.DagsterRun("any", asset_selection=frozenset({dg.AssetKey(["shop", "s_1", "log", "purge"])}))
    past.instance.add_run(run)
    past.at -= 200
    for later, kind in ((0, "RUN_START"), (10, "RUN_FAILURE"), (90, "RUN_SUCCESS")):
        past.at += later
        past.store(run, dg.DagsterEventType[kind])

    assert scrape(past.instance, None, page=1)["archiver_run_duration_seconds_sum"] == pytest.approx(110)


def test_runs_of_several_databases_are_counted_from_the_start_too(instance: dg.DagsterInstance) -> None:
    one = config("log")
    (shop,) = one.databases
    tables = tuple(each.model_copy(update={"database": "crm"}) for each in shop.tables)
    two = one.model_copy(update={"databases": (shop, shop.model_copy(update={"name": "crm", "tables": tables}))})

    assert ("", "", "", "failure") not in scrape(instance, one).by("archiver_runs_total", *NAMES, "status")
    assert scrape(instance, two).by("archiver_runs_total", *NAMES, "status")["", "", "", "failure"] == 0
