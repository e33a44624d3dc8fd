"""From a mapping of the file to the values of its keys, checked.

What belongs here: unknown and missing keys, types and bounds, for any section. What does not: which sections a file has (layout.py). The
rules are those of the models, applied to the keys that are there, so that one bad value hides no other.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from archiver_assets.config.document import INVALID, Entries, Items, Node, Scalar
from archiver_assets.config.fields import REFUSED
from archiver_assets.config.problems import Problems, joined_path, nearest, shown

# People put credentials here by mistake, so these values are not repeated in messages.
_NOT_SHOWN: Final = {"password_env", "url_env", "base_url", "endpoint", "host"}
_MOST_ITEMS_SHOWN: Final = 5
_WHOLE = re.compile(r"[-+]?[0-9]{1,18}", re.ASCII)
_NUMBER = re.compile(r"[-+]?[0-9]{1,17}(\.[0-9]{0,17})?", re.ASCII)
_TRUTH: Final = {"true": True, "false": False}

Values = dict[str, object]


@dataclass(frozen=True)
class Section:
    """The keys of one kind of mapping: those of the models' fields, less `derived`, plus `nested`, which are read on their own.

    `renamed` gives the keys that are not the names of their fields.
    """

    models: tuple[type[BaseModel], ...]
    required: frozenset[str]
    nested: frozenset[str] = frozenset()
    derived: frozenset[str] = frozenset()
    hints: Mapping[str, str] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def fields(self) -> dict[str, tuple[str, FieldInfo]]:
        """The name and the definition of each key's field; without nested keys."""
        every = ((self.renamed.get(name, name), name, info) for model in self.models for name, info in model.model_fields.items())
        return {key: (name, info) for key, name, info in every if name not in self.derived and key not in self.nested}

    @cached_property
    def keys(self) -> list[str]:
        """Every key that the section may have, sorted."""
        return sorted({*self.fields, *self.nested})

    def expected(self, key: str) -> str:
        """Return what the key may hold, to be read after "expected"."""
        every = (pair for model in self.models for pair in model.model_fields.items())
        return next(info.description for name, info in every if self.renamed.get(name, name) == key) or "a value"


def read(node: Node, section: Section, problems: Problems) -> Values:
    """Return the values of the section's keys that are in `node`, by the names of their fields; INVALID for each that is refused.

    Notes unknown keys, missing keys and refused values in `problems`.
    """
    if not isinstance(node, Entries):
        problems.add(node.line, node.path, f"expected a mapping, found {found(node)}")
        return {}
    _note_unknown(node, section, problems)
    _note_missing(node, section, problems)
    entries = {section.fields[key][0]: entry for key, entry in node.entries.items() if key in section.fields}
    infos = dict(section.fields.values())
    values = {name: _plain(entry, infos[name]) for name, entry in entries.items()}
    for name, reason in _refused(section, values):
        if not name:
            problems.add(node.line, node.path, reason)
            continue
        entry = entries[name]
        text = f"expected {infos[name].description}, found {_found_at(entry, name)}"
        problems.add(entry.line, entry.path, "; ".join(filter(None, (text, reason or _quotes(entry, infos[name])))))
        values[name] = INVALID
    return values


def child(node: Node, key: str) -> Node | None:
    """Return the value of `key` if `node` is a mapping that has it."""
    return node.entries.get(key) if isinstance(node, Entries) else None


def items(node: Node | None, expected: str, problems: Problems) -> tuple[Node, ...]:
    """Return the items of a list that has at least one, or none with a note that `expected` was expected."""
    if node is None:
        return ()
    if not isinstance(node, Items) or not node.items:
        problems.add(node.line, node.path, f"expected {expected}, found {found(node)}")
        return ()
    return tuple(node.items)


def found(node: Node) -> str:
    """Return how a message shows the value of `node`: as it stands in the file, never what a variable held."""
    if isinstance(node, Scalar):
        return shown(node.raw) if isinstance(node.value, str) or node.expanded else node.raw or "nothing"
    if isinstance(node, Entries):
        return "a mapping"
    if not node.items:
        return "an empty list"
    more = ", …" if len(node.items) > _MOST_ITEMS_SHOWN else ""
    return f"[{', '.join(map(found, node.items[:_MOST_ITEMS_SHOWN]))}{more}]"


def _found_at(node: Node, name: str) -> str:
    hidden = name in _NOT_SHOWN and not (isinstance(node, Scalar) and node.value is None)
    return "another value, which is not shown because it could be a secret" if hidden else found(node)


def _note_unknown(node: Entries, section: Section, problems: Problems) -> None:
    for key, entry in node.entries.items():
        if key not in section.keys:
            problems.add(entry.line, joined_path(node.path, key), f"unknown key; {_advice(key, section)}")


def _advice(key: str, section: Section) -> str:
    hint = section.hints.get(key.lower())
    if hint:
        return hint
    known = nearest(key, section.keys)
    return f"did you mean {known}?" if known else f"expected one of {', '.join(section.keys)}"


def _note_missing(node: Entries, section: Section, problems: Problems) -> None:
    for key in sorted(section.required - node.entries.keys()):
        problems.add(node.line, joined_path(node.path, key), f"missing key; expected {section.expected(key)}")


def _refused(section: Section, values: Values) -> Iterator[tuple[str, str]]:
    """Yield the name of each refused value once, with the reason if its validator gave one; no name for what is wrong between values."""
    for model in section.models:
        own = {name: value for name, value in values.items() if name in model.model_fields and value is not INVALID}
        reasons: dict[str, str] = {}
        try:
            model.model_validate(own)
        except ValidationError as error:
            for detail in error.errors(include_input=False, include_url=False):
                if detail["type"] != "missing":
                    reasons.setdefault(str(next(iter(detail["loc"]), "")), detail["msg"] if detail["type"] == REFUSED else "")
        yield from reasons.items()


def _quotes(node: Node, info: FieldInfo) -> str:
    if not isinstance(node, Scalar) or node.expanded or node.value is None:
        return ""
    if isinstance(node.value, str):
        return "write it without quotes" if _converted(node.value, info) != node.value else ""
    return "put text in quotes" if str in _kinds(info) else ""


def _plain(node: Node, info: FieldInfo) -> object:
    """Return the value of `node` as the model takes it: a list of values for a list, and never the inside of a mapping."""
    if isinstance(node, Scalar):
        return _converted(node.value, info) if node.expanded and isinstance(node.value, str) else node.value
    if isinstance(node, Entries):
        return {}
    values = [_plain(item, info) for item in node.items]
    return INVALID if INVALID in values else values


def _converted(text: str, info: FieldInfo) -> object:
    """Return the text that came from a variable as the number or truth value that the field takes, if it is one."""
    kinds = _kinds(info)
    if int in kinds and _WHOLE.fullmatch(text):
        return int(text)
    if float in kinds and _NUMBER.fullmatch(text):
        return float(text)
    return _TRUTH.get(text, text) if bool in kinds else text


def _kinds(info: FieldInfo) -> set[object]:
    """Return the plain types that the field takes: `{int}` for int, `{str, NoneType}` for `Annotated[str, ...] | None`."""
    return {getattr(kind, "__origin__", kind) for kind in get_args(info.annotation) or (info.annotation,)}
