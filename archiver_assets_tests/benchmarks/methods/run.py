"""A run of the table's job for the day (archive, check, purge), as in a run worker, with the in-process executor.

What does not belong here: its config and Dagster's home (`subjects/job.py`). As for all methods, the times exclude imports, here those of
the code location and its steps. The peak memory includes them and everything else in a run's process.
"""

import dagster as dg
from psycopg import sql

from archiver_assets.config import config_path, load_config
from archiver_assets.definitions import defs
from archiver_assets.orchestration import steps  # noqa: F401 - imported with the first step otherwise
from archiver_assets.orchestration.partitions import shared_job_name
from archiver_assets_tests.benchmarks.measuring import Done, Meter, report_part
from archiver_assets_tests.benchmarks.methods.place import source
from archiver_assets_tests.benchmarks.workload import DAY, select_day

_QUIET = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}


def ran(meter: Meter) -> Done:
    """Run the job. Raises the error of a step that fails."""
    table = load_config(config_path()).databases[0].tables[0]
    before = rows_of_day()
    with dg.DagsterInstance.get() as instance:
        job = defs.resolve_job_def(shared_job_name(table))
        meter.start()
        job.execute_in_process(run_config=_QUIET, instance=instance, partition_key=str(DAY))
        meter.stop()
    return Done(before - rows_of_day())


def rows_of_day() -> int:
    """Count the day's rows."""
    with source().connect() as connection:
        counted = connection.execute(sql.SQL(select_day().replace("SELECT *", "SELECT count(*) AS rows")))
        return sum(int(row["rows"]) for row in counted)


if __name__ == "__main__":
    report_part(ran)
