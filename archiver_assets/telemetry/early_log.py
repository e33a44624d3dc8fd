"""The log of one of Dagster's processes, from its first line on. Importing this begins it; in any other process that does nothing.

What belongs here: that. What does not: what is done (`processes.py`). The image imports it as Python starts, by a file in `site-packages`
(https://docs.python.org/3/library/site.html): webserver and daemon load nothing of the archiver's before they log, and what keeps a run
from Dagster's storage comes before its code location.
"""

import sys

from archiver_assets.telemetry.process_kind import kind_of

if kind_of(sys.orig_argv):
    from archiver_assets.telemetry.processes import log_process

    log_process(sys.orig_argv)
