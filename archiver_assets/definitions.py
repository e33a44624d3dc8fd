"""The code location: Dagster Definitions made from the config file that ARCHIVER_CONFIG names. Loading it opens no connection."""

import gc
import sys

from archiver_assets.config import config_path, load_config
from archiver_assets.memory import give_memory_back
from archiver_assets.orchestration.build import build_definitions
from archiver_assets.telemetry.processes import loading, log_process

# Before anything that may fail, so that an invalid config is logged too.
log_process(sys.argv)

# For a thousand tables, Dagster creates many long-lived objects. With Python's default thresholds, garbage collection takes a quarter of
# the load time. `steps.py` restores the defaults. https://docs.python.org/3/library/gc.html#gc.set_threshold
gc.set_threshold(50_000, 20, 100)

give_memory_back()

with loading(sys.argv):
    defs = build_definitions(load_config(config_path()))
