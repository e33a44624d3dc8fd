"""The JSON objects of a generation: manifest, rejection, purging mark and receipt.

What belongs here: their fields, their JSON form, and validating them as they are read. What does not: when they are written, and what
follows from them.

Times are RFC 3339 in UTC with microseconds. Digests name their algorithm. Unknown fields are ignored, so that a later minor version can add
fields; a manifest of another `format` is refused.
"""

import hashlib
import json
from datetime import UTC, date, datetime
from typing import Annotated, Any, Final, Literal, Self, TypeVar
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from archiver_assets.errors import ManifestInvalid
from archiver_assets.untrusted_text import bounded

FORMAT: Literal["archiver/1"] = "archiver/1"

MOST: Final = 2**63 - 1
"""The limit of any count: a larger number cannot count rows or bytes, and does not fit into the integers of other programs."""
_MOST_NAMED: Final = 20
"""How many wrong fields an error names."""

_Facts = TypeVar("_Facts", bound=BaseModel)


def format_instant(instant: datetime) -> str:
    """Return an aware time as RFC 3339 in UTC with microseconds: `2026-08-01T00:00:00.000000Z`."""
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _in_utc(instant: datetime) -> datetime:
    try:
        return instant.astimezone(UTC)
    except OverflowError as error:
        message = "expected a time within the years 1 to 9999 of UTC"
        raise ValueError(message) from error


Instant = Annotated[AwareDatetime, AfterValidator(_in_utc), PlainSerializer(format_instant, when_used="json")]
Sha256 = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0, le=MOST)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class PartitionFacts(_Frozen):
    """The partition: half-open `[start, end)` of `column`, one day of `timezone`."""

    column: str
    timezone: str
    start: Instant
    end: Instant

    @property
    def day(self) -> date:
        """The local day that `start` lies in."""
        return self.start.astimezone(ZoneInfo(self.timezone)).date()

    @model_validator(mode="after")
    def _require_a_day(self) -> Self:
        try:
            _ = self.day
        except (KeyError, ValueError, OSError, OverflowError) as error:  # ZoneInfo's, for an unknown or invalid name, or a folder's
            message = f"expected a known time zone, and a start within its years 1 to 9999, found {self.timezone!r}"
            raise ValueError(message) from error
        return self


class ObjectFacts(_Frozen):
    """The Parquet object as it was committed; `key` is its full key in the bucket."""

    key: str
    bytes: Count
    sha256: Sha256
    etag: str
    version_id: str | None


class ColumnFacts(_Frozen):
    """One column of the table; `pg_type` as PostgreSQL writes it, with length or precision."""

    name: str
    pg_type: str
    arrow_type: str
    not_null: bool


class LeafFacts(_Frozen):
    """A relation that held rows, the table itself or a leaf; `columns` is a digest of its columns and their numbers."""

    oid: int
    columns: str


class SourceFacts(_Frozen):
    """Where the rows came from: the identity of server, database and table, and the snapshot in which they were read."""

    system_identifier: str
    database_oid: int
    table_oid: int
    timeline: int
    server_version: str
    snapshot: Annotated[str, Field(pattern=r"^[0-9]+:[0-9]+:([0-9]+(,[0-9]+)*)?$")]
    lsn: str
    read_from: Literal["primary", "standby"]
    leaves: tuple[LeafFacts, ...]


class Identity(_Frozen):
    """What identifies a generation, known before its first row is read; also stored in the footer of the Parquet object."""

    format: Literal["archiver/1"]
    database: str
    schema_name: Annotated[str, Field(alias="schema")]
    table: str
    partition: PartitionFacts
    generation: Annotated[int, Field(ge=1)]
    primary_key: tuple[str, ...]
    fingerprint: Sha256
    source: SourceFacts
    archiver_version: str
    run_id: str

    model_config = ConfigDict(frozen=True, extra="ignore", validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)

    def footer(self) -> dict[str, str]:
        """Return the identity as the footer's key-value metadata: text fields as they are, all others as JSON."""
        return {
            (field.alias or name): value if isinstance(value := getattr(self, name), str) else _to_json(value)
            for name, field in Identity.model_fields.items()
        }


