"""What a process of Dagster's writes to its streams, however it comes to be written; each in a process of its own, without Dagster."""

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from archiver_assets.errors import ConfigError
from archiver_assets.telemetry.lines import CONTEXT
from archiver_assets.telemetry.processes import log_process
from archiver_assets_tests.fluent_bit import container_log, records
from archiver_assets_tests.unit.production_files import ROOT

RUN = ["dagster", "api", "execute_run", "{}"]
SERVER = ["dagster-webserver", "-h", "0.0.0.0"]  # noqa: S104 -- nothing is opened

BEGIN = """
import logging, sys, threading, warnings
from archiver_assets.telemetry.processes import log_process
log_process(ARGUMENTS)
log = logging.getLogger("archiver")
"""
NOISE = r"""
log.info("table %s", 'a\n{"level": "forged"}\r\x1b[31m\u2028\x85')
log.info("of two\nlines", extra={"rows": 3})
logging.getLogger("archiver.s3").info("a child's")
logging.getLogger("botocore.credentials").info("not of use")
logging.getLogger("botocore").warning("of a library")
warnings.warn("of a library, too", stacklevel=1)
print("printed\nin two lines\n\n", end="")
sys.stderr.write("written ")
sys.stderr.write("in parts\n")
print("not ended", end="")
log.info("%d", "no number")
log.info("a surrogate \ud800")
log.info("long " + "x" * 100_000)
try:
    raise ValueError("of\ntwo lines")
except ValueError:
    log.exception("failed")
thread = threading.Thread(target=lambda: 1 / 0, name="worker")
thread.start()
thread.join()
thread = threading.Thread(target=sys.exit)
thread.start()
thread.join()

class Unraisable:
    def __del__(self):
        raise OSError("in a finalizer")

Unraisable()
raise RuntimeError("the end\nof it")
"""


def ran(code: str, arguments: list[str], environ: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    script = BEGIN.replace("ARGUMENTS", repr(arguments)) + code
    environ = {"PATH": os.environ["PATH"], **(environ or {})}
    return subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, timeout=30, check=False)


def objects(text: str) -> list[dict[str, Any]]:
    """Return the lines, each one JSON object with all keys that every line has."""
    found = [json.loads(line) for line in text.splitlines()]
    assert all(each.keys() >= {"timestamp", "level", "logger", "message", *CONTEXT} for each in found)
    return found


def test_whatever_is_said_in_a_run_is_one_object_a_line_on_stdout() -> None:
    result = ran(NOISE, RUN)
    assert (result.returncode, result.stderr) == (1, "")
    lines = objects(result.stdout)
    said = [(each["logger"], each["level"], each["message"]) for each in lines]

    assert said[:3] == [
        ("archiver", "info", 'table a\n{"level": "forged"}\r\x1b[31m\u2028\x85'),
        ("archiver", "info", "of two\nlines"),
        ("archiver.s3", "info", "a child's"),
    ]
    assert lines[1]["rows"] == 3
    assert {each[0]: each[1] for each in said} == {
        "archiver": "critical",
        "archiver.s3": "info",
        "botocore": "warning",
        "py.warnings": "warning",
        "stdout": "info",
        "stderr": "warning",
    }
    assert [text for logger, _, text in said if logger == "stdout"] == ["printed", "in two lines", "not ended"]
    assert [text for logger, _, text in said if logger == "stderr"][:2] == ["written in parts", "--- Logging error ---"]
    assert ("archiver", "info", "a surrogate \ud800") in said
    shipped = records(container_log(result.stdout), (ROOT / "deploy" / "components" / "fluent-bit" / "fluent-bit.conf").read_text())
    assert [(each["logger"], each["level"], each["message"]) for each in shipped] == said
    assert not any("log" in each for each in shipped)

    traces = {each["message"]: each["exception"].splitlines()[-1] for each in lines if "exception" in each}
    assert traces["failed"] == "two lines"
    assert not any("SystemExit" in said for said in traces)
    assert traces["thread worker ends by ZeroDivisionError"] == "ZeroDivisionError: division by zero"
    assert [trace for said, trace in traces.items() if "Unraisable.__del__" in said] == ["OSError: in a finalizer"]
    assert traces["the process ends by RuntimeError"] == "of it"


DAGSTERS = """
import coloredlogs
from dagster._core.log_manager import DagsterLogManager
from dagster._utils.log import configure_loggers, create_console_logger

console = create_console_logger("dagster", "INFO")
configure_loggers(formatter="json", log_level="INFO")
manager = DagsterLogManager.create(loggers=[console])
manager.info("of a run")
logging.getLogger("dagster.daemon").info("of the daemon")
logging.getLogger("dagster").addHandler(logging.NullHandler())
import uvicorn.config
uvicorn.config.Config(app=None, log_level="info")
logging.getLogger("uvicorn.error").info("Started server process")
warnings.warn("of a library", stacklevel=1)
manager._managed_loggers.append(log)
manager.begin_python_log_capture()
log.info("of ours", extra={"rows": 3})
logging.getLogger("dagster.builtin.x").info("of an op")
manager.end_python_log_capture()
log.info("of ours, after")
from dagster._core.definitions.instigation_logger import InstigationLogger
from structlog.contextvars import bound_contextvars

with bound_contextvars(step="schedule"):
    InstigationLogger(repository_name="r", instigator_name="s", level="INFO").info("of a tick")
"""


