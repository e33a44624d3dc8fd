"""The cost of a thousand tables in 50 databases: loading the code location, the graph in the UI, and the schedules.

What belongs here: creating the databases and the config, and querying the UI. What does not: methods that run in a separate process
(`methods/scaled.py`).

No table has expired rows, as on most nights, so that only the number of tables matters.
"""

import json
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import psycopg
import yaml
from psycopg.conninfo import make_conninfo

from archiver_assets_tests.benchmarks.comparing import Comparison, Method, Target
from archiver_assets_tests.benchmarks.measuring import Done, Meter, Sample
from archiver_assets_tests.benchmarks.site import Site
from archiver_assets_tests.benchmarks.workload import Workload
from archiver_assets_tests.dagster_processes import open_dagster

MIB = 1024 * 1024
EMPTY = "an empty code location"
LOAD = "code location"
TICKS = "schedules, one after the other"
DATABASES = 50
TABLES = 20
"""The number of tables in each database."""
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
# The main queries of the UI: when it is opened, for the global graph, and for the states of the visible nodes.
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


@contextmanager
def loading(site: Site) -> Iterator[Mapping[str, Method]]:
    """The code location, and an empty one."""
    environ = _write_files(site)
    yield {EMPTY: lambda: site.child("scaled", "empty", environ=environ), LOAD: lambda: site.child("scaled", "load", environ=environ)}


@contextmanager
def ticking(site: Site) -> Iterator[Mapping[str, Method]]:
    """Evaluating all tables' schedules one after the other, and opening Dagster's storage, as a schedule that looks up days does."""
    environ = _write_files(site)
    names = {TICKS: "ticks", "opening Dagster's storage a hundred times": "instances"}
    yield {title: partial(site.child, "scaled", name, environ=environ) for title, name in names.items()}


@contextmanager
def asking(site: Site) -> Iterator[Mapping[str, Method]]:
    """The UI's GraphQL queries to a webserver, after a first answer, which includes loading the code location."""
    with open_dagster(site.folder, {**site.environ, **_write_files(site)}) as dagster:
        _ask(dagster.url, WORKSPACE)
        _require_tables(dagster.url)
        keys = [{"path": [name, "public", f"audit_{number}", "archive"]} for name in _names() for number in range(TABLES)]
        yield {
            "workspace": partial(_ask, dagster.url, WORKSPACE),
            "asset graph": partial(_ask, dagster.url, GRAPH),
            "states of 100 nodes": partial(_ask, dagster.url, STATES, keys[:100]),
            f"partition statistics of {len(keys):,} archives": partial(_ask, dagster.url, STATISTICS, keys),
        }


def make_databases(dsn: str, _rows: int) -> None:
    """Create the databases, and one for Dagster."""
    statements = "".join(_TABLE.format(number=number) for number in range(TABLES))
    with psycopg.connect(dsn, autocommit=True) as admin:
        for name in ("dagster", "template", *_names()):
            template = " TEMPLATE template" if name in _names() else ""
            admin.execute(f'CREATE DATABASE "{name}"{template}')
            if name == "template":
                with psycopg.connect(make_conninfo(dsn, dbname=name), autocommit=True) as connection:
                    connection.execute(statements)


def _names() -> list[str]:
    return [f"app_{number:02}" for number in range(DATABASES)]


def _write_files(site: Site) -> Mapping[str, str]:
    """Write the config and Dagster's config, and return the environment variables for them."""
    reach = {"host": site.database.host, "port": site.database.port, "user": site.database.user, "password_env": "PGPASSWORD"}
    config = {
        "version": "2.0",
        "s3": {"bucket": site.bucket, "endpoint": site.s3.endpoint, "path_style": True},
        "defaults": {"retention_days": 90},
        "databases": [{"name": name, **reach, "tables": _tables()} for name in _names()],
    }
    (site.folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    (site.folder / "dagster.yaml").write_text(DAGSTER_YAML)
    return {"ARCHIVER_CONFIG": str(site.folder / "config.yaml"), "DAGSTER_HOME": str(site.folder)}


def _tables() -> list[dict[str, str]]:
    return [{"name": f"audit_{number}", "timestamp_column": "at", "primary_key": "id"} for number in range(TABLES)]


def _ask(url: str, query: str, keys: list[dict[str, list[str]]] | None = None) -> Sample:
    """Send the query, and return its sample. The client's CPU is negligible, and the webserver's is unknown."""
    meter = Meter({})
    meter.start()
    _answer(url, query, keys)
    meter.stop()
    return meter.sample(Done(len(keys or ())), with_memory=False)


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


_WORKLOAD = Workload(
    "tables",
    f"{DATABASES * TABLES:,} tables in {DATABASES} databases, nothing expired",
    make_databases,
    weight=0,
    settings={"max_connections": "200"},
)
COMPARISONS = (
    Comparison(
        "scale",
        _WORKLOAD,
        "Loading the code location, imports included",
        loading,
        EMPTY,
        targets=(Target(LOAD, "wall", 6.0, of="more"), Target(LOAD, "peak_rss", 300 * MIB, of="value")),
        same_rows=False,
    ),
    Comparison(
        "ticks",
        _WORKLOAD,
        "The schedules of all tables, summed",
        ticking,
        targets=(Target(TICKS, "wall", 30.0, of="value"),),
        same_rows=False,
    ),
    Comparison("ui", _WORKLOAD, "What the UI asks", asking, same_rows=False),
)
