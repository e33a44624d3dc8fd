"""What a bucket that keeps versions says of an archive: no forgery escapes it, the archiver's own doing is no alarm, nothing is stuck.

What belongs here: cases in which the history of an honest archive is not plain, and forgeries that avoid the look at it. What does not: one
attack after the other (`test_attacks.py`), Object Lock (`test_locked_archive.py`).
"""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from urllib3 import HTTPResponse

from archiver_assets.demo.seaweed import EmbeddedS3
from archiver_assets.errors import NotVerified, StoreError
from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.purging.purge import purge
from archiver_assets.lifecycle.task import Step
from archiver_assets.lifecycle.verifying.bucket_history import History, read_history
from archiver_assets.lifecycle.verifying.inspection import Inspection, inspect_day
from archiver_assets.store.keys import Mark
from archiver_assets.store.object_lock import ObjectLock
from archiver_assets.store.objects import Version
from archiver_assets.store.s3 import S3ObjectStore
from archiver_assets_tests.faults.attacks import Site, data_and_manifest_are_forged_together
from archiver_assets_tests.kills import Killed, kill_at
from archiver_assets_tests.lab import Lab, only

NOTHING: tuple[list[str], list[str]] = ([], [])


pytestmark = pytest.mark.usefixtures("aws_environment")


@pytest.fixture(name="lab")
def versioned_lab(lab: Lab, s3_server: EmbeddedS3) -> Lab:
    """A lab whose bucket keeps versions."""
    lab.bucket = f"versioned-{lab.bucket}"
    s3_server.create_bucket(lab.bucket, versioning=True)
    lab.store = replace(s3_of(lab), bucket=lab.bucket)
    return lab


def s3_of(lab: Lab) -> S3ObjectStore:
    assert isinstance(lab.store, S3ObjectStore)
    return lab.store


def with_own_client(lab: Lab) -> S3ObjectStore:
    """Return a store whose requests and answers may be changed: others share the lab's client."""
    return S3ObjectStore.connect(bucket=lab.bucket, endpoint=lab.endpoint, region="us-east-1", path_style=True)


def inspected(lab: Lab) -> Inspection:
    task = lab.task()
    return inspect_day(task, read_history(lab.store, task.keys.folder))


def killed_at(lab: Lab, step: Step) -> None:
    """Archive, and die at that step."""
    with pytest.raises(Killed):
        archive(lab.task(reached=kill_at(step)))


def manifest_key(lab: Lab) -> str:
    return lab.task().keys.mark(Mark.MANIFEST, 1)


def test_a_forgery_that_claims_to_be_of_a_bucket_without_versions_deletes_no_row(lab: Lab) -> None:
    lab.fill(rows=4)
    archive(lab.task())
    site = Site("versioned", lab, s3_of(lab).client, lab.task(), lab.task())
    data_and_manifest_are_forged_together(site)
    manifest = json.loads(lab.content(manifest_key(lab)))
    manifest["object"]["version_id"] = None
    site.put(manifest_key(lab), json.dumps(manifest).encode())

    with pytest.raises(NotVerified, match="was replaced: it has 3 versions"):
        purge(lab.task())

    assert lab.count() == 4


class Forging(S3ObjectStore):
    """Shows a forged manifest to whoever reads it, and an innocent history afterwards: the forgery was removed for good in between."""

    def read(self, key: str, *, version_id: str | None = None) -> Iterator[bytes]:
        data = b"".join(super().read(key, version_id=version_id))
        yield data.replace(b"CREATE TABLE", b"CREATE  TABLE") if "_manifest" in key and version_id is None else data


class Cleaning(S3ObjectStore):
    """Has data removed by somebody else just before they are read."""

    def read(self, key: str, *, version_id: str | None = None) -> Iterator[bytes]:
        if "/rows-" in key:
            self.remove(key)
        return super().read(key, version_id=version_id)


class Hasty(S3ObjectStore):
    """Has all versions of one second, and lists the oldest first, as S3 does not."""

    def history(self, prefix: str) -> Iterator[Version]:
        found, at = list(super().history(prefix)), datetime.now(UTC)
        return iter([replace(each, at=at) for each in reversed(found)])


