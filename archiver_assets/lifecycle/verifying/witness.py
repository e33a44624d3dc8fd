"""A witness: earlier digests of an archive's manifests and marks, kept where nobody with write access to the bucket can change them.

What belongs here: reading a witness, comparing with it, and the one digest over all. What does not: computing digests (`inspection.py`).
A manifest contains the digest of its object, so these small objects represent the whole archive.
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
"""Digests by key, relative to the table's folder."""


class _Table(BaseModel):
    table: str
    digests: dict[Annotated[str, Field(min_length=1)], Sha256]


class _Report(BaseModel):
    at: AwareDatetime
    tables: list[_Table]


@dataclass(frozen=True)
class Witness:
    """The digests from an earlier `archiver verify --json`, by table label. `name` identifies the report in messages."""

    name: str
    tables: Mapping[str, Digests]

    def by_day(self, label: str, keys: TableKeys) -> dict[date | None, Digests]:
        """Return a table's recorded digests for each day that has any, and, under None, those outside all day folders."""
        found: dict[date | None, dict[str, str]] = {}
        for name, digest in self.tables.get(label, {}).items():
            found.setdefault(keys.day(keys.folder + name), {})[name] = digest
        return dict(found)

    def contradictions(self, then: Digests, now: Digests, keys: TableKeys) -> Iterator[str]:
        """Yield what was removed or changed since the witness recorded `then`; additions are expected."""
        for name, digest in then.items():
            found = now.get(name)
            if found is None:
                yield f"{keys.folder}{name} is missing: {self.name} has it, with the digest {digest}"
            elif found != digest:
                yield f"{keys.folder}{name} was changed: {self.name} has the digest {digest}, found {found}"


def read_witness(path: Path) -> Witness:
    """Read an earlier report. Raises ConfigError if the file is not one."""
    try:
        report = _Report.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        why = error.strerror if isinstance(error, OSError) else "; ".join(each["msg"] for each in error.errors(include_input=False)[:3])
        message = f"expected the answer of an earlier `archiver verify --json` in {path}, found: {why}"
        raise ConfigError(message, hint="make one by: archiver verify --json > witness.json, and keep it away from the bucket") from error
    return Witness(f"the witness of {report.at:%Y-%m-%d %H:%M}", {each.table: each.digests for each in report.tables})


def digest_of_all(tables: Mapping[str, Digests]) -> str:
    """Return one digest over all tables, `sha256:` and 64 hex digits: it changes if any manifest or mark changes."""
    canonical = json.dumps({label: dict(digests) for label, digests in tables.items()}, sort_keys=True, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"
