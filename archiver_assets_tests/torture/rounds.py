"""One seeded run: a fresh table, rounds of jobs that are killed while writers write, and in between runs to completion.

What belongs here: what happens in which order, decided by the seed alone. What does not: the invariants (`checker.py`), and how a job
dies (`job.py`).
"""

import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import psycopg

from archiver_assets.lifecycle.task import Step
from archiver_assets.source.session import Source
from archiver_assets_tests.lab import Lab
from archiver_assets_tests.torture.checker import LOG, Checker
from archiver_assets_tests.torture.death import Death
from archiver_assets_tests.torture.held import held_day
from archiver_assets_tests.torture.job import DONE, FAILED, PURGES, TERMINATED, Job, start
from archiver_assets_tests.torture.shapes import DROP, EXPIRED_LEAVES, ORDINARY, Kind, kind_of_round, shape_of
from archiver_assets_tests.torture.writer import Writer, log_all

DAYS = ("2024-03-04", "2024-03-05", "2024-03-06")
ROUNDS = 4
"""Rounds before each completion."""

SIGNALS = (signal.SIGKILL, signal.SIGTERM)
RESTORES = {Step.ROWS_LOADED, Step.ROWS_RESTORED}
"""Steps of a restore, before which the day is archived."""
REPEATED = {Step.LOCKED: 2, Step.READ_BACK: 2, Step.UNLOCKED: 2, Step.BATCH_DELETED: 4}
"""How often a step may be reached at least, in one day."""

HANGS = 90.0
COMPLETES = 60.0
# With a writer at work, a day that was empty may have rows a moment later; and what was damaged fails once.
EXPECTED = ("PartitionBusy: ", "NotArchived: ", "VerificationFailed: ", "NotVerified: ")


class Violated(AssertionError):
    """An invariant does not hold."""


