"""A clone, a restored backup, a config that points elsewhere: refused until a person accepts it, and then nothing is taken on trust."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from secrets import token_hex

import psycopg
import pytest
import yaml

from archiver_assets.cli.app import main
from archiver_assets.errors import ArchiverError, NotArchived, SourceChanged, SourceError
from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.purging.purge import purge
from archiver_assets.lifecycle.source_identity import accept_source
from archiver_assets.lifecycle.task import Step, Task
from archiver_assets.lifecycle.verifying.verify import verify
from archiver_assets_tests.clusters import primary_with_standby
from archiver_assets_tests.lab import AUDIT_LOGS, DAY, PASSWORD_VARIABLE, PREFIX, Lab
from archiver_assets_tests.outcomes import assert_purged
from archiver_assets_tests.servers import PostgresServer

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NEXT_DAY = date(2024, 3, 6)
FIRST_SOURCE = f"{PREFIX}lab/public/audit_logs/_source-0001.json"


@pytest.fixture
def clone(lab: Lab, postgres_server: PostgresServer) -> Iterator[Lab]:
    """Give a lab with the same bucket whose database is a copy of the first one, which has 20 rows and is archived."""
    lab.fill(rows=20)
    archive(lab.task())
    name = f"clone_{token_hex(4)}"
    with psycopg.connect(postgres_server.maintenance_dsn, autocommit=True) as admin:
        # By blocks: the copies of the rows have the same xmin, and the table has the same oid.
        admin.execute(f'CREATE DATABASE {name} TEMPLATE "{lab.database.name}"')
        try:
            yield Lab(postgres_server.database(name), lab.store, lab.bucket, lab.endpoint)
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def accept(lab: Lab) -> bool:
    task = lab.task()
    return accept_source(task.source, task.store, task.table_keys, at=NOW, run_id="a person") is not None


def test_an_archive_and_a_purge_of_a_clone_are_refused_with_the_command_that_accepts_it(clone: Lab) -> None:
    before = clone.objects()
    for verb in (archive, purge):
        with pytest.raises(SourceChanged, match="expected the source of the archive") as refused:
            verb(clone.task())
        assert "archiver accept-source --database=lab --schema=public --table=audit_logs" in refused.value.hint
    assert (clone.count(), clone.objects()) == (20, before)


def test_a_day_that_only_the_clone_has_is_refused_too(clone: Lab) -> None:
    clone.fill(NEXT_DAY, rows=5)
    before = clone.objects()
    for verb in (archive, purge):
        with pytest.raises(SourceChanged):
            verb(clone.task(NEXT_DAY))
    assert (clone.count(), clone.objects()) == (25, before)


def test_a_damaged_manifest_of_another_day_does_not_keep_a_day_from_being_archived(lab: Lab) -> None:
    lab.store.create(f"{PREFIX}lab/public/audit_logs/dt=2024-01-01/_manifest-0001.json", b"{")
    lab.fill(rows=5)
    assert archive(lab.task()).rows == 5


def test_generations_of_the_former_source_purge_nothing_and_cover_nothing_after_a_move(clone: Lab) -> None:
    assert accept(clone)
    with pytest.raises(NotArchived):
        purge(clone.task())
    assert clone.count() == 20

    clone.execute("UPDATE audit_logs SET action = 'changed after the move' WHERE id <= 2")
    archived = archive(clone.task())
    assert (archived.rows, archived.rows_in_archive, archived.generation and archived.generation.number) == (20, 40, 2)
    assert verify(clone.task()).passed
    assert (purge(clone.task()).tally.purged, clone.count()) == (20, 0)
    assert (archive(clone.task()).outcome, purge(clone.task()).outcome) == ("already archived", "already purged")


def test_the_former_source_is_refused_after_the_move_and_its_own_again_after_moving_back(lab: Lab, clone: Lab) -> None:
    accept(clone)
    for verb in (archive, purge):
        with pytest.raises(SourceChanged):
            verb(lab.task())
    assert lab.count() == 20
    assert accept(lab)
    assert (archive(lab.task()).outcome, purge(lab.task()).tally.purged) == ("already archived", 20)


def test_a_generation_whose_purge_had_begun_at_the_former_source_is_left_as_it_is(lab: Lab, clone: Lab) -> None:
    def stop(step: Step) -> None:
        if step is Step.BATCH_DELETED:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        purge(lab.task(table=lab.table(batch_size=5), reached=stop))
    accept(clone)
    archive(clone.task())
    assert_purged(purge(clone.task()), purged=20)
    assert (clone.count(), lab.count()) == (0, 15)
    assert not [key for key in clone.objects() if key.endswith("_purged-0001.json")]


def test_accepting_twice_changes_nothing_and_the_table_need_not_be_archived_yet(lab: Lab) -> None:
    assert (accept(lab), accept(lab)) == (True, False)
    assert lab.objects() == [FIRST_SOURCE]
    lab.fill(rows=3)
    assert archive(lab.task()).rows == 3


def test_a_source_that_cannot_be_read_stops_everything(lab: Lab) -> None:
    lab.fill(rows=3)
    archive(lab.task())
    lab.store.create(FIRST_SOURCE, b'{"format": "archiver/2"}')
    for verb in (archive, purge):
        with pytest.raises(ArchiverError, match="acceptedsource"):
            verb(lab.task())
    assert lab.count() == 3


def test_another_server_is_refused_and_a_standby_is_not_accepted(lab: Lab) -> None:
    lab.fill(rows=3)
    archive(lab.task())
    with primary_with_standby() as pair:
        other = Lab(PostgresServer(pair.primary.dsn()).database("postgres"), lab.store, lab.bucket, lab.endpoint)
        other.execute(AUDIT_LOGS)
        other.fill(rows=3)
        with pytest.raises(SourceChanged, match="system identifier"):
            purge(other.task())
        standby = pointed_at(other.task(), pair.standby.port)
        with pytest.raises(SourceError, match="in recovery"):
            accept_source(standby.source, standby.store, standby.table_keys, at=NOW, run_id="a person")
        assert other.count() == 3


def pointed_at(task: Task, port: int) -> Task:
    return replace(task, source=replace(task.source, config=task.source.config.model_copy(update={"port": port})))


def test_the_command_accepts_and_says_so(
    clone: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config_file(clone)))
    for name, value in {**clone.environ, "ARCHIVER_CONFIG": str(path)}.items():
        monkeypatch.setenv(name, value)

    assert main(["accept-source", "--database", "lab", "--table", "audit_log"]) == 2
    assert "choose one of: lab/public/audit_logs" in capsys.readouterr().err
    assert main(["accept-source", "--database", "lab", "--table", "audit_logs"]) == 0
    assert "accepted system identifier" in capsys.readouterr().out
    assert main(["accept-source", "--database", "lab", "--table", "audit_logs"]) == 0
    assert "nothing was changed" in capsys.readouterr().out
    assert archive(clone.task(DAY)).rows == 20


def config_file(lab: Lab) -> dict[str, object]:
    table = {"name": "audit_logs", "schema": "public", "timestamp_column": "created_at", "primary_key": "id", "retention_days": 30}
    database = lab.database
    server = {"host": database.host, "port": database.port, "user": database.user, "password_env": PASSWORD_VARIABLE}
    s3 = {"endpoint": lab.endpoint, "bucket": lab.bucket, "prefix": PREFIX, "region": "us-east-1", "path_style": True}
    return {"version": "2.0", "s3": s3, "databases": [{"name": "lab", "database": database.name, **server, "tables": [table]}]}
