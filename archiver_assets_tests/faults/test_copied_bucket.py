"""The bucket is lost, and what is left is a copy by another tool: the bytes are the same, the versions are not.

It is enough to read and to restore, because digests bind the bytes. It is not enough to delete a row, to reject a generation, or to pass
what differs by one byte.
"""

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from archiver_assets.cli.app import Status, main
from archiver_assets.demo.seaweed import EmbeddedS3
from archiver_assets.errors import NotVerified, StoreError, StoreUnavailable
from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.generations import read_generations
from archiver_assets.lifecycle.purging.purge import purge
from archiver_assets.lifecycle.restoring.request import Conflict, RestoreRequest
from archiver_assets.lifecycle.restoring.restore import restore
from archiver_assets.lifecycle.verifying.verify import verify
from archiver_assets.reader import archived
from archiver_assets.store.s3 import S3ObjectStore
from archiver_assets_tests.commands import write_config
from archiver_assets_tests.conftest import fresh_bucket
from archiver_assets_tests.lab import DAY, PASSWORD_VARIABLE, Lab, only


@pytest.fixture(name="original")
def archived_with_versions(lab: Lab, s3_server: EmbeddedS3) -> Lab:
    """A day of 40 rows in a bucket that keeps versions, archived, and a copy of the rows in `before`."""
    s3_server.client().put_bucket_versioning(Bucket=lab.bucket, VersioningConfiguration={"Status": "Enabled"})
    lab.fill(rows=40)
    lab.execute("CREATE TABLE before AS SELECT * FROM audit_logs")
    archive(lab.task())
    return lab


@pytest.fixture(name="copied", params=["with versions", "without versions"])
def lab_of_a_copy(original: Lab, s3_server: EmbeddedS3, request: pytest.FixtureRequest) -> Iterator[Lab]:
    """The same day, and an empty bucket to copy its objects into."""
    with fresh_bucket(s3_server) as bucket:
        if request.param == "with versions":
            s3_server.client().put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        assert isinstance(original.store, S3ObjectStore)
        yield replace(original, bucket=bucket, store=replace(original.store, bucket=bucket))


def copy_bucket(original: Lab, copied: Lab, s3_server: EmbeddedS3) -> None:
    for key in original.objects():
        s3_server.client().copy_object(Bucket=copied.bucket, Key=key, CopySource={"Bucket": original.bucket, "Key": key})


def purge_and_copy(original: Lab, copied: Lab, s3_server: EmbeddedS3) -> None:
    purge(original.task())
    copy_bucket(original, copied, s3_server)


def rows_key(lab: Lab, number: int = 1) -> str:
    return only(lab.objects(), lambda key: f"/rows-{number:04}-" in key)


