"""Objects that are not what was archived: each is caught, named, and costs no row."""

from collections.abc import Callable
from datetime import date

import pytest

from archiver_assets.demo.seaweed import EmbeddedS3
from archiver_assets.errors import ManifestInvalid, NotArchived, NotVerified
from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.generations import read_generations, reject
from archiver_assets.lifecycle.purging.purge import purge
from archiver_assets.lifecycle.verifying.readback import read_back
from archiver_assets.lifecycle.verifying.verify import verify
from archiver_assets.orchestration.metadata import verification_result
from archiver_assets_tests.doubles import MemoryObjectStore
from archiver_assets_tests.lab import DAY, Lab, only

NEXT_DAY = date(2024, 3, 6)


def _garbage_of_the_same_size(good: bytes, _other: bytes) -> bytes:
    return bytes(len(good))


def _truncated(good: bytes, _other: bytes) -> bytes:
    return good[:-100]


def _with_a_byte_more(good: bytes, _other: bytes) -> bytes:
    return good + b"\x00"


def _empty(_good: bytes, _other: bytes) -> bytes:
    return b""


def _of_another_day(_good: bytes, other: bytes) -> bytes:
    return other


def _with_one_bit_flipped(good: bytes, _other: bytes) -> bytes:
    middle = len(good) // 2
    return good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :]


@pytest.mark.parametrize(
    ("tampered", "named"),
    [
        (_garbage_of_the_same_size, "does not decode as Parquet"),
        (_truncated, "bytes: expected"),
        (_with_a_byte_more, "bytes: expected"),
        (_empty, "bytes: expected"),
        (_of_another_day, "partition in its footer: expected"),
        (_with_one_bit_flipped, "sha256: expected"),
    ],
)
def test_an_object_that_was_replaced_is_named_and_no_row_is_deleted(
    lab: Lab, s3_server: EmbeddedS3, tampered: Callable[[bytes, bytes], bytes], named: str
) -> None:
    lab.fill(rows=50)
    lab.fill(day=NEXT_DAY, rows=50)
    archive(lab.task())
    archive(lab.task(NEXT_DAY))
    good = only(lab.objects(), lambda key: f"dt={DAY}/rows" in key)
    other = only(lab.objects(), lambda key: f"dt={NEXT_DAY}/rows" in key)
    s3_server.client().put_object(Bucket=lab.bucket, Key=good, Body=tampered(lab.content(good), lab.content(other)))

    with pytest.raises(NotVerified, match=named):
        purge(lab.task())

    assert only(lab.objects(), lambda key: "_rejected" in key)
    assert not verify(lab.task()).passed
    assert lab.count() == 100
    assert not any("_purging" in key for key in lab.objects())


def test_an_object_that_was_removed_is_named_and_no_row_is_deleted(lab: Lab, s3_server: EmbeddedS3) -> None:
    lab.fill(rows=5)
    archive(lab.task())
    key = only(lab.objects(), lambda key: "rows-" in key)
    s3_server.client().delete_object(Bucket=lab.bucket, Key=key)

    with pytest.raises(NotVerified, match=key):
        purge(lab.task())

    assert lab.count() == 5


@pytest.mark.parametrize("cut", [0, 1, 100])
def test_a_manifest_that_was_truncated_is_named_and_no_row_is_deleted(lab: Lab, s3_server: EmbeddedS3, cut: int) -> None:
    lab.fill(rows=5)
    archive(lab.task())
    key = only(lab.objects(), lambda key: "_manifest" in key)
    s3_server.client().put_object(Bucket=lab.bucket, Key=key, Body=lab.content(key)[:cut])

    for verb in (archive, purge):
        with pytest.raises(ManifestInvalid, match=key):
            verb(lab.task())

    assert key in verify(lab.task()).mismatches[0]
    assert lab.count() == 5


def _removed(lab: Lab, key: str) -> None:
    lab.store.remove(key)


