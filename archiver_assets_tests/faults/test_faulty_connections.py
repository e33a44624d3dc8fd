"""Networks that cut, delay and lose, stores that fail and stores that lie: what passes is survived, what stays ends before any delete."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.retries.standard import ExponentialBackoff

from archiver_assets.config import Hold
from archiver_assets.demo.seaweed import EmbeddedS3
from archiver_assets.errors import (
    HoldsUnreadable,
    ManifestInvalid,
    NotVerified,
    SourceLoginRefused,
    SourceUnavailable,
    StoreError,
    StoreUnavailable,
)
from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.purging.purge import purge
from archiver_assets.lifecycle.verifying.verify import verify
from archiver_assets.source.session import Connection, is_alive, mark_alive
from archiver_assets.source.sql_session import PINNED_SETTINGS
from archiver_assets.store.hold_objects import place_hold
from archiver_assets.store.s3 import Patience, S3ObjectStore
from archiver_assets.store.s3_upload import PART_SIZE
from archiver_assets_tests.doubles import MemoryObjectStore
from archiver_assets_tests.lab import LARGE_ROWS, PREFIX, Lab, only
from archiver_assets_tests.proxies import Fault, HttpProxy, Rule, TcpProxy

ROWS = 200
PATIENCE = Patience(max_attempts=3, connect_timeout=2.0, read_timeout=5.0)
KINDS = ("/rows-", "/_manifest", "/_purging", "/_purged")


def no_sleep(_seconds: float) -> None:
    """Do not wait."""


def a_moment(_seconds: float) -> None:
    """Wait until the server has seen that a session was cut, which holds its locks until then."""
    time.sleep(0.1)


@pytest.fixture(autouse=True)
def tries_follow_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let botocore try again without its pauses of up to a second, and the second after it two."""
    monkeypatch.setattr(ExponentialBackoff, "delay_amount", lambda *_: 0.01)


@pytest.fixture
def s3_proxy(s3_server: EmbeddedS3) -> Iterator[HttpProxy]:
    with HttpProxy(s3_server.port) as proxy:
        yield proxy


@pytest.fixture
def database_proxy(lab: Lab) -> Iterator[TcpProxy]:
    with TcpProxy(lab.database.port) as proxy:
        yield proxy


def through_store(lab: Lab, proxy: HttpProxy, patience: Patience = PATIENCE) -> Lab:
    """Return the lab whose tasks reach the store through the proxy."""
    store = S3ObjectStore.connect(
        bucket=lab.bucket, endpoint=proxy.endpoint, region="us-east-1", path_style=True, patience=patience, sleep=no_sleep
    )
    return replace(lab, store=store, endpoint=proxy.endpoint)


def through_database(lab: Lab, proxy: TcpProxy) -> Lab:
    """Return the lab whose tasks reach the database through the proxy; `execute` goes past it."""
    return replace(lab, database=replace(lab.database, host="127.0.0.1", port=proxy.port))


def run_all(lab: Lab) -> None:
    """Archive, verify and purge, and see that each does its work."""
    assert archive(lab.task()).outcome == "archived"
    assert verify(lab.task()).mismatches == ()
    purge(lab.task())
    assert lab.count() == 0


def marks(lab: Lab, kind: str) -> list[str]:
    return [key for key in lab.objects() if kind in key]


def once_each(fault: Fault, method: str, *, status: int = 503, code: str = "SlowDown", seconds: float = 0.0, after: int = 0) -> list[Rule]:
    """Return rules that harm the first request to each kind of object."""
    return [Rule(fault, method, kind, status=status, code=code, seconds=seconds, after=after) for kind in KINDS]


WRITE_FAULTS = {
    "503": once_each(Fault.STATUS, "PUT"),
    "500": once_each(Fault.STATUS, "PUT", status=500, code="InternalError"),
    "reset": once_each(Fault.RESET, "PUT"),
    "cut": once_each(Fault.CUT_REQUEST, "PUT", after=100),
    "lost answer": once_each(Fault.DROP_ANSWER, "PUT"),
}
READ_FAULTS = {
    "503": once_each(Fault.STATUS, "GET"),
    "500": once_each(Fault.STATUS, "GET", status=500, code="InternalError"),
    "reset": once_each(Fault.RESET, "GET"),
    "truncated": once_each(Fault.TRUNCATE, "GET", after=100),
    "lost answer": once_each(Fault.DROP_ANSWER, "GET"),
}

