"""Preflight: whether a table can be archived and purged safely, before any work on it, with every reason at once.

What belongs here: asking and refusing. What does not: what is looked for (`source/preflight.py`, `source/catalog.py`).
"""

from archiver_assets.config import TableConfig
from archiver_assets.errors import ConfigError
from archiver_assets.lifecycle.task import Task, log
from archiver_assets.source.catalog import Connection
from archiver_assets.source.findings import Finding, Work, refuse
from archiver_assets.source.preflight import read_preflight
from archiver_assets.source.session import Source, require_primary


def preflight(source: Source, table: TableConfig) -> tuple[Finding, ...]:
    """Return everything that speaks against archiving or purging the table, and what its owner should know of; nothing is changed.

    Raises what `Source.connect` raises, and SourceError on a standby.
    """
    with source.connect() as connection:
        require_primary(connection, table.label)
        return tuple(read_preflight(connection, table))


def require_preflight(task: Task, connection: Connection, work: Work) -> None:
    """Raise TableRefused, with every finding that stops `work` in one message; log the warnings."""
    findings = read_preflight(connection, task.table)
    for finding in findings:
        if finding.is_warning:
            log.warning("%s: %s", task.table.label, finding.line)
    refuse(findings, task.table, work)


def require_compliance(task: Task) -> None:
    """Raise ConfigError if the table's settings are beyond the limits of `compliance`, however they came here."""
    table = task.table
    found = task.compliance.problems(retention_days=table.retention_days, critical=table.critical, encryption=task.encryption)
    if problems := [f"{setting}: {text}" for setting, text in found]:
        message = f"table {table.label} is not as compliance demands: {'; '.join(problems)}"
        raise ConfigError(message, hint="correct the table's settings, or compliance, in the config; nothing was archived or deleted")
