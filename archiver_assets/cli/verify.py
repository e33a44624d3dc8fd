"""`archiver verify`: verifies the archive from the store alone, and reports what is wrong with it.

What belongs here: the command and its report. What does not: verifying (`lifecycle/verifying/archive_inspection.py`) and reading
an earlier report (`lifecycle/verifying/witness.py`).
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path

import click

from archiver_assets.cli.app import Status
from archiver_assets.cli.common import Answer, Json, Options, begin, common_options
from archiver_assets.cli.dagster_instance import instance_option, open_instance
from archiver_assets.cli.formatting import plural
from archiver_assets.cli.progress_bars import watching
from archiver_assets.cli.selection import choose_tables, days_options, tables_option
from archiver_assets.config import TableConfig, VerificationLevel
from archiver_assets.errors import ConfigError
from archiver_assets.lifecycle.verifying.archive_inspection import ArchiveInspection, inspect_archive
from archiver_assets.lifecycle.verifying.inspection import Inspection
from archiver_assets.lifecycle.verifying.witness import Witness, digest_of_all, read_witness
from archiver_assets.services import Services
from archiver_assets.store.manifest import format_instant

_OTHER_VERSIONS = (
    "the bucket has other versions than the manifests name. If objects were replaced, restore the named versions. If the bucket is a copy, "
    "made by aws s3 sync or a backup, use --copied. docs/operations/disaster-recovery.md has the steps for both cases"
)


@click.command("verify", short_help="Verify the archive using only the bucket.")
@tables_option
@days_options
@click.option("--rows-only", is_flag=True, help="Compare bytes, digests and row counts; do not decode every value.")
@click.option(
    "--witness",
    "witness_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Compare with a saved `verify --json` report.",
)
@click.option("--against-dagster", is_flag=True, help="Compare with the manifests recorded in Dagster's materializations.")
@instance_option
@click.option("--expect", metavar="DIGEST", help="Fail unless the overall digest equals DIGEST from an earlier verify.")
@click.option("--copied", is_flag=True, help="The bucket is a copy: ignore versions, etags and history, but compare digests.")
@click.option("--strict", is_flag=True, help="Exit with status 4 for warnings too.")
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
    """Read every live generation back, and compare it with its manifest, the marks beside the manifest, and the bucket's versions.

    No database is contacted and nothing is written: permission to list and read objects is enough. Exits with status 4 for damage.
    """
    answer, config = begin(options), options.config()
    level: VerificationLevel = "rows" if rows_only else "full"
    chosen = list(choose_tables(config, **names))
    witnesses = [read_witness(witness_file)] if witness_file else []
    witnesses += [_dagster(dagster_home, chosen)] if against_dagster else []
    found: dict[str, ArchiveInspection] = {}
    answer.fact("at", format_instant(datetime.now(UTC)))
    with watching(options) as watch:
        services = Services(config, watch=watch)
        for table in chosen:
            # The level is of this reading alone, and may be below the config's: no purge relies on it.
            task = services.task(table.model_copy(update={"verification": level}), table.start_date.isoformat(), "archiver verify")
            found[table.label] = inspect_archive(task, (first, last), witnesses, copied=copied, told=partial(_say, answer))
            answer.line(_summary(table, found[table.label]))
            if any(each.other_version for each in found[table.label].verifications) and not copied:
                answer.line(f"HINT: {_OTHER_VERSIONS}")
    answer.fact("tables", [_facts(label, each) for label, each in found.items()])
    wrong = [*_wrong_whole(answer, found, expect), *(line for each in found.values() for one in each.all for line in one.mismatches)]
    strange = [line for each in found.values() for one in each.all for line in one.warnings]
    if not any(names.values()):
        strange += _not_inspected(answer, witnesses, found)
    answer.end()
    if wrong or (strict and strange):
        ctx.exit(Status.FOUND)


def _dagster(home: Path | None, tables: Sequence[TableConfig]) -> Witness:
    with open_instance(home) as instance:
        if instance is None:
            message = "expected Dagster's home in the environment variable DAGSTER_HOME or in --dagster-home, found neither"
            raise ConfigError(message, hint="give the folder of dagster.yaml, or leave out --against-dagster")
        from archiver_assets.orchestration.materialization_witness import dagster_witness  # noqa: PLC0415 -- Dagster is imported by now

        return dagster_witness(instance, tables)


def _say(answer: Answer, found: Inspection) -> None:
    for mismatch in found.mismatches:
        answer.line(f"DAMAGED {found.label}: {mismatch}")
    for warning in found.warnings:
        answer.line(f"warning {found.label}: {warning}")


def _wrong_whole(answer: Answer, found: Mapping[str, ArchiveInspection], expect: str | None) -> Iterator[str]:
    """Print the overall digest, and what is wrong with it."""
    digests = {label: each.digests for label, each in found.items()}
    overall = digest_of_all(digests)
    answer.fact("digest", overall)
    answer.line(f"digest of {plural(sum(map(len, digests.values())), 'manifest or mark', 'manifests and marks')}: {overall}")
    if expect is not None and expect != overall:
        line = f"overall digest: expected {expect}, found {overall}: something was added, changed or removed"
        answer.line(f"DAMAGED {line}")
        yield line


def _not_inspected(answer: Answer, witnesses: Sequence[Witness], found: Mapping[str, object]) -> Iterator[str]:
    for name, label in sorted((each.name, label) for each in witnesses for label in each.tables.keys() - found.keys()):
        line = f"{name} has the table {label}, which is not in the config: it was not verified"
        answer.line(f"warning {line}")
        yield line


def _summary(table: TableConfig, found: ArchiveInspection) -> str:
    read = found.verifications
    proven = f"{sum(each.passed for each in read)} of {plural(len(read), 'generation')} of {plural(len(found.days), 'day')} proven"
    size = f"{plural(sum(each.rows for each in found.days), 'row')} and {plural(sum(each.bytes for each in found.days), 'byte')} read back"
    mismatches = plural(sum(len(each.mismatches) for each in found.all), "mismatch", "mismatches")
    warnings = plural(sum(len(each.warnings) for each in found.all), "warning")
    return f"{table.label}: {proven}, {size}; {mismatches}, {warnings}"


def _facts(label: str, found: ArchiveInspection) -> dict[str, Json]:
    return {
        "table": label,
        "days": len(found.days),
        "generations": len(found.verifications),
        "proven": sum(each.passed for each in found.verifications),
        "rows": sum(each.rows for each in found.days),
        "bytes": sum(each.bytes for each in found.days),
        "mismatches": [{"where": each.label, "what": line} for each in found.all for line in each.mismatches],
        "warnings": [{"where": each.label, "what": line} for each in found.all for line in each.warnings],
        "digests": dict(found.digests),
    }
