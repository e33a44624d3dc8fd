"""What holds for every command of `archiver`: its options, its two forms of an answer, its exit statuses.

What does not belong here: what any command does.
"""

import json
import sys
from pathlib import Path
from subprocess import run

import click
import pytest

from archiver_assets.cli.app import COMMANDS, Status, archiver, main
from archiver_assets.cli.each_table import look_at_each
from archiver_assets.config import TableConfig
from archiver_assets.errors import ArchiverError, SourceLoginRefused, SourceUnavailable, StoreUnavailable, TableRefused


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_takes_the_common_options_and_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == Status.DONE
    text = capsys.readouterr().out
    assert all(option in text for option in ("--config", "--json", "--log-format"))
    assert archiver.get_command(click.Context(archiver), name).short_help  # type: ignore[union-attr]


def test_an_error_says_what_to_do_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "config.yaml"
    assert main(["accept-source", "--database", "d", "--table", "t", "--config", str(missing)]) == Status.USAGE
    said = capsys.readouterr()
    assert said.out == ""
    assert f"error: {missing}: expected a config file, found none\nHINT: " in said.err


@pytest.mark.parametrize("arguments", [["--json", "accept-source"], ["accept-source", "--json"]])
def test_with_json_an_error_is_the_one_document(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "config.yaml"
    assert main([*arguments, "--database", "d", "--table", "t", "--config", str(missing)]) == Status.USAGE
    document = json.loads(capsys.readouterr().out)
    assert document["error"] == "ConfigError"
    assert str(missing) in document["message"]


def test_a_log_of_json_has_the_error_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--log-format", "json", "verify", "--config", str(tmp_path / "config.yaml")]
    assert main(arguments) == Status.USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["message"].startswith("error: ")


def test_an_unknown_command_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["no-such-thing"]) == Status.USAGE
    assert "no-such-thing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "looked_at"),
    [
        (SourceUnavailable, ["one", "two"]),
        (SourceLoginRefused, ["one", "two"]),
        (StoreUnavailable, ["one"]),
        (TableRefused, ["one", "one", "two"]),
    ],
)
def test_what_all_tables_of_a_database_or_of_the_store_share_is_tried_once(kind: type[ArchiverError], looked_at: list[str]) -> None:
    tables = [
        TableConfig(database=database, name="log", timestamp_column="at", primary_key=("id",), retention_days=30)
        for database in ("one", "one", "two")
    ]
    seen: list[str] = []

    def look(table: TableConfig) -> None:
        seen.append(table.database)
        message = "no"
        raise kind(message, hint="wait")

    assert [type(each.error) for each in look_at_each(tables, look)] == [kind] * 3
    assert seen == looked_at


def test_ctrl_c_is_an_exit_status_and_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    @click.command("restore")
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("archiver_assets.cli.restore.command", interrupted)
    assert main(["restore"]) == Status.INTERRUPTED
    assert "interrupted" in capsys.readouterr().err


def test_a_command_imports_nothing_of_the_others() -> None:
    code = """
import sys
from archiver_assets.cli.app import main
main(["--version"])
print(sorted({"dagster", "pyarrow"} & set(sys.modules)))
"""
    assert run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()[-1] == "[]"