def like(store: S3ObjectStore, kind: type[S3ObjectStore]) -> S3ObjectStore:
    return kind(store.client, store.bucket, store.storage_class, store.sleep, store.patience)


def test_a_manifest_that_was_replaced_only_while_it_was_read_deletes_no_row(lab: Lab) -> None:
    lab.fill(rows=4)
    archive(lab.task())

    with pytest.raises(NotVerified, match="is not the oldest version"):
        purge(lab.task(store=like(s3_of(lab), Forging)))

    assert lab.count() == 4


def test_where_two_versions_are_of_one_second_neither_is_believed(lab: Lab) -> None:
    lab.fill(rows=4)
    archive(lab.task())
    data_and_manifest_are_forged_together(Site("versioned", lab, s3_of(lab).client, lab.task(), lab.task()))
    with pytest.raises(NotVerified, match="was replaced: it has 2 versions"):
        purge(lab.task(store=like(s3_of(lab), Hasty)))
    assert lab.count() == 4


def test_a_manifest_whose_first_version_was_put_back_on_top_purges(lab: Lab) -> None:
    """Where a newer version is locked, nobody can remove it: this is the way out."""
    lab.fill(rows=4)
    archive(lab.task())
    key = manifest_key(lab)
    first = lab.content(key)
    time.sleep(1.1)  # S3 tells the age of versions in seconds, and which of two in one second is older is not known
    s3_of(lab).client.put_object(Bucket=lab.bucket, Key=key, Body=b"{}")
    s3_of(lab).client.put_object(Bucket=lab.bucket, Key=key, Body=first)
    assert purge(lab.task()).tally.purged == 4
    assert "was replaced: it has 3 versions" in only(inspected(lab).mismatches, lambda _: True)


def test_a_manifest_of_before_the_bucket_kept_versions_is_looked_at_too(lab: Lab, s3_server: EmbeddedS3) -> None:
    name = f"later-{lab.bucket}"
    s3_server.create_bucket(name)
    store = lab.store = replace(s3_of(lab), bucket=name)
    lab.bucket = name
    lab.fill(rows=4)
    archive(lab.task())
    store.client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    site = Site("versioned", lab, store.client, lab.task(), lab.task())
    before = {key: lab.content(key) for key in lab.objects()}

    data_and_manifest_are_forged_together(site)
    with pytest.raises(NotVerified, match="was replaced: it has 2 versions"):
        purge(lab.task())
    assert lab.count() == 4

    for key in before:
        for each in list(store.history(key)):
            if each.version_id is not None:
                store.client.delete_object(Bucket=name, Key=key, VersionId=each.version_id)
    assert {key: lab.content(key) for key in lab.objects()} == before
    assert purge(lab.task()).tally.purged == 4
    found = inspected(lab)
    assert (found.mismatches, found.warnings) == NOTHING


def test_what_a_crash_left_is_no_damage_though_its_number_is_used_again(lab: Lab) -> None:
    lab.fill(rows=4)
    killed_at(lab, Step.OBJECT_UPLOADED)
    s3_of(lab).remove(only(lab.objects(), lambda key: "rows-0001" in key))  # as the archiver does with what the store did not confirm
    archive(lab.task())
    found = inspected(lab)
    assert (found.mismatches, found.warnings) == NOTHING


def test_a_number_that_was_used_is_not_used_again_by_an_archive_that_failed_between(lab: Lab) -> None:
    lab.fill(rows=4)
    killed_at(lab, Step.OBJECT_UPLOADED)
    killed_at(lab, Step.SNAPSHOT_TAKEN)
    archived = archive(lab.task())
    assert archived.generation is not None
    assert archived.generation.number == 2
    assert len(lab.objects()) == 2
    found = inspected(lab)
    assert (found.mismatches, found.warnings) == NOTHING


