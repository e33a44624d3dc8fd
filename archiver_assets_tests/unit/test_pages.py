"""What can be said of every block of the pages without running it: it is run, or says why not; and it is what it seems to be.

What belongs here: shell, command lines, configs and data. What does not: running (`e2e/test_docs.py`), links (`test_links.py`).
"""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import dagster as dg
import pytest
import yaml

from archiver_assets.cli.app import archiver
from archiver_assets.config import Config, load_config
from archiver_assets.orchestration.build import build_definitions
from archiver_assets.orchestration.partitions import shared_job_name
from archiver_assets.services import Services
from archiver_assets_tests.page_sessions import typed
from archiver_assets_tests.pages import PAGES, ROOT, Block, code_in_lines, parse_page, read_page
from archiver_assets_tests.unit.config_files import SEED

READ = [read_page(path) for path in PAGES]
BLOCKS = [(page, block) for page in READ for block in page.blocks]
LANGUAGES = {"sh", "console", "python", "sql", "yaml", "json", "promql", "text", ""}
TYPED = {"sh", "console", "python"}
COMPLETIONS = ("config", "database", "table", "launchpad", "manifest")


def of(*languages: str) -> list[Block]:
    return [block for _, block in BLOCKS if block.language in languages]


def test_every_block_is_of_a_known_language_and_is_run_or_says_why_not() -> None:
    assert [f"{block}: {block.language}" for _, block in BLOCKS if block.language not in LANGUAGES] == []
    silent = [str(block) for page, block in BLOCKS if block.language in TYPED and not {"session", "not run"} & {*page.notes, *block.notes}]
    assert silent == []
    assert [str(block) for _, block in BLOCKS if block.language == "" and block.text.startswith("$ ")] == []


def test_every_shell_block_is_shell() -> None:
    script = "\n".join(f"true # {block}\n{text}" for block in of("sh", "console") for text in lines_of(block))
    assert subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False).stderr == ""


@pytest.mark.parametrize("block", of("sh", "console"), ids=str)
def test_every_command_of_the_archiver_is_one(block: Block) -> None:
    for line in lines_of(block):
        for arguments in invocations(line):
            assert refusal(arguments) is None, f"{block}: archiver {shlex.join(arguments)}: {refusal(arguments)}"


@pytest.mark.parametrize("path", PAGES, ids=str)
def test_every_command_in_a_line_of_text_has_a_name_and_options_that_exist(path: Path) -> None:
    for code in code_in_lines((ROOT / path).read_text()):
        for arguments in invocations(code.replace("…", "")) if code.startswith("archiver ") else ():
            assert unknown(arguments) == [], f"{path}: {code}"


@pytest.mark.parametrize(
    "line", ["archiver nope", "archiver run --tabel x", "archiver restore --table x", "archiver run --from today", "archiver hold add x"]
)
def test_a_command_that_is_wrong_is_found(line: str) -> None:
    (arguments,) = invocations(f"echo x | {line} 2>/dev/null  # as it stands")
    assert refusal(arguments)


@pytest.mark.parametrize("block", of("sh", "console"), ids=str)
def test_every_file_of_the_repository_that_a_block_names_is_there(block: Block) -> None:
    named = re.findall(r"(?<![\w/.-])(?:deploy|docs|archiver_assets)/[\w./-]*\w", "\n".join(lines_of(block)))
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("block", of("yaml"), ids=str)
def test_every_config_is_one(block: Block, tmp_path: Path) -> None:
    whole = yaml.safe_load(SEED)
    part = yaml.safe_load(block.text)
    kind = block.notes.get("part of", "config" if "version" in part else "")
    assert kind in COMPLETIONS, f"{block}: expected `version` in it, or a comment `part of`: one of {', '.join(COMPLETIONS)}"
    if kind == "launchpad":
        accepted_by_dagster(part, whole, tmp_path)
        return
    if kind != "manifest":
        place = {"config": whole, "database": whole["databases"][0], "table": whole["databases"][0]["tables"][0]}[kind]
        place.update(part if kind != "config" else completed(part, whole["databases"][0]))
        load(whole, tmp_path)


