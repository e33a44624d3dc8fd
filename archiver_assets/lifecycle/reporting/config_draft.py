"""A first config for a database: which tables look like audit tables, what speaks against each, and the text of the file.

What belongs here: judging candidates, and the text of the file. What does not: reading the catalog (`source/candidates.py`), and what stops
work on a table (`source/preflight.py`).
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from textwrap import wrap

from pydantic import ValidationError

from archiver_assets.config import DatabaseConfig, S3Config, TableConfig
from archiver_assets.source.candidates import Candidate, TimeColumn, read_candidates, read_oldest_day
from archiver_assets.source.catalog import Connection, read_server
from archiver_assets.source.findings import Finding
from archiver_assets.source.preflight import SCANNED_ANYWAY, read_preflight
from archiver_assets.source.session import Source

RECOMMENDED_FROM = 3
"""Points from which a table looks like an audit table: its name says so, or it is large, and only grows."""

LARGE = 1 << 30
_FIRST_DAY = date(2015, 1, 1)
_OFTEN_CHANGED = 0.05
_RIGHTS = {"no_usage", "no_select", "no_delete"}
"""What an administrator fixes with one GRANT: no reason to leave a table out."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_WORDS = re.compile(
    r"(?:^|_)(audits?|logs?|logins?|events?|history|histories|trails?|journals?|activity|activities|changes)(?:_|$|\d)", re.IGNORECASE
)
_WHEN_MADE = re.compile(r"creat|insert|occur|logged|record|event|happen|time|^at$|^ts$|_at$|date", re.IGNORECASE)
_WHEN_CHANGED = re.compile(r"updat|modif|chang|delet|expir|valid|last|until|due|end", re.IGNORECASE)


@dataclass(frozen=True)
class Judged:
    """A candidate with the column to go by, its oldest day if it can be told, its points, and what was found.

    `reasons` speak for and against it, for people; `against` are those for which it is not recommended.
    """

    candidate: Candidate
    column: TimeColumn | None
    oldest: date | None
    points: int
    reasons: tuple[str, ...]
    against: tuple[str, ...]
    findings: tuple[Finding, ...] = ()

    @property
    def recommended(self) -> bool:
        """Whether it goes into the config."""
        return not self.against and self.points >= RECOMMENDED_FROM


def judge_tables(source: Source, at: Callable[[str], None]) -> list[Judged]:
    """Return every table of the database, the most promising first; `at` is told which one is looked at. Raises as `Source.connect`."""
    with source.connect() as connection:
        read_server(connection)
        judged = []
        for candidate in read_candidates(connection):
            at(f"reading {candidate.schema}.{candidate.name}")
            column = best_column(candidate.times)
            findings = _findings(source, connection, candidate, column) if column and candidate.key else []
            oldest = read_oldest_day(connection, candidate, column) if column else None
            judged.append(judge(candidate, column, oldest, findings))
    return sorted(judged, key=lambda each: (not each.recommended, bool(each.against), -each.points, -each.candidate.bytes))


def _findings(source: Source, connection: Connection, candidate: Candidate, column: TimeColumn) -> list[Finding]:
    try:
        config = TableConfig(
            database=source.config.name,
            schema_name=candidate.schema,
            name=candidate.name,
            timestamp_column=column.name,
            primary_key=candidate.key,
            retention_days=1,
        )
    except ValidationError:
        return [Finding("name", "the name of the table, its schema or a column is not allowed in a config", "rename it")]
    return read_preflight(connection, config)


def best_column(times: Sequence[TimeColumn]) -> TimeColumn | None:
    """Return the column that most likely says when a row was written: indexed, never NULL, named so, and not one that changes later."""

    def points(column: TimeColumn) -> tuple[int, int]:
        named = 2 * bool(_WHEN_MADE.search(column.name)) - 5 * bool(_WHEN_CHANGED.search(column.name))
        return (4 * column.indexed + 2 * column.not_null + named + (column.pg_type != "date"), -times.index(column))

    return max(times, key=points, default=None)