def _emptied(lab: Lab, key: str) -> None:
    lab.overwrite(key, b"")


@pytest.mark.parametrize("harm", [_removed, _emptied])
@pytest.mark.parametrize("purged", [False, True])
def test_the_check_of_a_day_whose_manifest_cannot_be_believed_has_the_next_step_that_a_run_has(
    lab: Lab, harm: Callable[[Lab, str], None], *, purged: bool
) -> None:
    lab.fill(rows=5)
    archive(lab.task())
    key = only(lab.objects(), lambda key: "_manifest" in key)
    if purged:
        purge(lab.task())
    else:
        reject(lab.task(), read_generations(lab.task()).live[0], ("a test",))
    harm(lab, key)
    with pytest.raises(ManifestInvalid, match=key) as raised:
        archive(lab.task())

    verification = verify(lab.task())
    result = verification_result(lab.task(), lab.services().links, verification)

    assert verification.mismatches == (raised.value.message,)
    assert verification.next_step == verification.failure("a day").hint == raised.value.hint
    assert result.metadata["next_step"].value == raised.value.hint


def test_a_manifest_and_object_of_another_day_are_named_and_no_row_is_deleted(lab: Lab, s3_server: EmbeddedS3) -> None:
    lab.fill(rows=5)
    lab.fill(day=NEXT_DAY, rows=5)
    archive(lab.task(NEXT_DAY))
    for key in lab.objects():
        s3_server.client().put_object(Bucket=lab.bucket, Key=key.replace("dt=2024-03-06", "dt=2024-03-05"), Body=lab.content(key))

    with pytest.raises(ManifestInvalid, match="2024-03-06"):
        purge(lab.task())

    assert lab.count() == 10


def test_an_object_whose_manifest_was_edited_to_claim_fewer_rows_does_not_pass(lab: Lab, s3_server: EmbeddedS3) -> None:
    lab.fill(rows=5)
    archive(lab.task())
    key = only(lab.objects(), lambda key: "_manifest" in key)
    s3_server.client().put_object(Bucket=lab.bucket, Key=key, Body=lab.content(key).replace(b'"rows": 5', b'"rows": 4'))

    with pytest.raises(NotVerified, match="rows: expected 4, found 5"):
        purge(lab.task())

    assert lab.count() == 5


def test_a_generation_that_was_rejected_is_not_purged(lab: Lab) -> None:
    lab.fill(rows=5)
    archive(lab.task())
    lab.store.create(lab.task().keys.folder + "_rejected-0001.json", b"{}")

    with pytest.raises(NotArchived, match="none that counts"):
        purge(lab.task())

    assert (lab.count(), verify(lab.task()).passed) == (5, False)


def test_an_archive_that_was_copied_to_another_prefix_is_purged_from_there(lab: Lab, s3_server: EmbeddedS3) -> None:
    lab.fill(rows=5)
    archive(lab.task())
    for key in lab.objects():
        s3_server.client().put_object(Bucket=lab.bucket, Key="moved/" + key, Body=lab.content(key))
        s3_server.client().delete_object(Bucket=lab.bucket, Key=key)

    assert purge(lab.task(prefix="moved/archives/")).tally.purged == 5


@pytest.mark.parametrize("stride", [7, pytest.param(1, marks=pytest.mark.torture)])
def test_no_flipped_bit_anywhere_in_the_object_passes(lab: Lab, stride: int) -> None:
    store = MemoryObjectStore()
    lab.fill(rows=40)
    archive(lab.task(store=store))
    key = only(store.contents, lambda key: "rows-" in key)
    good = store.contents[key]
    (generation,) = read_generations(lab.task(store=store)).open

    for position in range(0, len(good), stride):
        store.contents[key] = good[:position] + bytes([good[position] ^ 0x10]) + good[position + 1 :]
        with read_back(lab.task(store=store), generation) as copy:
            assert not copy.verification.passed

    store.contents[key] = good
    assert verify(lab.task(store=store)).passed
