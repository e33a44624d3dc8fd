"""Whatever is done to an archive: `archiver verify` names it, by the store alone or by a witness, and no purge deletes an unproven row.

What belongs here: each attack of `attacks.py` against buckets of each kind, on days in each state. What does not: Object Lock itself
(`test_object_lock.py`).
"""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from itertools import count
from pathlib import Path

import pytest
import yaml

from archiver_assets.cli.app import Status, main
from archiver_assets.demo.seaweed import EmbeddedS3
from archiver_assets.errors import ArchiverError
from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.purging.purge import purge
from archiver_assets.lifecycle.task import Task
from archiver_assets.services import Services
from archiver_assets.store.object_lock import ObjectLock
from archiver_assets.store.s3 import S3ObjectStore
from archiver_assets_tests.conftest import fresh_database
from archiver_assets_tests.faults.attacks import ATTACKS, UNSEEN, Attack, Kind, Look, Site, State
from archiver_assets_tests.lab import Lab
from archiver_assets_tests.servers import PostgresServer

pytestmark = pytest.mark.usefixtures("aws_environment")

OTHER = date(2020, 1, 1)
ROWS = 4
LOCK = ObjectLock("COMPLIANCE", timedelta(days=1))
Verify = Callable[..., tuple[int, str]]


@dataclass(frozen=True)
class Prepared:
    """A day that nothing was done to yet, and what `verify --json` said of it then."""

    site: Site
    look: Look
    report: str


@dataclass
class Grounds:
    """Days of each kind and state, made when they are asked for, and used again as long as an attack on them can be undone."""

    postgres: PostgresServer
    s3: EmbeddedS3
    store: S3ObjectStore
    ends: ExitStack
    labs: dict[Kind, Lab] = field(default_factory=dict)
    prepared: dict[tuple[Kind, State, int], Prepared] = field(default_factory=dict)
    days: Iterator[int] = field(default_factory=lambda: count(0, 2))

    def lab(self, kind: Kind) -> Lab:
        if kind not in self.labs:
            bucket = f"{kind}-{self.s3.port}"
            self.s3.create_bucket(bucket, versioning=kind == "versioned", locking=kind == "locked")
            store = replace(self.store, bucket=bucket, lock=LOCK if kind == "locked" else None)
            database = self.ends.enter_context(fresh_database(self.postgres, self.postgres.lab_template))
            self.labs[kind] = Lab(database, store, bucket, self.s3.endpoint)
            self.archived(self.labs[kind], OTHER)
        return self.labs[kind]

    def site(self, kind: Kind, state: State, generations: int) -> Site:
        """Archive, and purge, a day."""
        lab, day = self.lab(kind), OTHER + timedelta(days=1 + next(self.days))
        task = self.archived(lab, day)
        for _ in range(1, generations):
            task = self.archived(lab, day)
        if state == "purged":
            assert purge(task).tally.purged == ROWS * generations
        return Site(kind, lab, self.s3.client(), task, lab.task(OTHER))

    def archived(self, lab: Lab, day: date) -> Task:
        lab.fill(day, rows=ROWS)
        task = lab.task(day)
        assert archive(task).rows == ROWS
        return task


@pytest.fixture(scope="module")
def grounds(postgres_server: PostgresServer, s3_server: EmbeddedS3, s3_store: S3ObjectStore) -> Iterator[Grounds]:
    with ExitStack() as ends:
        yield Grounds(postgres_server, s3_server, s3_store, ends)


@pytest.fixture
def verify(
    grounds: Grounds, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str]]:
    """`archiver verify` of the day of a site, by a client that is made once."""
    config = tmp_path / "config.yaml"

    def run(site: Site, *more: str) -> tuple[int, str]:
        monkeypatch.setattr(Services, "bucket_store", lambda _self: replace(grounds.store, bucket=site.lab.bucket))
        config.write_text(yaml.safe_dump(site.lab.document()))
        day = site.task.partition.key
        status = main(["verify", "--config", str(config), "--from", day, "--to", day, *more])
        return status, capsys.readouterr().out

    return run