class EarlierFacts(_Frozen):
    """A generation that was committed earlier: its number, and the digest of its manifest."""

    generation: Annotated[int, Field(ge=1)]
    manifest_sha256: Sha256


class Manifest(Identity):
    """The commit mark of a generation, written last: a generation exists if and only if its manifest does.

    `earlier` lists all generations of the partition that were already committed, so that none of them can be removed or changed unnoticed.
    It is None, and left out, for generation 1, and missing in manifests written before this field existed.
    """

    object: ObjectFacts
    rows: Annotated[int, Field(ge=1, le=MOST)]
    content_digest: Sha256
    timestamp_min: Instant
    timestamp_max: Instant
    columns: tuple[ColumnFacts, ...]
    ddl: str
    archived_at: Instant
    earlier: tuple[EarlierFacts, ...] | None = None

    @model_serializer(mode="wrap")
    def _without_earlier_if_none(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = serialize(self)
        return {name: value for name, value in fields.items() if name != "earlier" or value is not None}


class PurgeSettings(_Frozen):
    """The settings of a purge; the pause between batches is in seconds. Marks from before the last two were recorded have None there."""

    batch_size: int
    sleep_between_batches: float
    retention_days: int
    purge_method: Literal["delete", "drop_partition"] | None = None
    verification: Literal["rows", "full", "restore"] | None = None


class Rejected(_Frozen):
    """Written when two consecutive reads of a generation's object did not match its manifest; the generation is then ignored."""

    format: Literal["archiver/1"] = FORMAT
    generation: int
    manifest_sha256: Sha256
    at: Instant
    run_id: str
    mismatches: tuple[str, ...]


class Purging(_Frozen):
    """Written before the first row of a generation is deleted."""

    format: Literal["archiver/1"] = FORMAT
    generation: int
    manifest_sha256: Sha256
    at: Instant
    run_id: str
    settings: PurgeSettings


class Receipt(_Frozen):
    """What a purge did; written when none of the generation's rows is left in the table."""

    format: Literal["archiver/1"] = FORMAT
    generation: int
    manifest_sha256: Sha256
    at: Instant
    run_id: str
    started_at: Instant
    rows_purged_by_version: Count
    rows_purged_by_content: Count
    rows_gone: Count
    rows_late: Count
    rows_held_before: Count
    batches: Count
    wal_bytes: int | None


class AcceptedSource(_Frozen):
    """Written when an operator declares that the table now belongs to another server or database; only the newest one applies."""

    format: Literal["archiver/1"] = FORMAT
    system_identifier: str
    database_oid: int
    at: Instant
    run_id: str


def encode(facts: BaseModel) -> bytes:
    """Return the JSON object as it is stored: indented, with a final line feed."""
    return facts.model_dump_json(indent=2).encode() + b"\n"


def decode(kind: type[_Facts], data: bytes, *, key: str) -> _Facts:
    """Read a stored JSON object back.

    Raises ManifestInvalid, naming `key` and each wrong field, if it is not a valid `kind`.
    """
    try:
        return kind.model_validate_json(data, strict=True)
    except ValidationError as error:
        errors = [f"{'.'.join(map(str, each['loc'])) or 'the object'}: {each['msg']}" for each in error.errors(include_input=False)]
        more = [f"and {len(errors) - _MOST_NAMED} more"] if len(errors) > _MOST_NAMED else []
        wrong = "; ".join([*map(bounded, errors[:_MOST_NAMED]), *more])
        message = f"expected a {kind.__name__.lower()} of the format {FORMAT} in {key}, found: {wrong}"
        raise ManifestInvalid(message, hint="compare the object with its older versions or a copy; nothing was deleted") from error


def sha256_of(data: bytes) -> str:
    """Return `sha256:` and 64 hex digits."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _to_json(value: object) -> str:
    if isinstance(value, BaseModel):
        return value.model_dump_json()
    return json.dumps(value)
