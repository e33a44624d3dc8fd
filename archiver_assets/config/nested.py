"""From a mapping of the file to the values of a model that holds other models, at any depth.

What belongs here: finding the fields of a model that are mappings or lists of mappings, and reading them. What does not: reading one
mapping (`sections.py`).
"""

from dataclasses import dataclass
from functools import cache
from typing import Annotated, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from archiver_assets.config.base import Model
from archiver_assets.config.document import Entries, Items, Node, Scalar
from archiver_assets.config.problems import Problems
from archiver_assets.config.sections import Section, Values, found, items, read


@dataclass(frozen=True)
class Part:
    """A field that holds a model, or a list of them."""

    name: str
    model: type[Model]
    many: bool
    required: bool
    expected: str


def read_model(node: Node, model: type[Model], problems: Problems) -> Values:
    """Return the values of the model's fields that are in `node`, by their names; what is wrong is noted in `problems`."""
    before = len(problems.found)
    values = read(node, _section(model), problems) | read_parts(node, model, problems)
    if len(problems.found) == before:
        _note_contradictions(node, model, values, problems)
    return values


def read_parts(node: Node, model: type[Model], problems: Problems) -> Values:
    """Return the values of those fields that are parts of the model, as `read_model` does, and leave the other keys of `node` alone."""
    if not isinstance(node, Entries):
        return {}
    return {part.name: _read_part(node.entries[key], part, problems) for key, part in parts(model).items() if key in node.entries}


@cache
def parts(model: type[Model]) -> dict[str, Part]:
    """Return the parts of the model by their keys in the file."""
    every = ((_key(name, info), _part(name, info)) for name, info in model.model_fields.items())
    return {key: part for key, part in every if part}


@cache
def _section(model: type[Model]) -> Section:
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
    members = (info.annotation,) if get_origin(info.annotation) is tuple else get_args(info.annotation) or (info.annotation,)
    for member in members:
        kind = get_args(member)[0] if get_origin(member) is Annotated else member
        many = get_origin(kind) is tuple
        inner = get_args(kind)[0] if many else kind
        if isinstance(inner, type) and issubclass(inner, Model):
            return Part(name, inner, many, info.is_required(), info.description or "a mapping")
    return None


def _read_part(node: Node, part: Part, problems: Problems) -> object:
    if isinstance(node, Scalar) and node.value is None and not part.required:
        return None
    if not part.many and not isinstance(node, Entries):
        problems.add(node.line, node.path, f"expected {part.expected}, found {found(node)}")
        return {}
    if not part.many:
        return read_model(node, part.model, problems)
    if isinstance(node, Items) and not node.items and not part.required:
        return []
    return [read_model(each, part.model, problems) for each in items(node, part.expected, problems)]


def _note_contradictions(node: Node, model: type[Model], values: Values, problems: Problems) -> None:
    """Note what is wrong between the parts of a mapping, each of which is right."""
    try:
        model.model_validate(values)
    except ValidationError as error:
        for detail in error.errors(include_input=False, include_url=False):
            problems.add(node.line, node.path, detail["msg"])