def judge(candidate: Candidate, column: TimeColumn | None, oldest: date | None, findings: Sequence[Finding]) -> Judged:
    """Weigh what is known of a table."""
    weighed = list(_weigh(candidate, column))
    return Judged(
        candidate=candidate,
        column=column,
        oldest=oldest,
        points=sum(points for points, _ in weighed),
        reasons=tuple(reason for _, reason in weighed),
        against=tuple(_against(candidate, column, findings)),
        findings=tuple(findings),
    )


def _weigh(candidate: Candidate, column: TimeColumn | None) -> Iterator[tuple[int, str]]:
    if _WORDS.search(candidate.name):
        yield 3, "its name suggests a log"
    if candidate.bytes >= LARGE:
        yield 2, "it is large"
    if column and column.indexed:
        yield 1, f"an index begins with {column.name}"
    if candidate.partitioned:
        yield 1, "it is partitioned"
    if candidate.changed > _OFTEN_CHANGED * max(candidate.inserted, candidate.rows, 1):
        yield -2, "its rows are updated: each update of an archived row is archived again"
    elif candidate.inserted:
        yield 1, "its rows are inserted and rarely updated"


def _against(candidate: Candidate, column: TimeColumn | None, findings: Sequence[Finding]) -> Iterator[str]:
    if column is None:
        yield "no timestamp column to expire rows by"
    if not candidate.key:
        yield "no primary key, and no unique index on NOT NULL columns: rows cannot be identified"
    if column and _WHEN_CHANGED.search(column.name):
        yield f"{column.name}, the best timestamp column, seems to be updated later"
    for finding in findings:
        if not finding.is_warning and finding.name not in _RIGHTS:
            yield f"{finding.what} ({finding.hint})"


def draft_config(database: DatabaseConfig, s3: S3Config, retention_days: int, tables: Sequence[Judged]) -> str:
    """Return the text of a config file: what is recommended, and the rest as comments with the reasons. No secret is in it."""
    parts = [_HEAD, _s3(s3), _DEFAULTS.format(retention_days=retention_days), _database(database)]
    parts += [_table(each) for each in tables if each.recommended]
    others = [each for each in tables if not each.recommended]
    if others:
        parts += [
            "\n      # Not recommended, with the reasons. Remove the # of tables that you want to archive anyway.\n",
            *map(_other, others),
        ]
    return "".join(parts)


_HEAD = """\
# Config of Audit Archiver, drafted by `archiver init`. Read and correct it, then run archiver
# validate, archiver doctor and archiver plan. docs/reference/configuration.md lists every key.
version: "2.0"

"""

_DEFAULTS = """
defaults:
  # Days to keep rows in the table after the end of their day. The law and your application
  # decide: check this value first.
  retention_days: {retention_days}
  # true deletes the rows of a day once its archive is proven. false archives only.
  purge: true
  # Days are archived every night at 02:00 UTC, oldest first. null for no schedule.
  schedule: "0 2 * * *"

"""


def _s3(s3: S3Config) -> str:
    values = {
        "endpoint": ("null for AWS S3, or the URL of another store", s3.endpoint),
        "bucket": ("it must exist", s3.bucket),
        "prefix": ("key prefix in the bucket", s3.prefix),
        "region": ("null to use the environment's region", s3.region),
        "storage_class": ("STANDARD_IA costs about half, and bills small objects as 128 KiB", s3.storage_class),
        "path_style": ("true for most stores other than AWS", s3.path_style),
        "encryption": ("none, SSE-S3 or SSE-KMS (with kms_key_id)", s3.encryption),
    }
    lines = [f"  {key}: {_scalar(value)}  # {comment}\n" for key, (comment, value) in values.items()]
    return "".join(
        ["# Credentials come from AWS's default credential chain: the environment, a profile, or the pod's role.\n", "s3:\n", *lines]
    )


