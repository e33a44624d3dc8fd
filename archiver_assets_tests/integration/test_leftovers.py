"""The search for canaries finds one wherever it is planted, in every form: else the tests that find none would prove nothing."""

import base64
import io
import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from archiver_assets.demo.seaweed import EmbeddedS3
from archiver_assets_tests.leftovers import all_found, in_bucket, in_database, in_folder, places_of, watching
from archiver_assets_tests.servers import Database

CANARY = "canary+/4f1d9c\u00e9\"'\\ "
ODDLY_WRITTEN = {
    "as it is": CANARY,
    "in a URL": f"postgresql://u:{quote(CANARY, safe='')}@h/d",
    "in a path of a URL": f"json://h/{quote(CANARY)}",
    "in JSON": json.dumps({"password": CANARY}),
    "in a repr": repr(f"xx{CANARY}".encode().hex()),
    **{f"in base64, {shift} bytes in": base64.b64encode((shift * "x" + CANARY + "yyy").encode()).decode() for shift in range(3)},
    **{
        f"in base64 of URLs, {shift} bytes in": base64.urlsafe_b64encode((shift * "?" + CANARY + ">>>").encode()).decode()
        for shift in range(3)
    },
}


@pytest.mark.parametrize("written", ODDLY_WRITTEN.values(), ids=ODDLY_WRITTEN)
def test_a_canary_is_found_however_it_is_written(written: str) -> None:
    assert places_of(CANARY, [("there", f"before {written} after".encode()), ("elsewhere", b"before canary after")]) == {"there"}


def test_a_canary_is_found_in_any_column_of_any_table(database: Database) -> None:
    with psycopg.connect(database.dsn) as connection:
        connection.execute("CREATE SCHEMA s; CREATE TABLE s.t (a int, b bytea, c jsonb); CREATE TABLE u (a text)")
        connection.execute("INSERT INTO s.t VALUES (1, %s, NULL)", [CANARY.encode()])
        connection.execute("INSERT INTO u VALUES ('other'), (%s)", [json.dumps([CANARY])])
    assert places_of(CANARY, in_database(database.dsn)) == {"table s.t", "table public.u"}


def test_a_canary_is_found_in_any_part_of_an_object(s3_server: EmbeddedS3, bucket: str) -> None:
    client, canary = s3_server.client(), "canary-4f1d9c"
    sink = io.BytesIO()
    rows = pa.table({"a": [f"{canary}{number}" for number in range(100)]})
    pq.write_table(rows, sink, compression="zstd", write_statistics=False)
    client.put_object(Bucket=bucket, Key=f"k/{canary}", Body=b"")
    client.put_object(Bucket=bucket, Key="content", Body=f"x{canary}x".encode())
    client.put_object(Bucket=bucket, Key="metadata", Body=b"", Metadata={"m": canary})
    client.put_object(Bucket=bucket, Key="tags", Body=b"", Tagging=f"t={canary}")
    client.put_object(Bucket=bucket, Key="data.parquet", Body=sink.getvalue())
    client.put_object(Bucket=bucket, Key="nothing", Body=b"canary")
    found = places_of(canary, in_bucket(client, bucket))
    assert found >= {f"object k/{canary}", "object content", "object metadata", "object tags", "rows data.parquet"}
    assert "object nothing" not in found


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="no list of processes as files")
def test_a_canary_is_found_in_files_command_lines_and_statements(database: Database, tmp_path: Path) -> None:
    canary = "canary-4f1d9c"
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_bytes(b"\0" + canary.encode())
    (tmp_path / canary).touch()
    with watching(database.dsn) as seen, psycopg.connect(database.dsn) as connection:
        connection.execute(f"SELECT '{canary}'")
        subprocess.run([sys.executable, "-c", "import time; time.sleep(0.3)", canary], check=True)
    assert places_of(canary, [*in_folder(tmp_path), *seen.parts()]) == {
        "file deep/file",
        f"file {canary}",
        "process list",
        "pg_stat_activity",
    }


def test_of_several_canaries_only_those_that_are_there_are_named() -> None:
    parts = [("here", b"canary-one canary-two"), ("there", b"canary-two")]
    assert all_found({"1": "canary-one", "2": "canary-two", "3": "canary-three"}, parts) == {"1": {"here"}, "2": {"here", "there"}}
