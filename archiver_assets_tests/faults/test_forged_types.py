"""Manifests whose columns have types that are SQL: whoever can write to the bucket runs no statement by a restore of them."""

import io
import json
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from archiver_assets.errors import ManifestInvalid
from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.restoring.request import Conflict, Drift, RestoreRequest
from archiver_assets.lifecycle.restoring.restore import restore
from archiver_assets.lifecycle.task import Task
from archiver_assets.lifecycle.verifying.verify import verify
from archiver_assets.source.destination import names_a_type, require_types
from archiver_assets.store.manifest import sha256_of
from archiver_assets_tests.doubles import MemoryObjectStore
from archiver_assets_tests.lab import Lab, only

# Within the comparison of a retyped column it is well-formed, and takes a number from a sequence, which no rollback gives back.
EVIL = "text), ROW(nextval(('public' || chr(46) || 'evil')::regclass)::text)) OR 'x' = concat(ROW(1"
BY_NAME = RestoreRequest(table_name="target", drift=Drift.by_name)


def forge_type(task: Task, number: int, column: str, pg_type: str) -> None:
    """Write another type of a column into a manifest and into the footer of its object, and make the two agree."""
    assert isinstance(task.store, MemoryObjectStore)
    contents = task.store.contents
    object_key = only(contents, lambda key: f"rows-{number:04}" in key)
    manifest_key = task.keys.folder + f"_manifest-{number:04}.json"
    rows, manifest = pq.read_table(io.BytesIO(contents[object_key])), json.loads(contents[manifest_key])
    place = rows.schema.get_field_index(column)
    sink = io.BytesIO()
    forged = rows.schema.set(place, rows.schema.field(place).with_metadata({"pg_type": pg_type}))
    pq.write_table(rows.cast(forged), sink, compression="zstd")
    contents[object_key] = sink.getvalue()
    manifest["columns"][place]["pg_type"] = pg_type
    manifest["object"] |= {"bytes": len(sink.getvalue()), "sha256": sha256_of(sink.getvalue())}
    contents[manifest_key] = json.dumps(manifest).encode()


@pytest.fixture(name="task")
def task_of_two_generations(lab: Lab) -> Task:
    """A day of ten rows, five of which changed, in two generations in a bucket that anybody writes to; `target` has some of the keys."""
    lab.fill(rows=10)
    archive(lab.task())
    lab.execute("UPDATE audit_logs SET action = 'changed' WHERE id <= 5")
    archive(lab.task())
    lab.execute("CREATE SEQUENCE evil; CREATE TABLE target (LIKE audit_logs INCLUDING ALL)")
    lab.execute("INSERT INTO target SELECT * FROM audit_logs WHERE id > 2; UPDATE target SET action = 'action 3' WHERE id = 4")
    return replace(lab.task(), store=MemoryObjectStore({key: lab.content(key) for key in lab.objects()}))


@pytest.mark.parametrize(
    ("forged", "request_"),
    [
        pytest.param(2, replace(BY_NAME, conflict=Conflict.skip), id="the newest generation, into a named table"),
        pytest.param(1, replace(BY_NAME, conflict=Conflict.skip), id="an older generation, into a named table"),
        pytest.param(1, RestoreRequest(drift=Drift.by_name), id="an older generation, into a new table"),
        pytest.param(
            1, replace(BY_NAME, generations=(2,), conflict=Conflict.overwrite), id="one that is not asked for, and is compared with"
        ),
    ],
)
def test_a_type_that_is_sql_is_refused_before_any_statement(lab: Lab, task: Task, forged: int, request_: RestoreRequest) -> None:
    before = lab.execute("TABLE target")
    forge_type(task, forged, "amount", EVIL)
    assert verify(task).passed
    for dry_run in (True, False):
        with pytest.raises(ManifestInvalid, match=rf"column 'amount' of generation {forged} to have a type of PostgreSQL, found .text\)"):
            restore(task, replace(request_, dry_run=dry_run))
    assert lab.execute("SELECT is_called FROM evil") == [(False,)]
    assert lab.execute("TABLE target") == before
    assert lab.execute("SELECT to_regclass('audit_logs_restored')") == [(None,)]


def test_a_generation_that_is_not_asked_for_stops_nothing(lab: Lab, task: Task) -> None:
    forge_type(task, 2, "amount", EVIL)
    assert restore(task, RestoreRequest(generations=(1,))).tally.loaded == 10
    assert lab.execute("SELECT is_called FROM evil") == [(False,)]


NO_TYPES = [
    "int, b int); DROP TABLE before; --",
    "int DEFAULT pg_sleep(9)",
    "int /* */",
    "text COLLATE 'x'",
    "integer default current_user",
    "bigint references public.before on delete cascade",
    "bigint generated always as identity",
    "integer), ROW(1)) OR true OR record_image_eq(ROW(1",
    "integer AS a, integer",
    "SETOF integer",
    "public.target%type",
    "numeric((SELECT 1))",
    "numeric(a)",
    "numeric(9999)",
    "numeric(1,2",
    "1700",
    "",
    " ",
    '"unfinished',
    "int\0",
    '"\ud800"',
    # What would keep a matcher that goes back for longer than there is time.
    "x" * 10_000 + "!",
    '"a"' * 10_000 + "!",
    "numeric(" + "1," * 10_000,
]


TYPES = [
    "double precision",
    "character varying(40)[]",
    "timestamp(3) without time zone",
    "interval day to second(3)",
    "numeric(10,-2)",
    '"char"',
    '"odd schema"."odd ""name"(3)[]',
    "public.geometry(Point,4326)",
    "nowhere.at_all",
]


def test_only_what_is_nothing_but_the_name_of_a_type_is_one_wherever_the_type_is(lab: Lab) -> None:
    with lab.task().source.connect() as connection:
        assert [text for text in NO_TYPES if names_a_type(connection, text)] == []
        assert [text for text in TYPES if not names_a_type(connection, text)] == []
        require_types(connection, {"integer": "column 'a'"})
        with pytest.raises(ManifestInvalid, match=r"column 'b' to have a type of PostgreSQL, found 'int DEFAULT 1'"):
            require_types(connection, {"integer": "column 'a'", "int DEFAULT 1": "column 'b'"})


def test_rows_of_a_type_that_is_gone_can_be_restored_as_text(lab: Lab) -> None:
    lab.execute("CREATE TYPE mood AS ENUM ('calm'); ALTER TABLE audit_logs ADD mood mood")
    lab.fill(rows=3)
    lab.execute("UPDATE audit_logs SET mood = 'calm'")
    archive(lab.task())
    lab.execute("DROP TABLE audit_logs; DROP TYPE mood; CREATE TABLE target (id bigint PRIMARY KEY, mood text)")
    assert restore(lab.task(), BY_NAME).tally.loaded == 3
    assert lab.execute("SELECT DISTINCT mood FROM target") == [("calm",)]