WRONG_BYTES = {Fault.WRONG_BYTE: "sha256", Fault.WRONG_BYTE_TOLD: "checksum"}
"""And what tells."""


@pytest.mark.parametrize("fault", WRITE_FAULTS)
def test_a_fault_of_one_write_of_every_kind_is_survived(lab: Lab, s3_proxy: HttpProxy, fault: str) -> None:
    lab.fill(rows=ROWS)
    s3_proxy.rules = [replace(rule) for rule in WRITE_FAULTS[fault]]

    run_all(through_store(lab, s3_proxy))

    assert [rule.hits for rule in s3_proxy.rules] == [1, 1, 1, 1]


@pytest.mark.parametrize("fault", READ_FAULTS)
def test_a_fault_of_one_read_of_every_kind_is_survived(lab: Lab, s3_proxy: HttpProxy, fault: str) -> None:
    lab.fill(rows=ROWS)
    s3_proxy.rules = [replace(rule) for rule in READ_FAULTS[fault]]

    run_all(through_store(lab, s3_proxy))

    rows, manifest, *_ = s3_proxy.rules
    assert (rows.hits, manifest.hits) == (1, 1)


def test_a_listing_that_fails_once_is_survived(lab: Lab, s3_proxy: HttpProxy) -> None:
    lab.fill(rows=ROWS)
    s3_proxy.rules = [Rule(Fault.STATUS, "GET", "list-type=2"), Rule(Fault.RESET, "GET", "list-type=2", skip=1)]

    run_all(through_store(lab, s3_proxy))

    assert [rule.hits for rule in s3_proxy.rules] == [1, 1]


@pytest.mark.parametrize("method", ["PUT", "GET"])
def test_an_answer_that_comes_too_late_is_asked_for_again(lab: Lab, s3_proxy: HttpProxy, method: str) -> None:
    lab.fill(rows=ROWS)
    s3_proxy.rules = [Rule(Fault.DELAY, method, "/rows-", seconds=4.0)]

    run_all(through_store(lab, s3_proxy, replace(PATIENCE, read_timeout=2.0)))

    assert s3_proxy.rules[0].hits == 1


