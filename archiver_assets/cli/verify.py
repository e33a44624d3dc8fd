"""`archiver verify`: prove the archive from the store alone, and name what is wrong with it.

What belongs here: the command and its report. What does not: proving (`lifecycle/verifying/inspection.py`), and what an earlier report says
(`lifecycle/verifying/witness.py`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path

import click

from archiver_assets.cli.app import Status
from archiver_assets.cli.common import Answer, Json, Options, begin, common_options
from archiver_assets.cli.dagster_instance import instance_option, open_instance
from archiver_assets.cli.progress_bars import watching
from archiver_assets.cli.selection import choose_tables, days_options, tables_option
from archiver_assets.config import TableConfig, VerificationLevel
from archiver_assets.errors import ConfigError
from archiver_assets.lifecycle.progress import Progress
from archiver_assets.lifecycle.task import Task
from archiver_assets.lifecycle.verifying.archive_listing import list_table
from archiver_assets.lifecycle.verifying.bucket_history import History, read_history
from archiver_assets.lifecycle.verifying.inspection import Inspection, inspect_day, inspect_table
from archiver_assets.lifecycle.verifying.witness import Witness, digest_of_all, read_witness
from archiver_assets.services import Services
from archiver_assets.store.manifest import format_instant

_OTHER_VERSIONS = (
    "the bucket has other versions than the manifests name. If somebody replaced objects, bring those versions back; if the bucket is a "
    "copy, made by aws s3 sync or a backup, verify it with --copied; docs/operations/disaster-recovery.md says how to go on with either"
)


@click.command("verify", short_help="Prove the archive from the store alone, and name what is damaged.")
@tables_option
@days_options
@click.option("--rows-only", is_flag=True, help="Compare bytes, digest and the number of rows, and do not decode every value.")
@click.option(
    "--witness",
    "witness_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The answer of an earlier verify --json, kept elsewhere: what is missing or changed since is damage.",
)
@click.option("--against-dagster", is_flag=True, help="Compare with the manifests of which Dagster's materializations speak.")
@instance_option
@click.option("--expect", metavar="DIGEST", help="The digest of the whole that an earlier verify of the same tables and days gave.")
@click.option("--copied", is_flag=True, help="The bucket is a copy: other versions, etags and histories are no damage; digests still are.")
@click.option("--strict", is_flag=True, help="End with status 4 for warnings too.")
@common_options
@click.pass_obj
@click.pass_context
def command(  # noqa: PLR0913 -- one for each option
    ctx: click.Context,
    options: Options,
    /,
    first: date | None,
    last: date | None,
    witness_file: Path | None,
    dagster_home: Path | None,
    expect: str | None,
    *,
    against_dagster: bool,
    copied: bool,
    rows_only: bool,
    strict: bool,
    **names: str | None,
) -> None:
    """Read every generation that counts back, whole, and compare it with its manifest, the marks beside it and the bucket's versions.

    No database is asked, and nothing is written: rights to list and to read objects are enough. Exit status 4 if anything is damaged.
    """
    answer, config = begin(options), options.config()
    level: VerificationLevel = "rows" if rows_only else "full"
    chosen = list(choose_tables(config, **names))
    witnesses = [read_witness(witness_file)] if witness_file else []
    witnesses += [_dagster(dagster_home, chosen)] if against_dagster else []
    found: dict[str, list[Inspection]] = {}
    facts: list[Json] = []
    answer.fact("at", format_instant(datetime.now(UTC)))
    answer.fact("tables", facts)
    with watching(options) as watch:
        for table in chosen:
            # The level is of this reading alone, and may be below the config's: no purge relies on it.
            checked = table.model_copy(update={"verification": level})
            inspector = _Inspector(Services(config), checked, (first, last), witnesses, watch, copied)
            found[table.label] = list(_said(answer, inspector.inspected()))
            facts.append(_facts(table, found[table.label]))
            answer.line(_summary(table, found[table.label]))
            if any(each.other_version for day in found[table.label] for each in day.verifications) and not copied:
                answer.line(f"HINT: {_OTHER_VERSIONS}")
    wrong = [*_wrong_whole(answer, found, expect), *(line for each in found.values() for day in each for line in day.mismatches)]
    strange = [line for each in found.values() for day in each for line in day.warnings]
    if not any(names.values()):
        strange += _not_looked_at(answer, witnesses, found)
    answer.end()
    if wrong or (strict and strange):
        ctx.exit(Status.FOUND)


def _dagster(home: Path | None, tables: Sequence[TableConfig]) -> Witness:
    with open_instance(home) as instance:
        if instance is None:
            message = "expected Dagster's home in the environment variable DAGSTER_HOME or in --dagster-home, found neither"
            raise ConfigError(message, hint="name the folder of dagster.yaml, or leave --against-dagster out")
        from archiver_assets.orchestration.materialization_witness import dagster_witness  # noqa: PLC0415 -- Dagster is imported by now

        return dagster_witness(instance, tables)


@dataclass(frozen=True)
class _Inspector:
    """What a table is looked at with: the days, the first and the last included, the witnesses, and who is told how it gets on.

    `copied` if the bucket is a copy of the archive's.
    """

    services: Services
    table: TableConfig
    between: tuple[date | None, date | None]
    witnesses: Sequence[Witness]
    watch: Callable[[Progress], None]
    copied: bool

    def inspected(self) -> Iterator[Inspection]:
        """Yield what was found in the table's folder, and of each day of which there is anything, or was, oldest first."""
        store, keys, label = self.services.store, self.services.table_keys(self.table), self.table.label
        objects = list_table(store, keys).between(*self.between)
        # That of a copy tells how it was made, and nothing of what was done to the archive.
        history = {} if self.copied else read_history(store, keys.folder).by_day(keys)
        seen = [(witness, witness.by_day(label, keys)) for witness in self.witnesses]
        ever = {*history, *(day for _, days in seen for day in days)}
        known = {day for day in ever if day is not None and self._chosen(day)}
        task = self.services.task(self.table, self.table.start_date.isoformat(), "archiver verify")
        for day in (None, *sorted(known.union(objects.days))):
            of_day = history.get(day, History())
            found = inspect_table(task, objects, of_day) if day is None else inspect_day(self._task(day), of_day, copied=self.copied)
            for witness, days in seen:
                found.mismatches += witness.contradictions(days.get(day, {}), found.digests, keys)
            yield found

    def _task(self, day: date) -> Task:
        return replace(self.services.task(self.table, day.isoformat(), "archiver verify"), watch=self.watch)

    def _chosen(self, day: date) -> bool:
        first, last = self.between
        return (first is None or first <= day) and (last is None or day <= last)


