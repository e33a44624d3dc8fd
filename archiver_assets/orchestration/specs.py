"""What Dagster shows of each asset of a table before anything has run.

What belongs here: what all assets of a table have in common, from its config. What does not: keys, partitions, and what a run found.
"""

from typing import TypedDict

from archiver_assets.config import TableConfig
from archiver_assets.orchestration.pods import pod_tags
from archiver_assets.orchestration.tags import run_tags


class Shown(TypedDict):
    """Arguments of an AssetSpec that are the same for each asset of a table."""

    group_name: str
    owners: list[str]
    tags: dict[str, str]


def shown(table: TableConfig) -> Shown:
    """Return the group, the owners and the tags of a table's assets."""
    return Shown(group_name=table.asset_path[0], owners=list(table.owners), tags=dict(table.tags))


def tagging(table: TableConfig) -> dict[str, str]:
    """Return the metadata of each of a table's assets by which the run coordinator tags its runs."""
    return {**run_tags(table), **pod_tags(table)}


def about(table: TableConfig, what: str) -> str:
    """Return an asset's description: what the asset is, and below it what the config says of the table."""
    return f"{what}\n\n{table.description}" if table.description else what
