"""From the path of a config file to the nodes of its YAML.

What belongs here: reading, UTF-8, YAML's syntax, and limits against hostile files. What does not: the types of values (document.py) and
their meaning (sections.py).

The YAML is a deliberate subset: no aliases (with them a small file can stand for an enormous one, and `defaults` serves the same purpose),
no tags, one document.
"""

from pathlib import Path
from typing import Final, cast

import yaml
from yaml.composer import ComposerError
from yaml.reader import ReaderError

from archiver_assets.config.problems import Problems

MAX_BYTES: Final = 1024 * 1024
MAX_DEPTH: Final = 20


class SubsetLoader(yaml.SafeLoader):
    """PyYAML's SafeLoader for the subset of YAML that a config file may use; raises ComposerError for anything beyond it."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose one node, unless it is an alias, has a tag, or lies deeper than MAX_DEPTH."""
        event = self.peek_event()  # type: ignore[no-untyped-call] # types-pyyaml leaves the parser untyped
        if isinstance(event, yaml.AliasEvent):
            self._refuse("aliases are not supported; repeat the value, or put it under defaults", event)
        if getattr(event, "tag", None) is not None:
            self._refuse("tags are not supported; remove the tag", event)
        if self.depth >= MAX_DEPTH:
            self._refuse(f"expected at most {MAX_DEPTH} levels, found more", event)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    @staticmethod
    def _refuse(text: str, event: yaml.Event) -> None:
        raise ComposerError(None, None, text, cast("yaml.Mark | None", event.start_mark))


def read_text(path: Path, problems: Problems) -> str:
    """Return the text of the file at `path`, at most MAX_BYTES of UTF-8 with or without a byte order mark.

    Raises ConfigError if there is no such file, or it is not readable, too large, or not UTF-8.
    """
    data = _read_bytes(path, problems)
    if len(data) > MAX_BYTES:
        problems.fail(0, "expected at most 1 MiB, found more", hint="give the path of the config file, or shorten the file")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        problems.fail(line, "expected UTF-8, found other bytes", hint="save the file as UTF-8")


def _read_bytes(path: Path, problems: Problems) -> bytes:
    hint = "create the file, or set ARCHIVER_CONFIG to its path"
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        problems.fail(0, "expected a config file, found none", hint=hint)
    except OSError as error:
        problems.fail(0, f"expected a readable config file, found: {error.strerror}", hint=hint)
    except ValueError:  # a NUL in the path
        problems.fail(0, "expected the path of a config file, found an impossible path", hint=hint)


def compose(text: str, problems: Problems) -> yaml.Node | None:
    """Return the root node of the YAML in `text`, None if it is empty.

    Raises ConfigError for a syntax error and for YAML beyond the subset.
    """
    hint = "correct the YAML; common causes are indentation, quotes and colons"
    try:
        loader = SubsetLoader(text)
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        problems.fail(line, "expected printable characters, found a control character", hint="remove the character")
    try:
        return loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        problems.fail(_line(error), _one_line(error), hint=hint)
    except (ValueError, OverflowError):  # PyYAML 6 lets them through: an escape like \UFFFFFFFF, a %YAML directive with endless digits
        problems.fail(loader.line + 1, "expected YAML, found a number out of range in an escape or a directive", hint=hint)
    finally:
        loader.dispose()


def _line(error: yaml.MarkedYAMLError) -> int:
    mark = error.problem_mark or error.context_mark
    return mark.line + 1 if mark else 0


def _one_line(error: yaml.MarkedYAMLError) -> str:
    return "not valid YAML: " + " ".join(" ".join(filter(None, (error.context, error.problem))).split())
