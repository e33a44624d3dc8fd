"""The log as lines: text for people, or one JSON object a line for machines.

What belongs here: the form of a line and where it goes. What does not: what is logged, which everything says through `logging`.
"""

import logging
from typing import Literal, TextIO

import structlog

LogFormat = Literal["text", "json"]


def log_to(stream: TextIO, form: LogFormat, level: int = logging.INFO) -> None:
    """Send the log of this process to `stream` and nowhere else. JSON lines have `timestamp` (UTC), `level`, `logger` and `event`."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_JSON if form == "json" else logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("botocore").setLevel(logging.WARNING)  # at INFO it says where it found credentials, each time


_JSON = structlog.stdlib.ProcessorFormatter(
    processor=structlog.processors.JSONRenderer(),
    foreign_pre_chain=[
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.format_exc_info,
    ],
)
