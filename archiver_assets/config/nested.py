"""From a mapping of the file to the values of a model that holds other models, at any depth.

What belongs here: which of a model's fields are mappings or lists of mappings, and reading them. What does not: reading one mapping
(`sections.py`), and what the models are.
"""

from collections.abc import Mapping
from functools import cache
from typing import Annotated, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from archiver_assets.config.base import Model
from archiver_assets.config.document import INVALID, Entries, Items, Node, Scalar
from archiver_assets.config.kubernetes import label_problem
from archiver_assets.config.problems import Problems
from archiver_assets.config.sections import Section, Values, found, items, read


def read_model(node: Node, model: type[Model], problems: Problems) -> Values:
    """Return the values of the model's fields that are in `node`, by their names; what is wrong is noted in `problems`."""
    section, before = _section(model), len(problems.found)
    values = read(node, section, problems)
    if isinstance(node, Entries):
        for name, info in model.model_fields.items():
            key = _key(name, info)
            if key in section.nested and key in node.entries:
                values[name] = _nested(node.entries[key], section.expected(key), info, problems)
    if len(problems.found) == before:
        _note_contradictions(node, model, values, problems)
    return values


@cache
def _section(model: type[Model]) -> Section:
    fields = model.model_fields.items()
    return Section(
        models=(model,),
        required=frozenset(_key(name, info) for name, info in fields if info.is_required()),
        nested=frozenset(_key(name, info) for name, info in fields if _inner(info) or _is_mapping(info)),
        renamed={name: _key(name, info) for name, info in fields},
    )


def _key(name: str, info: FieldInfo) -> str:
    return info.serialization_alias or name


def _kinds(info: FieldInfo) -> list[object]:
    """Return the members of a union, or the one type, without what is annotated."""
    members = (info.annotation,) if get_origin(info.annotation) is tuple else get_args(info.annotation) or (info.annotation,)
    return [get_args(kind)[0] if get_origin(kind) is Annotated else kind for kind in members]


def _inner(info: FieldInfo) -> tuple[type[Model], bool] | None:
    """Return the model that the field holds, and whether it holds a list of them; None if it holds none."""
    for kind in _kinds(info):
        many = get_origin(kind) is tuple
        inner = get_args(kind)[0] if many else kind
        if isinstance(inner, type) and issubclass(inner, Model):
            return inner, many
    return None


def _is_mapping(info: FieldInfo) -> bool:
    return any(get_origin(kind) is Mapping for kind in _kinds(info))


def _nested(node: Node, expected: str, info: FieldInfo, problems: Problems) -> object:
    if isinstance(node, Scalar) and node.value is None and not info.is_required():
        return None
    inner = _inner(info)
    if inner is None:
        return _labels(node, expected, problems)
    model, many = inner
    if not many:
        return read_model(node, model, problems)
    if isinstance(node, Items) and not node.items and not info.is_required():
        return []
    return [read_model(each, model, problems) for each in items(node, expected, problems)]


def _labels(node: Node, expected: str, problems: Problems) -> Values:
    if not isinstance(node, Entries):
        problems.add(node.line, node.path, f"expected {expected}, found {found(node)}")
        return {}
    labels = {key: entry.value if isinstance(entry, Scalar) else None for key, entry in node.entries.items()}
    for key, value in labels.items():
        entry = node.entries[key]
        if isinstance(value, str):
            reason = label_problem(key, value)
        else:
            reason = None if value is INVALID else f"found {found(entry)}; put text in quotes"
        if reason:
            problems.add(entry.line, entry.path, f"expected a label that a node can have; {reason}")
    return dict(labels)


def _note_contradictions(node: Node, model: type[Model], values: Values, problems: Problems) -> None:
    """Note what is wrong between the parts of a mapping, each of which is right."""
    try:
        model.model_validate(values)
    except ValidationError as error:
        for detail in error.errors(include_input=False, include_url=False):
            problems.add(node.line, node.path, detail["msg"])
