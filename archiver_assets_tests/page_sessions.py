"""A page's blocks, run as its reader would: in one shell, in order, in a folder of their own, and what they print compared with the page.

What belongs here: the shell, and comparing. What does not: the servers and files that a page stands on (`e2e/test_docs.py`).
"""

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from archiver_assets_tests.pages import Block

REST = "…"
"""In what a page says is printed: any text of a line, or, alone on its line, any lines."""
# Groups keep what a command sets; a pipe of our own says how it ended. Whatever fails in a block of several commands is its outcome.
_COMMAND = """failed=0; trap 'failed=$?' ERR
{{
{text}
}} >{folder}/.stdout 2>{folder}/.stderr </dev/null
trap - ERR; echo "$failed" >&{pipe}
"""


@dataclass(frozen=True)
class Ended:
    """What a command printed, and its exit status."""

    status: int
    stdout: str
    stderr: str

    @property
    def said(self) -> str:
        """What a reader would see of its outcome: with an error, that too. A log that goes to stderr is not part of it."""
        return self.stdout if self.status in {0, 4} else self.stdout + self.stderr


class Session:
    """A shell that is open, in a folder."""

    def __init__(self, shell: "subprocess.Popen[str]", pipe: int, statuses: int, folder: Path, run_sql: Callable[[str], None]) -> None:
        """Take a shell whose end of a pipe is `pipe`, and our end of it."""
        self._shell, self._pipe, self._statuses, self._folder, self._run_sql = shell, pipe, statuses, folder, run_sql

    def run(self, text: str) -> Ended:
        """Run commands. Raises AssertionError if they end the shell."""
        assert self._shell.stdin
        self._shell.stdin.write(_COMMAND.format(text=text, folder=self._folder, pipe=self._pipe))
        self._shell.stdin.flush()
        answer = b""
        while not answer.endswith(b"\n"):
            more = os.read(self._statuses, 100)
            assert more, f"the shell ended:\n{text}"
            answer += more
        stdout, stderr = ((self._folder / name).read_text() for name in (".stdout", ".stderr"))
        return Ended(int(answer), stdout, stderr)

    def play(self, block: Block) -> None:
        """Do what a block is for: run it, or write it to its file. Raises AssertionError if the page says otherwise."""
        if "before" in block.notes:
            self._expect(block, block.notes["before"], status=0)
        if "not run" in block.notes:
            return
        status = int(block.notes.get("exit status", "0"))
        if "file" in block.notes:
            (self._folder / block.notes["file"]).write_text(block.text)
        elif block.language == "sh":
            self._expect(block, block.text, status)
        elif block.language == "console":
            for number, (command, expected) in enumerate(steps := typed(block.text), start=1):
                found = self._expect(block, command, status if number == len(steps) else 0)
                assert matches(expected, found.said), f"{block}: {command}\nexpected\n{expected}\nfound\n{found.said}\n{found.stderr}"
        elif block.language == "python":
            (self._folder / ".block.py").write_text(block.text)
            self._expect(block, "python .block.py", status)
        elif block.language == "sql":
            self._run_sql(block.text)

    def _expect(self, block: Block, command: str, status: int) -> Ended:
        found = self.run(command)
        assert found.status == status, f"{block}: {command}\nstatus {found.status}, not {status}\n{found.stdout}\n{found.stderr}"
        return found


@contextmanager
def session(folder: Path, environ: Mapping[str, str], run_sql: Callable[[str], None]) -> Iterator[Session]:
    """Open a shell with nothing but these variables; end it afterwards with all that it started."""
    statuses, pipe = os.pipe()
    shell = subprocess.Popen(
        ["bash", "--noprofile", "--norc"],
        stdin=subprocess.PIPE,
        cwd=folder,
        env=environ,
        pass_fds=[pipe],
        text=True,
        start_new_session=True,
    )
    os.close(pipe)
    try:
        yield Session(shell, pipe, statuses, folder, run_sql)
    finally:
        os.killpg(shell.pid, signal.SIGKILL)
        shell.communicate()
        os.close(statuses)


def typed(text: str) -> list[tuple[str, str]]:
    """Return what a console block shows as typed behind `$ `, with lines that go on after `\\`, and what is expected to be printed then."""
    steps: list[tuple[list[str], list[str]]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            steps.append(([line.removeprefix("$ ")], []))
        elif steps and steps[-1][0][-1].endswith("\\") and not steps[-1][1]:
            steps[-1][0].append(line)
        else:
            assert steps, f"expected a line that begins with $, found {line!r}"
            steps[-1][1].append(line)
    return [("\n".join(command), "\n".join(expected)) for command, expected in steps]


def matches(expected: str, found: str) -> bool:
    """Return whether this was printed. Empty lines do not count, and a table may be wider: several spaces are as good as one."""
    pattern = "".join(r"(?:.*\n)*?" if line == REST else rf"{_any_text(line)}\n" for line in _lines(expected))
    return bool(re.fullmatch(pattern, "".join(f"{line}\n" for line in _lines(found))))


def _lines(text: str) -> list[str]:
    return [re.sub(r" +", " ", re.sub("─+", "─", line)).strip() for line in text.splitlines() if line.strip()]


def _any_text(line: str) -> str:
    return r"[^\n]*?".join(re.escape(part) for part in line.split(REST))
