"""Which kind of Dagster process this is, from its command line.

Every Python process of the image imports this module, so it imports nothing that takes time. `processes.py` acts on the answer.
"""

from collections.abc import Sequence
from pathlib import PurePath
from typing import Final, Literal

Kind = Literal["run", "server"]

_RUNS: Final = frozenset({"execute_run", "resume_run", "execute_step"})
_SERVERS: Final = frozenset({"grpc", "code-server"})
_PROGRAMS: Final = frozenset({"dagster-webserver", "dagster-daemon"})
_MODULES: Final = frozenset({"dagster_webserver", "dagster._daemon", "_daemon"})
"""As they stand behind `-m`, and as the folder of their `__main__.py`."""
_ANSWERED: Final = frozenset({"--help", "--version", "liveness-check", "wipe", "debug"})
"""What is asked of a server's program, and answered on stdout. `-h` is the webserver's `--host`."""
_LONGEST_WORD: Final = 1_000
"""The argument of a run is a document."""


def kind_of(arguments: Sequence[str]) -> Kind | None:
    """Return whether a process of these arguments, with Python itself in front of them or not, is a run, or one of Dagster's servers.

    None is any other, such as a command of Dagster's whose answer goes to stdout.
    """
    paths = [PurePath(each) for each in arguments[:5] if len(each) < _LONGEST_WORD]
    words = {path.name for path in paths}
    folders = {path.parent.name for path in paths if path.name == "__main__.py"}
    called = bool(words & {"dagster", "api"} or "dagster" in folders)
    if _ANSWERED.intersection(arguments[:5]):
        return None
    if called and words & _RUNS:
        return "run"
    if (called and words & _SERVERS) or words & _PROGRAMS or words & _MODULES or folders & _MODULES:
        return "server"
    return None