@pytest.mark.parametrize("block", of("json"), ids=str)
def test_every_piece_of_json_is_json(block: Block) -> None:
    if not block.notes.get("not run"):
        documents = [block.text] if block.text.startswith(("{\n", "[\n")) else block.text.splitlines()
        assert all(json.loads(document) for document in documents)


def test_a_comment_that_nothing_follows_or_that_is_misspelt_is_refused() -> None:
    for text in ("<!-- not run: why -->\n\ntext\n", "<!-- nut run: why -->\n\n```sh\nls\n```\n"):
        with pytest.raises(ValueError, match="expected"):
            parse_page(Path("small.md"), text)


def completed(part: dict[str, Any], database: dict[str, Any]) -> dict[str, Any]:
    """Return a fragment whose databases have what it leaves out of them."""
    if "databases" not in part:
        return part
    usual = [
        {name: value for name, value in database.items() if not (name == "password_env" and "auth" in each)} for each in part["databases"]
    ]
    return {**part, "databases": [{**rest, **each} for rest, each in zip(usual, part["databases"], strict=True)]}


def lines_of(block: Block) -> list[str]:
    return [command for command, _ in typed(block.text)] if block.language == "console" else [block.text]


def invocations(text: str) -> Iterator[list[str]]:
    """Yield the arguments of each `archiver` in a piece of shell."""
    without_comments = re.sub(r"(^|\s)#.*$", r"\1", text, flags=re.MULTILINE).replace("\\\n", " ").replace("\n", " ; ")
    lexer = shlex.shlex(without_comments, posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    found: list[str] | None = None
    for word in [*lexer, ";"]:
        if set(word) <= set("();<>|&{}"):
            if found and found != ["$@"]:  # a function of the name, and what is in it
                yield [each for each in found if each != "2"]  # of 2>/dev/null
            found = None
        elif found is not None:
            found.append(word)
        elif word == "archiver":
            found = []


def refusal(arguments: list[str]) -> str | None:
    """Return why the command line does not take these arguments, or None."""
    command: click.Command = archiver
    context, rest = None, list(arguments)
    try:
        while True:
            context = command.make_context(command.name, rest, parent=context)
            if not isinstance(command, click.Group):
                return None
            _, found, rest = command.resolve_command(context, [*context._protected_args, *context.args])
            assert found
            command = found
    except click.exceptions.Exit:  # of --help and --version
        return None
    except click.BadParameter as error:  # but for a variable of the shell, whose value it cannot know
        return None if "'$" in error.format_message() else error.format_message()
    except click.UsageError as error:
        return error.format_message()


def unknown(arguments: list[str]) -> list[str]:
    """Return the names of commands and options that do not exist; those that are missing do not count."""
    command: click.Command = archiver
    options = {name for parameter in command.params for name in parameter.opts} | {"--help"}
    rest = list(arguments)
    while isinstance(command, click.Group) and (names := [each for each in rest if not each.startswith("-")]):
        found = command.get_command(click.Context(command), names[0])
        if found is None:
            return names[:1]
        rest.remove(names[0])
        command = found
        options |= {name for parameter in command.params for name in parameter.opts}
    return [each for each in rest if each.startswith("--") and each.partition("=")[0] not in options]


def load(document: object, folder: Path) -> Config:
    (folder / "config.yaml").write_text(json.dumps(document))
    return load_config(folder / "config.yaml", {})


def accepted_by_dagster(run_config: dict[str, object], document: object, folder: Path) -> None:
    config = load(document, folder)
    ((_, table),) = config.tables()
    dg.validate_run_config(build_definitions(config, Services(config, {})).resolve_job_def(shared_job_name(table)), run_config)
