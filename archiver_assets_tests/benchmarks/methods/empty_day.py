"""A run of one day in this process, including imports and definitions: for a table without rows, or for an asset that does nothing.

Arguments: `empty` and the prefix of the keys, or `nothing`.
"""

import sys

from archiver_assets_tests.benchmarks.measuring import Done, report

DAY = "2024-02-01"
"""A day without rows, a month before those of the workload."""


def do_nothing() -> Done:
    """Materialize a day of an asset that does nothing."""
    import dagster as dg  # noqa: PLC0415 -- imports are part of the measurement

    @dg.asset(partitions_def=dg.DailyPartitionsDefinition(start_date="2024-01-01"))
    def nothing() -> None:
        pass

    result = dg.materialize([nothing], partition_key=DAY)
    return Done(int(not result.success))


def run_empty_day(prefix: str) -> Done:
    """Archive, check and purge a day without rows; the number of rows reported is 0 for success and 1 for a failed run."""
    import dagster as dg  # noqa: PLC0415 -- as above

    from archiver_assets.orchestration.build import build_definitions  # noqa: PLC0415 -- as above
    from archiver_assets.orchestration.partitions import shared_job_name  # noqa: PLC0415 -- as above
    from archiver_assets_tests.benchmarks.methods.located import config  # noqa: PLC0415 -- as above

    found = config(prefix)
    ((_, table),) = found.tables()
    job = build_definitions(found).resolve_job_def(shared_job_name(table))
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(instance=instance, partition_key=DAY)
    return Done(int(not result.success))


if __name__ == "__main__":
    report(do_nothing if sys.argv[1] == "nothing" else lambda: run_empty_day(sys.argv[2]))
