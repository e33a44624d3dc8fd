"""The public functions to read the archive from Python.

    from datetime import date
    from archiver_assets.config import load_config
    from archiver_assets.reader import archived

    with archived(load_config("config.yaml"), "production_db", "audit_logs", date(2026, 8, 1), date(2026, 8, 31)) as rows:
        print(rows.count_rows())

What belongs here: opening a dataset for a config, a table and a range of days. What does not: choosing its rows
(`lifecycle/restoring/datasets.py`).
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import pyarrow.dataset as ds

from archiver_assets.config import Config
from archiver_assets.errors import ConfigError
from archiver_assets.lifecycle.restoring import datasets
from archiver_assets.services import Services


@contextmanager
def archived(config: Config, database: str, table: str, first: date, last: date, *, schema: str = "public") -> Iterator[ds.Dataset]:
    """Yield the archive of a table's days from `first` to `last`, both included, each row version once.

    Rejected and uncommitted objects are left out. The columns are those of the newest generation, then those that only older generations
    have, then `_xmin`; a column that a day did not have is NULL. Rows come in no particular order. Objects that share rows with others are
    read at once. All others are read, without verification, when the dataset is read. The dataset is valid until the block ends.

    Raises ConfigError for a table that is not in the config, SourceChanged if the type of a column changed within the days, and
    NotVerified, ManifestInvalid and StoreError.
    """
    with _reading(config, (database, schema, table), first, last) as reading:
        yield datasets.archived(reading)


@contextmanager
def archived_and_current(
    config: Config, database: str, table: str, first: date, last: date, *, schema: str = "public"
) -> Iterator[ds.Dataset]:
    """Yield the archived rows of these days together with the rows still in the table, each row version once.

    The dataset stays correct while other processes archive, verify or purge. Rows of the table are as of the call, and are kept in local
    files. A row that was rewritten unchanged since the archive, by a restore or pg_repack, is the same as its archived version. Otherwise
    as `archived`. Also raises SourceError.
    """
    with _reading(config, (database, schema, table), first, last) as reading:
        yield datasets.archived_and_current(reading)


@contextmanager
def _reading(config: Config, names: tuple[str, str, str], first: date, last: date) -> Iterator[datasets.Reading]:
    services, table = Services(config), config.table(*names)
    if last < first:
        message = f"expected the last day not to be before the first, found {first} to {last}"
        raise ConfigError(message, hint="both days are included: for a single day, pass it twice")
    with tempfile.TemporaryDirectory(prefix="archiver-") as folder:
        yield datasets.Reading(lambda day: services.task(table, day.isoformat(), "reader"), services.objects(), Path(folder), first, last)
