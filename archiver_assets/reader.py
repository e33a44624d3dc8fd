"""Reading the archive in Python: the public functions.

    from datetime import date
    from archiver_assets.config import load_config
    from archiver_assets.reader import archived

    with archived(load_config("config.yaml"), "production_db", "audit_logs", date(2026, 8, 1), date(2026, 8, 31)) as rows:
        print(rows.count_rows())

What belongs here: from a config and names to a dataset. What does not: which rows it has (`lifecycle/restoring/datasets.py`).
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

    Rejected and uncommitted objects are left out. Columns are those of the newest generation, then those that only older ones have, then
    `_xmin`; one that a day did not have is NULL. Rows come in no particular order. Objects are read when the dataset is, and not
    verified then, but those that share rows with others, which are read at once; the dataset is good as long as the block lasts.

    Raises ConfigError for a table that the config does not have, NotVerified, ManifestInvalid, SourceChanged where a column changed
    its type within the days, and StoreError.
    """
    with _reading(config, (database, schema, table), first, last) as reading:
        yield datasets.archived(reading)


@contextmanager
def archived_and_current(
    config: Config, database: str, table: str, first: date, last: date, *, schema: str = "public"
) -> Iterator[ds.Dataset]:
    """Yield the archive of these days and the rows that the table still has of them, each row version once.

    That holds at every moment of an archive, a verification or a purge that others run. Rows of the table are as of the call, and lie in
    local files. A row that was rewritten unchanged since, by a restore or a pg_repack, is one with its archived version. Raises SourceError
    too. Else as `archived`.
    """
    with _reading(config, (database, schema, table), first, last) as reading:
        yield datasets.archived_and_current(reading)


@contextmanager
def _reading(config: Config, names: tuple[str, str, str], first: date, last: date) -> Iterator[datasets.Reading]:
    services, table = Services(config), config.table(*names)
    if last < first:
        message = f"expected the last day not to lie before the first, found {first} to {last}"
        raise ConfigError(message, hint="both days are included: for one day give it twice")
    with tempfile.TemporaryDirectory(prefix="archiver-") as folder:
        yield datasets.Reading(lambda day: services.task(table, day.isoformat(), "reader"), services.objects(), Path(folder), first, last)