def test_a_manifest_that_was_taken_back_does_not_stop_the_purge_of_the_next(lab: Lab, s3_server: EmbeddedS3) -> None:
    lab.bucket = f"locked-{lab.bucket}"
    s3_server.create_bucket(lab.bucket, locking=True)
    lab.store = replace(with_own_client(lab), lock=ObjectLock("COMPLIANCE", timedelta(days=1)))
    spoiled = list[str]()

    def spoil(params: dict[str, Any], **_: object) -> None:
        if "_manifest" in params["url_path"] and not spoiled:
            params["headers"]["x-amz-object-lock-mode"] = "GOVERNANCE"
            spoiled.append(params["url_path"])

    lab.store.client.meta.events.register("before-call.s3.PutObject", spoil)
    lab.fill(rows=4)
    with pytest.raises(StoreError, match="expected the retention COMPLIANCE"):
        archive(lab.task())
    assert [(each.marker, each.current) for each in lab.store.history(manifest_key(lab))] == [(True, True), (False, False)]
    killed_at(lab, Step.SNAPSHOT_TAKEN)
    archive(lab.task())
    assert purge(lab.task()).tally.purged == 4


def test_a_thousand_versions_of_a_manifest_are_named_in_bounded_words(lab: Lab) -> None:
    lab.fill(rows=1)
    archive(lab.task())
    key = manifest_key(lab)
    at = datetime.now(UTC)
    versions = tuple(Version(key, f"{number:032}", current=number == 0, marker=False, at=at) for number in range(1000))
    (line,) = inspect_day(lab.task(), History(versions)).mismatches
    assert "it has 1000 versions" in line
    assert len(line) < 4_000


def test_a_leftover_that_goes_while_it_is_looked_at_is_none(lab: Lab) -> None:
    lab.fill(rows=4)
    killed_at(lab, Step.OBJECT_UPLOADED)
    found = inspect_day(lab.task(store=like(s3_of(lab), Cleaning)), History())
    assert (found.mismatches, found.warnings) == NOTHING


def test_a_generation_that_a_later_manifest_does_not_know_is_named(lab: Lab) -> None:
    for _ in range(3):
        lab.fill(rows=2)
        archive(lab.task())
    key = lab.task().keys.mark(Mark.MANIFEST, 3)
    manifest = json.loads(lab.content(key))
    assert [each["generation"] for each in manifest["earlier"]] == [1, 2]
    del manifest["earlier"][0]
    s3_of(lab).client.put_object(Bucket=lab.bucket, Key=key, Body=json.dumps(manifest).encode())
    found = inspect_day(lab.task(), History())
    assert found.mismatches == []
    assert f"generation 1 is not among those of which {key} speaks" in only(found.warnings, lambda _: True)


LISTED = b'<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name></ListBucketResult>'


def refused(code: str) -> bytes:
    return f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>no</Message></Error>'.encode()


@pytest.mark.parametrize(
    ("status", "body", "warned"),
    [
        (501, refused("NotImplemented"), True),
        (501, b"", True),
        (403, refused("AccessDenied"), True),
        (405, refused("MethodNotAllowed"), True),
        (400, refused("InvalidArgument"), True),
        (200, LISTED, False),
    ],
    ids=["501", "501 without words", "403", "405", "400", "an answer without versions"],
)
def test_where_versions_cannot_be_listed_a_purge_goes_on(
    lab: Lab, caplog: pytest.LogCaptureFixture, status: int, body: bytes, *, warned: bool
) -> None:
    def answer(request: AWSPreparedRequest, **_: object) -> AWSResponse:
        return AWSResponse(request.url, status, HTTPHeaders(), HTTPResponse(BytesIO(body), preload_content=False))

    lab.fill(rows=4)
    archive(lab.task())
    lab.store = with_own_client(lab)
    lab.store.client.meta.events.register("before-send.s3.ListObjectVersions", answer)  # type: ignore[arg-type] # of this event an answer is taken
    assert (purge(lab.task()).tally.purged, lab.count()) == (4, 0)
    assert ("what was hidden or replaced cannot be told" in caplog.text) == warned
    found = inspected(lab)
    assert (found.mismatches, found.warnings) == NOTHING
