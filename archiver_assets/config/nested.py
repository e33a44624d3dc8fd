"""From a mapping of the file to the values of a model that holds other models, at any depth.

What belongs here: the keys of a section as its model declares them, and reading the parts of a model, which are mappings or lists of
mappings. What does not: reading one mapping (`sections.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType
from typing import Annotated, Final, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from archiver_assets.config.base import Model
from archiver_assets.config.document import INVALID, Entries, Items, Node, Scalar
from archiver_assets.config.problems import Problems
from archiver_assets.config.sections import Section, Values, found, items, read

Hints = Mapping[type[Model], Mapping[str, str]]
"""By model, what a message advises for keys that the model does not have."""

NO_HINTS: Final[Hints] = MappingProxyType({})


@dataclass(frozen=True)
class Part:
    """A field that holds a model, or a list of at most `most` of them."""

    name: str
    model: type[Model]
    many: bool
    most: int | None
    required: bool
    nullable: bool
    expected: str


def read_model(node: Node, model: type[Model], problems: Problems, hints: Hints = NO_HINTS) -> Values:
    """Return the values of the model's fields that are in `node`, by their names; what is wrong is noted in `problems`."""
    before = len(problems.found)
    section = replace(section_of(model), hints=hints.get(model, {}))
    values = read(node, section, problems) | read_parts(node, model, problems, hints)
    if len(problems.found) == before and not _has_invalid(values):
        _note_contradictions(node, model, values, problems)
    return values


def read_parts(node: Node, model: type[Model], problems: Problems, hints: Hints = NO_HINTS) -> Values:
    """Return the values of those fields that are parts of the model, as `read_model` does, and leave the other keys of `node` alone."""
    if not isinstance(node, Entries):
        return {}
    return {part.name: _read_part(node.entries[key], part, problems, hints) for key, part in parts(model).items() if key in node.entries}


@cache
def parts(model: type[Model]) -> dict[str, Part]:
    """Return the parts of the model by their keys in the file."""
    every = ((_key(name, info), _part(name, info)) for name, info in model.model_fields.items())
    return {key: part for key, part in every if part}


@cache
def section_of(model: type[Model]) -> Section:
    """Return the keys of the model: those without a default are required, and parts are read on their own."""
    fields = model.model_fields.items()
    return Section(
        models=(model,),
        required=frozenset(_key(name, info) for name, info in fields if info.is_required()),
        nested=frozenset(parts(model)),
        renamed={name: _key(name, info) for name, info in fields},
    )


def _key(name: str, info: FieldInfo) -> str:
    return info.serialization_alias or name


def _part(name: str, info: FieldInfo) -> Part | None:
    origin = get_origin(info.annotation)
    if origin is Mapping:
        return None  # its keys are not fields of a model
    members = (info.annotation,) if origin is tuple else get_args(info.annotation) or (info.annotation,)
    most = next((each.max_length for each in info.metadata if hasattr(each, "max_length")), None)
    for member in members:
        kind = get_args(member)[0] if get_origin(member) is Annotated else member
        many = get_origin(kind) is tuple
        inner = get_args(kind)[0] if many else kind
        if isinstance(inner, type) and issubclass(inner, Model):
            return Part(name, inner, many, most, info.is_required(), type(None) in members, info.description or "a mapping")
    return None


def _read_part(node: Node, part: Part, problems: Problems, hints: Hints) -> object:
    if isinstance(node, Scalar) and node.value is None and part.nullable:
        return None
    if not part.many and not isinstance(node, Entries):
        problems.add(node.line, node.path, f"expected {part.expected}, found {found(node)}")
        return {}
    if not part.many:
        return read_model(node, part.model, problems, hints)
    if isinstance(node, Items) and not node.items and not part.required:
        return []
    values = items(node, part.expected, problems)
    if part.most is not None and len(values) > part.most:
        place = values[part.most]
        problems.add(place.line, place.path, f"expected {part.expected}, found {len(values)}")
    return [read_model(each, part.model, problems, hints) for each in values]


def _has_invalid(value: object) -> bool:
    """Return whether a problem of any value has been noted already, when its variables were resolved."""
    if isinstance(value, dict):
        return any(map(_has_invalid, value.values()))
    return any(map(_has_invalid, value)) if isinstance(value, list) else value is INVALID


def _note_contradictions(node: Node, model: type[Model], values: Values, problems: Problems) -> None:
    """Note what is wrong between the parts of a mapping, each of which is right."""
    try:
        model.model_validate(values)
    except ValidationError as error:
        for detail in error.errors(include_input=False, include_url=False):
            problems.add(node.line, node.path, detail["msg"])
