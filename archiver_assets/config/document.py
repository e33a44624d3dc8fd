"""From the nodes of YAML to a tree of values that know their places in the file, with `${VAR}` resolved.

What belongs here: what no config file may contain, whatever its keys mean. What does not: the meaning of keys.

Whole numbers are accepted only in decimal notation, since YAML 1.1 reads `010` as eight and `1:30` as ninety. Keys are text as written, so
a column may be called `on`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Final, cast

import yaml

from archiver_assets.config.problems import Problems, joined_path, shown
from archiver_assets.config.syntax import SubsetLoader
from archiver_assets.config.variables import has_reference, resolve

MAX_SCALAR_CHARACTERS: Final = 10_000

_SURROGATE = re.compile("[\ud800-\udfff]")
_TAG = "tag:yaml.org,2002:"
_NOTATIONS = {
    _TAG + "int": (re.compile(r"[-+]?(0|[1-9][0-9_]{0,17})"), "a whole number in decimal notation"),
    _TAG + "float": (re.compile(r"[-+]?[0-9]{0,17}\.[0-9]{0,17}"), "a number in decimal notation, without an exponent"),
    _TAG + "timestamp": (re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}"), "a date as YYYY-MM-DD"),
}
_CONSTRUCTED = {*_NOTATIONS, _TAG + "null", _TAG + "bool"}


class Invalid(Enum):
    """Stands for a value whose problem has been noted, so that nobody notes it again."""

    INVALID = "invalid"


INVALID: Final = Invalid.INVALID

Value = str | bool | int | float | date | None


@dataclass(frozen=True)
class Scalar:
    """One value. `raw` is its text in the file; `value` may come from a variable (`expanded`) and then must not be shown."""

    path: str
    line: int
    value: Value | Invalid
    raw: str
    expanded: bool = False


@dataclass(frozen=True)
class Items:
    """A list, in the order of the file."""

    path: str
    line: int
    items: Sequence["Node"]


@dataclass(frozen=True)
class Entries:
    """A mapping, in the order of the file; of a key that stands twice the first. The line of an entry is that of its key."""

    path: str
    line: int
    entries: Mapping[str, "Node"]


Node = Scalar | Items | Entries


@dataclass(frozen=True)
class Document:
    """Makes the tree of one file; what is wrong is noted in `problems` and stands in the tree as INVALID."""

    environ: Mapping[str, str]
    problems: Problems

    def tree(self, root: yaml.Node) -> Node:
        """Return the tree of values below `root`."""
        return self._node(root, "", root.start_mark.line + 1)

    def _node(self, node: yaml.Node, path: str, line: int) -> Node:
        if isinstance(node, yaml.MappingNode):
            return Entries(path, line, self._entries(node, path))
        if isinstance(node, yaml.SequenceNode):
            return Items(path, line, [self._node(item, f"{path}[{i}]", _line(item)) for i, item in enumerate(node.value)])
        return self._scalar(cast("yaml.ScalarNode", node), path, line)

    def _entries(self, node: yaml.MappingNode, path: str) -> dict[str, Node]:
        entries: dict[str, Node] = {}
        for key, value in node.value:
            line = _line(key)
            if not isinstance(key, yaml.ScalarNode) or _SURROGATE.search(key.value):
                self.problems.add(line, path, "expected a key that is plain text, found something else")
            elif key.value in entries:
                first = entries[key.value]
                self.problems.add(line, first.path, f"duplicate key; the first is on line {first.line}, remove one")
            else:
                entries[key.value] = self._node(value, joined_path(path, key.value), line)
        return entries

    def _scalar(self, node: yaml.ScalarNode, path: str, line: int) -> Scalar:
        raw = cast("str", node.value)
        expanded = node.tag not in _CONSTRUCTED and has_reference(raw)
        return Scalar(path, line, self._value(node, raw, path, line), raw, expanded)

    def _value(self, node: yaml.ScalarNode, raw: str, path: str, line: int) -> Value | Invalid:
        if len(raw) > MAX_SCALAR_CHARACTERS:
            return self._invalid(line, path, f"expected at most {MAX_SCALAR_CHARACTERS} characters, found more")
        if node.tag in _CONSTRUCTED:
            return self._constructed(node, raw, path, line)
        resolved = resolve(raw, self.environ)
        if resolved.problems:
            return self._invalid(line, path, *resolved.problems)
        if len(resolved.text) > MAX_SCALAR_CHARACTERS:
            return self._invalid(line, path, f"expected at most {MAX_SCALAR_CHARACTERS} characters with variables resolved, found more")
        if _SURROGATE.search(resolved.text):
            return self._invalid(line, path, "expected Unicode text, found half of a surrogate pair")
        return resolved.text

    def _constructed(self, node: yaml.ScalarNode, raw: str, path: str, line: int) -> Value | Invalid:
        notation, expected = _NOTATIONS.get(node.tag, (None, ""))
        if notation and not notation.fullmatch(raw):
            return self._invalid(line, path, f"expected {expected}, found {shown(raw)}; if it is text, put it in quotes")
        try:
            return cast("Value", SubsetLoader("").construct_object(node))
        except ValueError:  # a day like 2026-02-30
            return self._invalid(line, path, f"expected a day that exists, found {shown(raw)}")

    def _invalid(self, line: int, path: str, *texts: str) -> Invalid:
        for text in texts:
            self.problems.add(line, path, text)
        return INVALID


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1
