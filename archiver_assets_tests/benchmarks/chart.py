"""One SVG chart per workload: each method's figure as a multiple of the limit, with its target marked.

What belongs here: drawing bars. What does not: choosing and computing the figures (`comparing.py`).

There is no plotting library: simple bars do not need one, and everyone who tries `make demo` would install its wheels (60 MB). Text in
these charts also stays text, so it can be searched, and a new figure is a small diff.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from archiver_assets_tests.benchmarks.comparing import Result, Target
from archiver_assets_tests.benchmarks.tables import FIGURES, about

_ROW = 26
_LABEL = 380
_PLOT = 420
_MARGIN = 110
_HEAD = 64
_COLOURS = {"met": "#2a9d8f", "missed": "#d1603d", "none": "#8d99ae"}


@dataclass(frozen=True)
class Bar:
    """One line of a chart; a bar without `ratio` is a heading."""

    label: str
    ratio: float | None = None
    target: Target | None = None

    @property
    def colour(self) -> str:
        """The colour of the bar, by whether its target was met."""
        if self.target is None or self.ratio is None:
            return _COLOURS["none"]
        met = self.ratio >= self.target.bound if self.target.least else self.ratio <= self.target.bound
        return _COLOURS["met" if met else "missed"]


def bars_of(result: Result) -> list[Bar]:
    """Return a heading, a bar for the main figure of each method, and one for each other figure that has a target."""
    targets = {(each.method, each.figure): each for each in result.targets if each.of == "ratio"}
    wanted = dict.fromkeys([*((name, result.main) for name in result.samples if name != result.limit), *targets])
    bars = []
    for method, figure in wanted:
        target = targets.get((method, figure))
        ratio = result.ratio(method, figure, target.against if target else None)
        if ratio:
            label = method if figure == "wall" else f"{method}: {FIGURES.get(figure, figure)}"
            bars.append(Bar(label, ratio.median, target))
    return [Bar(f"{result.name}: 1 = {result.limit}"), *bars] if bars else []


def save_charts(results: Sequence[Result], folder: Path) -> None:
    """Write the chart of each workload that has a ratio among its results, as `WORKLOAD.svg`."""
    for workload in dict.fromkeys(result.workload for result in results):
        group = [result for result in results if result.workload == workload]
        bars = [bar for result in group for bar in bars_of(result)]
        if bars:
            subtitle = f"{about(group[0])}. A bar is the ratio to the limit, a mark its target."
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{workload}.svg").write_text(draw(f"Workload {workload}", subtitle, bars))


def draw(title: str, subtitle: str, bars: Sequence[Bar]) -> str:
    """Return a chart with a line at 1, the limit."""
    reach = max(max(bar.ratio or 1, bar.target.bound if bar.target else 1) for bar in bars) * 1.05
    height = _HEAD + _ROW * len(bars) + 16
    width = _LABEL + _PLOT + _MARGIN
    box = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {box} font-family="Helvetica, Arial, sans-serif" font-size="13" fill="#22223b">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="16" y="26" font-size="17" font-weight="bold">{escape(title)}</text>',
        f'<text x="16" y="46" fill="#5c677d">{escape(subtitle)}</text>',
        _upright(1 / reach, _HEAD, height - 10, 'stroke="#5c677d" stroke-dasharray="3 3"'),
    ]
    for number, bar in enumerate(bars):
        lines += _lines(bar, _HEAD + number * _ROW, reach)
    return "\n".join([*lines, "</svg>\n"])


def _lines(bar: Bar, top: int, reach: float) -> list[str]:
    middle = top + _ROW // 2 + 5
    if bar.ratio is None:
        return [f'<text x="16" y="{middle}" font-weight="bold">{escape(bar.label)}</text>']
    length = bar.ratio / reach * _PLOT
    text = f"{bar.ratio:.2f}"
    marks = []
    if bar.target:
        text += f" ({'≥' if bar.target.least else '≤'} {bar.target.bound:g})"
        marks = [_upright(bar.target.bound / reach, top + 1, top + _ROW - 1, 'stroke="#22223b" stroke-width="2.5"')]
    beside = max(length, bar.target.bound / reach * _PLOT if bar.target else 0) + 8
    return [
        f'<text x="{_LABEL - 10}" y="{middle}" text-anchor="end">{escape(bar.label)}</text>',
        f'<rect x="{_LABEL}" y="{top + 5}" width="{length:.1f}" height="{_ROW - 10}" fill="{bar.colour}"/>',
        *marks,
        f'<text x="{_LABEL + beside:.1f}" y="{middle}">{text}</text>',
    ]


def _upright(part: float, top: int, bottom: int, style: str) -> str:
    x = f"{_LABEL + part * _PLOT:.1f}"
    return f'<line x1="{x}" y1="{top}" x2="{x}" y2="{bottom}" {style}/>'
