"""What the tests of commands share: the config file that they read, and a way to run one."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from archiver_assets.cli.app import main
from archiver_assets_tests.lab import PASSWORD_VARIABLE, Lab

Said = Callable[..., tuple[int, str]]


@pytest.fixture
def config(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The path of the lab's config file, whose password is in the environment."""
    monkeypatch.setenv(PASSWORD_VARIABLE, lab.database.password)
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(lab.document()))
    return str(path)


@pytest.fixture
def said(config: str, capsys: pytest.CaptureFixture[str]) -> Said:
    """Run a command, and return its status and what it said on stdout."""

    def run(*arguments: str) -> tuple[int, str]:
        status = main(["--config", config, *arguments])
        logging.basicConfig(handlers=[], force=True)  # its log went to the stderr of this test
        return status, capsys.readouterr().out

    return run
