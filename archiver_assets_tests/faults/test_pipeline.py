"""An archive is stopped in each of its threads: the first error is raised, and no thread, session, upload or object is left."""

import signal
import threading
import time
from collections.abc import Callable, Iterator

import pyarrow as pa
import pytest

from archiver_assets import threads
from archiver_assets.demo.seaweed import EmbeddedS3
from archiver_assets.errors import SourceUnavailable, StoreUnavailable
from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.task import Step
from archiver_assets.source import reading
from archiver_assets.store import s3_upload
from archiver_assets.store.parquet import ParquetEncoder
from archiver_assets_tests.lab import Lab

READERS = 3
ROWS = 1500
# More for each reader than its queue and the sockets' buffers take, so that all of them are in the middle when something happens.
FILL = f"""
INSERT INTO public.audit_logs (created_at, action)
SELECT timestamptz '2024-03-05 00:00Z' + n * interval '1 s', repeat(md5(n::text), 1000) FROM generate_series(1, {ROWS}) n
"""
OURS = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"


@pytest.fixture
def filled(lab: Lab, s3_server: EmbeddedS3, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """A day of about 48 MB, small batches and parts, and nothing left at the end."""
    monkeypatch.setattr(reading, "_BATCH_BYTES", 256 * 1024)
    monkeypatch.setattr(s3_upload, "PART_SIZE", 4 * 1024)
    monkeypatch.setattr("archiver_assets.store.parquet.ROW_GROUP_BYTES", 1024 * 1024)
    lab.execute(FILL)
    before = set(threading.enumerate())
    yield lab
    assert set(threading.enumerate()) <= before
    assert lab.objects() == []
    assert "Uploads" not in s3_server.client().list_multipart_uploads(Bucket=lab.bucket)
    wait_until(lambda: lab.execute(f"SELECT count(*) {OURS}") == [(0,)])  # the server ends one a moment after its client


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(100):
        if condition():
            return
        time.sleep(0.05)
    pytest.fail("expected it within 5 s")


def archive_with(lab: Lab, at_first_batch: Callable[[], object] = lambda: None) -> None:
    batches = iter(range(1_000_000))

    def reached(step: Step) -> None:
        if step == Step.BATCH_STREAMED and next(batches) == 0:
            at_first_batch()

    archive(lab.task(table=lab.table(parallelism=READERS), reached=reached))


def test_a_reader_that_the_server_ends_ends_all_readers(filled: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archiver_assets.lifecycle.retrying._PAUSES", ())
    ended: list[int] = []

    def end_one() -> None:
        ended.extend(filled.execute(f"SELECT pg_terminate_backend(pid)::int {OURS} AND query LIKE 'COPY%' LIMIT 1")[0])

    with pytest.raises(SourceUnavailable, match=r"terminating connection|PQgetCopyData"):
        archive_with(filled, end_one)
    assert ended == [1]


def test_an_interrupt_while_readers_stream_ends_them_all(filled: Lab) -> None:
    def interrupt() -> None:
        wait_until(lambda: filled.execute(f"SELECT count(*) {OURS} AND query LIKE 'COPY%' AND state = 'active'") == [(READERS,)])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        archive_with(filled, interrupt)


def test_a_part_that_cannot_be_sent_ends_the_readers(filled: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    real = s3_upload.S3Upload._sent_part

    def failing(upload: s3_upload.S3Upload, number: int, part: bytes) -> object:
        if number < 3:
            return real(upload, number, part)
        message = "the third part"
        raise StoreUnavailable(message, hint="-")

    monkeypatch.setattr(s3_upload.S3Upload, "_sent_part", failing)
    with pytest.raises(StoreUnavailable, match="the third part"):
        archive_with(filled)


def test_an_encoder_that_fails_ends_the_readers(filled: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    real, written = ParquetEncoder.write, []

    def failing(encoder: ParquetEncoder, batch: pa.RecordBatch) -> None:
        written.append(batch.num_rows)
        if len(written) == 20:
            message = "no memory for a row group"
            raise pa.ArrowMemoryError(message)
        real(encoder, batch)

    monkeypatch.setattr(ParquetEncoder, "write", failing)
    with pytest.raises(MemoryError, match="no memory for a row group"):
        archive_with(filled)
    assert len(written) == 20


def test_an_interrupt_does_not_wait_for_a_store_that_hangs(filled: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "END_SECONDS", 0.2)
    hangs, goes_on = threading.Event(), threading.Event()
    real = s3_upload.S3Upload._sent_part

    def hanging(upload: s3_upload.S3Upload, number: int, part: bytes) -> object:
        answer = real(upload, number, part)
        hangs.set()
        assert goes_on.wait(30)
        return answer

    def interrupt() -> None:
        assert hangs.wait(30)
        time.sleep(0.3)  # by now all queues are full, and the main thread waits for room in one
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    monkeypatch.setattr(s3_upload.S3Upload, "_sent_part", hanging)
    interrupting = threading.Thread(target=interrupt)
    interrupting.start()
    with pytest.raises(KeyboardInterrupt):
        archive_with(filled)
    interrupting.join(10)
    left = [thread for thread in threading.enumerate() if thread.name == "uploading"]
    goes_on.set()
    assert len(left) == 1
    left[0].join(10)


def test_a_reader_that_the_server_lets_wait_is_cancelled(filled: Lab) -> None:
    cancel = reading.Cancel()
    task = filled.task()

    def stream() -> Iterator[object]:
        with reading._errors(task.source), reading._cursor(task.source, cancel) as cursor:
            cursor.execute("SELECT pg_sleep(60)::text")
            yield from cursor.fetch_record_batch()

    items = threads.gathered([lambda: iter([1]), stream], cancel)
    assert next(items) == 1
    items.close()
