"""Text of others in what people and programs are shown: it is bounded, and it only stands there."""

import csv
import io
import json
import logging
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from prometheus_client.core import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from archiver_assets.cli import query
from archiver_assets.cli.app import Status, main
from archiver_assets.cli.common import Answer, Json, Options
from archiver_assets.cli.each_table import working
from archiver_assets.config import Notifications, NotificationTarget
from archiver_assets.orchestration.metadata import drift_text
from archiver_assets.telemetry.exposition import run_metrics, table_metrics
from archiver_assets.telemetry.figures import Figures, RunFigures, TableFigures
from archiver_assets.telemetry.incidents import Incident
from archiver_assets.telemetry.messages import combined_message, incident_message
from archiver_assets.telemetry.subjects import Subject, Subjects
from archiver_assets.untrusted_text import LONGEST, bounded, json_text, visible
from archiver_assets_tests.scraping import Scrape

HOSTILE = "\x1b[31m\x1b]8;;http://e\x07\r\x08\x9b2J\u202e\u2028\u200b\udcff\x00[red][/][link=x]%s{}"
hostile = st.text(max_size=30) | st.sampled_from([HOSTILE, "[/]", "[red]", "a\nerror: b", "\r\n\r\nx"])
some = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


class Terminal(io.TextIOWrapper):
    """A stream of a terminal, to which click sends what it would else strip."""

    def isatty(self) -> bool:
        return True

    def shown(self) -> str:
        """Return what it has shown."""
        self.flush()
        assert isinstance(self.buffer, io.BytesIO)
        return self.buffer.getvalue().decode()


@contextmanager
def on_a_terminal() -> Iterator[Terminal]:
    """Let both standard streams be a terminal."""
    stream = Terminal(io.BytesIO(), "utf-8", write_through=True)
    with redirect_stdout(stream), redirect_stderr(stream):
        yield stream


def harmless(text: str) -> bool:
    return all(each.isprintable() or each in "\n\t" for each in text)


@some
@given(st.text())
@example(HOSTILE)
def test_what_is_visible_moves_no_cursor_and_plain_text_stays_as_it_is(text: str) -> None:
    shown = visible(text)
    assert harmless(shown)
    assert shown == text or not harmless(text)


@some
@given(st.text(), st.text())
def test_bounded_text_is_short_and_different_where_it_was(one: str, other: str) -> None:
    long = [each * (3 * LONGEST // max(len(each), 1)) for each in (f"{one}a", f"{other}b")]
    assert all(len(bounded(each)) <= LONGEST for each in long)
    assert (bounded(long[0]) == bounded(long[1])) == (long[0] == long[1])
    assert bounded(one) == one


@some
@given(st.dictionaries(hostile, hostile | st.lists(hostile), max_size=3))
def test_json_reads_back_and_no_terminal_obeys_it(value: dict[str, Json]) -> None:
    text = json_text(value)
    assert text.isprintable()
    assert json.loads(text) == value
    assert json_text("Gr\u00fc\u00dfe") == '"Gr\u00fc\u00dfe"'


@some
@given(hostile, hostile)
def test_lines_and_tables_of_an_answer_are_harmless(one: str, other: str) -> None:
    with on_a_terminal() as terminal:
        answer = Answer(Options())
        answer.line(f"{one} {other}")
        answer.table([one], [[other], [HOSTILE]])
    assert harmless(re.sub(r"\x1b\[[01]m", "", terminal.shown()))  # what is bold in a table


def test_csv_on_a_terminal_is_harmless_and_elsewhere_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    row = "a\x1b[31mb"
    with on_a_terminal() as terminal:
        query._csv(Answer(Options()), [row], iter([(row,)]))
    assert terminal.shown() == "a\\x1b[31mb\na\\x1b[31mb\n"
    query._csv(Answer(Options()), [row], iter([(row,)]))
    assert list(csv.reader(io.StringIO(capsys.readouterr().out))) == [[row], [row]]


def test_what_is_being_done_is_no_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    with on_a_terminal() as terminal, working(f"looking at {HOSTILE}") as at:
        at("looking at [/] [red]x")
        time.sleep(0.2)
    assert "looking at [/] [red]x" in terminal.shown()
    assert "\x1b]8" not in terminal.shown()  # other sequences are rich's own


@pytest.mark.parametrize(
    "arguments",
    [
        [HOSTILE],
        ["list", f"--{HOSTILE}"],
        ["list", HOSTILE],
        ["list", "--from", HOSTILE],
        ["--log-format", HOSTILE],
        ["validate", "--config", f"/{HOSTILE.replace(chr(0), '')}"],
        ["run", "--database", HOSTILE, "--table", HOSTILE],
        ["hold", "add", HOSTILE, "--table", HOSTILE, "--reason", HOSTILE, "--condition", HOSTILE],
        ["query", HOSTILE, "--table", HOSTILE],
    ],
)
def test_what_is_said_of_arguments_is_harmless(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("version: 3")
    with on_a_terminal() as terminal:
        status = main(arguments if "--config" in arguments else [*arguments, "--config", str(tmp_path / "config.yaml")])
    logging.basicConfig(handlers=[], force=True)
    assert status == Status.USAGE
    assert len(terminal.shown()) > 20
    assert harmless(terminal.shown())


def test_names_are_labels_of_metrics_and_nothing_else() -> None:
    @some
    @given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
    @example('a"} 1\narchiver_rows_purged_total{database="b', "\\")
    def check(name: str, error: str) -> None:
        figures = Figures(Subjects(None))
        subject = Subject(name, "s", "t")
        figures.tables[subject] = TableFigures(rows_archived=7)
        figures.runs[subject] = RunFigures(failures=Counter({error: 1}))

        class Both(Collector):
            def collect(self) -> list[object]:  # type: ignore[override] # a list is as good
                return [*table_metrics(figures), *run_metrics(figures)]

        registry = CollectorRegistry()
        registry.register(Both())
        scrape = Scrape(generate_latest(registry).decode())
        assert scrape.by("archiver_rows_archived_total", "database") == {(name,): 7}
        assert scrape.by("archiver_run_failures_total", "database", "error") == {(name, error): 1}
        assert len(scrape.text.split("\n")) == len(generate_latest(registry).split(b"\n"))
        assert list(text_string_to_metric_families(scrape.text))

    check()


@some
@given(hostile, hostile, hostile)
def test_messages_are_harmless_and_their_titles_one_line(kind: str, text: str, hint: str) -> None:
    incident = Incident(database="d", kind=kind, check="", opened=0, last=0, failures=1, tables=[kind], run_id="r", text=text, hint=hint)
    target, notifications = NotificationTarget(name="t", url_env="U"), Notifications(base_url="https://dagster.example.com")
    for message in (incident_message(incident, target, notifications), combined_message([incident] * 9, notifications)):
        assert message.title.isprintable()
        assert harmless(message.text)


def test_what_a_restore_says_of_drift_is_code_in_markdown() -> None:
    drift = ("column a: text is now\n![](http://e/x.png)\n", "\r[click](http://e)\u2028# x")
    text = drift_text(drift).value
    assert isinstance(text, str)
    assert all(line.startswith("    ") for line in text.splitlines())
    assert "![](http://e/x.png)" in text
