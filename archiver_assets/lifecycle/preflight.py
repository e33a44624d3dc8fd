"""Preflight: check that a table can be archived and purged safely before any work on it, and report every reason at once.

What belongs here: running the checks and refusing the table. What does not: the checks themselves (`source/preflight.py`,
`source/catalog.py`).
"""

from archiver_assets.config import TableConfig
from archiver_assets.errors import ConfigError
from archiver_assets.lifecycle.task import Task, log
from archiver_assets.source.catalog import Connection
from archiver_assets.source.findings import Finding, Work, refuse
from archiver_assets.source.preflight import read_preflight
from archiver_assets.source.session import Source, require_primary


def preflight(source: Source, table: TableConfig) -> tuple[Finding, ...]:
    """Return every reason against archiving or purging the table, and every warning for its owner. Changes nothing.

    Raises what `Source.connect` raises, and SourceError on a standby.
    """
    with source.connect() as connection:
        require_primary(connection, table.label)
        return tuple(read_preflight(connection, table))


def require_preflight(task: Task, connection: Connection, work: Work) -> None:
    """Log the warnings, and raise TableRefused with every finding that stops `work` in one message."""
    findings = read_preflight(connection, task.table)
    for finding in findings:
        if finding.is_warning:
            log.warning("%s: %s", task.table.label, finding.line)
    refuse(findings, task.table, work)


def require_compliance(task: Task) -> None:
    """Raise ConfigError if the table's settings exceed the limits of `compliance`, wherever the settings come from."""
    table = task.table
    found = task.compliance.problems(retention_days=table.retention_days, critical=table.critical, encryption=task.encryption)
    if problems := [f"{setting}: {text}" for setting, text in found]:
        message = f"table {table.label} does not meet the compliance limits: {'; '.join(problems)}"
        raise ConfigError(message, hint="correct the table's settings, or compliance, in the config; nothing was archived or deleted")
