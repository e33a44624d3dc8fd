"""The exporter with a million events in Dagster's storage: those of one real run, copied in PostgreSQL under other ids and tables."""

import json
import time
from http import HTTPStatus
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from archiver_assets_tests.asset_runs import Runs
from archiver_assets_tests.lab import Lab
from archiver_assets_tests.scraping import Scrape, get, keeper_of, scraped
from archiver_assets_tests.servers import Database

TABLES = 1000
EVENTS = 1_000_000
MOST_SECONDS = 1.0


COPY_EVENTS = """
INSERT INTO event_logs (run_id, event, dagster_event_type, timestamp, step_key, asset_key, partition)
SELECT copy.run_id, replace(replace(event, e.run_id, copy.run_id), 'audit_logs', 'audit_logs_' || n % {tables}), dagster_event_type,
       timestamp, replace(step_key, 'audit_logs', 'audit_logs_' || n % {tables}),
       replace(asset_key, 'audit_logs', 'audit_logs_' || n % {tables}), partition
FROM generate_series(1, {copies}) AS n, event_logs AS e, LATERAL (SELECT left(e.run_id, 24) || lpad(n::text, 12, '0') AS run_id) AS copy
ORDER BY n, id
"""
COPY_RUNS = """
INSERT INTO runs (run_id, snapshot_id, pipeline_name, status, run_body, partition, create_timestamp, update_timestamp, start_time, end_time)
SELECT copy.run_id, snapshot_id, pipeline_name, status,
       replace(replace(run_body, r.run_id, copy.run_id), 'audit_logs', 'audit_logs_' || n % {tables}), partition,
       create_timestamp, update_timestamp, start_time, end_time
FROM generate_series(1, {copies}) AS n, runs AS r, LATERAL (SELECT left(r.run_id, 24) || lpad(n::text, 12, '0') AS run_id) AS copy
"""


@pytest.mark.torture
@pytest.mark.timeout(1800)
def test_a_scrape_and_a_look_at_what_is_new_take_less_than_a_second_after_a_million_events(
    lab: Lab, scratch: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = {"hostname": scratch.host, "port": scratch.port, "db_name": scratch.name}
    who = {"username": scratch.user, "password": scratch.password}
    (tmp_path / "dagster.yaml").write_text(json.dumps({"storage": {"postgres": {"postgres_db": {**where, **who}}}}))
    with dg.DagsterInstance.from_config(str(tmp_path)) as stored:
        runs = Runs(lab, stored)
        lab.fill(rows=20)
        runs.run(runs.keys.archive, runs.keys.purge)
        copies = copy_run(scratch)
        keeper = keeper_of(stored, None)
        began = time.monotonic()
        with scraped(keeper) as address:
            seconds = {"reading it all": time.monotonic() - began}
            began = time.monotonic()
            status, text = get(f"{address}/metrics")
            seconds["a scrape"] = time.monotonic() - began
        found = Scrape(text)
        lab.fill(rows=20)
        runs.run(runs.keys.archive, runs.keys.purge)
        before, began = keeper.events_read, time.monotonic()
        keeper.read()
        seconds["a look at what is new"] = time.monotonic() - began

    with capsys.disabled():
        print(f"\n{copies:,} runs: " + ", ".join(f"{what} {took:.2f} s" for what, took in seconds.items()))  # noqa: T201 - its result
    assert status == HTTPStatus.OK
    by_table = found.by("archiver_rows_archived_total", "table")
    assert (len(by_table), sum(by_table.values())) == (TABLES + 1, 20 * (copies + 1))
    assert sum(found.by("archiver_runs_total", "table", "status").values()) == copies + 1
    assert keeper.events_read - before == 4  # two materializations, an evaluation, the end of the run
    assert seconds["a scrape"] < MOST_SECONDS
    assert seconds["a look at what is new"] < MOST_SECONDS


def copy_run(storage: Database) -> int:
    """Copy the only run until there are a million events; return the number of copies."""
    with psycopg.connect(storage.dsn, autocommit=True) as connection:
        (events,) = connection.execute("SELECT count(*) FROM event_logs").fetchone() or (1,)
        copies = -(-EVENTS // int(events))
        for statement in (COPY_EVENTS, COPY_RUNS):
            connection.execute(statement.format(copies=copies, tables=TABLES))
        connection.execute("ANALYZE")
    return copies
