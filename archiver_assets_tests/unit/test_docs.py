"""What single pages say is true: their holds, targets and settings are ones. What holds for all pages is in `test_pages.py`."""

import re
from pathlib import Path
from typing import get_args

import apprise
import dagster as dg
import pytest

from archiver_assets.config import HoldsTable, load_config
from archiver_assets.orchestration.launchpad import ArchiveConfig, CheckConfig, PurgeConfig
from archiver_assets.source.findings import OF_RIGHTS
from archiver_assets.source.roles import RestoreInto, scripts
from archiver_assets.store.hold_objects import read_hold_objects
from archiver_assets.store.policies import policy
from archiver_assets_tests.doubles import MemoryObjectStore
from archiver_assets_tests.unit.config_files import SHORTEST, config_from

ROOT = Path(__file__).parents[2]


def test_the_holds_of_the_guide_are_holds(tmp_path: Path) -> None:
    guide = (ROOT / "docs" / "how-to" / "legal-holds.md").read_text()
    (in_config,) = re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)
    (tmp_path / "config.yaml").write_text(SHORTEST.replace("app", "production_db").replace("name: log", "name: audit_logs") + in_config)
    (in_bucket,) = re.findall(r"```json\n(.*?)```", guide, re.DOTALL)
    store = MemoryObjectStore({"_holds/2024-17.json": in_bucket.encode()})

    assert load_config(tmp_path / "config.yaml", {}).legal_holds.holds[0].id == "2024/17"
    assert [hold.id for hold in read_hold_objects(store, "", {})] == ["2024-17"]


def test_the_targets_of_the_guide_are_targets_and_apprise_knows_their_urls(tmp_path: Path) -> None:
    guide = (ROOT / "docs" / "how-to" / "notifications.md").read_text()
    (in_config,) = re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)
    (tmp_path / "config.yaml").write_text(SHORTEST.replace("app", "production_db") + in_config)
    urls = re.findall(r"^\| .* \| `(.*)` \|$", guide, re.MULTILINE)

    assert [each.name for each in load_config(tmp_path / "config.yaml", {}).notifications.targets] == ["ops", "payments"]
    services = [apprise.Apprise.instantiate(url) for url in urls]
    assert [type(each).__name__ for each in services] == ["NotifySlack", "NotifyWorkflows", "NotifyEmail", "NotifyPagerDuty", "NotifyJSON"]


@pytest.mark.parametrize(
    ("step", "form"),
    [("archive", ArchiveConfig), ("archive_row_counts", CheckConfig), ("purge", PurgeConfig)],
    ids=str,
)
def test_every_setting_of_the_launchpad_is_in_its_guide(step: str, form: type[dg.Config]) -> None:
    guide = (ROOT / "docs" / "how-to" / "running.md").read_text()
    assert set(re.findall(rf"\| `…__{step}` \| `(\w+)` \|", guide)) == set(form.model_fields)
    assert all(field.description for field in form.model_fields.values())


EVERY_RIGHT = f"""
{SHORTEST}
        purge_method: drop_partition
        max_replication_lag_seconds: 60
        verification: restore
        vacuum_strategy: standard
    scratch_database: {{host: elsewhere, password_env: PW}}
"""


def test_every_right_is_in_its_guide(tmp_path: Path) -> None:
    guide = (ROOT / "docs" / "how-to" / "rights.md").read_text()
    printed = policy("archive", bucket="b", kms_key_id="1", locks=True)["Statement"]
    actions = {action for statement in printed for action in statement["Action"]}
    config = config_from(tmp_path, EVERY_RIGHT)
    (database,) = config.databases
    holds = HoldsTable(database="app", name="holds")
    made = [script.sql for into in get_args(RestoreInto) for script in scripts(database, database.tables, holds, into)]
    granted = set(re.findall(r"GRANT ((?:[A-Za-z_]+(?:, )?)+) (?:ON|TO)", "".join(made)))
    rights = {right for found in granted for right in found.split(", ")}

    assert {"CONNECT", "TEMPORARY", "CREATE", "MAINTAIN", "pg_monitor"} <= rights
    assert [name for name in sorted(actions | rights | OF_RIGHTS) if f"`{name}`" not in guide] == []
