"""All generated parts of docs/reference, and of the sizing guide, that need no server."""

from archiver_assets_tests.reference import (
    command_line,
    config_keys,
    dagster_names,
    error_list,
    event_metadata,
    metric_list,
    objects,
    sizing,
)

ALL = (
    *config_keys.PARTS,
    *command_line.PARTS,
    *metric_list.PARTS,
    *error_list.PARTS,
    *objects.PARTS,
    *dagster_names.PARTS,
    *event_metadata.PARTS,
    *sizing.PARTS,
)
