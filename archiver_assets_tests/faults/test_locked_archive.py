"""The whole protocol in a bucket with Object Lock: it works as elsewhere, and nothing that it wrote can be removed or replaced.

What belongs here: archive, verify, rejection, purge, restore and crashes under a lock in COMPLIANCE mode, which no identity can lift. What
does not: what a store does with one object (`integration/test_object_lock.py`).
"""

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from botocore.exceptions import ClientError

from archiver_assets.cli.app import Status, main
from archiver_assets.demo.seaweed import EmbeddedS3
from archiver_assets.errors import NotVerified
from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.generations import read_generations, reject
from archiver_assets.lifecycle.purging.dry_purge import dry_purge
from archiver_assets.lifecycle.purging.purge import purge
from archiver_assets.lifecycle.restoring.request import RestoreRequest
from archiver_assets.lifecycle.restoring.restore import restore
from archiver_assets.lifecycle.task import Step
from archiver_assets.lifecycle.verifying.bucket_history import read_history
from archiver_assets.lifecycle.verifying.inspection import Inspection, inspect_day
from archiver_assets.lifecycle.verifying.verify import verify
from archiver_assets.store.object_lock import ObjectLock
from archiver_assets.store.s3 import S3ObjectStore
from archiver_assets.store.s3_upload import PART_SIZE
from archiver_assets_tests.commands import write_config
from archiver_assets_tests.kills import Killed, kill_at
from archiver_assets_tests.lab import DAY, PASSWORD_VARIABLE, Lab, only

LOCK = ObjectLock("COMPLIANCE", timedelta(days=2))


@pytest.fixture(name="lab")
def locked_lab(lab: Lab, s3_server: EmbeddedS3) -> Lab:
    """A lab whose bucket locks, and that writes locked objects; the bucket stays until the server ends."""
    lab.bucket = f"locked-{lab.bucket}"
    s3_server.create_bucket(lab.bucket, locking=True)
    lab.store = replace(s3_of(lab), bucket=lab.bucket, lock=LOCK)
    return lab


def s3_of(lab: Lab) -> S3ObjectStore:
    assert isinstance(lab.store, S3ObjectStore)
    return lab.store


def inspected(lab: Lab, day: date = DAY) -> Inspection:
    task = lab.task(day)
    return inspect_day(task, read_history(lab.store, task.keys.folder))


def require_all_locked(lab: Lab) -> int:
    """See that every version is locked and that the server refuses to remove it, and that none was replaced; return how many there are."""
    store, number = s3_of(lab), 0
    for each in store.history(""):
        if each.marker:
            continue
        place: dict[str, Any] = {"Bucket": lab.bucket, "Key": each.key, "VersionId": each.version_id}
        answer = store.client.head_object(**place)
        assert answer["ObjectLockMode"] == "COMPLIANCE", each.key
        assert answer["ObjectLockRetainUntilDate"] >= answer["LastModified"] + LOCK.length, each.key
        for bypass in (False, True):
            with pytest.raises(ClientError, match="AccessDenied"):
                store.client.delete_object(**place, BypassGovernanceRetention=bypass)
        number += 1
    keys = [each.key for each in store.history("") if not each.marker]
    assert len(set(keys)) == len(keys)
    return number


def test_two_generations_a_rejected_one_receipts_and_a_restore(lab: Lab) -> None:
    lab.fill(rows=20)
    archive(lab.task())
    (first,) = read_generations(lab.task()).live
    reject(lab.task(), first, ("bytes: expected 2, found 1",))
    assert archive(lab.task()).rows == 20
    lab.fill(rows=5)
    assert archive(lab.task()).rows == 5
    assert verify(lab.task()).passed
    assert purge(lab.task()).tally.purged == 25
    assert lab.count() == 0
    assert restore(lab.task(), RestoreRequest()).tally.loaded == 25
    found = inspected(lab)
    assert found.mismatches == []
    assert [line.partition(" since ")[0] for line in found.warnings] == ["generation 1 does not count"]
    # Three objects and manifests, a rejection, two purging marks and two receipts. The restore placed no hold: it made a new table.
    assert require_all_locked(lab) == 3 + 3 + 1 + 2 + 2


def test_an_object_in_parts_is_locked_and_purged(lab: Lab) -> None:
    lab.fill(rows=2)
    lab.execute("UPDATE audit_logs SET details = to_jsonb((SELECT string_agg(md5(n::text), '') FROM generate_series(1, 600000) n))")
    archived = archive(lab.task())
    assert archived.generation is not None
    assert archived.generation.manifest.object.bytes > PART_SIZE
    assert purge(lab.task()).tally.purged == 2
    assert require_all_locked(lab) == 4


ARCHIVING = [
    Step.LOCKED,
    Step.SNAPSHOT_TAKEN,
    Step.BATCH_STREAMED,
    Step.OBJECT_ENCODED,
    Step.OBJECT_UPLOADED,
    Step.WAL_FLUSHED,
    Step.MANIFEST_CREATED,
]
PURGING = [Step.READ_BACK, Step.PURGE_MARKED, Step.BATCH_DELETED, Step.RECEIPT_WRITTEN]


