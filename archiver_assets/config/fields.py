"""Types of single values in the config file, each with its rule.

Which key has which type is in models.py, and rules over several values are in collisions.py.

A validator's message explains why a value is refused and never contains the value, which may come from a variable.
"""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from functools import cache
from typing import Annotated, Final, Generic, Literal, TypeVar, get_args
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, BeforeValidator, PlainSerializer, PlainValidator
from pydantic_core import PydanticCustomError

K = TypeVar("K")
V = TypeVar("V")

REFUSED: Final = "refused"
MAX_IDENTIFIER_BYTES: Final = 63
MAX_PREFIX_BYTES: Final = 400
HOLDS_FOLDER: Final = "_holds"
"""The folder of the bucket, below the prefix, where holds are; so that no database can have this label."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_NUMBERS = r"[0-9*,/-]"
_MONTHS = "JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC"
_DAYS = "SUN|MON|TUE|WED|THU|FRI|SAT"
_CRON = re.compile(rf"{_NUMBERS}+ +{_NUMBERS}+ +{_NUMBERS}+ +(?:{_NUMBERS}|{_MONTHS})+ +(?:{_NUMBERS}|{_DAYS})+", re.IGNORECASE)
_KMS_KEY = re.compile(r"[A-Za-z0-9_.-]{1,256}|arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]{1,256}")
_INSTANT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?([Zz]|[-+][0-9]{2}(:?[0-9]{2}(:?[0-9]{2})?)?)?)?"
)
_LONGEST_CRON = 200
_HIGHEST = (59, 23, 31, 12, 6)
_MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
# Names of files in the zone database that are not zones: this machine's own zone, POSIX defaults, and the mark of a missing setting.
_NOT_ZONES = {"localtime", "posixrules", "Factory"}


def refusal(reason: str) -> PydanticCustomError:
    """Return the error that a validator raises; `reason` says why, and what to do, and does not hold the value."""
    return PydanticCustomError(REFUSED, "{reason}", {"reason": reason})


class FrozenMapping(Mapping[K, V], Generic[K, V]):
    """A mapping that cannot be changed and can be hashed, in the order in which it was given."""

    def __init__(self, entries: Mapping[K, V]) -> None:
        """Copy `entries`."""
        self._entries = dict(entries)

    def __getitem__(self, key: K) -> V:
        """Return the value of `key`, or raise KeyError."""
        return self._entries[key]

    def __iter__(self) -> Iterator[K]:
        """Yield the keys in their order."""
        return iter(self._entries)

    def __len__(self) -> int:
        """Return the number of keys."""
        return len(self._entries)

    def __hash__(self) -> int:
        """Return the same for equal mappings; their values have to be hashable."""
        return hash(frozenset(self._entries.items()))

    def __repr__(self) -> str:
        """Show the entries as a dict does."""
        return repr(self._entries)


def identifier_problem(value: str) -> str | None:
    """Return why `value` cannot name anything in PostgreSQL, None if it can.

    PostgreSQL cuts identifiers silently after 63 bytes (https://www.postgresql.org/docs/current/sql-syntax-lexical.html).
    """
    if len(value.encode()) > MAX_IDENTIFIER_BYTES:
        return f"it is longer than PostgreSQL's {MAX_IDENTIFIER_BYTES} bytes of UTF-8"
    return _text_problem(value)


def _text_problem(value: str) -> str | None:
    if not value:
        return "it is empty"
    return "it contains a control character" if _CONTROL.search(value) else None


def _text(value: str) -> str:
    reason = _text_problem(value)
    if reason:
        raise refusal(reason)
    return value


def _identifier(value: str) -> str:
    reason = identifier_problem(value)
    if reason:
        raise refusal(reason)
    return value


def _path_part(value: str) -> str:
    if _identifier(value) in {".", ".."}:
        reason = "it is part of object keys, where . and .. have another meaning"
        raise refusal(reason)
    return value


def _label(value: str) -> str:
    if value == HOLDS_FOLDER:
        reason = "legal holds are stored in the folder of this name"
        raise refusal(reason)
    return value


def _columns(value: object) -> object:
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


def _copied(value: object) -> object:
    return dict(value) if isinstance(value, Mapping) else value


def _unique(value: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(value)) != len(value):
        reason = "a column is named twice"
        raise refusal(reason)
    return value


def _day(value: object) -> object:
    if not isinstance(value, str) or not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        return value
    try:
        return date.fromisoformat(value)
    except ValueError:
        reason = "the calendar has no such day"
        raise refusal(reason) from None


def _when(value: object) -> date:
    """Take a day, or a text with a day or an RFC 3339 time; one without an offset is local to the table's time zone."""
    if isinstance(value, date):
        return value
    try:
        if isinstance(value, str) and _INSTANT.fullmatch(value):
            return datetime.fromisoformat(value) if len(value) > len("YYYY-MM-DD") else date.fromisoformat(value)
    except ValueError:
        reason = "the calendar has no such day or time"
        raise refusal(reason) from None
    reason = "write a day as 2026-08-01, a time as 2026-08-01T12:00:00Z"
    raise refusal(reason)


def _written(value: date) -> str:
    return value.isoformat()  # the value's own: that of a date would cut a time off


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones() - _NOT_ZONES)


