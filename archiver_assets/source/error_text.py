"""What the server reports about a statement that failed, without the values of rows.

What belongs here: which parts of its text may appear in a log, an event or a message. What does not: which of our errors it becomes
(`session.py`).

Few people may read an audit table; many read a log. DETAIL and CONTEXT quote rows (`Failing row contains (...)`, `COPY t, line 1: "..."`).
So does the message itself if a value caused the error, or if a function of the database wrote the message: such messages are reduced to the
name of the condition. The server's own log has the full text.
https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

import re
from typing import Final

import psycopg

from archiver_assets.untrusted_text import bounded

_WITHOUT_ROWS: Final = ("08", "0A", "25", "26", "28", "2B", "34", "3B", "3D", "3F", "40", "42", "53", "54", "55", "57", "58")
"""Classes of SQLSTATE about sessions, locks, rights, names and resources."""
_BY_NAMES: Final = ("23", "44", "XX001", "XX002")
"""Classes whose message names a table and a constraint, or a damaged block; only DETAIL has the row."""
_OF_DATA: Final = "22"
"""The class about values, which are quoted in the server's language: https://www.postgresql.org/docs/current/error-style-guide.html."""
_QUOTES: Final = frozenset("\"'`\u00ab\u00bb\u2018\u2019\u201a\u201c\u201d\u201e\u2039\u203a\u300c\u300d")
_RAISED: Final = "exec_stmt_raise"
"""The server function that reports a RAISE of PL/pgSQL, which can have any SQLSTATE."""
_COPIED: Final = re.compile(r", line (?P<line>[0-9]+), column (?P<column>[^\n]*?): ")
"""The first match in the CONTEXT of a COPY stands before the value: https://www.postgresql.org/docs/current/sql-copy.html."""
_ELSEWHERE: Final = "see the server's log for details"


def said(error: psycopg.Error) -> str:
    """Return the report of the server or libpq, on one line and without values of rows."""
    return bounded(" ".join(_said(error).split()))


def said_by_driver(sqlstate: str | None, text: str) -> str:
    """Return the same for another driver's text; `sqlstate` is None for an error that the server did not report."""
    if sqlstate is None or sqlstate.startswith(_WITHOUT_ROWS):
        return " ".join(text.partition("CONTEXT:")[0].split())
    return f"{_condition(sqlstate)}; {_ELSEWHERE}"


def hush(error: BaseException | None) -> None:
    """Reduce the server's errors in `error` and its causes to what `said` returns: whoever shows an error shows its causes too."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, psycopg.Error):
            error.args = (said(error),)
        error = error.__cause__ or error.__context__


def _said(error: psycopg.Error) -> str:
    diag = error.diag
    if diag.sqlstate is None:
        # From libpq, about a connection; or from psycopg, about a value that it could not convert.
        return type(error).__name__ if isinstance(error, psycopg.DataError) else str(error)
    primary = diag.message_primary or _condition(diag.sqlstate)
    if diag.source_function != _RAISED:
        if diag.sqlstate.startswith(_WITHOUT_ROWS):
            rest = (f" {name}: {text}" for name, text in (("DETAIL", diag.message_detail), ("HINT", diag.message_hint)) if text)
            return primary + "".join(rest)
        if diag.sqlstate.startswith(_BY_NAMES) or (diag.sqlstate.startswith(_OF_DATA) and _QUOTES.isdisjoint(primary)):
            return primary
    found = _COPIED.search(diag.context or "")
    place = f" in column {found['column']}, line {found['line']} of the COPY" if found else ""
    return f"{_condition(diag.sqlstate)}{place}; {_ELSEWHERE}"


def _condition(sqlstate: str) -> str:
    try:
        name = psycopg.errors.lookup(sqlstate).__name__
    except KeyError:
        name = "an error"
    return f"{name} (SQLSTATE {sqlstate})"
