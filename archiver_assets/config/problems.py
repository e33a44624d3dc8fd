"""The list of everything that is wrong with a config file.

What belongs here: collecting problems, their order and form, and the one error with all of them. What does not: finding them.
"""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NoReturn

from archiver_assets.errors import ConfigError

_PLAIN_KEY = re.compile(r"\w[\w-]{0,79}")
_LONGEST_SHOWN = 80


@dataclass(frozen=True, order=True)
class Problem:
    """What is wrong at one place: the line (from 1; 0 for the whole file), the path of keys, and the text."""

    line: int
    path: str
    text: str


@dataclass
class Problems:
    """The problems found so far in the file named `source`."""

    source: str
    found: list[Problem] = field(default_factory=list)

    def add(self, line: int, path: str, text: str) -> None:
        """Note that `text` is wrong with the key at `path`, on `line` (from 1)."""
        self.found.append(Problem(line, path, text))

    def raise_if_any(self) -> None:
        """Raise one ConfigError with all problems, a line each, in the order of the file."""
        if self.found:
            count = "the line" if len(self.found) == 1 else f"the {len(self.found)} problems"
            hint = f"correct {count} above in {self.source}; no part of the file is used until all of it is valid"
            raise ConfigError("\n".join(map(self._line, sorted(self.found))), hint=hint)

    def fail(self, line: int, text: str, *, hint: str) -> NoReturn:
        """Raise the ConfigError of a problem that hides all others; `line` counts from 1 and is 0 for the whole file."""
        raise ConfigError(self._line(Problem(line, "", text)), hint=hint)

    def _line(self, problem: Problem) -> str:
        place = f"{self.source}:{problem.line}" if problem.line else self.source
        return ": ".join(filter(None, (place, problem.path, problem.text)))


def shown(text: str) -> str:
    """Return text of the file as a message shows it: quoted, printable, on one line, and not longer than a line."""
    return repr(text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…")


def joined_path(parent: str, key: str) -> str:
    """Return the path of the entry `key` of the mapping at `parent`."""
    name = key if _PLAIN_KEY.fullmatch(key) else shown(key)
    return f"{parent}.{name}" if parent else name


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that `word` was probably meant to be, if any is near."""
    return next(iter(difflib.get_close_matches(word.lower()[:_LONGEST_SHOWN], list(known), n=1)), None)
