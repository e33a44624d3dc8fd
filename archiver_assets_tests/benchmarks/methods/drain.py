"""The physical limit: read the day by binary COPY and discard it, with psql if available, else with psycopg.

Arguments: the query, then the path of psql or an empty string. psycopg is imported only if psql is missing, because the memory of the
limit is reported too.
"""

import re
import resource
import subprocess
import sys

from archiver_assets_tests.benchmarks.measuring import Done, report


def by_psql(psql: str, query: str) -> Done:
    """Have psql write the COPY to the null device, and read the number of rows from its output."""
    command = [psql, "-X", "-c", f"\\copy ({query}) TO '/dev/null' (FORMAT binary)"]
    answer = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
    (rows,) = re.findall(r"^COPY (\d+)$", answer, re.MULTILINE)
    return Done(int(rows))


def by_psycopg(query: str) -> Done:
    """Fetch the COPY's buffers from libpq and discard them."""
    import psycopg  # noqa: PLC0415 - see above
    from psycopg import sql  # noqa: PLC0415 - see above

    with psycopg.connect() as connection, connection.cursor() as cursor:
        with cursor.copy(sql.SQL("COPY ({}) TO STDOUT (FORMAT binary)").format(sql.SQL(query))) as copy:
            for _ in copy:
                pass
        return Done(cursor.rowcount)


if __name__ == "__main__":
    wanted, client = sys.argv[1:]
    if client:
        report(lambda: by_psql(client, wanted), resource.RUSAGE_CHILDREN)
    else:
        report(lambda: by_psycopg(wanted))