def _said(answer: Answer, inspected: Iterator[Inspection]) -> Iterator[Inspection]:
    for found in inspected:
        for mismatch in found.mismatches:
            answer.line(f"DAMAGED {found.label}: {mismatch}")
        for warning in found.warnings:
            answer.line(f"warning {found.label}: {warning}")
        yield found


def _wrong_whole(answer: Answer, found: Mapping[str, Sequence[Inspection]], expect: str | None) -> Iterator[str]:
    """Say the digest of the whole, and what is wrong with it."""
    digests = {label: _digests(each) for label, each in found.items()}
    whole = digest_of_all(digests)
    answer.fact("digest", whole)
    answer.line(f"digest of {sum(map(len, digests.values()))} manifests and marks: {whole}")
    if expect is not None and expect != whole:
        line = f"the digest of the whole: expected {expect}, found {whole}: something was added, changed or removed"
        answer.line(f"DAMAGED {line}")
        yield line


def _not_looked_at(answer: Answer, witnesses: Sequence[Witness], found: Mapping[str, object]) -> Iterator[str]:
    for name, label in sorted((each.name, label) for each in witnesses for label in each.tables.keys() - found.keys()):
        line = f"{name} has the table {label}, which the config does not have: it was not looked at"
        answer.line(f"warning {line}")
        yield line


def _digests(found: Sequence[Inspection]) -> dict[str, str]:
    return {name: digest for each in found for name, digest in each.digests.items()}


def _summary(table: TableConfig, found: list[Inspection]) -> str:
    read = [verification for each in found for verification in each.verifications]
    proven = sum(each.passed for each in read)
    wrong, strange = sum(len(each.mismatches) for each in found), sum(len(each.warnings) for each in found)
    rows, size = sum(each.rows for each in found), sum(each.bytes for each in found)
    counts = f"{proven} of {len(read)} generations of {len(found) - 1} days proven, {rows:,} rows and {size:,} bytes read back"
    return f"{table.label}: {counts}; {wrong} mismatches, {strange} warnings"


def _facts(table: TableConfig, found: list[Inspection]) -> dict[str, Json]:
    read = [verification for each in found for verification in each.verifications]
    return {
        "table": table.label,
        "days": len(found) - 1,
        "generations": len(read),
        "proven": sum(each.passed for each in read),
        "rows": sum(each.rows for each in found),
        "bytes": sum(each.bytes for each in found),
        "mismatches": [{"where": each.label, "what": line} for each in found for line in each.mismatches],
        "warnings": [{"where": each.label, "what": line} for each in found for line in each.warnings],
        "digests": dict(_digests(found)),
    }
