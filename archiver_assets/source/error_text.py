"""What the server says of a statement that failed, without the values of rows.

What belongs here: which of its words may stand in a log, an event or a message. What does not: which error of ours they become
(`session.py`).

An audit table holds what few may read, and a log is read by many. DETAIL and CONTEXT quote rows (`Failing row contains (...)`,
`COPY t, line 1: "..."`), and so does the message itself where a value is the trouble, or where a function of the database wrote it: of
these only the condition's name is repeated. The server's own log has all of it.
https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

import re
from typing import Final

import psycopg

from archiver_assets.untrusted_text import bounded

_WITHOUT_ROWS: Final = ("08", "0A", "25", "26", "28", "2B", "34", "3B", "3D", "3F", "40", "42", "53", "54", "55", "57", "58")
"""Classes of SQLSTATEs that are about sessions, locks, rights, names and resources."""
_BY_NAMES: Final = ("23", "44", "XX001", "XX002")
"""Those whose message names a table and a constraint, or a damaged block, while DETAIL has the row."""
_OF_DATA: Final = "22"
"""About values, which stand in quotes of the server's language: https://www.postgresql.org/docs/current/error-style-guide.html."""
_QUOTES: Final = frozenset("\"'`\u00ab\u00bb\u2018\u2019\u201a\u201c\u201d\u201e\u2039\u203a\u300c\u300d")
_RAISED: Final = "exec_stmt_raise"
"""The server's function that reports what a RAISE of PL/pgSQL says, with any SQLSTATE."""
_COPIED: Final = re.compile(r", line (?P<line>[0-9]+), column (?P<column>[^\n]*?): ")
"""In the CONTEXT of a COPY, which the first one is, and before the value: https://www.postgresql.org/docs/current/sql-copy.html."""
_ELSEWHERE: Final = "the server's log says more"


def said(error: psycopg.Error) -> str:
    """Return what the server or libpq says, on one line and without values of rows."""
    return bounded(" ".join(_said(error).split()))


def said_by_driver(sqlstate: str | None, text: str) -> str:
    """Return the same of what another driver says of an SQLSTATE, None for none of the server's."""
    if sqlstate is None or sqlstate.startswith(_WITHOUT_ROWS):
        return " ".join(text.partition("CONTEXT:")[0].split())
    return f"{_condition(sqlstate)}; {_ELSEWHERE}"


def hush(error: BaseException | None) -> None:
    """Let the server's errors among the causes of `error`, and itself, say nothing else: whoever shows an error shows these too."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, psycopg.Error):
            error.args = (said(error),)
        error = error.__cause__ or error.__context__


def _said(error: psycopg.Error) -> str:
    diag = error.diag
    if diag.sqlstate is None:
        # Of a connection, by libpq; or of a value that psycopg could not take or give.
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
