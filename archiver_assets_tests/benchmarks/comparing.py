"""Compare methods in turns: each round starts with a different method, so that other load on the machine affects all of them equally.

What belongs here: comparisons, their rounds, and the verdicts on their targets. What does not: the methods compared (`subjects/`), tables
(`tables.py`) and charts (`chart.py`). A missed target is reported but is never an error: times on a busy machine prove nothing.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from archiver_assets_tests.benchmarks.measuring import NotMeasured, Sample
from archiver_assets_tests.benchmarks.site import Site
from archiver_assets_tests.benchmarks.workload import Workload

Method = Callable[[], Sample]
Methods = Callable[[Site], AbstractContextManager[Mapping[str, Method]]]


@dataclass(frozen=True)
class Target:
    """The target for a figure of a method.

    `of` names the number compared with `bound`: the `ratio` to the same figure of `against` (by default, the comparison's limit), the
    amount by which it is `more` than that figure, or the `value` itself. It must be at most `bound`, or with `least` at least `bound`.
    `stretch` is a more ambitious bound. `figure` is a name for `Sample.figure`; bounds are in the figure's unit: seconds, bytes.
    """

    method: str
    figure: str
    bound: float
    of: Literal["ratio", "more", "value"] = "ratio"
    least: bool = False
    stretch: float | None = None
    against: str | None = None


@dataclass(frozen=True)
class Comparison:
    """A comparison of methods on one workload.

    `methods` prepares what they need, yields them by name, and cleans up. The others are compared with the method `limit`, by the figure
    `main`. `rounds` caps the number of runs of each, where more would show nothing new. `same_rows`: all must process as many rows.
    `large`: the comparison is also useful at ten times the size, and fast enough there. Without `by_default`, it runs only if named.
    """

    name: str
    workload: Workload
    title: str
    methods: Methods
    limit: str | None = None
    main: str = "wall"
    targets: tuple[Target, ...] = ()
    rounds: int | None = None
    same_rows: bool = True
    large: bool = False
    by_default: bool = True

    @property
    def id(self) -> str:
        """The name of the comparison in `ONLY=` and in the name of its result file."""
        return f"{self.name}-{self.workload.name}"

    def result(
        self,
        rows: int,
        machine: Mapping[str, str],
        samples: Mapping[str, Sequence[Sample]],
        not_measured: Mapping[str, str],
    ) -> "Result":
        """Return the result of the comparison."""
        return Result(
            name=self.name,
            workload=self.workload.name,
            title=self.title,
            about=self.workload.title,
            limit=self.limit,
            main=self.main,
            rows=rows,
            machine=machine,
            samples=samples,
            not_measured=not_measured,
            targets=self.targets,
        )


@dataclass(frozen=True)
class Spread:
    """The median, minimum and maximum of some runs."""

    median: float
    least: float
    most: float


@dataclass(frozen=True)
class Found:
    """A target and the number found for it; None if it was not measured."""

    target: Target
    found: float | None

    @property
    def verdict(self) -> Literal["met", "stretch met", "missed", "not measured"]:
        """The verdict on the target, in one word."""
        if self.found is None:
            return "not measured"
        if not self._holds(self.target.bound):
            return "missed"
        return "stretch met" if self.target.stretch is not None and self._holds(self.target.stretch) else "met"

    def _holds(self, bound: float) -> bool:
        return self.found is not None and (self.found >= bound if self.target.least else self.found <= bound)


@dataclass(frozen=True)
class Result:
    """The result of a comparison: all samples by method, and the reasons why others were not measured. `rows` is the number per day."""

    name: str
    workload: str
    title: str
    about: str
    limit: str | None
    main: str
    rows: int
    machine: Mapping[str, str]
    samples: Mapping[str, Sequence[Sample]]
    not_measured: Mapping[str, str]
    targets: tuple[Target, ...]

    @property
    def id(self) -> str:
        """The id of the comparison."""
        return f"{self.name}-{self.workload}"

    def values(self, method: str, figure: str) -> list[float]:
        """Return a figure of each run of a method that has it."""
        found = (sample.figure(figure) for sample in self.samples.get(method, ()))
        return [each for each in found if each is not None]

    def spread(self, method: str, figure: str) -> Spread | None:
        """Return the median, minimum and maximum of a figure."""
        return _spread(self.values(method, figure))

    def ratio(self, method: str, figure: str, against: str | None = None) -> Spread | None:
        """Return the ratio of the medians of a figure, and the minimum and maximum ratio of any round."""
        other = against or self.limit
        ours, theirs = self.values(method, figure), self.values(other, figure) if other else []
        if not ours or not theirs or min(theirs) <= 0:
            return None
        each = [one / another for one, another in zip(ours, theirs, strict=False)]
        return Spread(statistics.median(ours) / statistics.median(theirs), min(each), max(each))

    def found(self) -> list[Found]:
        """Return each target with the number found for it."""
        return [Found(target, self._found(target)) for target in self.targets]

    def _found(self, target: Target) -> float | None:
        if target.of == "ratio":
            ratio = self.ratio(target.method, target.figure, target.against)
            return ratio.median if ratio else None
        ours, other = self.spread(target.method, target.figure), target.against or self.limit
        if target.of == "value":
            return ours.median if ours else None
        theirs = self.spread(other, target.figure) if other else None
        return ours.median - theirs.median if ours and theirs else None

    def save(self, path: Path) -> None:
        """Write the result as JSON, including the outcome of each target."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_RESULT.dump_json(self, indent=1))


_RESULT: TypeAdapter[Any] = TypeAdapter(Result)


def load_result(path: Path) -> Result:
    """Read a result that `Result.save` wrote."""
    result: Result = _RESULT.validate_json(path.read_bytes())
    return result


def compare(comparison: Comparison, site: Site, rounds: int, machine: Mapping[str, str], say: Callable[[str], None]) -> Result:
    """Run every method once per round.

    Raises RuntimeError if the comparison names unknown methods, or if its methods processed different numbers of rows.
    """
    rounds = min(rounds, comparison.rounds or rounds)
    samples: dict[str, list[Sample]] = {}
    missing: dict[str, str] = {}
    with comparison.methods(site) as methods:
        _require_known(comparison, methods)
        order = list(methods)
        for number in range(rounds):
            first = number % len(order)
            for name in [*order[first:], *order[:first]]:
                if name in missing:
                    continue
                try:
                    samples.setdefault(name, []).append(methods[name]())
                except NotMeasured as error:
                    missing[name] = str(error)
                    say(f"{comparison.id}: {name} not measured: {error}")
                else:
                    say(f"{comparison.id}, round {number + 1} of {rounds}: {name} {samples[name][-1].wall:.2f} s")
    if comparison.same_rows:
        _require_same_rows(comparison, samples)
    measured = {name: samples[name] for name in order if samples.get(name)}
    return comparison.result(site.rows, machine, measured, missing)


def _require_known(comparison: Comparison, methods: Mapping[str, Method]) -> None:
    named = {comparison.limit, *(name for each in comparison.targets for name in (each.method, each.against))} - {None}
    if unknown := named - set(methods):
        message = f"{comparison.id}: expected its limit and its targets to be among {', '.join(methods)}; found {unknown}"
        raise RuntimeError(message)


def _require_same_rows(comparison: Comparison, samples: Mapping[str, Sequence[Sample]]) -> None:
    found = {name: {sample.rows for sample in runs} for name, runs in samples.items() if runs}
    if len(set().union(*found.values())) > 1:
        message = f"{comparison.id}: expected all methods to do the same number of rows, found {found}"
        raise RuntimeError(message)


def _spread(values: Sequence[float]) -> Spread | None:
    return Spread(statistics.median(values), min(values), max(values)) if values else None
