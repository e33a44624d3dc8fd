"""`archiver query`: SQL over the archive, which sees nothing else."""

import io
import json
import sys
import threading
from collections.abc import Iterator
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from archiver_assets.cli.app import Status, main
from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.purging.purge import purge
from archiver_assets_tests.e2e.conftest import Said
from archiver_assets_tests.lab import DAY, Lab

NEXT_DAY = date(2024, 3, 6)


@pytest.fixture(name="lab")
def archived_lab(lab: Lab) -> Lab:
    """A day that is purged, and one that only the table has."""
    for day in (DAY, NEXT_DAY):
        lab.fill(day, rows=10)
    archive(lab.task(DAY))
    purge(lab.task(DAY))
    return lab


def test_sql_sees_the_archive_under_the_tables_name_and_as_archive(said: Said) -> None:
    status, out = said("query", "SELECT count(*) AS n, min(created_at) AS first FROM audit_logs")
    assert status == Status.DONE
    assert [line.split() for line in out.splitlines()][-3:] == [["10", "2024-03-05", "00:00:00+00:00"], [], ["1", "row"]]
    assert said("query", "SELECT count(*) AS n FROM archive WHERE amount > 0", "--format", "csv") == (0, "n\n9\n")


def test_with_the_table_also_the_rows_that_are_not_archived_yet(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("SELECT count(*) AS n FROM archive"))
    assert said("query", "-", "--with-table", "--format", "json", "--from", "2024-01-01", "--to", "2024-12-31") == (0, '{"n": 20}\n')
    assert said("query", "SELECT count(*) AS n FROM archive", "--with-table", "--to", str(DAY), "--format", "json") == (0, '{"n": 10}\n')


def test_every_type_has_a_form_in_every_format(said: Said) -> None:
    sql = (
        "SELECT id, id, amount, tags, details, address, NULL AS nothing, 'a,b' AS text, '\\x00'::BLOB AS raw, 'NaN'::DOUBLE AS nan, "
        "{'a': 1} AS part, true AS yes FROM archive WHERE id = 2"
    )
    _, out = said("query", sql, "--json")
    answer = json.loads(out)
    (row,) = answer["rows"]
    assert [each["name"] for each in answer["columns"]][:3] == ["id", "id", "amount"]
    assert row[:4] == [2, 2, "0.1429", "{a,NULL,1}"]
    assert row[6:] == [None, "a,b", "\\x00", "nan", {"a": 1}, True]
    _, out = said("query", sql, "--format", "csv")
    assert out.splitlines()[1].startswith('2,2,0.1429,"{a,NULL,1}",')
    _, out = said("query", sql)
    assert "NULL" in out


def test_of_many_rows_a_person_sees_a_thousand(said: Said) -> None:
    _, out = said("query", "SELECT * FROM range(1001)")
    assert len(out.splitlines()) < 1010
    assert "only the first 1,000 rows are shown: use --format csv or json for all" in out
    _, out = said("query", "SELECT * FROM range(1001)", "--format", "csv")
    assert len(out.splitlines()) == 1002


REFUSED = (
    "SELECT * FROM read_text('/etc/hostname')",
    "SELECT * FROM '/etc/hostname.csv'",
    "SELECT * FROM glob('/*')",
    "COPY (SELECT 1) TO '{folder}/written.csv'",
    "ATTACH '{folder}/written.db'",
    "EXPORT DATABASE '{folder}/written'",
    "SELECT * FROM read_csv('http://127.0.0.1:1/x')",
    "INSTALL httpfs",
    "SET enable_external_access = true",
    "RESET lock_configuration",
    "SELECT * FROM tables",
    "SELECT getenv('HOME')",
    "SELEC 1",
    "SELECT 1 / 'x'",
    "SELECT 1; COPY (SELECT 1) TO '{folder}/written.csv'",
    "CREATE TABLE mine AS SELECT 1",
    "",
)


