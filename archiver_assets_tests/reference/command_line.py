"""The command line: usage, arguments and options of every command, from click's own declarations; and the exit statuses.

What a command prints and does does not belong here: the page shows it in examples.
"""

import ast
import inspect
from collections.abc import Iterator

import click

from archiver_assets.cli.app import COMMANDS, Status, archiver
from archiver_assets.cli.common import common_options
from archiver_assets_tests.reference.parts import REFERENCE, Part, table

PAGE = REFERENCE / "cli.md"


def usage(name: str) -> str:
    """Return the usage of a command, or of each command of a group, with its options but those that all commands take."""
    command = archiver.get_command(click.Context(archiver), name)
    assert command
    return "".join(_usage(f"archiver {name}", command))


def _usage(path: str, command: click.Command) -> Iterator[str]:
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            found = command.get_command(click.Context(command), name)
            assert found
            yield from _usage(f"{path} {name}", found)
        return
    parameters = [each for each in command.params if each.name not in _common_names()]
    parts = [_in_usage(each) for each in parameters]
    yield f"\n```text\n{path} {' '.join([*filter(None, parts), '[OPTION]…'])}\n```\n"
    if not any(isinstance(each, click.Option) for each in parameters):
        yield "\n"
    else:
        yield table(("option", "meaning", "default"), [_row(each) for each in parameters if isinstance(each, click.Option)])


def _common_names() -> set[str | None]:
    return {each.name for each in click.command("none")(common_options(lambda: None)).params}


def _in_usage(parameter: click.Parameter) -> str:
    if isinstance(parameter, click.Argument):
        return parameter.make_metavar(click.Context(click.Command("none")))
    return _names(parameter) if parameter.required else ""


def _row(option: click.Parameter) -> tuple[str, str, str]:
    assert isinstance(option, click.Option)
    text, _, said = (option.help or "").partition("  [default: ")
    more = " (repeatable)" if option.multiple and "repeatable" not in text else ""
    return f"`{_names(option)}`", text + more, said.rstrip("]") or _default(option)


def _names(option: click.Parameter) -> str:
    assert isinstance(option, click.Option)
    metavar = "" if option.is_flag else f" {option.make_metavar(click.Context(click.Command('none')))}"
    return ", ".join(option.opts) + metavar


def _default(option: click.Option) -> str:
    if option.required:
        return "required"
    value = option.to_info_dict().get("default")
    return "" if option.is_flag or value in (None, (), []) else f"`{value}`"


def statuses() -> str:
    """Return the exit statuses and what the text below each says."""
    lines = ast.parse(inspect.getsource(Status)).body[0]
    assert isinstance(lines, ast.ClassDef)
    texts: dict[Status, str] = dict.fromkeys(Status, "")
    last = None
    for statement in lines.body:
        if isinstance(statement, ast.Assign) and isinstance(target := statement.targets[0], ast.Name):
            last = Status[target.id]
        elif isinstance(statement, ast.Expr) and isinstance(value := statement.value, ast.Constant) and last is not None:
            texts[last] = str(value.value)
    return table(("exit status", "meaning"), [(str(status.value), text) for status, text in texts.items()])


PARTS = (
    Part(PAGE, "exit statuses", statuses),
    *(Part(PAGE, f"options of {name}", lambda name=name: usage(name)) for name in COMMANDS),  # type: ignore[misc]
)