def _database(database: DatabaseConfig) -> str:
    lines = [
        "databases:\n",
        f"  - name: {_scalar(database.name)}  # label in Dagster and in the bucket; it cannot be changed later\n",
        f"    host: {_scalar(database.host)}\n",
        f"    port: {database.port}\n",
        f"    user: {_scalar(database.user)}\n",
        (
            f"    password_env: {_scalar(database.password_env)}  # the environment variable that holds the password\n"
            if database.password_env
            else f"    auth: {database.auth}  # a token for each connection, from AWS's default credential chain\n"
        ),
        f"    database: {_scalar(database.dbname)}\n",
        *([f"    sslmode: {database.sslmode}\n"] if database.sslmode else []),
        *([f"    sslrootcert: {_scalar(database.sslrootcert)}\n"] if database.sslrootcert else []),
        "    tables:\n",
    ]
    return "".join(lines)


def _table(judged: Judged) -> str:
    lines = [
        _comment(_facts(judged)),
        *(_comment(f"To do: {each.what}: {each.hint}") for each in judged.findings if not each.is_warning),
        *(_comment(f"Note: {each.what} ({each.hint})") for each in judged.findings if each.is_warning),
        *(f"      {line}\n" for line in _keys(judged)),
    ]
    return "".join(lines)


def _other(judged: Judged) -> str:
    reasons = judged.against or ("it does not look like an audit table",)
    comments = [_comment(_facts(judged)), *(_comment(f"Not recommended: {reason}") for reason in reasons)]
    return "".join([*comments, *(f"      # {line}\n" for line in _keys(judged)), "\n"])


def _comment(text: str) -> str:
    """Write a comment of the list of tables. What names hold is one line each: a line break in one would begin a line of the file."""
    return "".join(f"      # {line}\n" for line in wrap(_CONTROL.sub(" ", text), 100, break_long_words=False, break_on_hyphens=False))


def _facts(judged: Judged) -> str:
    candidate = judged.candidate
    name = f"{candidate.schema}.{candidate.name}: {size_of(candidate)}, about {candidate.rows:,} rows"
    since = f", oldest row {judged.oldest}" if judged.oldest else ""
    return f"{name}{since}{''.join(f'; {reason}' for reason in judged.reasons)}."


def size_of(candidate: Candidate) -> str:
    """Return the size of a table for people."""
    return f"{candidate.bytes / (1 << 20):,.1f} MiB"


def _keys(judged: Judged) -> list[str]:
    candidate, column = judged.candidate, judged.column
    if column is None or not candidate.key or any(each.name == "name" for each in judged.findings):
        return []
    key = candidate.key[0] if len(candidate.key) == 1 else list(candidate.key)
    large = not column.indexed and candidate.bytes > SCANNED_ANYWAY
    lines = [
        f"- name: {_scalar(candidate.name)}",
        f"  schema: {_scalar(candidate.schema)}",
        f"  timestamp_column: {_scalar(column.name)}",
        f"  primary_key: {_scalar(key)}",
    ]
    if judged.oldest and judged.oldest < _FIRST_DAY:
        lines.append(f'  start_date: "{max(judged.oldest.year, 1900)}-01-01"')
    return [*lines, *(["  allow_sequential_scan: true"] if large else [])]


def _scalar(value: object) -> str:
    """Write a value as YAML, which JSON is; plain where nothing could be mistaken."""
    # A line separator is a line break to YAML, within quotes too. Beyond \uffff JSON would write halves of characters, which YAML refuses.
    text = "".join(
        each if each.isprintable() or each > "\uffff" else json.dumps(each)[1:-1] for each in json.dumps(value, ensure_ascii=False)
    )
    plain = isinstance(value, str) and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_./-]*", value) and value.lower() not in _MISTAKEN
    return str(value) if plain else text.replace("${", "$${")


_MISTAKEN = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}