def test_sql_sees_nothing_but_the_archive(tmp_path: Path, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    for sql in REFUSED:
        assert main(["query", sql.format(folder=tmp_path), "--config", config]) == Status.FAILED, sql
        said = capsys.readouterr().err
        assert "error: the query could not be run: " in said
        assert "HINT: " in said
        assert not list(tmp_path.glob("written*")), sql


def test_a_name_of_two_tables_is_to_be_narrowed(lab: Lab, config: str, said: Said) -> None:
    document = lab.document()
    document["databases"].append({**lab.document()["databases"][0], "name": "other"})
    Path(config).write_text(yaml.safe_dump(document))
    status, out = said("--json", "query", "SELECT 1 FROM audit_logs")
    assert status == Status.USAGE
    assert "found lab/public/audit_logs, other/public/audit_logs" in json.loads(out)["message"]
    assert said("query", "SELECT count(*) AS n FROM audit_logs", "--database", "lab", "--format", "csv") == (0, "n\n10\n")


def test_without_duckdb_it_says_what_to_install(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    status, out = said("--json", "query", "SELECT 1")
    assert status == Status.USAGE
    assert json.loads(out)["hint"] == "install DuckDB with this package: pip install 'audit-archiver[query]'"


CANARY = "canary-4f1d9c0b7a"
REACHING = (
    "SELECT * FROM read_csv('{url}')",
    "SELECT * FROM read_parquet('{url}')",
    "SELECT * FROM read_csv('{folder}/secret.csv', columns = {{'a': 'INT'}}, strict_mode = true)",
    "SELECT * FROM sniff_csv('{folder}/secret.csv')",
    "SELECT * FROM read_json('{folder}/secret.csv')",
    "SELECT * FROM read_blob('{folder}/secret.csv')",
    "SELECT * FROM '{folder}/secret.csv'",
    "SELECT * FROM parquet_metadata('{folder}/secret.csv')",
    "SELECT * FROM query('SELECT * FROM read_text(''{folder}/secret.csv'')')",
    "SELECT * FROM query_table('{folder}/secret.csv')",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{folder}/written.csv'",
    "EXPLAIN ANALYZE CREATE TABLE written AS SELECT 1",
    "explain (analyze, format json) /* . */ COPY (SELECT 1) TO (current_setting('temp_directory') || '/written.csv')",
    "/* . */ EXPLAIN /* . */ ANALYZE CREATE TABLE written AS SELECT 1",
    "EXPLAIN CREATE TABLE written AS SELECT 1",
    "EXPLAIN SELECT * FROM read_text('{folder}/secret.csv')",
    "WITH x AS (SELECT * FROM read_text('{folder}/secret.csv')) SELECT * FROM x",
    "SELECT (SELECT content FROM read_text('{folder}/secret.csv'))",
    "SELECT getvariable('AWS_SECRET_ACCESS_KEY'), getenv('AWS_SECRET_ACCESS_KEY')",
    "SELECT * FROM which_secret('s3://b/k', 's3')",
    "SELECT current_setting('s3_secret_access_key')",
    "CREATE SECRET s (TYPE s3)",
    "LOAD httpfs",
    "LOAD '{folder}/secret.csv'",
    "ATTACH '{url}' AS other",
    "PRAGMA database_list",
    "CALL pragma_version()",
    "SET VARIABLE a = 1",
    "PREPARE p AS SELECT 1",
    "CHECKPOINT",
    "SELECT * FROM lab",
    "SELECT * FROM tables",
    "SELECT * FROM services",
)
SHOWING = (
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM duckdb_variables()",
    "SELECT * FROM duckdb_databases()",
    "SELECT * FROM duckdb_views()",
    "SELECT * FROM duckdb_logs",
    "SHOW ALL TABLES",
)


@pytest.fixture
def knocks() -> Iterator[tuple[str, list[str]]]:
    """The URL of a server, and the requests that came."""
    came: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            came.append(self.path)
            self.send_error(404)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the method that it replaces
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/x.csv", came
        server.shutdown()
        thread.join()


def test_no_sql_reaches_a_file_a_server_or_a_credential(
    tmp_path: Path,
    config: str,
    knocks: tuple[str, list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Also not while DuckDB only looks for the names of tables in it."""
    url, came = knocks
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    (tmp_path / "secret.csv").write_text(f"{CANARY}\nb,{CANARY},c\n")
    before = (tmp_path / "secret.csv").stat().st_atime_ns
    for sql in REACHING:
        status = main(["query", sql.format(folder=tmp_path, url=url), "--config", config])
        said = capfd.readouterr()
        assert status == Status.FAILED, (sql, said)
        assert "error: the query could not be run: " in said.err, (sql, said)
        assert CANARY not in said.err + said.out, sql
        assert "ownload" not in said.err, sql
    for sql in SHOWING:
        main(["query", sql, "--config", config, "--format", "csv"])
        said = capfd.readouterr()
        assert CANARY not in said.err + said.out, sql
    assert came == []
    assert (tmp_path / "secret.csv").stat().st_atime_ns == before, "it was read"
    assert {path.name for path in tmp_path.iterdir()} == {"secret.csv", "config.yaml"}
