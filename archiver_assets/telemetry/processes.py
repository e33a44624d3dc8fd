"""Where the log of a Dagster process goes: of a run, a code server, and in the image also of the webserver and the daemon.

What belongs here: handlers, and everything else that ends up in the log of a container: Dagster's console, `print`, warnings, uncaught
exceptions. What does not: the form of a line (`lines.py`).

All of it goes to stdout, each record once. Dagster copies a record of the archiver to its storage and its console, and words it
differently; so the archiver writes its own record first, and marks it. Dagster adds its console to every run, because
`Definitions(loggers=...)` reaches only runs whose config names a logger, and to ticks. Both consoles are made by `coloredlogs.install`,
which is replaced. `--log-format` is applied by `logging.config.dictConfig`, whose handlers are removed again. Dagster's own options:
https://docs.dagster.io/guides/log-debug/logging.
"""

import atexit
import io
import logging
import logging.config
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, TextIO

import coloredlogs

from archiver_assets.aws import keep_quiet
from archiver_assets.errors import ConfigError
from archiver_assets.telemetry.lines import MOST_CHARACTERS, JsonFormatter, LogFormat, TextFormatter, run_context
from archiver_assets.telemetry.process_kind import kind_of

FORMAT_VARIABLE: Final = "ARCHIVER_LOG_FORMAT"
LEVEL_VARIABLE: Final = "ARCHIVER_LOG_LEVEL"

_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_HANDLED: Final = ("dagster", "dagit", "dagster-webserver", "uvicorn", "uvicorn.error", "uvicorn.access")
"""The loggers that Dagster's `--log-format`, and the webserver's server, give handlers."""
_TOLD: Final = frozenset(
    {
        *(f"PIPELINE_{what}" for what in ("START", "SUCCESS", "CANCELED")),  # of runs
        *(f"STEP_{what}" for what in ("START", "SUCCESS", "SKIPPED")),
        *("ASSET_MATERIALIZATION", "ASSET_OBSERVATION", "ASSET_CHECK_EVALUATION"),
    }
)
"""Events that say how a run gets on: of the level INFO here, and DEBUG in Dagster. Those of failures are errors in both."""
_LONGEST_BEGUN: Final = MOST_CHARACTERS // 2
"""Half, as JSON writes a carriage return with two."""
_WRITTEN: Final = "archiver_written"
"""The attribute of a record that was written. Dagster copies it with the record's other ones."""


def log_process(arguments: Sequence[str], environ: Mapping[str, str] = os.environ) -> None:
    """Send all that one of Dagster's processes says to stdout, in the form and from the level on that its environment names.

    Without ARCHIVER_LOG_FORMAT it is text on a terminal, where Dagster's own console stays as it is, and JSON elsewhere. `arguments` are
    those of the process: in another one, such as a command of Dagster's whose answer goes to stdout, or one that was started with a closed
    stdout, nothing changes. Raises ConfigError.
    """
    kind = kind_of(arguments)
    if kind is None or sys.stdout is None or isinstance(sys.stdout, Speaking):
        return
    form = _form(environ.get(FORMAT_VARIABLE) or ("text" if sys.stdout.isatty() else "json"))
    level = _level(environ.get(LEVEL_VARIABLE) or "INFO")
    handler = OnceHandler(sys.stdout)
    handler.setLevel(level)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[handler], force=True)
    logging.getLogger("archiver").setLevel(level)
    keep_quiet()
    if form == "json":
        _take_all(handler, run=kind == "run")


@contextmanager
def loading(arguments: Sequence[str]) -> Iterator[None]:
    """Say in a run why the block, the load of its code location, failed: Dagster only records it."""
    try:
        yield
    except Exception:
        if kind_of(arguments) == "run":
            logging.getLogger("archiver").critical("the code location could not be loaded", exc_info=True)
        raise


def _form(said: str) -> LogFormat:
    if said in {"text", "json"}:
        return "text" if said == "text" else "json"
    message = f"expected text or json in {FORMAT_VARIABLE}, found {said!r}"
    raise ConfigError(message, hint="unset it for text on a terminal and JSON elsewhere")


def _level(said: str) -> int:
    if said.upper() in _LEVELS:
        return int(logging.getLevelName(said.upper()))
    message = f"expected one of {', '.join(_LEVELS)} in {LEVEL_VARIABLE}, found {said!r}"
    raise ConfigError(message, hint="unset it for INFO")


class _Reporting(threading.local):
    now = False


_reporting: Final = _Reporting()


class _LineHandler(logging.StreamHandler[TextIO]):
    """Reports what cannot be written, which goes through the log too, but not that the report cannot be written either.

    Else a full disk, or a reader that is gone, would be a RecursionError of whoever logs: of an archive in the middle of its work.
    """

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 -- the name of the library
        """Report the error that is being handled, unless it is one of the report itself."""
        if not _reporting.now:
            _reporting.now = True
            try:
                super().handleError(record)
            finally:
                _reporting.now = False


