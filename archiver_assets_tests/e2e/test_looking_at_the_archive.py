"""`archiver list` and `archiver verify`: the archive from the store alone, also what accident and malice do to it."""

import dataclasses
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import pytest
import yaml

from archiver_assets.cli.app import Status, main
from archiver_assets.demo.seaweed import EmbeddedS3
from archiver_assets.errors import StoreError
from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.generations import read_generations, reject
from archiver_assets.lifecycle.purging.purge import purge
from archiver_assets.lifecycle.task import Step
from archiver_assets.store.manifest import AcceptedSource, encode
from archiver_assets.store.objects import SMALL
from archiver_assets.store.s3 import S3ObjectStore
from archiver_assets_tests.e2e.conftest import Said
from archiver_assets_tests.kills import Killed, kill_at
from archiver_assets_tests.lab import DAY, PASSWORD_VARIABLE, Lab, only
from archiver_assets_tests.proxies import Fault, HttpProxy, Rule

NEXT_DAY = date(2024, 3, 6)
FOLDER = "archives/lab/public/audit_logs/"


@pytest.fixture(autouse=True)
def _without_a_database(config: str, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001 - which sets the variable
    monkeypatch.delenv(PASSWORD_VARIABLE)


@pytest.fixture(name="lab")
def archived_lab(lab: Lab) -> Lab:
    """A day that is purged, and one that is archived."""
    for day in (DAY, NEXT_DAY):
        lab.fill(day, rows=10)
        archive(lab.task(day))
    purge(lab.task(DAY))
    return lab


def test_the_list_has_a_line_for_each_generation(lab: Lab, said: Said) -> None:
    status, out = said("list")
    assert status == Status.DONE
    lines = out.splitlines()
    (purged,), (live,) = ([line for line in lines if str(day) in line] for day in (DAY, NEXT_DAY))
    assert purged.split()[:5] == ["lab/public/audit_logs", str(DAY), "1", "purged", "10"]
    assert live.split()[:5] == ["lab/public/audit_logs", str(NEXT_DAY), "1", "live", "10"]
    assert live.split()[-1].startswith(f"s3://{lab.bucket}/{FOLDER}dt={NEXT_DAY}/rows-0001-")
    assert "2 generations, 20 rows, " in lines[-1]


def test_the_list_narrows_to_days_and_tells_programs_the_same(said: Said) -> None:
    status, out = said("list", "--json", "--from", str(NEXT_DAY), "--table", "audit_logs")
    (one,) = json.loads(out)["generations"]
    assert status == Status.DONE
    assert (one["day"], one["generation"], one["state"], one["rows"]) == (str(NEXT_DAY), 1, "live", 10)


def test_rejected_generations_are_listed_when_asked_for(lab: Lab, said: Said) -> None:
    reject_live(lab)
    _, out = said("list")
    assert "1 generation, 10 rows" in out
    assert "1 rejected generation not shown" in out
    _, out = said("list", "--all")
    assert "rejected" in only(out.splitlines(), lambda line: str(NEXT_DAY) in line)


def reject_live(lab: Lab) -> None:
    """Reject the live generation, as a verification does that found its object damaged."""
    task = lab.task(NEXT_DAY)
    (generation,) = read_generations(task).live
    reject(task, generation, ("bytes: expected 2, found 1",))


def test_generations_of_a_source_before_the_accepted_one_are_marked_so(lab: Lab, said: Said) -> None:
    moved = AcceptedSource(system_identifier="7", database_oid=5, at=lab.task().clock(), run_id="a test")
    lab.store.create(f"{FOLDER}_source-0001.json", encode(moved))
    _, out = said("list")
    assert "former source" in only(out.splitlines(), lambda line: str(NEXT_DAY) in line)
    assert "purged" in only(out.splitlines(), lambda line: str(DAY) in line)


def test_a_day_that_cannot_be_told_is_named_beside_the_others(lab: Lab, said: Said) -> None:
    replace(lab, f"{FOLDER}dt={DAY}/_manifest-0001.json", b"{}")
    status, out = said("list")
    assert status == Status.FOUND
    assert "DAMAGED expected a manifest of the format archiver/1" in out
    assert str(NEXT_DAY) in out


def replace(lab: Lab, key: str, data: bytes) -> None:
    lab.store.remove(key)
    lab.store.create(key, data)


def test_an_empty_archive_is_no_error(said: Said) -> None:
    assert said("list", "--to", "2001-01-01") == (0, "0 generations, 0 rows, 0 bytes\n")


def test_a_table_that_the_config_does_not_have_is_wrong_usage(said: Said, capsys: pytest.CaptureFixture[str]) -> None:
    status, out = said("--json", "verify", "--table", "audit_log")
    assert status == Status.USAGE
    assert json.loads(out)["hint"] == "choose one of: lab/public/audit_logs"
    assert capsys.readouterr().err == ""


def test_a_whole_archive_is_proven_without_a_database(lab: Lab, said: Said) -> None:
    before = lab.objects()
    status, out = said("verify")
    assert status == Status.DONE
    assert out.startswith("lab/public/audit_logs: 2 of 2 generations of 2 days proven, 20 rows and ")
    assert re.search(r"; 0 mismatches, 0 warnings\ndigest of 4 manifests and marks: sha256:[0-9a-f]{64}\n\Z", out)
    assert lab.objects() == before


def damaged_object(lab: Lab) -> str:
    key = only(lab.objects(), lambda key: f"dt={DAY}/rows-" in key)
    data = lab.content(key)
    replace(lab, key, data[:100] + bytes([data[100] ^ 1]) + data[101:])
    return f"{key}: sha256: expected sha256:"


def missing_object(lab: Lab) -> str:
    lab.store.remove(only(lab.objects(), lambda key: f"dt={DAY}/rows-" in key))
    return "is gone, or hidden by a delete marker"


def changed_manifest_of_a_purged_generation(lab: Lab) -> str:
    key = f"{FOLDER}dt={DAY}/_manifest-0001.json"
    replace(lab, key, lab.content(key).replace(b'"run-of-a-test"', b'"another-run"'))
    return "found the digest of another manifest"


def changed_manifest_of_a_purge_that_has_begun(lab: Lab) -> str:
    lab.store.remove(f"{FOLDER}dt={DAY}/_purged-0001.json")
    changed_manifest_of_a_purged_generation(lab)
    return f"{FOLDER}dt={DAY}/_manifest-0001.json was changed: expected sha256:"


def missing_manifest(lab: Lab) -> str:
    lab.store.remove(f"{FOLDER}dt={DAY}/_manifest-0001.json")
    return f"expected {FOLDER}dt={DAY}/_manifest-0001.json beside the other marks of generation 1, found none"


def missing_purging_mark(lab: Lab) -> str:
    lab.store.remove(f"{FOLDER}dt={DAY}/_purging-0001.json")
    return "beside the receipt, found none"


def damaged_purging_mark(lab: Lab) -> str:
    replace(lab, f"{FOLDER}dt={DAY}/_purging-0001.json", b"{")
    return "expected a purging of the format archiver/1"


def damaged_source(lab: Lab) -> str:
    lab.store.create(f"{FOLDER}_source-0001.json", b"[]")
    return "expected a acceptedsource of the format"


def second_object_of_a_generation(lab: Lab) -> str:
    lab.store.create(f"{FOLDER}dt={DAY}/rows-0001-00000000.parquet", b"half")
    return "rows-0001-00000000.parquet is named by no manifest: that of generation 1 names"


def stranger_in_a_folder(lab: Lab) -> str:
    lab.store.create(f"{FOLDER}dt={DAY}/notes.txt", b"mine")
    return "notes.txt is none of the archive's objects"


def folder_of_no_day(lab: Lab) -> str:
    lab.store.create(f"{FOLDER}dt=2024-13-01/_manifest-0001.json", b"{}")
    return "dt=2024-13-01/_manifest-0001.json is none of the archive's objects"


DAMAGE = (
    second_object_of_a_generation,
    stranger_in_a_folder,
    folder_of_no_day,
    damaged_object,
    missing_object,
    changed_manifest_of_a_purged_generation,
    changed_manifest_of_a_purge_that_has_begun,
    missing_manifest,
    missing_purging_mark,
    damaged_purging_mark,
    damaged_source,
)


def test_damage_is_named_and_rejects_nothing(lab: Lab, said: Said) -> None:
    for damage in DAMAGE:
        with undone(lab):
            expected = damage(lab)
            before = lab.objects()
            status, out = said("verify")
            assert status == Status.FOUND, damage
            lines = [line for line in out.splitlines() if line.startswith("DAMAGED lab/public/audit_logs")]
            assert any(expected in line for line in lines), out
            assert f"; {len(lines)} mismatch{'' if len(lines) == 1 else 'es'}" in out
            assert lab.objects() == before


@contextmanager
def undone(lab: Lab) -> Iterator[None]:
    """Put the objects back as they were: a lab for each damage would take longer than the test."""
    before = {key: lab.content(key) for key in lab.objects()}
    yield
    for key in lab.objects():
        lab.store.remove(key)
    for key, data in before.items():
        lab.store.create(key, data)


def left_by_a_crash(lab: Lab) -> str:
    lab.fill(DAY, rows=1)
    with pytest.raises(Killed):
        archive(lab.task(DAY, reached=kill_at(Step.OBJECT_UPLOADED)))
    return "is named by no manifest: left by a crash"


def gap_before_the_manifest_told_of_earlier_ones(lab: Lab) -> str:
    folder = f"{FOLDER}dt={NEXT_DAY}/"
    (generation,) = read_generations(lab.task(NEXT_DAY)).live
    manifest, rows = generation.manifest, f"{folder}rows-0002-00000000.parquet"
    lab.store.create(rows, lab.content(generation.object_key))
    renamed = manifest.model_copy(update={"generation": 2, "object": manifest.object.model_copy(update={"key": rows})})
    for key in [generation.object_key, f"{folder}_manifest-0001.json"]:
        lab.store.remove(key)
    lab.store.create(f"{folder}_manifest-0002.json", encode(renamed))
    return f"dt={NEXT_DAY}/ has no generation 1"


def rejected_generation(lab: Lab) -> str:
    reject_live(lab)
    return "does not count since"


def test_what_a_crash_leaves_too_is_a_warning_and_damage_to_the_strict(lab: Lab, said: Said) -> None:
    for oddity in (left_by_a_crash, rejected_generation):
        with undone(lab):
            expected = oddity(lab)
            status, out = said("verify")
            assert status == Status.DONE, oddity
            assert expected in only(out.splitlines(), lambda line: line.startswith("warning lab/public/audit_logs"))
            assert said("verify", "--strict")[0] == Status.FOUND


def test_a_gap_of_old_manifests_is_a_warning(lab: Lab, said: Said) -> None:
    expected = gap_before_the_manifest_told_of_earlier_ones(lab)
    assert expected in only(said("verify")[1].splitlines(), lambda line: line.startswith("warning lab/public/audit_logs"))


def test_a_number_that_a_crash_took_is_no_finding(lab: Lab, said: Said) -> None:
    left_by_a_crash(lab)
    archive(lab.task(DAY))
    assert [key for key in lab.objects() if "_manifest-0003" in key]
    status, out = said("verify", "--strict")
    assert (status, "; 0 mismatches, 0 warnings\n" in out) == (Status.DONE, True)


def test_rows_only_reads_the_bytes_and_decodes_nothing(said: Said) -> None:
    status, out = said("verify", "--rows-only", "--json")
    (table,) = json.loads(out)["tables"]
    assert (status, table["proven"], table["rows"]) == (Status.DONE, 2, 20)


def test_a_bucket_that_is_not_there_says_what_to_do(lab: Lab, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path(config).write_text(Path(config).read_text().replace(lab.bucket, "no-such-bucket"))
    assert main(["verify", "--config", config]) == Status.FAILED
    said = capsys.readouterr().err
    assert "no-such-bucket" in said
    assert "HINT: " in said


def witness_of(said: Said, path: Path, *options: str) -> Path:
    """Keep what verify says, as an operator keeps it elsewhere."""
    status, out = said("verify", "--json", *options)
    assert status == Status.DONE
    path.write_text(out)
    return path


def test_a_witness_names_a_day_that_was_removed_with_all_its_marks_and_takes_what_was_added(lab: Lab, said: Said, tmp_path: Path) -> None:
    lab.fill(DAY, rows=3)
    witness = witness_of(said, tmp_path / "witness.json")
    archive(lab.task(DAY))
    assert said("verify", "--strict", "--witness", str(witness))[0] == Status.DONE
    for key in [key for key in lab.objects() if f"dt={NEXT_DAY}" in key]:
        lab.store.remove(key)
    assert said("verify", "--strict")[0] == Status.DONE
    status, out = said("verify", "--witness", str(witness))
    assert status == Status.FOUND
    assert f"DAMAGED lab/public/audit_logs {NEXT_DAY}: {FOLDER}dt={NEXT_DAY}/_manifest-0001.json is missing: the witness of 20" in out
    assert said("verify", "--to", str(DAY), "--witness", str(witness))[0] == Status.DONE


def test_a_witness_names_an_accepted_source_that_was_removed(lab: Lab, said: Said, tmp_path: Path) -> None:
    for number in (1, 2):
        moved = AcceptedSource(system_identifier=str(number), database_oid=5, at=lab.task().clock(), run_id="a test")
        lab.store.create(f"{FOLDER}_source-000{number}.json", encode(moved))
    witness = witness_of(said, tmp_path / "witness.json")
    lab.store.remove(f"{FOLDER}_source-0002.json")
    assert said("verify")[0] == Status.DONE
    assert f"{FOLDER}_source-0002.json is missing: the witness of" in said("verify", "--witness", str(witness))[1]


def test_a_source_that_is_missing_before_a_later_one_is_damage(lab: Lab, said: Said) -> None:
    moved = AcceptedSource(system_identifier="1", database_oid=5, at=lab.task().clock(), run_id="a test")
    lab.store.create(f"{FOLDER}_source-0002.json", encode(moved))
    status, out = said("verify")
    assert (status, "_source-0001.json is missing: a later one is there" in out) == (Status.FOUND, True)


def test_one_digest_stands_for_the_whole(lab: Lab, said: Said) -> None:
    (digest,) = re.findall("sha256:[0-9a-f]{64}", said("verify")[1])
    assert said("verify", "--expect", digest)[0] == Status.DONE
    lab.store.remove(f"{FOLDER}dt={DAY}/_purged-0001.json")
    assert said("verify")[0] == Status.DONE
    status, out = said("verify", "--expect", digest)
    assert (status, "DAMAGED overall digest: expected sha256:" in out) == (Status.FOUND, True)


@pytest.mark.parametrize(
    "content", ["", "{}", '{"at": "2026-08-01T00:00:00Z", "tables": [{"table": "a", "digests": {"b": "no digest"}}]}', None]
)
def test_what_is_no_witness_is_refused(said: Said, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None) -> None:
    path = tmp_path / "witness.json"
    if content is not None:
        path.write_text(content)
    assert said("verify", "--witness", str(path))[0] == Status.USAGE
    assert "verify" not in capsys.readouterr().out


def test_a_table_of_the_witness_that_the_config_does_not_have_is_a_warning(said: Said, tmp_path: Path) -> None:
    witness = witness_of(said, tmp_path / "witness.json")
    witness.write_text(witness.read_text().replace("lab/public/audit_logs", "lab/public/gone"))
    assert "has the table lab/public/gone, which is not in the config" in said("verify", "--witness", str(witness))[1]
    assert said("verify", "--strict", "--witness", str(witness))[0] == Status.FOUND


def test_versions_that_may_not_be_listed_are_a_warning_and_the_rest_is_proven(
    lab: Lab, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_store: object, prefix: str) -> object:
        message = f"could not list the versions of {prefix}: AccessDenied (HTTP 403)"
        raise StoreError(message, hint="see that s3:ListBucketVersions is allowed")

    monkeypatch.setattr(S3ObjectStore, "history", refuse)
    status, out = said("verify")
    assert status == Status.DONE
    assert "what was hidden or replaced cannot be told: could not list the versions" in out
    assert "2 of 2 generations of 2 days proven" in out
    assert said("verify", "--strict")[0] == Status.FOUND
    purge(lab.task(NEXT_DAY))
    assert lab.count() == 0


def test_what_a_crash_left_is_strange_if_the_store_sends_it_damaged(lab: Lab, s3_server: EmbeddedS3, config: str, said: Said) -> None:
    name = "rows-0002-0123abcd.parquet"
    lab.store.create(f"{FOLDER}dt={DAY}/{name}", lab.content(only(lab.objects(), lambda key: f"dt={DAY}/rows" in key)))
    with HttpProxy(s3_server.port, Rule(Fault.WRONG_BYTE_TOLD, "GET", name, times=None)) as proxy:
        Path(config).write_text(yaml.safe_dump(dataclasses.replace(lab, endpoint=proxy.endpoint).document()))
        status, out = said("verify")
    assert status == Status.FOUND
    assert re.search(f"{name} is named by no manifest, and no archive of this day left it: .*checksum", out)
    assert "2 of 2 generations of 2 days proven" in out


LARGEST = 999_999
"""The largest number that an object can have."""


def largest_number(lab: Lab) -> str:
    lab.store.create(f"{FOLDER}dt={DAY}/rows-{LARGEST}-00000000.parquet", b"half")
    return f"rows-{LARGEST}-00000000.parquet is named by no manifest, and no archive of this day left it"


def source_of_the_largest_number(lab: Lab) -> str:
    moved = AcceptedSource(system_identifier="1", database_oid=5, at=lab.task().clock(), run_id="a test")
    lab.store.create(f"{FOLDER}_source-{LARGEST}.json", encode(moved))
    return "_source-0001.json is missing: a later one is there"


def mark_without_end(lab: Lab) -> str:
    replace(lab, f"{FOLDER}dt={DAY}/_purging-0001.json", b"[" + b" " * (SMALL + 1))
    return f"{FOLDER}dt={DAY}/_purging-0001.json, found more"


@pytest.mark.parametrize("hostile", [largest_number, source_of_the_largest_number, mark_without_end])
def test_what_is_large_beyond_reason_is_named(lab: Lab, said: Said, hostile: Callable[[Lab], str]) -> None:
    expected = hostile(lab)
    status, out = said("verify")
    assert (status, expected in out) == (Status.FOUND, True), out
    assert f"{NEXT_DAY}" not in out  # whose generation is proven all the same
    assert "2 of 2 generations of 2 days proven" in out
