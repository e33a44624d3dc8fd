"""What a run's pod writes to its log, with the settings of production: `kubectl logs` and Fluent Bit have both of its streams."""

import json
import re
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

from archiver_assets.orchestration.assets import table_keys
from archiver_assets.orchestration.partitions import shared_job_name
from archiver_assets.orchestration.tags import run_tags
from archiver_assets.store.keys import holds_folder
from archiver_assets.telemetry.lines import CONTEXT
from archiver_assets_tests.fluent_bit import container_log, records
from archiver_assets_tests.lab import DAY, PREFIX, Lab
from archiver_assets_tests.pod_processes import open_run_pods
from archiver_assets_tests.servers import Database

FLUENT_BIT = Path(__file__).parents[2] / "deploy" / "components" / "fluent-bit" / "fluent-bit.conf"
NAME = 'a"}\u2028{"level": "forged"}'
"""Of the table: control characters are refused in the config, but not all that some readers take for the end of a line."""
HOLD = 'x\n{"level": "forged"}'
"""The key of what lies among the legal holds and is none, for which the purge fails."""
NUMBERS = {"rows", "rows_total", "bytes", "rows_per_second", "bytes_per_second", "eta_seconds", "elapsed_seconds"}


def objects(text: str) -> list[dict[str, Any]]:
    """Return the lines, each of which is a JSON object with all keys that every line has."""
    found = [json.loads(line) for line in text.splitlines()]
    assert all(each.keys() >= {"timestamp", "level", "logger", "message", *CONTEXT} for each in found)
    return found


def test_the_log_of_a_run_is_one_json_object_a_line_whatever_happens(lab: Lab, scratch: Database, tmp_path: Path) -> None:
    lab.fill(rows=100)
    lab.execute(f'ALTER TABLE audit_logs RENAME TO "{NAME.replace(chr(34), chr(34) * 2)}"')
    lab.store.create(f"{holds_folder(PREFIX)}{HOLD}", b"{}")
    table = lab.table(name=NAME)
    keys = table_keys(table)

    with open_run_pods(lab, scratch, tmp_path, name=NAME) as pods:
        pod = pods.start(shared_job_name(table), str(DAY), [keys.archive, keys.purge], run_tags(table))
        out, err = pod.process.communicate(timeout=60)
        recorded = {event.user_message for event in pods.instance.all_logs(pod.run_id)}
    assert (pod.process.returncode, err) == (1, ""), out
    lines = objects(out)

    context = {"database": "lab", "table": table.label, "partition": str(DAY), "run_id": pod.run_id}
    assert all({key: each[key] for key in context} == context for each in lines)
    times = [datetime.fromisoformat(each["timestamp"]) for each in lines]
    assert all(re.fullmatch(r"[\d-]{10}T[\d:]{8}\.\d{6}Z", each["timestamp"]) for each in lines)
    assert times == sorted(times)

    # Each event once, and each of our lines, which is among the run's events too.
    assert max(Counter((each["logger"], each["step"], each["message"]) for each in lines).values()) == 1
    assert [(each["dagster_event"], each["step"]) for each in lines if "dagster_event" in each] == [
        ("RUN_START", None),
        ("STEP_START", "archive"),
        ("ASSET_MATERIALIZATION", "archive"),
        ("STEP_SUCCESS", "archive"),
        ("STEP_START", "verify"),
        ("ASSET_CHECK_EVALUATION", "verify"),
        ("STEP_SUCCESS", "verify"),
        ("STEP_START", "purge"),
        ("STEP_FAILURE", "purge"),
        ("RUN_FAILURE", None),
    ]
    ours = [each for each in lines if each["logger"] == "archiver"]
    assert {each["message"] for each in ours} <= recorded

    counted = [each for each in ours if each.keys() >= NUMBERS]
    assert [(each["step"], each["message"].partition(" lab/")[0]) for each in counted] == [
        ("archive", "archive"),
        ("verify", "read back"),
        ("verify", "decode"),
    ]
    assert all((each["rows"], each["rows_total"], each["generation"], each["eta_seconds"]) == (100, 100, 1, 0.0) for each in counted)
    assert len({each["bytes"] for each in counted}) == 1

    # Fluent Bit makes fields of all of it.
    assert [
        {key: each[key] for key in line} for each, line in zip(records(container_log(out), FLUENT_BIT.read_text()), lines, strict=True)
    ] == lines

    [failed] = [each for each in lines if each.get("dagster_event") == "STEP_FAILURE"]
    assert failed["level"] == "error"
    assert "HoldsUnreadable: " in failed["exception"]
    assert HOLD in failed["exception"]
