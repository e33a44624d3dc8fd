"""The lines of the log: text for people, or one JSON object a line for machines.

What belongs here: the form of a line. What does not: where lines go in a Dagster process (`processes.py`), and the messages, which all
modules log through `logging`. The keys are documented in docs/reference/logging.md.

JSON is written in ASCII. So no value, be it the name of a table or the answer of a server, can begin a new line, neither with a line feed
nor with another character that some readers take for the end of a line.
"""

import json
import logging
import math
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO

from structlog.contextvars import get_contextvars

from archiver_assets.untrusted_text import visible

LogFormat = Literal["text", "json"]

CONTEXT: Final = ("database", "table", "partition", "step", "run_id", "generation")
"""What every line has, null where it is not known or does not apply."""
MOST_CHARACTERS: Final = 8_000
"""Of one value as JSON. What is longer loses its middle: two such in a line stay below the 32 KiB that Fluent Bit allows one by default."""
_AROUND: Final = 2
"""The quotes."""

_FIRST: Final = ("timestamp", "level", "logger", "message")
_META: Final = "dagster_meta"
"""Where Dagster keeps what it knows of a record: https://docs.dagster.io/guides/log-debug/logging/python-logging."""
_TAGS: Final = {"database": "archiver/database", "table": "archiver/table", "partition": "dagster/partition"}
_STEPS: Final = {
    "__archive_row_counts": "verify",
    "__archive": "archive",
    "__purge": "purge",
    "__restore": "restore",
    "__checks": "checks",
}
"""By the end of the names of ops; called as the metrics call them."""
_OWN: Final = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"})


def log_to(stream: TextIO, form: LogFormat, level: int = logging.INFO) -> None:
    """Send the log of this process to `stream` and nowhere else.

    Below WARNING only our own lines are of use to a person: of boto3, of Dagster's storage and of its migrations there are many.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[handler], force=True)
    logging.getLogger("archiver").setLevel(level)


class JsonFormatter(logging.Formatter):
    """One JSON object a record: `timestamp`, `level`, `logger`, `message`, the six of CONTEXT, and what else is known.

    `run` is what is known of the one run of this process, for lines that do not know it themselves.
    """

    run: Mapping[str, object] = {}

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return json.dumps(facts(record, self.run), allow_nan=False)


class TextFormatter(logging.Formatter):
    """For people: time (UTC), level, message; what follows its first line is indented, so that it does not look like one of the log."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines."""
        meta = _meta(record)
        text, _ = _said(record, meta)
        if trace := _exception(record, meta):
            text += "\n" + trace
        first, *others = [visible(line) for line in text.splitlines()] or [""]
        return "\n  ".join([f"{_time(record)} {record.levelname} {first}", *others])


def facts(record: logging.LogRecord, run: Mapping[str, object] | None = None) -> dict[str, str | int | float | None]:
    """Return what is known of a record, by the keys of docs/reference/logging.md. `run` is what else is known of the run that it is of."""
    meta = _meta(record)
    message, others = _said(record, meta)
    found: dict[str, object] = {
        "timestamp": _time(record),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": message,
        **dict.fromkeys(CONTEXT),
        **(run or {}),
        **run_context(meta),
        **get_contextvars(),
        **{name: value for name, value in others.items() if not name.startswith(("_", "dagster_", "archiver_")) and name not in _FIRST},
    }
    if (event := meta.get("dagster_event")) is not None:
        found["dagster_event"] = event.event_type_value.replace("PIPELINE_", "RUN_")  # as its UI shows them
    if trace := _exception(record, meta):
        found["exception"] = trace
    return {name: _bounded(value) for name, value in found.items()}


def run_context(meta: Mapping[str, Any]) -> dict[str, object]:
    """Return those of CONTEXT that Dagster knows of a run, and of its step."""
    tags = meta.get("job_tags") or {}
    known = {key: tags.get(tag) for key, tag in _TAGS.items()} | {"step": step_of(meta.get("step_key")), "run_id": meta.get("run_id")}
    return {key: value for key, value in known.items() if value is not None}


def step_of(op: str | None) -> str | None:
    """Return the step that an op of ours is: `archive`, `verify`, `purge`, `restore`, or `checks` of a database."""
    return next((step for ending, step in _STEPS.items() if op is not None and op.endswith(ending)), None)


def _said(record: logging.LogRecord, meta: Mapping[str, Any]) -> tuple[str, Mapping[str, object]]:
    """Return the message, and what was given beside it."""
    if "orig_message" in meta:
        message = str(meta["orig_message"])
    elif isinstance(record.msg, dict):  # structlog's, of Dagster
        return str(record.msg.get("event", "")), {name: value for name, value in record.msg.items() if name != "event"}
    else:
        message = record.getMessage()
    return message, {name: value for name, value in vars(record).items() if name not in _OWN}


def _meta(record: logging.LogRecord) -> Mapping[str, Any]:
    meta: Mapping[str, Any] = getattr(record, _META, {})
    return meta


def _exception(record: logging.LogRecord, meta: Mapping[str, Any]) -> str:
    if record.exc_info and record.exc_info[0] is not None:
        return "".join(traceback.format_exception(*record.exc_info)).rstrip()
    event = meta.get("dagster_event")
    error = getattr(getattr(event, "event_specific_data", None), "error", None)
    text = "" if error is None else error.to_string().rstrip()
    return f"{text}\n{record.stack_info}".strip() if record.stack_info else text


def _time(record: logging.LogRecord) -> str:
    """Return the time of a record as RFC 3339 has it, in UTC, with microseconds."""
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _bounded(value: object) -> str | int | float | None:
    """Return what JSON can say of a value: numbers as they are, all else as text."""
    if value is None or isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    whole = text = str(value)
    half = min(MOST_CHARACTERS, len(text)) // 2
    while len(text) > MOST_CHARACTERS or len(json.dumps(text)) > MOST_CHARACTERS + _AROUND:
        half = half * 3 // 4
        text = f"{whole[:half]} [... {len(whole) - 2 * half:,} characters ...] {whole[-half:]}"
    return text