def test_what_dagster_sets_up_for_its_own_log_is_written_once_and_as_ours_is() -> None:
    result = ran(DAGSTERS, SERVER)
    assert (result.returncode, result.stderr) == (0, "")
    assert [(each["logger"], each["message"].split(": ")[-1].strip()) for each in objects(result.stdout)] == [
        ("dagster", "of a run"),
        ("dagster.daemon", "of the daemon"),
        ("uvicorn.error", "Started server process"),
        ("dagster", "of a library"),
        ("archiver", "of ours"),
        ("dagster", "of an op"),
        ("archiver", "of ours, after"),
        ("dagster", "of a tick"),
    ]
    assert objects(result.stdout)[-1]["step"] == "schedule"


def test_on_a_terminal_it_is_text() -> None:
    leader, follower = pty.openpty()
    script = BEGIN.replace("ARGUMENTS", repr(RUN)) + 'log.info("of two\\nlines")\nprint("printed")'
    subprocess.run([sys.executable, "-c", script], stdout=follower, timeout=30, check=True)
    os.close(follower)
    lines = os.read(leader, 10_000).decode().splitlines()
    os.close(leader)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z INFO of two", lines[0])
    assert lines[1:] == ["  lines", "printed"]


@pytest.mark.parametrize(
    ("environ", "shown"),
    [
        ({"ARCHIVER_LOG_LEVEL": "debug"}, ["debug", "info", "warning"]),
        ({}, ["info", "warning"]),
        ({"ARCHIVER_LOG_LEVEL": "WARNING"}, ["warning"]),
    ],
)
def test_the_level_is_that_of_the_environment(environ: dict[str, str], shown: list[str]) -> None:
    # A run's instance sets the level of the logger anew, by `python_log_level`.
    result = ran('log.setLevel(logging.DEBUG)\nlog.debug("a")\nlog.info("a")\nlog.warning("a")', RUN, environ)
    assert [each["level"] for each in objects(result.stdout)] == shown


def test_the_form_is_that_of_the_environment() -> None:
    assert ran('log.info("a")', RUN, {"ARCHIVER_LOG_FORMAT": "text"}).stdout.endswith(" INFO a\n")


@pytest.mark.parametrize("variable", ["ARCHIVER_LOG_FORMAT", "ARCHIVER_LOG_LEVEL"])
def test_a_value_that_is_none_is_refused(variable: str) -> None:
    with pytest.raises(ConfigError, match=f"in {variable}, found 'loud'"):
        log_process(RUN, {variable: "loud"})


@pytest.mark.parametrize("lost", ['full = os.open("/dev/full", os.O_WRONLY)', "end, full = os.pipe()\nos.close(end)"])
def test_who_logs_goes_on_when_nothing_can_be_written_any_more(lost: str) -> None:
    code = f'import os\n{lost}\nos.dup2(full, 1)\nlog.info("lost")\nprint("lost")\nos.write(2, b"went on")\nos._exit(0)'
    result = ran(code, RUN)
    assert (result.returncode, result.stderr) == (0, "went on")


def test_a_line_that_never_ends_is_written_in_pieces() -> None:
    result = ran('for number in range(2_000):\n    sys.stdout.write(f"\\r{number:>99}")', RUN)
    pieces = [each["message"] for each in objects(result.stdout)]
    assert "".join(pieces) == "".join(f"\r{number:>99}" for number in range(2_000))
    assert len(pieces) > 20


@pytest.mark.parametrize(("closed", "written"), [("stdout", []), ("stderr", ["of ours", "printed"])])
def test_a_process_may_be_started_with_a_closed_stream(closed: str, written: list[str]) -> None:
    begin = BEGIN.replace("ARGUMENTS", repr(RUN)).replace("\nlog_process", f"\nsys.{closed} = None\nlog_process")
    code = 'log.info("of ours")\nprint("printed", file=sys.stderr)\nif sys.stderr:\n    sys.stderr.flush()'
    result = subprocess.run([sys.executable, "-c", begin + code], capture_output=True, text=True, timeout=30, check=True)
    assert [each["message"] for each in objects(result.stdout)] == written


LOADING = """
from contextlib import suppress
from archiver_assets.errors import ConfigError
from archiver_assets.telemetry.processes import loading

with suppress(ConfigError), loading(ARGUMENTS):
    raise ConfigError("found no config", hint="mount it")
"""


def test_a_run_says_why_its_code_location_could_not_be_loaded_and_a_server_leaves_that_to_dagster() -> None:
    [why] = objects(ran(LOADING.replace("ARGUMENTS", repr(RUN)), RUN).stdout)
    assert (why["level"], why["message"]) == ("critical", "the code location could not be loaded")
    assert why["exception"].endswith("ConfigError: found no config\nHINT: mount it")
    assert ran(LOADING.replace("ARGUMENTS", repr(SERVER)), SERVER).stdout == ""


def test_another_command_of_dagsters_keeps_its_streams() -> None:
    result = ran('print("an answer")', ["dagster", "asset", "list"])
    assert result.stdout == "an answer\n"


def test_the_image_lets_the_log_begin_with_the_process(tmp_path: Path) -> None:
    [line] = re.findall(r"echo '([^']+)' > /opt/archiver/lib/python[\d.]+/site-packages/\w+\.pth", (ROOT / "Dockerfile").read_text())
    (tmp_path / "sitecustomize.py").write_text(line)
    (tmp_path / "dagster").write_text('raise RuntimeError("the storage cannot\\nbe reached")')
    command = [sys.executable, str(tmp_path / "dagster"), "api", "execute_run", "{}"]
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path)}
    result = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=30, check=False)
    assert (result.returncode, result.stderr) == (1, "")
    [only] = objects(result.stdout)
    assert only["exception"].endswith("RuntimeError: the storage cannot\nbe reached")
    # Any other process imports nothing for it.
    modules = [sys.executable, "-c", "import sys; print('structlog' in sys.modules)"]
    assert subprocess.run(modules, env=environ, capture_output=True, text=True, timeout=30, check=True).stdout == "False\n"