def test_a_run_that_is_killed_between_any_two_steps_is_finished_by_the_next(lab: Lab) -> None:
    for number, step in enumerate([*ARCHIVING, *PURGING]):
        day = DAY + timedelta(days=number)
        lab.fill(day, rows=5)
        if step in PURGING:
            archive(lab.task(day))
        with pytest.raises(Killed):
            (purge if step in PURGING else archive)(lab.task(day, reached=kill_at(step)))
        archive(lab.task(day))
        purge(lab.task(day))
        found = inspected(lab, day)
        assert (found.mismatches, found.warnings, found.rows) == ([], [], 5), step
    assert lab.count() == 0
    assert require_all_locked(lab) >= 4 * len([*ARCHIVING, *PURGING])


def test_what_a_crash_left_is_hidden_by_a_delete_marker_and_an_upload_is_ended(lab: Lab) -> None:
    lab.fill(rows=5)
    with pytest.raises(Killed):
        archive(lab.task(reached=kill_at(Step.OBJECT_UPLOADED)))
    left = only(lab.objects(), lambda key: "rows-0001" in key)
    client = s3_of(lab).client
    client.create_multipart_upload(Bucket=lab.bucket, Key=left.replace("0001", "0002"))
    assert "left by a crash" in only(inspected(lab).warnings, lambda _: True)

    archive(lab.task())

    assert left not in lab.objects()
    assert [each.marker for each in lab.store.history(left)] == [True, False]
    assert "Uploads" not in client.list_multipart_uploads(Bucket=lab.bucket)
    found = inspected(lab)
    assert (found.mismatches, found.warnings) == ([], [])


def test_the_probe_of_conditions_leaves_nothing(lab: Lab) -> None:
    lab.fill(rows=5)
    archive(lab.task())
    assert len(list(lab.store.history(""))) == 2


def test_leaves_are_dropped(lab: Lab) -> None:
    lab.execute(
        "CREATE TABLE ev (id int NOT NULL, at timestamptz NOT NULL, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);"
        "CREATE TABLE ev_05 PARTITION OF ev FOR VALUES FROM ('2024-03-05') TO ('2024-03-06'); CREATE INDEX ON ev (at);"
        "INSERT INTO ev SELECT n, '2024-03-05 10:00+00' FROM generate_series(1, 20) n"
    )
    lab.overrides = {"name": "ev", "primary_key": ("id", "at"), "timestamp_column": "at", "purge_method": "drop_partition"}
    archive(lab.task())
    assert purge(lab.task()).dropped == ("ev_05",)
    assert require_all_locked(lab) == 4


@pytest.mark.parametrize("mark", ["rows", "_manifest", "_purging", "_purged"])
def test_a_delete_marker_is_named_with_what_brings_the_object_back(
    lab: Lab, tmp_path: Path, mark: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, "none")
    lab.fill(rows=5)
    archive(lab.task())
    purge(lab.task())
    key = only(lab.objects(), lambda key: f"/{mark}-" in key)
    client = s3_of(lab).client
    marker = client.delete_object(Bucket=lab.bucket, Key=key)["VersionId"]
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(lab.document()))

    assert main(["verify", "--config", str(config)]) == Status.FOUND
    said = capsys.readouterr().out
    assert f"DAMAGED lab/public/audit_logs {DAY}: s3://{lab.bucket}/{key} was removed: the delete marker {marker}" in said
    assert f"aws s3api delete-object --bucket {lab.bucket} --key {key} --version-id {marker}" in said

    client.delete_object(Bucket=lab.bucket, Key=key, VersionId=marker)
    assert main(["verify", "--strict", "--config", str(config)]) == Status.DONE


def test_a_locked_object_that_is_replaced_stops_the_purge_and_the_first_version_is_still_there(lab: Lab) -> None:
    lab.fill(rows=5)
    archive(lab.task())
    key = only(lab.objects(), lambda key: "_manifest" in key)
    data = lab.content(key)
    (first,) = lab.store.history(key)
    s3_of(lab).client.put_object(Bucket=lab.bucket, Key=key, Body=data.replace(b"CREATE TABLE", b"CREATE  TABLE"))

    with pytest.raises(NotVerified, match="was replaced: it has 2 versions"):
        purge(lab.task())

    assert lab.count() == 5
    assert not [each for each in lab.objects() if "_purging" in each]
    assert dry_purge(lab.task()).outcome == "would be refused"
    assert any(f"to have the oldest back, {first.version_id} of" in line for line in inspected(lab).mismatches)
    assert b"".join(lab.store.read(key, version_id=first.version_id)) == data


def test_an_etag_that_was_edited_in_the_manifest_is_named(lab: Lab) -> None:
    lab.fill(rows=5)
    archive(lab.task())
    key = only(lab.objects(), lambda key: "_manifest" in key)
    s3_of(lab).client.put_object(Bucket=lab.bucket, Key=key, Body=lab.content(key).replace(b'"etag": "', b'"etag": "0'))
    assert any(line.startswith("etag of s3://") for line in verify(lab.task(), rejecting=False).mismatches[0].split("generation 1: "))


def test_a_config_with_object_lock_makes_runs_that_lock(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, lab.database.password)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    lab.fill(rows=5)
    config = write_config(lab, tmp_path, s3={"object_lock": {"mode": "COMPLIANCE", "days": 2}})
    assert main(["run", "--config", config, "--table", "audit_logs", "--from", str(DAY), "--to", str(DAY)]) == Status.DONE
    assert (lab.count(), require_all_locked(lab)) == (0, 4)
    assert main(["verify", "--strict", "--config", config]) == Status.DONE