def _zone(value: str) -> str:
    if value not in _zones():
        reason = "it is not in the IANA time zone database; names are case-sensitive"
        raise refusal(reason)
    return value


def _cron(value: str) -> str:
    reason = _cron_problem(value)
    if reason:
        raise refusal(reason)
    return value


def _cron_problem(value: str) -> str | None:
    if len(value) > _LONGEST_CRON or not _CRON.fullmatch(value):
        return "the fields are minute, hour, day of month, month and day of week, with numbers, names and * , - /"
    try:
        CronSim(value, _MOMENT)
        # Dagster refuses a day that no month has even beside a day of the week, which would do for cron.
        CronSim(" ".join([*value.split()[:4], "*"]), _MOMENT)
    except CronSimError as error:
        return str(error).lower()
    return "a step is longer than its range, so it would run more often than the step" if _has_long_step(value) else None


def _has_long_step(value: str) -> bool:
    """Tell whether a valid expression has a term like `*/90` of minutes, which runs every hour."""
    for part, highest in zip(value.split(), _HIGHEST, strict=True):
        for term in part.split(","):
            span, _, step = term.partition("/")
            _, dash, end = span.partition("-")
            if step and int(step) > (int(end) if dash and end.isdigit() else highest):
                return True
    return False


def _host(value: str) -> str:
    if value.startswith("/"):
        return _text(value)
    if re.search(r"[\s/@,?=]", _text(value)):
        reason = "give the host of one server only; port, user and database have their own keys"
        raise refusal(reason)
    return value


def _variable(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
        reason = "give the name of the variable, not the secret itself"
        raise refusal(reason)
    return value


def _bucket(value: str) -> str:
    if not _BUCKET.fullmatch(value) or ".." in value or _is_address(value):
        reason = "3 to 63 lower-case letters, digits, dots and hyphens, beginning and ending with a letter or a digit, and no IP address"
        raise refusal(reason)
    return value


def _is_address(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True


def _prefix(value: str) -> str:
    if _CONTROL.search(value) or "//" in value or {".", ".."} & set(value.split("/")):
        reason = "no //, no . or .. between slashes, no control characters"
        raise refusal(reason)
    if len(value.encode()) > MAX_PREFIX_BYTES:
        reason = f"it is longer than {MAX_PREFIX_BYTES} bytes of UTF-8, and a whole key may have 1024"
        raise refusal(reason)
    bare = value.strip("/")
    return bare and bare + "/"


def _url(value: str) -> str:
    try:
        url = urlsplit(_text(value))
        sound = url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
    except ValueError:
        sound = False
    if not sound or re.search(r"\s|[?#@]", value):
        reason = "http or https, a host, and a port if it is not the default; no credentials, no query"
        raise refusal(reason)
    return value


def _listed(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _storage_class(value: object) -> object:
    if value in ("GLACIER", "DEEP_ARCHIVE"):
        reason = "objects of this class cannot be read immediately, but each object must be read back before its rows are purged"
        raise refusal(reason)
    return value


def _kms_key(value: str) -> str:
    if "alias/" in value:
        reason = "an alias cannot be compared with the key that the store reports; give the key of the alias"
        raise refusal(reason)
    if not _KMS_KEY.fullmatch(value):
        reason = "a key's id such as 1234abcd-12ab-34cd-56ef-1234567890ab, or arn:aws:kms:REGION:ACCOUNT:key/ID"
        raise refusal(reason)
    return value


def _version(value: object) -> object:
    return "2.0" if isinstance(value, float) and value == float("2.0") else value


Identifier = Annotated[str, AfterValidator(_identifier)]
PathPart = Annotated[str, AfterValidator(_path_part)]
Label = Annotated[PathPart, AfterValidator(_label)]
Columns = Annotated[tuple[Identifier, ...], BeforeValidator(_columns), AfterValidator(_unique)]
Day = Annotated[date, BeforeValidator(_day)]
When = Annotated[date, PlainValidator(_when), PlainSerializer(_written, return_type=str, when_used="json")]
Zone = Annotated[str, AfterValidator(_zone)]
Cron = Annotated[str, AfterValidator(_cron)]
Host = Annotated[str, AfterValidator(_host)]
VariableName = Annotated[str, AfterValidator(_variable)]
PlainText = Annotated[str, AfterValidator(_text)]
Bucket = Annotated[str, AfterValidator(_bucket)]
Prefix = Annotated[str, AfterValidator(_prefix)]
Url = Annotated[str, AfterValidator(_url)]
Copied = BeforeValidator(_copied)
Risk = Literal["after_delete_trigger", "inbound_foreign_key", "connection_pooler"]
ACCEPTABLE_RISKS: tuple[str, ...] = get_args(Risk)
Listed = BeforeValidator(_listed)
Risks = Annotated[tuple[Risk, ...], Listed]
KmsKey = Annotated[str, AfterValidator(_kms_key)]
StorageClass = BeforeValidator(_storage_class)
Version = BeforeValidator(_version)