def test_a_large_object_whose_completion_lost_its_answer_is_recognised(lab: Lab, s3_proxy: HttpProxy) -> None:
    lab.execute(LARGE_ROWS)
    completion = Rule(Fault.DROP_ANSWER, "POST", "/rows-.*uploadId=")
    second_part = Rule(Fault.CUT_REQUEST, "PUT", "partNumber=2", after=PART_SIZE // 4)
    read_back = Rule(Fault.TRUNCATE, "GET", "/rows-", after=PART_SIZE // 2)
    s3_proxy.rules = [completion, second_part, read_back]

    run_all(through_store(lab, s3_proxy))

    assert (completion.hits, second_part.hits, read_back.hits) == (1, 1, 1)
    assert len(marks(lab, "/rows-")) == 1


@pytest.mark.parametrize("fault", WRONG_BYTES)
def test_wrong_bytes_that_come_once_are_read_again_and_reject_nothing(lab: Lab, s3_proxy: HttpProxy, fault: Fault) -> None:
    lab.fill(rows=ROWS)
    s3_proxy.rules = [Rule(fault, "GET", kind) for kind in ("/rows-", "/_manifest")]

    harmed = through_store(lab, s3_proxy)
    if fault is Fault.WRONG_BYTE:
        s3_proxy.rules.pop()  # no checksum tells that a manifest was damaged on the way, and it has none of its own
    run_all(harmed)

    assert {rule.hits for rule in s3_proxy.rules} == {1}
    assert marks(lab, "_rejected") == []


def test_damage_that_only_the_checksum_of_the_store_tells_rejects_one_generation_and_stops_no_other(lab: Lab, s3_proxy: HttpProxy) -> None:
    lab.fill(rows=ROWS)
    archive(lab.task())
    lab.execute("INSERT INTO audit_logs (created_at, action) VALUES ('2024-03-05 12:00+00', 'late')")
    archive(lab.task())
    damaged = Rule(Fault.WRONG_BYTE_TOLD, "GET", "/rows-0001-", times=None)
    s3_proxy.rules = [damaged]
    harmed = through_store(lab, s3_proxy)

    verification = verify(harmed.task())

    assert (damaged.hits, verification.rejected) == (2, 1)
    assert only(verification.mismatches, lambda line: line.startswith("generation 1: ") and "checksum" in line)
    assert only(marks(lab, "_rejected"), lambda key: key.endswith("_rejected-0001.json"))
    assert archive(harmed.task()).rows == ROWS
    assert (purge(harmed.task()).tally.purged, lab.count()) == (ROWS + 1, 0)


def test_late_rows_are_archived_although_the_checksum_of_an_earlier_object_is_wrong(lab: Lab, s3_proxy: HttpProxy) -> None:
    lab.fill(rows=ROWS)
    archive(lab.task())
    lab.execute("INSERT INTO audit_logs (created_at, action) VALUES ('2024-03-05 12:00+00', 'late')")
    s3_proxy.rules = [Rule(Fault.WRONG_BYTE_TOLD, "GET", "/rows-0001-", times=None)]

    archived = archive(through_store(lab, s3_proxy).task())

    assert (archived.rows, archived.rejected) == (ROWS + 1, 1)


def test_a_manifest_whose_checksum_is_always_wrong_is_named_and_nothing_is_deleted(lab: Lab, s3_proxy: HttpProxy) -> None:
    lab.fill(rows=ROWS)
    archive(lab.task())
    s3_proxy.rules = [Rule(Fault.WRONG_BYTE_TOLD, "GET", "/_manifest", times=None)]

    with pytest.raises(ManifestInvalid, match=r"_manifest-0001.*checksum"):
        purge(through_store(lab, s3_proxy).task())

    assert (s3_proxy.rules[0].hits, marks(lab, "_rejected"), lab.count()) == (2, [], ROWS)


@pytest.mark.parametrize(("times", "left"), [(1, 0), (None, ROWS)])
def test_a_hold_whose_checksum_is_wrong_is_read_again_and_holds_every_row_if_it_stays_so(
    lab: Lab, s3_proxy: HttpProxy, times: int | None, left: int
) -> None:
    lab.fill(rows=ROWS)
    archive(lab.task())
    place_hold(lab.store, PREFIX, Hold(id="case", reason="a case", table_name="lab.public.others"))
    s3_proxy.rules = [Rule(Fault.WRONG_BYTE_TOLD, "GET", "/_holds/case.json", times=times)]

    with pytest.raises(HoldsUnreadable, match="checksum") if left else nullcontext():
        purge(through_store(lab, s3_proxy).task())

    assert (s3_proxy.rules[0].hits, lab.count()) == (2 if left else 1, left)


@pytest.mark.parametrize("size", [200, 2_000, 10_000])
@pytest.mark.parametrize("times", [1, 2])
def test_a_database_whose_connections_are_cut_is_asked_again(lab: Lab, database_proxy: TcpProxy, size: int, times: int) -> None:
    lab.fill(rows=ROWS)
    harmed = through_database(lab, database_proxy)

    database_proxy.cut_after(size, times=times)
    assert archive(harmed.task(sleep=a_moment)).outcome == "archived"
    database_proxy.cut_after(min(size, 2_000), times=times)
    purge(harmed.task(sleep=a_moment))

    assert database_proxy.cuts == 2 * times
    assert lab.count() == 0


def test_connections_cut_between_two_batches_of_a_purge_are_made_again(lab: Lab, database_proxy: TcpProxy) -> None:
    lab.fill(rows=ROWS)
    harmed = through_database(lab, database_proxy)
    table = lab.table(batch_size=50, sleep_between_batches=1.0)
    archive(harmed.task(table=table))
    cuts: list[int] = []

    def cut_once(seconds: float) -> None:
        if not cuts:
            cuts.append(lab.count())
            database_proxy.cut_all()
        a_moment(seconds)

    purged = purge(harmed.task(table=table, sleep=cut_once))

    assert cuts == [ROWS - 50]
    assert (purged.outcome, lab.count()) == ("purged", 0)


def test_a_slow_way_to_the_database_is_no_fault(lab: Lab, database_proxy: TcpProxy) -> None:
    lab.fill(rows=ROWS)
    database_proxy.delay = 0.3

    run_all(through_database(lab, database_proxy))


def test_a_database_that_refuses_for_a_moment_is_asked_again(lab: Lab, database_proxy: TcpProxy) -> None:
    lab.fill(rows=ROWS)
    database_proxy.refuse()

    def come_back(_seconds: float) -> None:
        database_proxy.accept()

    assert archive(through_database(lab, database_proxy).task(sleep=come_back)).outcome == "archived"


def test_a_database_that_stays_away_is_named_and_nothing_is_deleted(lab: Lab, database_proxy: TcpProxy) -> None:
    lab.fill(rows=ROWS)
    harmed = through_database(lab, database_proxy)
    archive(harmed.task())
    database_proxy.refuse()

    for verb in (archive, purge):
        with pytest.raises(SourceUnavailable, match=f"database lab .* at 127.0.0.1:{database_proxy.port}"):
            verb(harmed.task())

    assert lab.count() == ROWS


@pytest.mark.parametrize("wrong", [{"password": "no longer this"}, {"name": "nowhere"}, {"user": "nobody"}])
def test_a_login_that_is_refused_is_no_fault_that_passes(lab: Lab, wrong: dict[str, Any]) -> None:
    lab.fill(rows=ROWS)
    archive(lab.task())
    refused, pauses = replace(lab, database=replace(lab.database, **wrong)), list[float]()

    for verb in (archive, verify, purge):
        task = refused.task(sleep=pauses.append, store=MemoryObjectStore() if verb is verify else lab.store)
        with pytest.raises(SourceLoginRefused, match=r"database lab .*(authentication failed|does not exist)"):
            verb(task)

    assert (pauses, lab.count()) == ([], ROWS)


def vanish(connection: Connection) -> None:
    """Let the client's end be gone without a word to the server, as when its machine loses power. Skips where that is not allowed."""
    tcp_repair = 19
    with socket.socket(fileno=os.dup(connection.fileno())) as twin, Path(os.devnull).open("rb") as nothing:
        try:
            twin.setsockopt(socket.IPPROTO_TCP, tcp_repair, 1)
        except PermissionError:
            pytest.skip("taking a socket away silently needs CAP_NET_ADMIN")
        os.dup2(nothing.fileno(), connection.fileno())


@pytest.mark.skipif(not hasattr(socket, "SO_PEERCRED"), reason="Linux alone lets a socket vanish")
def test_a_lock_whose_holder_vanished_without_a_word_is_freed(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    assert int(PINNED_SETTINGS["tcp_keepalives_idle"]) <= 60
    monkeypatch.setitem(PINNED_SETTINGS, "tcp_keepalives_idle", "1")
    source = lab.task().source
    holder = source.open(source.conninfo(), source.settings)
    mark_alive(holder, "a run")
    time.sleep(0.3)  # until the answer is acknowledged: what is not is sent again, and finds nobody
    with source.connect() as connection, closing(holder):
        vanish(holder)
        assert is_alive(connection, "a run")
        deadline = time.monotonic() + 10
        while is_alive(connection, "a run"):
            assert time.monotonic() < deadline, "the server has not noticed"
            time.sleep(0.05)


@pytest.mark.parametrize(("kind", "verb"), [("/rows-", "upload"), ("/_manifest", "create")])
def test_a_store_that_takes_no_object_is_named_with_it_and_no_generation_is_made(
    lab: Lab, s3_proxy: HttpProxy, kind: str, verb: str
) -> None:
    lab.fill(rows=ROWS)
    s3_proxy.rules = [Rule(Fault.STATUS, "PUT", kind, times=None)]

    with pytest.raises(StoreUnavailable, match=f"could not {verb} s3://{lab.bucket}/.*{kind}"):
        archive(through_store(lab, s3_proxy).task())

    assert s3_proxy.rules[0].hits == PATIENCE.max_attempts
    assert (marks(lab, "_manifest"), lab.count()) == ([], ROWS)


@pytest.mark.parametrize(
    ("method", "kind", "verb"), [("GET", "/_manifest", "read"), ("GET", "/rows-", "read"), ("PUT", "/_purging", "create")]
)
def test_a_store_that_fails_a_purge_is_named_with_the_object_and_nothing_is_deleted(
    lab: Lab, s3_proxy: HttpProxy, method: str, kind: str, verb: str
) -> None:
    lab.fill(rows=ROWS)
    archive(lab.task())
    s3_proxy.rules = [Rule(Fault.STATUS, method, kind, times=None)]

    with pytest.raises(StoreUnavailable, match=f"could not {verb} s3://{lab.bucket}/.*{kind}"):
        purge(through_store(lab, s3_proxy).task())

    assert (marks(lab, "_purged"), lab.count()) == ([], ROWS)


def test_a_store_that_refuses_connections_is_named_and_nothing_is_deleted(lab: Lab, s3_proxy: HttpProxy) -> None:
    lab.fill(rows=ROWS)
    archive(lab.task())
    s3_proxy.refuse()
    harmed = through_store(lab, s3_proxy)

    for verb in (archive, verify, purge):
        with pytest.raises(StoreUnavailable, match=f"could not list s3://{lab.bucket}/"):
            verb(harmed.task())

    assert lab.count() == ROWS


def test_a_read_back_that_always_ends_early_deletes_nothing_and_rejects_nothing(lab: Lab, s3_proxy: HttpProxy) -> None:
    lab.fill(rows=ROWS)
    archive(lab.task())
    s3_proxy.rules = [Rule(Fault.TRUNCATE, "GET", "/rows-", times=None, after=0)]

    with pytest.raises(StoreUnavailable, match=r"could not read .*/rows-"):
        purge(through_store(lab, s3_proxy).task())

    assert (marks(lab, "_rejected"), lab.count()) == ([], ROWS)


@pytest.mark.parametrize("fault", WRONG_BYTES)
def test_wrong_bytes_at_every_read_fail_the_purge_and_nothing_is_deleted(lab: Lab, s3_proxy: HttpProxy, fault: Fault) -> None:
    lab.fill(rows=ROWS)
    archive(lab.task())
    s3_proxy.rules = [Rule(fault, "GET", "/rows-", times=None)]

    with pytest.raises(NotVerified, match=WRONG_BYTES[fault]):
        purge(through_store(lab, s3_proxy).task())

    assert s3_proxy.rules[0].hits == 2
    assert (marks(lab, "_purging"), lab.count()) == ([], ROWS)


@pytest.mark.parametrize("fault", WRONG_BYTES)
def test_wrong_bytes_at_every_read_fail_the_verification_and_nothing_is_deleted(lab: Lab, s3_proxy: HttpProxy, fault: Fault) -> None:
    lab.fill(rows=ROWS)
    archive(lab.task())
    s3_proxy.rules = [Rule(fault, "GET", "/rows-", times=None)]

    verification = verify(through_store(lab, s3_proxy).task())

    assert not verification.passed
    assert only(verification.mismatches, lambda line: WRONG_BYTES[fault] in line)
    assert lab.count() == ROWS


def test_a_store_that_ignores_conditions_is_refused_before_any_manifest(lab: Lab, s3_proxy: HttpProxy) -> None:
    lab.fill(rows=ROWS)
    s3_proxy.rules = [Rule(Fault.IGNORE_CONDITION, "PUT", times=None)]

    with pytest.raises(StoreError, match="If-None-Match"):
        archive(through_store(lab, s3_proxy).task())

    assert (marks(lab, "_manifest"), lab.count()) == ([], ROWS)
