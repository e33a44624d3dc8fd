"""Targets of notifications, as a file names them."""

from pathlib import Path

import pytest

from archiver_assets.config import Notifications
from archiver_assets.errors import ConfigError
from archiver_assets.orchestration.notifying import secret_variables
from archiver_assets_tests.unit.config_files import SHORTEST, config_from, problem_of

SECRET = "https://hooks.example.com/secret"  # noqa: S105 - nobody's


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("{url_env: U}", "targets[0].name: missing key; expected the name of the target"),
        ("{name: a}", "targets[0].url_env: missing key"),
        (f'{{name: a, url_env: U, url: "{SECRET}"}}', "targets[0].url: unknown key; no secret belongs in this file; url_env names"),
        (f'{{name: a, url_env: "{SECRET}"}}', "targets[0].url_env: expected the name of the environment variable"),
        ("{name: a, url_env: U, databases: [other]}", "targets[0].databases: expected labels of configured databases"),
        ("{name: a, url_env: U, databases: []}", "targets[0].databases: expected a list of labels"),
        ("{name: a, url_env: U, databases: [app, app]}", "a database is named twice"),
        ("{name: a, url_env: U, min_interval_minutes: 0}", "expected a whole number of minutes, 1 to 10080"),
        ("{name: a, url_env: U, digest: daily}", "expected a cron expression of five fields"),
        ("{name: a, url_env: U, database: [app]}", "targets[0].database: unknown key; did you mean databases?"),
        ("{name: a, url_env: U}, {name: a, url_env: V}", "targets[1].name: duplicate target; notifications.targets[0]"),
        (", ".join(f"{{name: t{n}, url_env: U}}" for n in range(21)), "targets[20]: expected a list of at most 20 targets"),
    ],
)
def test_a_target_that_is_none_is_a_problem_of_the_file(tmp_path: Path, entry: str, problem: str) -> None:
    found = problem_of(tmp_path, f"{SHORTEST}notifications:\n  targets: [{entry}]\n")
    assert found.startswith("config.yaml:14: notifications.targets[")
    assert problem in found
    assert SECRET not in found


def test_the_url_of_a_target_is_read_when_it_is_used_and_never_shown(tmp_path: Path) -> None:
    text = SHORTEST + "notifications: {targets: [{name: a, url_env: U, databases: [app]}]}\n"
    (target,) = config_from(tmp_path, text).notifications.targets

    assert target.url({"U": SECRET}).get_secret_value() == SECRET
    assert SECRET not in repr(target.url({"U": SECRET}))
    assert (target.wants("app"), target.wants("other"), target.wants(None)) == (True, False, True)
    for environ in ({}, {"U": ""}):
        with pytest.raises(ConfigError, match="target a: expected its URL in the environment variable U, found none"):
            target.url(environ)


def test_a_file_without_targets_tells_nobody(tmp_path: Path) -> None:
    for text in ("", "notifications: {}\n", "notifications: {targets: []}\n"):
        assert config_from(tmp_path, SHORTEST + text).notifications == Notifications()


def test_every_variable_that_the_config_says_to_hold_a_secret_is_kept_out_of_messages(tmp_path: Path) -> None:
    scratch = "    scratch_database: {host: h, password_env: SCRATCH_PASSWORD}\n    tables:"
    text = SHORTEST.replace("    tables:", scratch, 1) + "notifications: {targets: [{name: a, url_env: U}]}\n"
    config = config_from(tmp_path, text)
    assert set(secret_variables(config)) == {config.databases[0].password_env, "SCRATCH_PASSWORD", "U"}
