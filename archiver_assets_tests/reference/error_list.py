"""The errors that the archiver raises: what they mean, every cause with its next step, and how a command ends by them.

What belongs here: reading them from the code. Messages are found where the errors are made: what a call computes is `…` here.
"""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from archiver_assets import errors
from archiver_assets.cli.app import Status
from archiver_assets.errors import ArchiverError, ConfigError
from archiver_assets.source.findings import EVERYTHING, NOTHING, PURGE, Finding
from archiver_assets_tests.pages import ROOT
from archiver_assets_tests.reference.parts import REFERENCE, Part, table

PAGE = REFERENCE / "errors.md"
PRODUCT = ROOT / "archiver_assets"
CLASSES: Mapping[str, type[ArchiverError]] = {
    name: found for name, found in vars(errors).items() if isinstance(found, type) and issubclass(found, ArchiverError)
}


_STOPS: Mapping[str, ast.expr] = {
    name: ast.Constant(Finding("", "", "", stops).stopped)
    for name, stops in {"EVERYTHING": EVERYTHING, "PURGE": PURGE, "NOTHING": NOTHING}.items()
}
"""The names by which findings say what they stop."""


@dataclass(frozen=True)
class Made:
    """One place where something is made: its positional and named arguments, as text."""

    kind: str
    arguments: tuple[str | None, ...]
    hint: str | None


def classes() -> str:
    """Return the tree, a line for each class."""
    rows = []
    for name, found in CLASSES.items():
        if found is not ArchiverError:
            status = Status.USAGE if issubclass(found, ConfigError) else Status.TRY_AGAIN if found.transient else Status.FAILED
            parent = found.__bases__[0].__name__
            kind = f"`{name}`" if parent == "ArchiverError" else f"`{name}`, a `{parent}`"
            rows.append((kind, (found.__doc__ or "").partition("\n")[0], "yes" if found.transient else "no", str(status.value)))
    return table(("error", "meaning", "passes by itself", "exit status"), rows)


def causes() -> str:
    """Return, for each class, its messages and their next steps."""
    made = [each for each in _made(set(CLASSES)) if each.arguments and each.arguments[0] and each.hint]
    parts = []
    for name in CLASSES:
        rows = dict.fromkeys((_sentence(each.arguments[0] or ""), _sentence(each.hint or "")) for each in made if each.kind == name)
        if rows:
            parts.append(f"\n### {name}\n{table(('what it says', 'next step'), rows)[:-1]}")
    return "".join([*parts, "\n"])


def findings() -> str:
    """Return what `preflight` can find."""
    made = [each for each in _made({"Finding"}) if each.arguments and len(each.arguments) > 1]
    rows = dict.fromkeys(
        (f"`{name}`", _sentence(what or "…"), _sentence(each.hint or "…"), stops)
        for each in made
        for name, what, *rest in [each.arguments]
        if name and name != "…"
        for stops in [rest[1] if len(rest) > 1 and rest[1] else "archive and purge"]
    )
    return table(("finding", "what it says", "next step", "stops"), sorted(rows))


def _sentence(text: str) -> str:
    return text.strip().replace("<", "\\<").replace("*", "\\*")


def _made(names: set[str]) -> Iterator[Made]:
    for path in sorted(PRODUCT.rglob("*.py")):
        if "demo" not in path.parts:
            tree = ast.parse(path.read_text())
            outer = {**_STOPS, **dict(_assignments(tree.body))}
            for function in (each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef)):
                yield from _made_in(function, outer, names)


def _made_in(function: ast.FunctionDef, outer: Mapping[str, ast.expr], names: set[str]) -> Iterator[Made]:
    statements = [each for each in ast.walk(function) if isinstance(each, ast.stmt)]
    for call in (each for each in ast.walk(function) if isinstance(each, ast.Call)):
        if isinstance(call.func, ast.Name) and call.func.id in names:
            before = sorted((each for each in statements if each.lineno <= call.lineno), key=lambda each: each.lineno)
            known = {**outer, **dict(_assignments(before))}
            arguments = tuple(_text(each, known) for each in call.args)
            hint = next((_text(each.value, known) for each in call.keywords if each.arg == "hint"), None)
            if call.func.id == "Finding" and len(arguments) > 2:
                hint = arguments[2]
            yield Made(call.func.id, arguments, hint)


def _assignments(statements: Iterable[ast.stmt]) -> Iterator[tuple[str, ast.expr]]:
    for each in statements:
        if isinstance(each, ast.Assign) and isinstance(each.targets[0], ast.Name):
            yield each.targets[0].id, each.value


def _text(node: ast.expr, known: Mapping[str, ast.expr]) -> str | None:
    """Return what an expression says, `…` for what it computes; None if it computes all of it."""
    match node:
        case ast.Constant(value=str(value)):
            return value
        case ast.JoinedStr(values=values):
            return re.sub("…+", "…", "".join(str(each.value) if isinstance(each, ast.Constant) else "…" for each in values))
        case ast.Name(id=name) if name in known:
            return _text(known[name], {key: value for key, value in known.items() if key != name})
        case ast.IfExp(body=body, orelse=orelse):
            return "; or: ".join(filter(None, (_text(body, known), _text(orelse, known)))) or None
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return (_text(left, known) or "…") + (_text(right, known) or "…")
    return None


PARTS = (Part(PAGE, "classes", classes), Part(PAGE, "causes", causes), Part(PAGE, "findings", findings))
