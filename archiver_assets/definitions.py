"""The code location: the config file that ARCHIVER_CONFIG names, as Dagster's Definitions. Loading it connects to nothing."""

import gc
import sys

from archiver_assets.config import config_path, load_config
from archiver_assets.memory import give_memory_back
from archiver_assets.orchestration.build import build_definitions
from archiver_assets.telemetry.processes import loading, log_process

# Before anything that may fail: a config that is not valid is a line of the log too.
log_process(sys.argv)

# What Dagster makes of a thousand tables are objects that stay. By Python's own thresholds, a quarter of the load is looking for garbage
# among them; `steps.py` sets those again. https://docs.python.org/3/library/gc.html#gc.set_threshold
gc.set_threshold(50_000, 20, 100)

give_memory_back()

with loading(sys.argv):
    defs = build_definitions(load_config(config_path()))
