"""The physical limit: a binary COPY of the day that is thrown away, by psql where there is one, else by psycopg.

What belongs here: the two drains. What does not: anything that takes memory, since the limit's is reported too; so psycopg is only imported
where psql is missing. Called as a program: the query, then psql's path or an empty word.
"""

import re
import resource
import subprocess
import sys

from archiver_assets_tests.benchmarks.measuring import Done, report


def by_psql(psql: str, query: str) -> Done:
    """Let psql write the COPY to the null device, and take the number of rows from its answer."""
    command = [psql, "-X", "-c", f"\\copy ({query}) TO '/dev/null' (FORMAT binary)"]
    answer = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
    (rows,) = re.findall(r"^COPY (\d+)$", answer, re.MULTILINE)
    return Done(int(rows))


def by_psycopg(query: str) -> Done:
    """Take the COPY's buffers from libpq and drop them."""
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
