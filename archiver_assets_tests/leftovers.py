"""Everything that runs and commands leave behind, as bytes to be searched, each part with the name of its place.

What belongs here: where to look, and the forms in which a text may lie there. What does not: what may be found (`e2e/test_secrets.py`).
"""

import base64
import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
from psycopg import sql

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Part = tuple[str, bytes]

_TABLES = """
SELECT n.nspname, c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
"""
_ACTIVITY = "SELECT to_jsonb(a)::text FROM pg_stat_activity AS a WHERE pid <> pg_backend_pid()"
_INTERVAL = 0.1
SHORTEST = 8


def forms(text: str) -> set[bytes]:
    """Return what to search for: the text as it is, and as URLs, JSON, base64 (wherever it begins within other text) and bytea have it."""
    assert len(text) >= SHORTEST, "what is short is found anywhere"
    raw = text.encode()
    shifted = (base64.b64encode(b"\0" * shift + raw) for shift in range(3))
    # The first and the last digits depend on what stands beside the text.
    inner = {digits[4:-4] for digits in shifted}
    urls = {digits.translate(bytes.maketrans(b"+/", b"-_")) for digits in inner}
    return {raw, quote(text, safe="").encode(), quote(text).encode(), json.dumps(text)[1:-1].encode(), raw.hex().encode(), *inner, *urls}


def places_of(text: str, parts: Iterable[Part]) -> set[str]:
    """Return the names of the places where the text lies, in whatever form."""
    wanted = forms(text)
    return {name for name, content in parts if any(form in content for form in wanted)}


def in_database(dsn: str) -> Iterator[Part]:
    """Yield every table of a database, all columns of all rows."""
    with psycopg.connect(dsn) as connection:
        for schema, name in connection.execute(_TABLES).fetchall():
            found = connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(schema, name))).pgresult
            assert found
            # As the server sends them: text of a whole row would be quoted once more.
            places = ((row, column) for row in range(found.ntuples) for column in range(found.nfields))
            yield f"table {schema}.{name}", b"\n".join(found.get_value(*place) or b"" for place in places)


def in_bucket(client: "S3Client", bucket: str) -> Iterator[Part]:
    """Yield every object: its key, what the store says of it, its bytes; and of Parquet the decoded rows, as a place of their own."""
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for found in page.get("Contents", []):
            key = found["Key"]
            answer = client.get_object(Bucket=bucket, Key=key)
            content = answer["Body"].read()
            tags = client.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]
            yield f"object {key}", b"\n".join([key.encode(), repr(answer).encode(), repr(tags).encode(), content])
            if key.endswith(".parquet"):
                yield f"rows {key}", repr(_decoded(content)).encode()


def _decoded(content: bytes) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(pa.BufferReader(content)).to_pylist()
    return rows


def in_folder(folder: Path) -> Iterator[Part]:
    """Yield every file below a folder, by name and content."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield f"file {path.relative_to(folder)}", str(path).encode() + b"\n" + path.read_bytes()


@dataclass
class Watched:
    """What was seen while something ran: `processes` are command lines, `statements` the rows of pg_stat_activity."""

    processes: set[bytes] = field(default_factory=set)
    statements: set[bytes] = field(default_factory=set)

    def parts(self) -> Iterator[Part]:
        """Yield it."""
        yield "process list", b"\n".join(self.processes)
        yield "pg_stat_activity", b"\n".join(self.statements)


@contextmanager
def watching(dsn: str, procs: Path = Path("/proc")) -> Iterator[Watched]:
    """Look at the process list and at pg_stat_activity, again and again, while the block runs. Environments are no part of a list."""
    seen, ended = Watched(), threading.Event()

    def look() -> None:
        with psycopg.connect(dsn, autocommit=True) as connection:
            while True:
                seen.processes |= set(_command_lines(procs))
                seen.statements |= {row.encode() for (row,) in connection.execute(_ACTIVITY).fetchall()}
                if ended.wait(_INTERVAL):
                    return

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def _command_lines(procs: Path) -> Iterator[bytes]:
    """Yield the command line of each process, as `ps` shows it to everybody: PostgreSQL's tell what they do there."""
    for path in procs.glob("[0-9]*/cmdline"):
        try:
            yield path.read_bytes()
        except OSError:  # it has ended meanwhile
            continue


def all_found(texts: Mapping[str, str], parts: Iterable[Part]) -> dict[str, set[str]]:
    """Return the places where each text was found, by its name; nothing of those that were not."""
    kept = list(parts)
    return {name: places for name, text in texts.items() if (places := places_of(text, kept))}
