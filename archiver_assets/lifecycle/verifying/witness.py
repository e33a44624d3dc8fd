"""A witness: the digests of an archive's manifests and marks as they once were, kept where nobody who can write to the bucket can.

What belongs here: reading one, comparing, and the one digest over all. What does not: computing the digests (`inspection.py`). A manifest
has the digest of its object, so that these small objects stand for the whole archive.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, Field, ValidationError

from archiver_assets.errors import ConfigError
from archiver_assets.store.keys import TableKeys
from archiver_assets.store.manifest import Sha256

Digests = Mapping[str, str]
"""By what follows the table's folder in the key."""


class _Table(BaseModel):
    table: str
    digests: dict[Annotated[str, Field(min_length=1)], Sha256]


class _Report(BaseModel):
    at: AwareDatetime
    tables: list[_Table]


@dataclass(frozen=True)
class Witness:
    """What an earlier `archiver verify --json` saw, by the labels of the tables; `name` says in messages which report it is."""

    name: str
    tables: Mapping[str, Digests]

    def by_day(self, label: str, keys: TableKeys) -> dict[date | None, Digests]:
        """Return what it saw of each day of a table of which it saw anything, and, under None, in the folder of no day."""
        found: dict[date | None, dict[str, str]] = {}
        for name, digest in self.tables.get(label, {}).items():
            found.setdefault(keys.day(keys.folder + name), {})[name] = digest
        return dict(found)

    def contradictions(self, then: Digests, now: Digests, keys: TableKeys) -> Iterator[str]:
        """Yield what is gone or changed since it saw `then`; what was added is as it should be."""
        for name, digest in then.items():
            found = now.get(name)
            if found is None:
                yield f"{keys.folder}{name} is missing: {self.name} has it, with the digest {digest}"
            elif found != digest:
                yield f"{keys.folder}{name} was changed: {self.name} has the digest {digest}, found {found}"


def read_witness(path: Path) -> Witness:
    """Read an earlier report. Raises ConfigError if the file is none."""
    try:
        report = _Report.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        why = error.strerror if isinstance(error, OSError) else "; ".join(each["msg"] for each in error.errors(include_input=False)[:3])
        message = f"expected the answer of an earlier `archiver verify --json` in {path}, found: {why}"
        raise ConfigError(message, hint="make one by: archiver verify --json > witness.json, and keep it away from the bucket") from error
    return Witness(f"the witness of {report.at:%Y-%m-%d %H:%M}", {each.table: each.digests for each in report.tables})


def digest_of_all(tables: Mapping[str, Digests]) -> str:
    """Return one digest over all, `sha256:` and 64 hex digits: it changes with any manifest and any mark."""
    canonical = json.dumps({label: dict(digests) for label, digests in tables.items()}, sort_keys=True, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"