class OnceHandler(_LineHandler):
    """Writes what was not written yet. A record with data of Dagster's was: by Dagster's console, or before Dagster took it."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Leave out what was written."""
        if hasattr(record, _WRITTEN) or hasattr(record, "dagster_meta"):
            return False
        return super().filter(record)

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line, and mark the record."""
        super().emit(record)
        setattr(record, _WRITTEN, True)


class ConsoleHandler(_LineHandler):
    """Dagster's console: the events of runs, and what ticks say, but for records that an OnceHandler has written."""

    def __init__(self, beside: OnceHandler, threshold: int, *, run: bool) -> None:
        """Write to where `beside` does, and in turn with it. In a process of one `run`, lines of others get to know the run by it."""
        super().__init__(beside.stream)
        self.lock = beside.lock
        self.setFormatter(beside.formatter)
        self._threshold = threshold
        self._run = run

    def filter(self, record: logging.LogRecord) -> bool:
        """Leave out what was written, and what is of too low a level."""
        meta = getattr(record, "dagster_meta", {})
        if self._run and isinstance(self.formatter, JsonFormatter):
            self.formatter.run = self.formatter.run or {key: value for key, value in run_context(meta).items() if key != "step"}
        event = meta.get("dagster_event")
        if record.levelno < logging.INFO and event is not None and event.event_type_value in _TOLD:
            record.levelno, record.levelname = logging.INFO, "INFO"
        return not hasattr(record, _WRITTEN) and record.levelno >= self._threshold and super().filter(record)


class _Begun(threading.local):
    text = ""


class Speaking(io.TextIOBase):
    """A standard stream of which each line becomes a record, such as what a library prints; all but writing is the stream's own."""

    def __init__(self, name: str, stream: TextIO, level: int) -> None:
        """Log as `name`."""
        self._stream = stream
        self._level = level
        self._log = logging.getLogger(name)
        self._log.setLevel(level)
        self._of_thread = _Begun()  # no lock: whoever writes may hold that of a handler
        atexit.register(self.end)

    def write(self, text: object, /) -> int:
        """Log the lines that are complete, and long pieces of one that is not: a bar of progress never ends its line."""
        if not isinstance(text, str):
            message = f"expected text, found {type(text).__name__}"
            raise TypeError(message)
        *lines, self._of_thread.text = (self._of_thread.text + text).split("\n")
        if len(self._of_thread.text) > _LONGEST_BEGUN:
            lines, self._of_thread.text = [*lines, self._of_thread.text], ""
        for line in lines:
            if line.strip():
                self._log.log(self._level, "%s", line)
        return len(text)

    def end(self) -> None:
        """Log the line of this thread that was begun."""
        if self._of_thread.text:
            self.write("\n")

    def flush(self) -> None:
        """Nothing waits but a line that is not complete."""
        self._stream.flush()

    def writable(self) -> bool:
        """Tell that it can be written to."""
        return True

    def fileno(self) -> int:
        """Return the stream's, which is what a redirection wants."""
        return self._stream.fileno()

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        return self._stream.isatty()

    @property
    def encoding(self) -> str:  # type: ignore[override] # an attribute there
        """The stream's."""
        return self._stream.encoding


def _take_all(handler: OnceHandler, *, run: bool) -> None:
    """Let nothing else write to the log of this process."""
    logging.getLogger("archiver").handlers[:] = [handler]  # before Dagster's, of a run, which changes the record
    configure = logging.config.dictConfig
    _let_propagate()

    def configure_as_well(config: dict[str, Any]) -> None:
        configure(config)
        _let_propagate()

    def install(level: int | str, *, logger: logging.Logger, **_colours: Any) -> None:  # noqa: ANN401 -- colours and forms of text
        threshold = _level(level) if isinstance(level, str) else level
        logger.setLevel(min(threshold, logging.DEBUG))
        logger.handlers[:] = [ConsoleHandler(handler, max(threshold, handler.level), run=run)]

    coloredlogs.install = install
    logging.config.dictConfig = configure_as_well  # type: ignore[assignment]
    logging.captureWarnings(capture=True)
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread
    sys.unraisablehook = _unraisable
    errors = sys.stderr or sys.stdout  # None, where the process was started with a closed one
    sys.stdout, sys.stderr = Speaking("stdout", sys.stdout, logging.INFO), Speaking("stderr", errors, logging.WARNING)


def _let_propagate() -> None:
    """Let what other loggers have handlers for go to ours."""
    for name in _HANDLED:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    logging.getLogger("archiver").critical("the process ends by %s", kind.__name__, exc_info=(kind, error, trace))


def _uncaught_in_thread(what: threading.ExceptHookArgs) -> None:
    if what.exc_value is not None and what.exc_type is not SystemExit:  # by which a thread may end, as Python has it
        name = what.thread.name if what.thread else "?"
        trace = (what.exc_type, what.exc_value, what.exc_traceback)
        logging.getLogger("archiver").error("thread %s ends by %s", name, what.exc_type.__name__, exc_info=trace)


def _unraisable(what: "sys.UnraisableHookArgs") -> None:
    trace = None if what.exc_value is None else (what.exc_type, what.exc_value, what.exc_traceback)
    logging.getLogger("archiver").error("%s: %r", what.err_msg or "exception ignored in", what.object, exc_info=trace)
