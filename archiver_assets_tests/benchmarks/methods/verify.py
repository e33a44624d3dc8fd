"""Verify: read a whole generation back from the S3 server and prove it.

Argument: the prefix of its keys.
"""

import sys

from archiver_assets.lifecycle.verifying.verify import verify
from archiver_assets_tests.benchmarks.measuring import Done, Meter, report_part
from archiver_assets_tests.benchmarks.methods.place import task


def verified(meter: Meter, prefix: str) -> Done:
    """Read the day's generation back, with all default comparisons."""
    day = task(prefix)
    meter.start()
    verification = verify(day)
    meter.stop()
    if not verification.passed:
        raise verification.failure(day.label)
    return Done(verification.rows_in_object, {"bytes": verification.bytes_in_object})


if __name__ == "__main__":
    report_part(lambda meter: verified(meter, sys.argv[1]))
