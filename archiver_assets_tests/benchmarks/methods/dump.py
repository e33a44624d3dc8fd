"""pg_dump of one table in the custom format, at its default compression.

Arguments: the path of pg_dump, the table, the file to write, the number of rows of the table.
"""

import resource
import subprocess
import sys
from pathlib import Path

from archiver_assets_tests.benchmarks.measuring import Done, report


def dumped(program: str, table: str, path: Path, rows: int) -> Done:
    """Dump the table; the figure is the size of the file."""
    subprocess.run([program, "-Fc", f"--table={table}", f"--file={path}"], check=True)
    return Done(rows, {"bytes": path.stat().st_size})


if __name__ == "__main__":
    client, name, target, count = sys.argv[1:]
    report(lambda: dumped(client, name, Path(target), int(count)), resource.RUSAGE_CHILDREN)
