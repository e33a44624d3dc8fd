"""As much of PromQL as the rules and the dashboard use, evaluated over given series.

What belongs here: finding what an expression asks for, and evaluating it at one moment. What does not: expectations. What is not known
here is an error. https://prometheus.io/docs/prometheus/latest/querying/basics/
"""

import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import promql_parser as ast

Labels = tuple[tuple[str, str], ...]
Vector = dict[Labels, float]

_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {">": operator.gt, "==": operator.eq}
_ARITHMETIC: Mapping[str, Callable[[float, float], float]] = {"+": operator.add, "-": operator.sub, "*": operator.mul}
_MATCHES: Mapping[str, Callable[[str, str], bool]] = {
    "Equal": operator.eq,
    "NotEqual": operator.ne,
    "Re": lambda found, wanted: re.fullmatch(wanted, found) is not None,
}


@dataclass(frozen=True)
class Series:
    """A series: its value now, and in `before` its value a range or an offset ago; None where it is not there."""

    name: str
    value: float | None
    labels: Mapping[str, str] = field(default_factory=dict)
    before: float | None = 0.0


@dataclass(frozen=True)
class Asked:
    """A metric that an expression selects, with the labels that it asks for."""

    name: str
    labels: frozenset[str]


def selected(expression: str) -> set[Asked]:
    """Return what an expression selects. Raises ValueError if it does not parse."""
    return {
        Asked(str(node.name), frozenset(each.name for each in node.matchers.matchers))
        for node in _nodes(ast.parse(expression))
        if isinstance(node, ast.VectorSelector)
    }


def grouped(expression: str) -> list[tuple[set[str], set[str]]]:
    """Return, for each aggregation and each matching of two sides, its labels and the metrics below it."""
    found = []
    for node in _nodes(ast.parse(expression)):
        if getattr(node, "modifier", None) is not None:
            below = {str(each.name) for each in _nodes(node) if isinstance(each, ast.VectorSelector)}
            found.append((set(_labels_of(node)), below))
    return found


def evaluate(expression: str, series: Sequence[Series], now: float) -> Vector:
    """Return the vector that an expression gives. Raises NotImplementedError for what is not known here."""
    found = _value(ast.parse(expression), series, now)
    assert isinstance(found, dict)
    return found


def _nodes(node: Any) -> Iterator[Any]:  # noqa: ANN401 - the parser's classes have no common root
    yield node
    for name in ("lhs", "rhs", "expr", "vector_selector", "args"):
        below = getattr(node, name, None)
        for each in below if isinstance(below, list) else [below]:
            if each is not None:
                yield from _nodes(each)


def _labels_of(node: Any) -> list[str]:  # noqa: ANN401 - as above
    modifier = node.modifier
    labels = modifier.labels if isinstance(node, ast.AggregateExpr) else modifier.matching.labels if modifier and modifier.matching else []
    return list(labels)


def _value(node: Any, series: Sequence[Series], now: float) -> Vector | float:  # noqa: ANN401, PLR0911 - one case for each kind of node
    match node:
        case ast.NumberLiteral():
            return float(node.val)
        case ast.ParenExpr():
            return _value(node.expr, series, now)
        case ast.VectorSelector():
            fitting = ((_key(each.labels), each.before if node.offset else each.value) for each in series if _fits(node, each))
            return {labels: value for labels, value in fitting if value is not None}
        case ast.AggregateExpr():
            return _aggregated(node, _value(node.expr, series, now))
        case ast.Call() if node.func.name == "time":
            return now
        case ast.Call() if node.func.name == "increase":
            chosen = node.args[0].vector_selector
            whole = ((_key(each.labels), each.value, each.before) for each in series if _fits(chosen, each))
            return {labels: value - then for labels, value, then in whole if value is not None and then is not None}
        case ast.Call() if node.func.name == "absent":
            return {} if _value(node.args[0], series, now) else {(): 1.0}
        case ast.BinaryExpr():
            return _combined(node, _value(node.lhs, series, now), _value(node.rhs, series, now))
    raise NotImplementedError(str(node))


def _aggregated(node: Any, vector: Vector | float) -> Vector:  # noqa: ANN401 - as above
    assert isinstance(vector, dict)
    assert str(node.op) == "max"
    kept, groups = set(_labels_of(node)), dict[Labels, float]()
    for labels, value in vector.items():
        group = tuple(each for each in labels if each[0] in kept)
        groups[group] = max(groups.get(group, value), value)
    return groups


def _combined(node: Any, left: Vector | float, right: Vector | float) -> Vector | float:  # noqa: ANN401 - as above
    sign = str(node.op)
    if sign in _ARITHMETIC:
        if isinstance(left, float) and isinstance(right, float):
            return _ARITHMETIC[sign](left, right)
        if isinstance(left, float) and isinstance(right, dict):
            return {labels: _ARITHMETIC[sign](left, value) for labels, value in right.items()}
        if isinstance(left, dict) and isinstance(right, dict):
            return {labels: _ARITHMETIC[sign](left[labels], right[labels]) for labels in left.keys() & right.keys()}
    assert isinstance(left, dict)
    if sign in _COMPARISONS:
        assert isinstance(right, float)
        return {labels: value for labels, value in left.items() if _COMPARISONS[sign](value, right)}
    assert isinstance(right, dict)
    if sign == "or":
        return {**right, **left}
    if sign in {"and", "unless"}:
        on = set(_labels_of(node))
        there = {tuple(each for each in labels if each[0] in on) for labels in right}
        matching = {labels: tuple(each for each in labels if each[0] in on) in there for labels in left}
        return {labels: value for labels, value in left.items() if matching[labels] is (sign == "and")}
    raise NotImplementedError(sign)


def _fits(selector: Any, series: Series) -> bool:  # noqa: ANN401 - as above
    wanted = [(each.name, str(each.op).rpartition(".")[2], each.value) for each in selector.matchers.matchers]
    return selector.name == series.name and all(_MATCHES[op](series.labels.get(name, ""), value) for name, op, value in wanted)


def _key(labels: Mapping[str, str]) -> Labels:
    # An empty label is none.
    return tuple(sorted(each for each in labels.items() if each[1]))
