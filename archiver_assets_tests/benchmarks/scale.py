"""A thousand tables in 50 databases: what loading their code location, their graph in the UI and their schedules cost.

What belongs here: making the databases and the config, the order of the runs, and the lines that are printed. What does not: what is
measured in a process of its own (`scaled.py`). Imports no Arrow: see `measuring.py`.

Nothing is expired in any table, as on most nights in most tables: what is measured is what the number of tables costs.
"""

import json
import os
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

import psycopg
import yaml

from archiver_assets.demo.postgres import EmbeddedPostgres
from archiver_assets.demo.seaweed import EmbeddedS3
from archiver_assets_tests.benchmarks.measuring import Cost, measure
from archiver_assets_tests.dagster_processes import open_dagster

BUCKET = "audit-archives"
DATABASES = 50
TABLES = 20
"""In each database."""
_MIB = 1024 * 1024
_TABLE = """
CREATE TABLE audit_{number} (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz NOT NULL, actor uuid, action text, details jsonb);
CREATE INDEX ON audit_{number} (at);
INSERT INTO audit_{number} (at, action, details)
SELECT now() - n * interval '1 hour', 'login', '{{"n": 1}}' FROM generate_series(1, 50) AS n;
"""
DAGSTER_YAML = """\
telemetry: {enabled: false}
nux: {enabled: false}
storage:
  postgres:
    postgres_db:
      hostname: 127.0.0.1
      port: {env: PGPORT}
      username: postgres
      password: {env: PGPASSWORD}
      db_name: dagster
      scheme: postgresql+psycopg2
"""
# The gist of what the UI asks for: when it is opened, for its global graph, and for the states of the nodes that are in view.
WORKSPACE = """{ workspaceOrError { ... on Workspace { locationEntries { name loadStatus locationOrLoadError { ... on RepositoryLocation {
  repositories { name assetGroups { groupName } pipelines { name isAssetJob } schedules { name cronSchedule scheduleState { status } } } }
  ... on PythonError { message } } } } } }"""
GRAPH = """{ assetNodes { id assetKey { path } groupName kinds description isPartitioned isMaterializable isExecutable hasAssetChecks
  jobNames dependencyKeys { path } dependedByKeys { path } owners { ... on UserAssetOwner { email } } tags { key value } } }"""
STATES = """query($keys: [AssetKeyInput!]) { assetNodes(assetKeys: $keys) { id assetKey { path }
  assetMaterializations(limit: 1) { timestamp runId } partitionStats { numMaterialized numMaterializing numPartitions numFailed }
  assetChecksOrError { ... on AssetChecks { checks { name executionForLatestMaterialization { status } } } } } }"""
STATISTICS = """query($keys: [AssetKeyInput!]) { assetNodes(assetKeys: $keys) { id
  partitionStats { numMaterialized numMaterializing numPartitions numFailed } } }"""


def measure_scale(runs: int) -> list[str]:
    """Make the tables, measure by turns, and return the lines to print."""
    with EmbeddedPostgres(settings={"max_connections": "200"}) as server, EmbeddedS3() as s3, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        began = time.perf_counter()
        s3.create_bucket(BUCKET)
        _make_databases(server)
        environ = _write_files(folder, server, s3)
        _say(f"made {DATABASES} databases of {TABLES} tables in {time.perf_counter() - began:.0f} s")
        loads = _by_turns(environ, ("empty", "load"), runs)
        ticks = {method: measure("scaled", [method], environ) for method in ("instances", "ticks")}
        answers = _ask_the_ui(folder, environ, runs)
    return [*_loads(loads), _ticks(ticks), *answers]


def _make_databases(server: EmbeddedPostgres) -> None:
    statements = "".join(_TABLE.format(number=number) for number in range(TABLES))
    with psycopg.connect(server.dsn(), autocommit=True) as admin:
        for name in ("dagster", "template", *_names()):
            template = " TEMPLATE template" if name in _names() else ""
            admin.execute(f'CREATE DATABASE "{name}"{template}')
            if name == "template":
                with psycopg.connect(server.dsn(name), autocommit=True) as connection:
                    connection.execute(statements)


def _names() -> list[str]:
    return [f"app_{number:02}" for number in range(DATABASES)]


