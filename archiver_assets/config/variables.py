"""References to environment variables in the values of the config file.

What belongs here: the syntax of `${VAR}` and its resolution. What does not: what a value may be, and `password_env`, which is resolved only
when a connection is made.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

MAX_CHARACTERS: Final = 10_000
"""Of a variable's value: a file of a megabyte could else repeat one of a hundred kilobytes until no memory is left."""
_REFERENCE = re.compile(r"(?P<escape>\$\$\{)|\$\{(?P<body>[^}]*)\}|(?P<open>\$\{)")
_BODY = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>.*))?", re.DOTALL)


@dataclass(frozen=True)
class Resolved:
    """A value after resolution, and what was wrong with its references; `problems` never hold a variable's value."""

    text: str
    problems: tuple[str, ...]


def has_reference(text: str) -> bool:
    """Tell whether `text` refers to a variable, or tries to."""
    return any(match["escape"] is None for match in _REFERENCE.finditer(text))


def resolve(text: str, environ: Mapping[str, str]) -> Resolved:
    """Replace each `${VAR}` by the variable's value, `${VAR:-default}` by the default if it is unset or empty, and `$${` by `${`.

    A value that was put in is not looked at again.
    """
    problems: list[str] = []

    def replace(match: re.Match[str]) -> str:
        if match["escape"]:
            return "${"
        body = None if match["body"] is None else _BODY.fullmatch(match["body"])
        if body is None:
            problems.append("expected ${VAR} or ${VAR:-default}, found something else after ${; write $${ for a literal ${")
            return ""
        return _value(body["name"], body["default"], environ, problems)

    return Resolved(_REFERENCE.sub(replace, text), tuple(problems))


def _value(name: str, default: str | None, environ: Mapping[str, str], problems: list[str]) -> str:
    value = environ.get(name)
    if default is not None:
        value = value or default
    if value is None:
        problems.append(f"the environment variable {name} is not set; set it, or give a default as in ${{{name}:-default}}")
        return ""
    if len(value) > MAX_CHARACTERS:
        problems.append(f"expected at most {MAX_CHARACTERS} characters in the environment variable {name}, found more")
        return ""
    return value
