"""What the docs say is true: every key is listed, and the README's config is one."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from archiver_assets.config import DatabaseConfig, Hold, HoldsTable, LegalHolds, ReplicaConfig, S3Config, TableConfig, load_config
from archiver_assets.config.legal import Compliance, HoldCondition

ROOT = Path(__file__).parents[2]


MODELS: list[type[BaseModel]] = [
    S3Config,
    DatabaseConfig,
    ReplicaConfig,
    TableConfig,
    LegalHolds,
    HoldsTable,
    Hold,
    HoldCondition,
    Compliance,
]


@pytest.mark.parametrize("model", MODELS)
def test_every_key_of_the_config_is_in_its_reference_with_its_description(model: type[BaseModel]) -> None:
    reference = (ROOT / "docs" / "configuration.md").read_text()
    own_label = {"database"} if model is TableConfig else set()

    for name, field in model.model_fields.items():
        if name not in own_label:
            key = "schema" if name == "schema_name" and model is not Hold else name
            assert f"| `{key}` | {field.description} |" in reference


def test_the_config_of_the_readme_is_valid(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (tmp_path / "config.yaml").write_text(example)

    ((database, table),) = load_config(tmp_path / "config.yaml", {}).tables()

    assert (database.name, table.name, table.retention_days) == ("production_db", "audit_logs", 90)


def test_every_file_that_the_readme_links_to_is_there() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text())
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