def _write_files(folder: Path, server: EmbeddedPostgres, s3: EmbeddedS3) -> Mapping[str, str]:
    reach = {"host": server.host, "port": server.port, "user": server.user, "password_env": "PGPASSWORD"}
    config = {
        "version": "2.0",
        "s3": {"bucket": BUCKET, "endpoint": s3.endpoint, "path_style": True},
        "defaults": {"retention_days": 90},
        "databases": [{"name": name, **reach, "tables": _tables()} for name in _names()],
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    (folder / "dagster.yaml").write_text(DAGSTER_YAML)
    own = {"ARCHIVER_CONFIG": str(folder / "config.yaml"), "DAGSTER_HOME": str(folder)}
    return dict(os.environ) | s3.environ() | own | {"PGPORT": str(server.port), "PGPASSWORD": server.password}


def _tables() -> list[dict[str, str]]:
    return [{"name": f"audit_{number}", "timestamp_column": "at", "primary_key": "id"} for number in range(TABLES)]


def _by_turns(environ: Mapping[str, str], methods: Sequence[str], runs: int) -> dict[str, list[Cost]]:
    costs: dict[str, list[Cost]] = {method: [] for method in methods}
    for number in range(runs):
        for method in methods if number % 2 else reversed(methods):
            costs[method].append(measure("scaled", [method], environ))
            _say(f"run {number + 1} of {runs}: {method} {costs[method][-1].seconds:.2f} s")
    return costs


def _ask_the_ui(folder: Path, environ: Mapping[str, str], runs: int) -> list[str]:
    """Ask a webserver what the UI asks, by GraphQL, after a first answer that includes reading the code location."""
    with open_dagster(folder, environ) as dagster:
        first = _ask(dagster.url, WORKSPACE)
        _require_tables(dagster.url)
        keys = [{"path": [name, "public", f"audit_{number}", "archive"]} for name in _names() for number in range(TABLES)]
        questions: dict[str, tuple[str, list[dict[str, list[str]]] | None]] = {
            "workspace": (WORKSPACE, None),
            "asset graph": (GRAPH, None),
            "states of 100 nodes": (STATES, keys[:100]),
            f"partition statistics of {len(keys):,} archives": (STATISTICS, keys),
        }
        seconds = {name: [_ask(dagster.url, *question) for _ in range(runs)] for name, question in questions.items()}
    return [f"UI, {name}: {_spread(found)}" for name, found in ({"workspace, the first time": [first]} | seconds).items()]


def _ask(url: str, query: str, keys: list[dict[str, list[str]]] | None = None) -> float:
    began = time.perf_counter()
    _answer(url, query, keys)
    return time.perf_counter() - began


def _answer(url: str, query: str, keys: list[dict[str, list[str]]] | None = None) -> dict[str, list[dict[str, str]]]:
    body = json.dumps({"query": query, "variables": {"keys": keys}}).encode()
    request = urllib.request.Request(f"{url}/graphql", body, {"Content-Type": "application/json"})  # noqa: S310 - our own webserver
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=300) as answer:
        found = json.load(answer)
    if found.get("errors"):
        sys.exit(f"expected an answer, found {found['errors']}")
    data: dict[str, list[dict[str, str]]] = found["data"]
    return data


def _require_tables(url: str) -> None:
    found = len(_answer(url, GRAPH)["assetNodes"])
    if found != 4 * DATABASES * TABLES:
        sys.exit(f"expected {4 * DATABASES * TABLES} assets in the UI, found {found}")


def _loads(costs: Mapping[str, Sequence[Cost]]) -> list[str]:
    full, empty = costs["load"], costs["empty"]
    more = statistics.median(each.seconds for each in full) - statistics.median(each.seconds for each in empty)
    cpu = statistics.median(each.cpu_seconds for each in full) - statistics.median(each.cpu_seconds for each in empty)
    memory, least = (max(each.peak_rss for each in found) / _MIB for found in (full, empty))
    ours, theirs = (_spread([each.seconds for each in found]) for found in (full, empty))
    seconds = f"code location, imports included: {ours}, an empty one {theirs}: {more:.2f} s more, {cpu:.2f} s of CPU"
    size = f"peak RSS {memory:.0f} MiB, of the empty one {least:.0f} MiB; snapshot {full[0].parquet_bytes / 1e6:.1f} MB"
    return [f"{DATABASES * TABLES:,} tables in {DATABASES} databases; medians of {len(full)} runs (min-max)", f"{seconds}; {size}"]


def _ticks(costs: Mapping[str, Cost]) -> str:
    ticks, openings = costs["ticks"], costs["instances"]
    each, opening = (cost.seconds / cost.rows * 1000 for cost in (ticks, openings))
    title = f"schedules of {ticks.rows:,} tables, nothing expired, one after the other, once"
    own = f"{each:.0f} ms each, while to open Dagster's storage, which one with days to look up does, takes {opening:.0f} ms"
    return f"{title}: {ticks.seconds:.1f} s, {own}; client CPU {ticks.cpu_seconds:.1f} s; peak RSS {ticks.peak_rss / _MIB:.0f} MiB"


def _spread(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds):.2f} s ({min(seconds):.2f}-{max(seconds):.2f})"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
