"""The keys of objects, and nothing else: those of a table, of its partitions, and of legal holds.

    {prefix}{D}/{S}/{T}/_source-0001.json   an accepted source: only the newest applies
    {prefix}{D}/{S}/{T}/dt=2026-08-01/
        rows-0001-{8 hex}.parquet   the data of generation 1
        _manifest-0001.json         its commit mark
        _rejected-0001.json         the generation is ignored
        _purging-0001.json          its purge has begun
        _purged-0001.json           its receipt
    {prefix}_holds/{id}.json        a legal hold

Database label, schema and table are used unchanged, percent-encoded (RFC 3986: everything but letters, digits and `-._~`). `dt=` is Hive
partitioning, and engines that read such folders skip names that begin with `_`. Generations have four digits and, from 10,000 on, as many
as they need. LAST_GENERATION is the highest: otherwise anyone who can write to the bucket could create a number that leaves no next one.
"""

import re
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from secrets import token_hex
from typing import Final, Self
from urllib.parse import quote, unquote

from archiver_assets.config.fields import HOLDS_FOLDER


class Mark(StrEnum):
    """The JSON objects beside the data of a generation."""

    MANIFEST = "manifest"
    REJECTED = "rejected"
    PURGING = "purging"
    PURGED = "purged"


LAST_GENERATION: Final = 999_999
"""The highest generation of a partition, and the highest number of a table's accepted sources."""
# A number has only one form: a generation with two names would have two commit marks.
_NUMBER = r"(?!0000)[0-9]{4}|[1-9][0-9]{4,5}"
_OBJECT = re.compile(
    rf"(?:rows-(?P<rows>{_NUMBER})-[0-9a-f]{{8}}\.parquet|_(?P<mark>manifest|rejected|purging|purged)-(?P<number>{_NUMBER})\.json)"
)


_SOURCE = re.compile(rf"_source-(?P<number>{_NUMBER})\.json")
_DAY = re.compile(r"dt=(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})/")
_MANIFEST = re.compile(rf"dt=[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}/_manifest-(?:{_NUMBER})\.json")


@dataclass(frozen=True)
class TableKeys:
    """The full keys of one table, beginning with the configured prefix."""

    folder: str

    @classmethod
    def of(cls, *, prefix: str, database: str, schema: str, table: str) -> Self:
        """Return the keys of a table; `prefix` is empty or ends in a slash."""
        return cls(prefix + "/".join(_encoded(part) for part in (database, schema, table)) + "/")

    def partition(self, partition_key: str) -> "PartitionKeys":
        """Return the keys of a partition, `YYYY-MM-DD`."""
        return PartitionKeys(f"{self.folder}dt={partition_key}/")

    @property
    def sources(self) -> str:
        """The prefix of the keys of all accepted sources."""
        return f"{self.folder}_source-"

    def source(self, number: int) -> str:
        """Return the key of the accepted source with that number, from 1."""
        return f"{self.sources}{number:04d}.json"

    def source_number(self, key: str) -> int | None:
        """Return the number of an accepted source; None for any other key."""
        found = _SOURCE.fullmatch(key.removeprefix(self.folder))
        return int(found["number"]) if found else None

    def day(self, key: str) -> date | None:
        """Return the day whose folder has the key; None for any other key, and for a folder without a valid day, such as a 13th month's."""
        found = _DAY.match(key.removeprefix(self.folder)) if key.startswith(self.folder) else None
        try:
            return date.fromisoformat(found["day"]) if found else None
        except ValueError:
            return None

    def is_manifest(self, key: str) -> bool:
        """Return whether the key is that of a manifest, in any partition."""
        return bool(_MANIFEST.fullmatch(key.removeprefix(self.folder)))


@dataclass(frozen=True)
class PartitionKeys:
    """The full keys of one partition, beginning with the configured prefix."""

    folder: str

    def new_rows(self, generation: int) -> str:
        """Return a key for the data of a generation that no other attempt has used: eight random hex digits distinguish attempts."""
        return f"{self.folder}rows-{generation:04d}-{token_hex(4)}.parquet"

    def mark(self, mark: Mark, generation: int) -> str:
        """Return the key of a generation's JSON object of this kind."""
        return f"{self.folder}_{mark}-{generation:04d}.json"

    def rows(self, key: str, generation: int) -> str | None:
        """Return the key, in this folder, of the object that a manifest calls `key`; None if it cannot be data of this generation.

        Only the last part of `key` is used, so that an archive that was copied to another bucket or prefix is read where it is.
        """
        name = key.rpartition("/")[2]
        found = _OBJECT.fullmatch(name)
        return self.folder + name if found and found["rows"] and int(found["rows"]) == generation else None

    def number(self, key: str) -> int | None:
        """Return the generation of any object of this partition, data or mark; None for any other key."""
        found = self._parse(key)
        return int(found["rows"] or found["number"]) if found else None

    def parse_mark(self, key: str) -> tuple[Mark, int] | None:
        """Return the kind and generation of a JSON object of this partition; None for any other key."""
        found = self._parse(key)
        return (Mark(found["mark"]), int(found["number"])) if found and found["mark"] else None

    def _parse(self, key: str) -> re.Match[str] | None:
        return _OBJECT.fullmatch(key.removeprefix(self.folder)) if key.startswith(self.folder) else None


def holds_folder(prefix: str) -> str:
    """Return the prefix of the keys of all holds; `prefix` is empty or ends in a slash."""
    return f"{prefix}{HOLDS_FOLDER}/"


def hold_key(prefix: str, hold_id: str) -> str:
    """Return the key of the hold with this id, percent-encoded."""
    return f"{holds_folder(prefix)}{_encoded(hold_id)}.json"


def parse_hold_key(prefix: str, key: str) -> str | None:
    """Return the id of the hold that has this key; None for any other key, and for an id that is encoded differently."""
    hold_id = unquote(key.removeprefix(holds_folder(prefix)).removesuffix(".json"))
    return hold_id if hold_id and key == hold_key(prefix, hold_id) else None


def _encoded(part: str) -> str:
    # A table may be named "." or "..", which PostgreSQL allows, and which some HTTP clients rewrite when it stands alone between slashes.
    return part.replace(".", "%2E") if part in {".", ".."} else quote(part, safe="")
