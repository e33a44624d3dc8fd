"""How many runs the queue starts at once, from the config file: one for each table, `max_concurrent_runs` for each database.

What belongs here: from the config to Dagster's limits by tag, and the limits that apply while the config cannot be read. What does not: the
limit of all runs together, which the instance sets (`concurrency.runs.max_concurrent_runs`), and the tags (`coordinator.py`).
See https://docs.dagster.io/guides/operate/managing-concurrency/concurrency-pools, and `TagConcurrencyLimitsCounter` in Dagster.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from archiver_assets.config import Config, DatabaseConfig, config_path, load_config
from archiver_assets.errors import ConfigError
from archiver_assets.telemetry.runs import DATABASE_TAG, TABLE_TAG

# Below the name that Dagster gives its own handlers, so that it looks as the rest of the daemon's log does.
_log = logging.getLogger("dagster.run_coordinator.archiver")

TagLimit = Mapping[str, Any]
"""As in `tag_concurrency_limits` of dagster.yaml."""

DEFAULT: Final[int] = DatabaseConfig.model_fields["max_concurrent_runs"].default
CAUTIOUS: Final = 1
"""What holds for each database while the config cannot be read: no database has a lower limit."""


def limits_of(config: Config) -> list[TagLimit]:
    """Return the limits of a config."""
    limits = {database.name: database.max_concurrent_runs for database in config.databases}
    # Of two limits that fit a tag the lower one holds. So this one, of the databases that the file does not name, must not be below any.
    others = max(DEFAULT, *limits.values())
    own = [{"key": DATABASE_TAG, "value": name, "limit": limit} for name, limit in limits.items()]
    return [*_for_each(others), *own]


def _for_each(database_limit: int) -> list[TagLimit]:
    each = {"applyLimitPerUniqueValue": True}
    return [{"key": TABLE_TAG, "value": each, "limit": 1}, {"key": DATABASE_TAG, "value": each, "limit": database_limit}]


@dataclass
class ConfiguredLimits:
    """The limits of the file that ARCHIVER_CONFIG names. It is read again when it has changed, and never at construction."""

    _read_of: tuple[Path, object] | None = None
    _limits: list[TagLimit] = field(default_factory=list)

    def now(self) -> list[TagLimit]:
        """Return the limits of the file as it is now; one run a database, and a warning in the log, if it cannot be read."""
        path = config_path()
        version = (path, _version(path))
        if version != self._read_of:
            self._limits = _limits_in(path)
            self._read_of = version
        return self._limits


def _version(path: Path) -> object:
    """Return what differs when the file was written or, as Kubernetes does it, replaced; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _limits_in(path: Path) -> list[TagLimit]:
    try:
        return limits_of(load_config(path))
    except ConfigError as error:
        # An error of the queue would stop the runs of every code location of the instance; and no run of ours starts without a config.
        _log.warning("the queue starts at most %s run of each database at a time, because it cannot read their limits: %s", CAUTIOUS, error)
        return _for_each(CAUTIOUS)
