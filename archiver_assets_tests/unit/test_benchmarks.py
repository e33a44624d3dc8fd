"""The benchmarks' harness: rounds, ratios, targets, tables, charts, and whose CPU counts; on samples that are made up."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from archiver_assets.demo.seaweed import EmbeddedS3
from archiver_assets_tests.benchmarks.chart import bars_of, draw
from archiver_assets_tests.benchmarks.comparing import Comparison, Method, Result, Target, compare, load_result
from archiver_assets_tests.benchmarks.measuring import Done, Meter, NotMeasured, Sample
from archiver_assets_tests.benchmarks.processes import Proc, Ticks, cpu_seconds_of
from archiver_assets_tests.benchmarks.publishing import PAGE, rewritten
from archiver_assets_tests.benchmarks.registry import COMPARISONS, choose
from archiver_assets_tests.benchmarks.site import Site
from archiver_assets_tests.benchmarks.tables import methods_table, targets_table
from archiver_assets_tests.benchmarks.workload import Workload
from archiver_assets_tests.servers import Database

WORKLOAD = Workload("made-up", "rows of paper")
TARGETS = (
    Target("ours", "wall", 2.0, stretch=1.4),
    Target("ours", "bytes", 0.8),
    Target("ours", "rows_per_second", 0.5, least=True),
    Target("ours", "wall", 1.0, of="more"),
    Target("ours", "peak_rss", 100 * 1024 * 1024, of="value"),
    Target("missing", "wall", 1.0),
)


class Script:
    """Methods that take as long as they are told to, and remember the order in which they were called."""

    def __init__(self, **walls: Sequence[float]) -> None:
        self.walls = {name: iter(each) for name, each in walls.items()}
        self.called: list[str] = []

    def run(self, name: str) -> Sample:
        self.called.append(name)
        sizes = {"limit": 100.0, "ours": 70.0}
        return Sample(10, next(self.walls[name]), 0.5, 0.25, None, 50 * 1024 * 1024, {"bytes": sizes.get(name, 1.0)})

    def refuse(self) -> Sample:
        self.called.append("missing")
        message = "there is none"
        raise NotMeasured(message)

    @contextmanager
    def methods(self, _site: Site) -> Iterator[Mapping[str, Method]]:
        yield {"limit": lambda: self.run("limit"), "ours": lambda: self.run("ours"), "missing": self.refuse}


def result_of(script: Script, rounds: int, **changes: object) -> Result:
    site = Site(WORKLOAD, 10, Database("d", "h", 1, "u", "p", ""), None, EmbeddedS3(), "b", Path())
    values = {"limit": "limit", "targets": TARGETS, **changes}
    comparison = Comparison("paper", WORKLOAD, "Cutting paper", script.methods, **values)  # type: ignore[arg-type]
    return compare(comparison, site, rounds, {"cores": "2"}, lambda _line: None)


@pytest.fixture
def result() -> Result:
    return result_of(Script(limit=[1.0, 2.0, 4.0], ours=[3.0, 3.0, 6.0]), 3)


def test_each_round_begins_with_another_method_and_one_that_cannot_run_is_tried_once() -> None:
    script = Script(limit=[1, 1, 1], ours=[1, 1, 1])
    assert result_of(script, 3).not_measured == {"missing": "there is none"}
    assert script.called == ["limit", "ours", "missing", "ours", "limit", "limit", "ours"]


def test_a_ratio_is_that_of_the_medians_with_the_least_and_the_greatest_of_a_round(result: Result) -> None:
    ratio = result.ratio("ours", "wall")
    assert ratio is not None
    assert (ratio.median, ratio.least, ratio.most) == (1.5, 1.5, 3.0)


def test_a_target_is_met_stretched_missed_or_not_measured(result: Result) -> None:
    assert [(each.found, each.verdict) for each in result.found()] == [
        (1.5, "met"),
        (0.7, "met"),
        (pytest.approx(2 / 3), "met"),
        (1.0, "met"),
        (50 * 1024 * 1024, "met"),
        (None, "not measured"),
    ]
    slower = result_of(Script(limit=[1.0], ours=[2.1]), 1)
    faster = result_of(Script(limit=[1.0], ours=[1.4]), 1)
    assert [each.verdict for each in slower.found()[:4]] == ["missed", "met", "missed", "missed"]
    assert faster.found()[0].verdict == "stretch met"


def test_cpu_is_that_of_client_and_server_and_unknown_where_the_servers_is() -> None:
    assert Sample(1, 1.0, 0.5, 0.25).figure("cpu") == 0.75
    assert Sample(1, 1.0, 0.5).figure("cpu") is None


def test_a_comparison_that_names_an_unknown_method_does_not_begin() -> None:
    script = Script()
    with pytest.raises(RuntimeError, match="other"):
        result_of(script, 1, limit="other")
    with pytest.raises(RuntimeError, match="another"):
        result_of(script, 1, targets=(Target("ours", "wall", 1, against="another"),))
    assert script.called == []


def test_methods_that_did_different_numbers_of_rows_are_no_comparison() -> None:
    @contextmanager
    def methods(_site: Site) -> Iterator[Mapping[str, Method]]:
        yield {"limit": lambda: Sample(10, 1, 1), "ours": lambda: Sample(9, 1, 1)}

    script = Script()
    script.methods = methods  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="same number of rows"):
        result_of(script, 1, targets=())
    assert set(result_of(script, 1, targets=(), same_rows=False).samples) == {"limit", "ours"}


def test_a_result_is_read_back_as_it_was_saved(result: Result, tmp_path: Path) -> None:
    result.save(tmp_path / "new" / "paper.json")
    assert load_result(tmp_path / "new" / "paper.json") == result


def test_the_tables_say_what_was_found_and_what_was_not_measured(result: Result) -> None:
    methods, targets = "\n".join(methods_table(result)), "\n".join(targets_table([result]))
    assert "| limit (the limit) | 10 | 2.00 (1.00-4.00) | 1.00 | 0.50 | 0.25 | - | 50 | 100 |" in methods
    assert "Not measured: missing: there is none." in methods
    assert "| ours, against limit | made-up | 10 | wall | ≤ 2.00 x, stretch 1.40 x | 1.50 x (1.50-3.00) | met |" in targets
    assert "| ours, against limit | made-up | 10 | wall | ≤ 1.00 s more | 1.00 s more | met |" in targets
    assert "| ours | made-up | 10 | peak memory | ≤ 100 MiB | 50 MiB | met |" in targets


def test_the_chart_has_a_bar_for_each_ratio_and_marks_its_target(result: Result) -> None:
    bars = bars_of(result)
    assert [(bar.label, bar.ratio) for bar in bars] == [
        ("paper: 1 = limit", None),
        ("ours", 1.5),
        ("ours: bytes", 0.7),
        ("ours: rows/s", pytest.approx(2 / 3)),
    ]
    picture = ET.fromstring(draw("Workload <paper>", "10 rows", bars))  # noqa: S314 - our own
    tags = [each.tag.rpartition("}")[2] for each in picture.iter()]
    assert tags.count("rect") == 1 + 3
    assert tags.count("line") == 1 + 3


class FakeProc(Proc):
    """A server, 100, one of whose sessions ends just before or just after its CPU is asked for the first time."""

    def __init__(self, ending: int | None, *, seen: bool) -> None:
        self.ending, self.seen = ending, seen
        self.processes = {100: Ticks(1, 300, 3000), 101: Ticks(100, 30, 7), 102: Ticks(100, 500, 0), 103: Ticks(1, 9000, 0)}

    def pids(self) -> Iterator[int]:
        yield from tuple(self.processes)

    def ticks(self, pid: int) -> Ticks | None:
        found = self.processes.get(pid)
        if pid == self.ending:
            ended, main = self.processes.pop(pid), self.processes[100]
            self.processes[100] = Ticks(main.parent, main.own, main.ended + ended.own)
            self.ending = None
            return found if self.seen else None
        return found


@pytest.mark.parametrize("seen", [True, False])
@pytest.mark.parametrize("ending", [None, 101, 102])
def test_a_servers_cpu_is_its_own_and_that_of_its_sessions_also_of_one_that_ends_meanwhile(ending: int | None, *, seen: bool) -> None:
    seconds = cpu_seconds_of(100, FakeProc(ending, seen=seen))
    assert seconds == 3830 / os.sysconf("SC_CLK_TCK")


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
def test_the_cpu_of_a_child_that_ended_stays_with_its_parent() -> None:
    before = cpu_seconds_of(os.getpid())
    subprocess.run([sys.executable, "-c", "sum(range(10_000_000))"], check=True)
    after = cpu_seconds_of(os.getpid())
    assert before is not None
    assert after is not None
    assert after - before > 0.03
    assert cpu_seconds_of(2**30) is None


def test_a_method_that_does_not_run_the_clocks_is_found_out() -> None:
    with pytest.raises(RuntimeError, match="start and stop"):
        Meter({}).sample(Done(1))


def test_comparisons_are_chosen_by_subject_and_by_workload() -> None:
    assert {each.id for each in choose("archive,size-narrow", large=False)} == {
        "archive-wide",
        "archive-narrow",
        "archive-large",
        "archive-leaves",
        "size-narrow",
    }
    assert [each.id for each in choose("archive,scale", large=True)] == ["archive-wide"]
    assert choose("", large=False) == [each for each in COMPARISONS if each.by_default]
    assert [each.id for each in choose("extraction", large=False)] == ["extraction-wide"]
    with pytest.raises(ValueError, match="archives"):
        choose("archives", large=False)


def test_each_comparison_has_a_name_of_its_own() -> None:
    names = [each.id for each in COMPARISONS]
    assert sorted(names) == sorted(set(names))


def test_the_harness_itself_stays_small_because_a_childs_peak_memory_begins_with_its_parents() -> None:
    code = "import sys, archiver_assets_tests.benchmarks.__main__; sys.exit(' '.join({'pyarrow', 'dagster'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).stderr == b"\n"


def test_the_page_of_figures_takes_over_results_and_says_what_is_not_measured_yet(result: Result) -> None:
    before = PAGE.read_text()
    after = rewritten(before, [result])
    assert "| ours, against limit | made-up | 10 | wall | ≤ 2.00 x, stretch 1.40 x | 1.50 x (1.50-3.00) | met |" in after
    assert "| archive, against binary COPY to nothing | wide | 1,000,000 | wall | ≤ 2.00 x | - | not measured |" in after
    assert "### Cutting paper" in after
    assert after.split("<!-- targets: begin -->")[0] == before.split("<!-- targets: begin -->")[0]
    assert rewritten(after, [result]) == after