@dataclass
class Run:
    """The state of one run. `kills` counts the deaths by step, or None for a random moment, and signal; `trace` tells what happened."""

    lab: Lab
    checker: Checker
    job: Job
    seed: int
    kills: Counter[Kind] = field(default_factory=Counter)
    trace: list[str] = field(default_factory=list)
    rounds: int = 0
    writers: list[Writer] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.shape = shape_of(self.seed)
        self.began = time.monotonic()

    def go(self, completions: int) -> None:
        """Do all rounds, up to so many completions. Raises Violated with the seed."""
        self._fill()
        for _ in range(completions):
            with self._writing():
                for _ in range(ROUNDS):
                    self._round()
                    self._check("after a round")
                self._run_beside_writers()
            self._complete()

    def _fill(self) -> None:
        self.lab.execute(f"{DROP} {self.shape.ddl} {self.shape.leaves} {LOG}")
        for day in DAYS:
            self.lab.fill(date.fromisoformat(day), self.random.randint(80, 200))
        # Beyond the ids that writers insert again: an id is that of one row, though a partitioned table cannot enforce it.
        self.lab.execute("SELECT setval(pg_get_serial_sequence('public.audit_logs', 'id'), 1000)")
        with psycopg.connect(self.lab.database.dsn) as connection:
            log_all(connection)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        unique = self.shape is ORDINARY
        names = [f"{self.seed}.{self.rounds}.{number}" for number in range(2)]
        self.writers = [Writer(self.lab.database.dsn, list(DAYS), name, unique=unique) for name in names]
        for writer in self.writers:
            writer.start()
        try:
            yield
        finally:
            for writer in self.writers:
                writer.stop()
            self._tell(f"the writers stopped after {sum(writer.transactions for writer in self.writers)} transactions")

    @contextmanager
    def _calm(self, step: Step | None) -> Iterator[None]:
        """Let the writers rest where a job is to die at the drop of a leaf: none goes while they write into it."""
        with ExitStack() as resting:
            for writer in self.writers if step is Step.LEAF_DROPPED else ():
                resting.enter_context(writer.resting())
            yield

    def _round(self) -> None:
        step, number = kind_of_round(self.seed, self.rounds, ROUNDS)
        self.rounds += 1
        self.lab.execute(self.shape.leaves)
        days = tuple(self.random.sample(DAYS, self.random.choice((1, 1, 2))))
        if step is Step.REJECTED:
            self._damage(days[0])
        first = self._death(step, number)
        jobs = [replace(self.job, days=days, verbs=self._verbs(step), death=first)]
        if self.random.random() < 0.35:
            other = self.random.choice((None, *self.shape.steps))
            second = self._death(other, self.random.choice(SIGNALS)) if other else None
            jobs.append(replace(self.job, days=days, verbs=self._verbs(other), death=second))
        deaths = "; ".join(f"{'+'.join(job.verbs)}, {job.death}" for job in jobs)
        self._tell(f"round {self.rounds} on {' and '.join(days)}: {deaths}")
        with self._calm(step):
            self._let(jobs, first)

    def _let(self, jobs: list[Job], first: Death) -> None:
        processes = [start(job) for job in jobs]
        try:
            self._meanwhile(processes[0], first)
            for process, job in zip(processes, jobs, strict=True):
                self._ended(process, job.death)
        finally:
            for process in processes:
                process.kill()

    def _meanwhile(self, process: ForkServerProcess, death: Death) -> None:
        if death.step is None:
            process.join(self.random.uniform(0, 0.6))
            if process.is_alive():
                (process.kill if death.signal is signal.SIGKILL else process.terminate)()
        elif self.random.random() < 0.3:
            self._check("during a round")

    def _run_beside_writers(self) -> None:
        """Let a job alone but for the writers: all days are purged while their rows change, every other time but for one that is held."""
        if self.random.random() < 0.5:
            day = self.random.choice(DAYS)
            self._tell(f"{day} is held")
            with held_day(self.lab, self.job.prefix, day) as gone:
                self._ended(start(replace(self.job, days=DAYS)), None)
                if lost := gone():
                    self._fail("\n".join(lost[:20]))
        else:
            self._ended(start(replace(self.job, days=DAYS)), None)
        self._check("after a run beside writers")

    def _verbs(self, step: Step | None) -> tuple[str, ...]:
        """Return what a job does that dies at a step: it restores only where it dies there, or at a random moment."""
        if step in RESTORES:
            return ("archive", "verify", "restore")
        return PURGES if step or self.random.random() < 0.5 else (*PURGES, "restore")

    def _death(self, step: Step | None, number: signal.Signals) -> Death:
        return Death(step, number, self.random.randint(1, REPEATED.get(step, 1)) if step else 1)

    def _ended(self, process: ForkServerProcess, death: Death | None) -> None:
        process.join(HANGS)
        code = process.exitcode
        self._tell(f"  a job with {death} ended with {code}")
        if code is None:
            process.kill()
            self._fail(f"a job with {death} hangs")
        elif death and code in {TERMINATED, -signal.SIGKILL, -signal.SIGTERM}:
            self.kills[death.step, death.signal] += 1
        elif code not in {DONE, FAILED}:
            self._fail(f"a job with {death} ended with {code}")
        for line in self._log().splitlines():
            if line and not line.startswith(("HINT: ", *EXPECTED)):
                self._fail(f"a job failed, and not because it was killed: {line}")

    def _damage(self, day: str) -> None:
        """Spoil the newest object of which no purge has begun, after one was made if need be: it is rejected by who reads it next."""
        self._ended(start(replace(self.job, days=(day,), verbs=("archive",))), None)
        client = self.checker.client
        for name, folder in self.checker.folders().items():
            for number in sorted(folder.marks["manifest"] - folder.marks["purging"] - folder.marks["rejected"])[-1:]:
                if name.endswith(day):
                    key = self.checker.manifest(name, number)["object"]["key"]
                    content = bytearray(self.checker.read(key))
                    content[self.random.randrange(len(content))] ^= 0x10
                    self.checker.damaged.add(key)
                    client.put_object(Bucket=self.checker.bucket, Key=key, Body=bytes(content))
                    self._tell(f"  damaged {key}")

    def _complete(self) -> None:
        """Run to the end, twice: no row is left, and the second time changes nothing in the bucket."""
        deadline = time.monotonic() + COMPLETES
        errors: list[str] = []
        while (code := self._run_all()) != DONE:
            errors.append(self._log())
            if time.monotonic() > deadline:
                self._fail(f"the jobs do not come to an end: {errors}")
            if code != FAILED or not (errors[-1].startswith("PartitionBusy") or (len(errors) <= len(DAYS) and self.checker.damaged)):
                self._fail(f"a job that nobody disturbs ended with {code}: {errors}")
            time.sleep(0.3)
        self._tell("completed")
        self._check("after a completion")
        if missing := self.checker.not_restored():
            self._fail("\n".join(["archived, and not in the table of restored rows:", *missing[:20]]))
        left = self.lab.execute("SELECT id, xmin, created_at FROM public.audit_logs WHERE created_at < '2024-03-07 00:00+00' ORDER BY id")
        if left:
            self._fail(f"{len(left)} rows are left after a completion: {left[:5]}")
        if unnamed := self.checker.unnamed():
            self._fail(f"data that no manifest names are left after a completion: {sorted(unnamed)}")
        before = self.checker.objects()
        if (code := self._run_all()) != DONE or self.checker.objects() != before:
            self._fail(f"a run after a completion ended with {code}, {before} became {self.checker.objects()}, {self._log()}")
        if kept := self.lab.execute(EXPIRED_LEAVES):
            self._fail(f"leaves that are empty and expired are left after a completion: {kept}")

    def _run_all(self) -> int | None:
        self.job.log.unlink(missing_ok=True)
        process = start(replace(self.job, days=DAYS, verbs=(*PURGES, "restore")))
        process.join(HANGS)
        return process.exitcode

    def _log(self) -> str:
        return self.job.log.read_text() if self.job.log.exists() else ""

    def _check(self, when: str) -> None:
        found = self.checker.violations()
        self._tell(f"  checked {when}")
        if found:
            more = "" if len(found) <= 20 else f"\n... and {len(found) - 20} more"
            self._fail("\n".join([f"{when}:", *found[:20]]) + more)

    def _tell(self, what: str) -> None:
        self.trace.append(f"{time.monotonic() - self.began:6.2f} s {what}")

    def _fail(self, what: str) -> None:
        story = "\n".join(self.trace)
        again = f"Run it again with TORTURE_SEED={self.seed} pytest archiver_assets_tests/torture"
        message = f"seed {self.seed}, round {self.rounds}: {what}\n\nWhat happened:\n{story}\n\nThe jobs said:\n{self._log()}\n{again}"
        raise Violated(message)


def make_run(lab: Lab, checker: Checker, environ: dict[str, str], folder: Path, seed: int) -> Run:
    """Return a run that begins with a table of its own, and a prefix of its own."""
    table = lab.table(batch_size=37, sleep_between_batches=0.01, **shape_of(seed).config)
    prefix = f"run-{seed}/"
    source = Source(lab.database_config(table), lab.environ)
    job = Job(table, source, lab.bucket, lab.endpoint, prefix, (), folder / f"jobs-{seed}.log", environ)
    return Run(lab, replace(checker, prefix=prefix, damaged=set(), _manifests={}), job, seed)
