"""Connections cut, answers lost, processes interrupted: no half generation counts, and running again finishes."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from archiver_assets.demo.seaweed import EmbeddedS3
from archiver_assets.errors import ArchiverError, ObjectExists, SourceError, StoreUnavailable
from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.purging.purge import purge
from archiver_assets.lifecycle.verifying.verify import verify
from archiver_assets.store.objects import Upload
from archiver_assets_tests.faulty_store import FaultyStore
from archiver_assets_tests.lab import Lab, only
from archiver_assets_tests.outcomes import assert_purged


@pytest.fixture
def faulty(lab: Lab) -> FaultyStore:
    return FaultyStore(lab.store, lab)


def test_a_connection_cut_while_rows_stream_leaves_nothing_and_the_next_archive_succeeds(
    lab: Lab, s3_server: EmbeddedS3, faulty: FaultyStore
) -> None:
    lab.execute(
        "INSERT INTO audit_logs (created_at, action) SELECT '2024-03-05', repeat(md5(n::text), 500) FROM generate_series(1, 5000) n"
    )
    faulty.on_write = "cut"

    with pytest.raises(SourceError):
        archive(lab.task(store=faulty))

    assert lab.objects() == []
    assert "Uploads" not in s3_server.client().list_multipart_uploads(Bucket=lab.bucket)
    assert (archive(lab.task()).rows, purge(lab.task()).tally.purged) == (5000, 5000)


def test_an_interrupt_while_rows_stream_leaves_nothing(lab: Lab, s3_server: EmbeddedS3, faulty: FaultyStore) -> None:
    lab.fill(rows=500)
    faulty.on_write = "interrupt"

    with pytest.raises(KeyboardInterrupt):
        archive(lab.task(store=faulty))

    assert lab.objects() == []
    assert "Uploads" not in s3_server.client().list_multipart_uploads(Bucket=lab.bucket)
    assert archive(lab.task()).outcome == "archived"


def test_an_object_without_its_manifest_is_no_generation(lab: Lab, faulty: FaultyStore) -> None:
    lab.fill(rows=10)
    faulty.fail_create = "_manifest"
    with pytest.raises(StoreUnavailable):
        archive(lab.task(store=faulty))
    assert [key for key in lab.objects() if "_manifest" in key] == []

    with pytest.raises(ArchiverError, match="found none"):
        purge(lab.task())
    assert lab.count() == 10

    archive(lab.task())
    assert purge(lab.task()).tally.purged == 10


def test_a_manifest_whose_answer_was_lost_is_recognised_as_our_own(lab: Lab, faulty: FaultyStore) -> None:
    lab.fill(rows=10)
    faulty.fail_create, faulty.answer_lost = "_manifest", True

    archived = archive(lab.task(store=faulty))

    assert archived.outcome == "archived"
    assert verify(lab.task()).passed


def test_a_manifest_that_somebody_else_created_meanwhile_is_not_taken_for_our_own(lab: Lab, faulty: FaultyStore) -> None:
    lab.fill(rows=10)
    key = lab.task().keys.folder + "_manifest-0001.json"
    real_upload = faulty.real.upload

    @contextmanager
    def upload_and_be_overtaken(name: str) -> Iterator[Upload]:
        with real_upload(name) as upload:
            yield upload
        lab.store.create(key, b"somebody else's")

    faulty.upload = upload_and_be_overtaken  # type: ignore[assignment]

    with pytest.raises(ObjectExists):
        archive(lab.task(store=faulty))

    assert lab.content(key) == b"somebody else's"
    assert lab.count() == 10


def test_no_row_is_deleted_before_the_purging_mark_is_there(lab: Lab, faulty: FaultyStore) -> None:
    lab.fill(rows=10)
    archive(lab.task())
    faulty.fail_create = "_purging"

    with pytest.raises(StoreUnavailable):
        purge(lab.task(store=faulty))

    assert lab.count() == 10


def test_a_purge_whose_receipt_failed_is_finished_by_the_next(lab: Lab, faulty: FaultyStore) -> None:
    lab.fill(rows=10)
    archive(lab.task())
    faulty.fail_create = "_purged"
    with pytest.raises(StoreUnavailable):
        purge(lab.task(store=faulty))
    assert lab.count() == 0

    again = purge(lab.task())

    assert_purged(again, outcome="purged", gone=10)
    assert only(lab.objects(), lambda key: "_purged" in key)


def test_a_purge_cut_from_the_server_between_batches_is_finished_by_the_next(lab: Lab) -> None:
    def cut(_seconds: float) -> None:
        lab.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")

    lab.fill(rows=30)
    table = lab.table(batch_size=10, sleep_between_batches=1.0)
    archive(lab.task(table=table))
    with pytest.raises(SourceError):
        purge(lab.task(table=table, sleep=cut))
    assert lab.count() == 20

    again = purge(lab.task(table=table))

    assert_purged(again, purged=20, gone=10)
    assert lab.count() == 0
