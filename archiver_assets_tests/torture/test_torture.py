"""Killed at every step, at any moment, beside writers and beside each other: jobs lose no row version, and finish when they are let.

What belongs here: how many runs, and with which seeds. What does not: what happens in one (`rounds.py`).
"""

import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.purging.purge import purge
from archiver_assets_tests.lab import Lab
from archiver_assets_tests.torture.checker import Checker
from archiver_assets_tests.torture.job import job_server
from archiver_assets_tests.torture.rounds import DAYS, ROUNDS, Run, make_run
from archiver_assets_tests.torture.shapes import SHAPES, Kind, Shape, kind_of_round, shape_of

FIRST_SEED = 20240304
SEED_VARIABLE = "TORTURE_SEED"
"""Runs one seed only, such as one that failed."""

DEADLINE = 30.0
"""Seconds after which the part of the normal suite begins no further run."""

LEAST_RUNS = len(SHAPES)
ENOUGH_RUNS = 16
"""Seeds in a row whose long runs have every kind of death in their rounds."""


def seeds(count: int) -> list[int]:
    """Return so many seeds, or the one that the environment names."""
    own = os.environ.get(SEED_VARIABLE)
    return [int(own)] if own else [FIRST_SEED + number for number in range(count)]


@pytest.fixture(scope="module", autouse=True)
def jobs() -> Iterator[None]:
    with job_server():
        yield


@pytest.fixture
def run_seed(lab: Lab, aws_environment: dict[str, str], tmp_path: Path, request: pytest.FixtureRequest) -> "Runner":
    client = request.getfixturevalue("s3_server").client()
    return Runner(lab, Checker(lab.database.dsn, client, lab.bucket, ""), aws_environment, tmp_path)


class Runner:
    """Does one run after the other, each with a seed."""

    def __init__(self, lab: Lab, checker: Checker, environ: dict[str, str], folder: Path) -> None:
        self._parts = (lab, checker, environ, folder)

    def __call__(self, seed: int, completions: int) -> Run:
        run = make_run(*self._parts, seed)
        run.go(completions)
        return run


def test_jobs_killed_beside_writers_lose_nothing_and_finish(run_seed: Runner) -> None:
    deadline = time.monotonic() + DEADLINE
    kills: Counter[Kind] = Counter()
    done = 0
    for seed in seeds(1000):
        if done >= LEAST_RUNS and time.monotonic() > deadline:
            break
        kills += run_seed(seed, completions=1).kills
        done += 1

    assert sum(kills.values()) >= done, kills


@pytest.mark.parametrize("shape", SHAPES, ids=["ordinary", "leafed"])
def test_every_step_and_every_signal_has_its_turn(shape: Shape) -> None:
    seeds_of_it = [seed for seed in range(FIRST_SEED, FIRST_SEED + 20) if shape_of(seed) is shape]
    rounds = [kind_of_round(seed, number, ROUNDS) for seed in seeds_of_it for number in range(ROUNDS)]

    assert set(rounds) == set(shape.kinds)


def test_the_checker_tells_of_a_row_that_was_deleted_and_not_archived(run_seed: Runner, lab: Lab) -> None:
    run = run_seed(FIRST_SEED, completions=0)

    lab.execute("DELETE FROM audit_logs WHERE id = 7")

    (line,) = run.checker.violations()
    assert line.startswith("LOST: id 7 ")


def test_the_checker_tells_of_an_object_that_does_not_hold_what_it_held(run_seed: Runner, lab: Lab) -> None:
    run = run_seed(FIRST_SEED, completions=0)
    for task in replace(run.job, days=DAYS[:1]).tasks():
        archive(task)
        purge(task)
    assert run.checker.violations() == []
    key = min(key for key in run.checker.objects() if "/rows-" in key)

    run.checker.client.put_object(Bucket=lab.bucket, Key=key, Body=b"something else")

    found = run.checker.violations()
    assert found[0].endswith(f"its object {key} has other bytes")
    assert found[1].startswith("LOST: ")


@pytest.fixture(scope="module")
def deaths() -> Iterator[list[Counter[Kind]]]:
    """Collect the deaths of long runs. After enough of them there was one at every step."""
    found: list[Counter[Kind]] = []
    yield found
    died = sum(found, Counter[Kind]())
    if len(found) >= ENOUGH_RUNS:
        assert {step for step, _ in died} == {step for shape in SHAPES for step, _ in shape.kinds}, died


@pytest.mark.torture
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", seeds(int(os.environ.get("TORTURE_RUNS", "200"))))
def test_a_long_run_loses_nothing_and_finishes(run_seed: Runner, seed: int, deaths: list[Counter[Kind]]) -> None:
    run = run_seed(seed, completions=3)
    print("\n".join(run.trace))  # noqa: T201 - for who wants to know
    deaths.append(run.kills)
