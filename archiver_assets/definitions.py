"""The code location: the config file that ARCHIVER_CONFIG names, as Dagster's Definitions. Loading it connects to nothing."""

from archiver_assets.config import config_path, load_config
from archiver_assets.orchestration.build import build_definitions

defs = build_definitions(load_config(config_path()))