@pytest.fixture
def prepared(grounds: Grounds, verify: Verify, name: str, kind: Kind, state: State) -> Iterator[Prepared]:
    """The day that the attack is tried on; it is brought back, unless that cannot be done."""
    place = kind, state, ATTACKS[name].generations
    if place not in grounds.prepared:
        site = grounds.site(*place)
        status, report = verify(site, "--json")
        assert (status, json.loads(report)["tables"][0]["warnings"]) == (Status.DONE, [])
        grounds.prepared[place] = Prepared(site, site.look(), report)
    found = grounds.prepared[place]
    rows = rows_of_day(found.site)
    yield found
    if rows_of_day(found.site) != rows:
        del grounds.prepared[place]
    else:
        found.site.undo(found.look)


CASES = [
    pytest.param(name, kind, state, id=f"{name}-{kind}-{state}")
    for name, attack in ATTACKS.items()
    for kind in ("plain", "versioned", "locked")
    for state in ("archived", "purged")
    if state == "purged" or not attack.purged_only
]


@pytest.mark.parametrize(("name", "kind", "state"), CASES)
def test_an_attack_is_named_and_no_unproven_row_is_deleted(
    prepared: Prepared, verify: Verify, tmp_path: Path, name: str, kind: Kind, state: State
) -> None:
    attack, site, witness = ATTACKS[name], prepared.site, tmp_path / "witness.json"
    witness.write_text(prepared.report)

    key = attack.do(site)

    expected = attack.expected(kind, state)
    status, out = verify(site)
    if expected == UNSEEN:
        assert "DAMAGED" not in out
        status, out = verify(site, "--witness", str(witness))
        expected = "the witness of"
    assert status == Status.FOUND, out
    damage = [line for line in out.splitlines() if line.startswith("DAMAGED")]
    assert any(expected in line and (key in line or "generation 1: " in line) for line in damage), out
    if state == "archived" and (kind == "plain" or attack.forged):
        require_only_proven_rows_deleted(prepared, attack)


def require_only_proven_rows_deleted(prepared: Prepared, attack: Attack) -> None:
    """Purge, and see that rows are gone only as far as their objects are as they were archived."""
    site, before = prepared.site, rows_of_day(prepared.site)
    with suppress(ArchiverError):
        purge(site.task)
    if attack.forged and site.kind == "plain":
        return  # it proves itself, and nothing in such a bucket tells: docs/how-to/tamper-evidence.md says so
    data = {key: data for key, data in prepared.look.contents.items() if "/rows-" in key}
    intact = sum(key in site.there() and site.lab.content(key) == data[key] for key in data)
    assert before - rows_of_day(site) <= ROWS * intact


def rows_of_day(site: Site) -> int:
    return int(site.lab.execute("SELECT count(*) FROM audit_logs WHERE created_at::date = %s", [site.task.partition.day])[0][0])


@pytest.mark.parametrize(
    ("number", "name", "expected"),
    [(1, "/rows-", "NoSuchVersion"), (1, "/", "generation 1 is missing"), (2, "/", "the witness of")],
    ids=["data", "older generation", "newest generation"],
)
def test_versions_that_were_removed_for_good_are_missed(
    grounds: Grounds,
    verify: Verify,
    tmp_path: Path,
    number: int,
    name: str,
    expected: str,
) -> None:
    site, witness = grounds.site("versioned", "archived", 2), tmp_path / "witness.json"
    witness.write_text(verify(site, "--json")[1])
    for each in list(site.lab.store.history(site.task.keys.folder)):
        if site.task.keys.number(each.key) == number and name in each.key:
            site.client.delete_object(Bucket=site.lab.bucket, Key=each.key, VersionId=each.version_id)
    status, out = verify(site, "--witness", str(witness))
    assert (status, expected in out) == (Status.FOUND, True), out
    before = rows_of_day(site)
    with suppress(ArchiverError):
        purge(site.task)
    assert before - rows_of_day(site) <= ROWS