def change_one_byte(lab: Lab, s3_server: EmbeddedS3) -> None:
    key = rows_key(lab)
    data = bytearray(lab.content(key))
    data[len(data) // 3] ^= 1
    s3_server.client().put_object(Bucket=lab.bucket, Key=key, Body=bytes(data))


def same_rows(lab: Lab, table: str) -> bool:
    differing = f"SELECT count(*) FROM ((TABLE {table} EXCEPT ALL TABLE before) UNION ALL (TABLE before EXCEPT ALL TABLE {table})) AS d"
    return lab.count(table) == 40 and lab.execute(differing) == [(0,)]


def test_a_day_is_restored_from_a_copy_and_the_log_names_the_version(
    original: Lab, copied: Lab, s3_server: EmbeddedS3, caplog: pytest.LogCaptureFixture
) -> None:
    purge_and_copy(original, copied, s3_server)
    version = original.store.head(rows_key(original)).version_id
    assert version
    with caplog.at_level(logging.WARNING, "archiver"):
        result = restore(copied.task(), RestoreRequest())
    assert (result.outcome, result.tally.loaded) == ("restored", 40)
    assert same_rows(copied, "audit_logs_restored")
    (said,) = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert f"the version {version} of s3://{copied.bucket}/" in said


def test_the_archive_itself_is_restored_without_a_word(original: Lab, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "archiver"):
        assert restore(original.task(), RestoreRequest()).tally.loaded == 40
    assert not caplog.records


@pytest.mark.parametrize("level", ["rows", "full"])
def test_a_copy_with_one_byte_changed_is_refused(original: Lab, copied: Lab, s3_server: EmbeddedS3, level: str) -> None:
    purge_and_copy(original, copied, s3_server)
    change_one_byte(copied, s3_server)
    with pytest.raises(NotVerified, match="sha256: expected"):
        restore(copied.task(table=copied.table(verification=level)), RestoreRequest())
    assert copied.count("audit_logs_restored") == 0


def test_a_manifest_that_was_changed_with_the_copy_is_not_believed_by_its_digest_alone(
    original: Lab, copied: Lab, s3_server: EmbeddedS3
) -> None:
    purge(original.task())
    for key in original.objects():
        data = original.content(key)
        if key.endswith("_manifest-0001.json"):
            data = json.dumps({**json.loads(data), "content_digest": "sha256:" + "0" * 64}).encode()
        if not key.endswith(("_purged-0001.json", "_purging-0001.json")):  # which would speak of the manifest's digest
            s3_server.client().put_object(Bucket=copied.bucket, Key=key, Body=data)
    with pytest.raises(NotVerified, match="content_digest: expected"):
        restore(copied.task(), RestoreRequest())


def test_no_row_is_purged_by_a_copy_and_the_check_does_not_pass(original: Lab, copied: Lab, s3_server: EmbeddedS3) -> None:
    copy_bucket(original, copied, s3_server)
    assert not verify(copied.task(), rejecting=False).passed
    with pytest.raises(NotVerified):
        purge(copied.task())
    assert copied.count() == 40
    assert not [key for key in copied.objects() if "_purging" in key]


def test_no_row_is_overwritten_on_the_word_of_a_copy(original: Lab, copied: Lab, s3_server: EmbeddedS3) -> None:
    original.execute("UPDATE audit_logs SET action = 'changed'")
    archive(original.task())
    copy_bucket(original, copied, s3_server)
    itself = RestoreRequest(table_name="audit_logs", conflict=Conflict.overwrite, generations=(1,))
    with pytest.raises(NotVerified, match="as it was archived, to overwrite rows by it"):
        restore(copied.task(), itself)
    assert copied.execute("SELECT DISTINCT action FROM audit_logs") == [("changed",)]
    assert restore(original.task(), itself).tally.overwritten == 40, "the archive itself may"


def test_an_object_that_was_replaced_is_no_copy_even_by_the_same_bytes(original: Lab, s3_server: EmbeddedS3) -> None:
    purge(original.task())
    key = rows_key(original)
    s3_server.client().put_object(Bucket=original.bucket, Key=key, Body=original.content(key))
    with pytest.raises(NotVerified, match="current version of"):
        restore(original.task(), RestoreRequest())


class _Answering(S3ObjectStore):
    """A store that answers what it was told to if it is asked for a version."""

    answer: type[StoreError]

    def read(self, key: str, *, version_id: str | None = None) -> Iterator[bytes]:
        if version_id is not None:
            message = f"could not read {self.uri(key)}: InvalidArgument (HTTP 400): Invalid version id specified"
            raise self.answer(message, hint="as AWS answers for the version ids of other stores")
        return super().read(key)


class _Refusing(_Answering):
    answer = StoreError


class _Failing(_Answering):
    answer = StoreUnavailable


def test_a_store_that_cannot_read_the_version_id_has_not_got_the_version(original: Lab, s3_server: EmbeddedS3) -> None:
    with fresh_bucket(s3_server) as bucket:
        s3_server.client().put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        assert isinstance(original.store, S3ObjectStore)
        copied = replace(original, bucket=bucket, store=replace(original.store, bucket=bucket))
        purge_and_copy(original, copied, s3_server)
        known = vars(copied.store)
        failing = copied.task(store=_Failing(**known))
        with pytest.raises(StoreUnavailable):
            restore(failing, RestoreRequest())
        assert restore(copied.task(store=_Refusing(**known)), RestoreRequest()).tally.loaded == 40


def test_a_copy_is_read_where_a_day_has_several_generations(
    original: Lab, copied: Lab, s3_server: EmbeddedS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, original.database.password)
    original.execute("UPDATE audit_logs SET action = 'changed' WHERE id <= 10")
    archive(original.task())
    assert len(read_generations(original.task()).live) == 2
    copy_bucket(original, copied, s3_server)
    with archived(copied.services().config, "lab", "audit_logs", DAY, DAY) as rows:
        assert rows.count_rows() == 50
    change_one_byte(copied, s3_server)
    with pytest.raises(NotVerified), archived(copied.services().config, "lab", "audit_logs", DAY, DAY) as rows:
        rows.count_rows()


def test_the_command_verifies_a_copy_as_one_if_it_is_told_to(
    original: Lab, copied: Lab, s3_server: EmbeddedS3, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*arguments: str) -> tuple[int, str]:
        status = main(["--config", write_config(copied, tmp_path), "verify", *arguments])
        logging.basicConfig(handlers=[], force=True)
        return status, capsys.readouterr().out

    purge_and_copy(original, copied, s3_server)
    status, out = said()
    assert status == Status.FOUND
    assert "DAMAGED lab/public/audit_logs" in out
    assert "use --copied. docs/operations/disaster-recovery.md" in out
    status, out = said("--copied", "--strict")
    assert status == Status.DONE, out
    assert "1 of 1 generation of 1 day proven, 40 rows" in out
    assert "HINT" not in out
    change_one_byte(copied, s3_server)
    status, out = said("--copied")
    assert status == Status.FOUND
    assert "sha256: expected" in out
    assert "0 of 1 generation of 1 day proven" in out
