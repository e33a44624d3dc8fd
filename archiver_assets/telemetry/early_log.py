"""Import this to begin the log of a Dagster process with its first line. In any other process the import does nothing.

`processes.py` does the work. In the image a file in `site-packages` imports this module as Python starts
(https://docs.python.org/3/library/site.html): webserver and daemon import nothing of the archiver before they log, and a run that cannot
reach Dagster's storage fails before it imports its code location.
"""

import sys

from archiver_assets.telemetry.process_kind import kind_of

if kind_of(sys.orig_argv):
    from archiver_assets.telemetry.processes import log_process

    log_process(sys.orig_argv)
