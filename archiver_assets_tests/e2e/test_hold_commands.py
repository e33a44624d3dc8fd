"""`archiver hold`: legal holds by the command."""

import json
import sys

import pytest

from archiver_assets.cli.app import Status, main
from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.purging.purge import purge
from archiver_assets_tests.e2e.conftest import Said
from archiver_assets_tests.lab import DAY, PASSWORD_VARIABLE, Lab

ADD = ("hold", "add", "2026/17", "--table", "audit_logs", "--reason", "an investigation", "--requestor", "counsel")


def test_a_hold_is_placed_listed_and_removed(lab: Lab, said: Said) -> None:
    lab.fill(rows=10)
    archive(lab.task())
    status, out = said(*ADD, "--condition", "action in action 1, action 2")
    assert status == Status.DONE
    assert (
        f"placed s3://{lab.bucket}/archives/_holds/2026%2F17.json: rows with action in action 1,action 2 of all days of audit_logs" in out
    )
    assert "lab/public/audit_logs: keeps 2 rows of expired days" in out
    assert (purge(lab.task()).held, lab.count()) == (2, 2)
    _, out = said("hold", "list")
    (line,) = [line for line in out.splitlines() if "2026/17" in line]
    assert line.split()[1:3] == ["bucket", "yes"]
    assert "lab/public/audit_logs" in line
    status, out = said("hold", "remove", "2026/17", "--yes")
    assert status == Status.DONE
    assert "2 rows of expired days could then be purged; the hold keeps 2" in out
    assert said("hold", "list") == (0, "0 holds\n")
    assert purge(lab.task()).tally.purged == 2


def test_a_hold_is_never_replaced(lab: Lab, said: Said, capsys: pytest.CaptureFixture[str], config: str) -> None:
    assert said(*ADD)[0] == Status.DONE
    key = "archives/_holds/2026%2F17.json"
    before = lab.content(key)
    assert main([*ADD, "--to", "2020-01-01", "--config", config]) == Status.FAILED
    assert "expected no hold '2026/17' yet" in capsys.readouterr().err
    assert lab.content(key) == before


def test_what_only_one_of_two_holds_keeps_is_what_its_removal_releases(lab: Lab, said: Said) -> None:
    lab.fill(rows=10)
    said("hold", "add", "first", "--table", "public.audit_logs", "--reason", "r", "--condition", "id <= 6")
    said(
        "hold",
        "add",
        "second",
        "--table",
        "audit_logs",
        "--reason",
        "r",
        "--condition",
        "id > 4",
        "--from",
        "2024-03-01",
        "--to",
        "2024-03-31",
    )
    _, out = said("hold", "remove", "second", "--yes", "--json")
    assert json.loads(out)["rows_released"] == {"lab/public/audit_logs": 4}


def test_without_a_terminal_a_removal_needs_a_yes(lab: Lab, said: Said) -> None:
    said(*ADD)
    status, _ = said("hold", "remove", "2026/17")
    assert status == Status.USAGE
    assert len(lab.objects()) == 1


def test_on_a_terminal_a_removal_is_asked_for(lab: Lab, said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    said(*ADD, "--unchecked")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    for answered in (False, True):
        monkeypatch.setattr("click.confirm", lambda _text, answered=answered: answered)
        status, _ = said("hold", "remove", "2026/17")
        assert status == (Status.DONE if answered else Status.FAILED)
        assert len(lab.objects()) == (not answered)


def test_a_hold_that_is_not_in_the_bucket_cannot_be_removed(said: Said) -> None:
    status, out = said("--json", "hold", "remove", "nothing", "--yes")
    assert status == Status.FAILED
    assert json.loads(out)["message"] == "expected the hold 'nothing' in the bucket, found none"


NO_HOLDS = {
    ("--condition", "office"): "expected a condition of a column, an operator and a value, found 'office'",
    ("--condition", "{office"): "expected a condition as JSON",
    ("--condition", "id ="): "expected 1 values for =, found 0",
    ("--from", "2024-02-01", "--to", "2024-01-01"): "last_day on or after first_day",
    ("--expires", "soon"): "expiration_date",
}


def test_what_is_no_hold_is_not_placed(lab: Lab, said: Said) -> None:
    for arguments, found in NO_HOLDS.items():
        status, out = said("--json", *ADD, *arguments)
        assert status == Status.USAGE
        assert found in json.loads(out)["message"]
    assert lab.objects() == []


def test_a_condition_that_the_table_cannot_be_asked_for_is_not_placed(lab: Lab, said: Said) -> None:
    status, out = said("--json", *ADD, "--condition", '{"column": "office", "operator": "=", "values": ["Graz"]}')
    assert status == Status.FAILED
    assert "'office' is not a column" in json.loads(out)["message"]
    assert lab.objects() == []


def test_without_a_database_a_hold_is_placed_unchecked(lab: Lab, said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PASSWORD_VARIABLE)
    assert said(*ADD)[0] != Status.DONE
    status, out = said(*ADD, "--unchecked")
    assert status == Status.DONE
    assert "rows of days" not in out
    status, out = said("hold", "remove", "2026/17", "--yes")
    assert status == Status.DONE
    assert "unknown how many rows would be released: " in out
    assert lab.objects() == []


def test_a_hold_on_no_table_of_the_config_says_so(said: Said) -> None:
    status, out = said("hold", "add", "h", "--table", "audit_log", "--reason", "r", "--from", str(DAY))
    assert status == Status.DONE
    assert "warning: no table in the config has this name" in out
