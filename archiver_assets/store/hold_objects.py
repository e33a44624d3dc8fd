"""Legal holds as objects: `{prefix}_holds/{id}.json`.

What belongs here: their JSON form, reading them as untrusted input, placing and releasing one. What does not: the meaning of a hold
(`config/legal.py`), and which holds are in force (`lifecycle/holding/holds.py`).
"""

import json
from collections.abc import Iterator
from typing import Literal, NoReturn

from pydantic import ValidationError

from archiver_assets.config import Hold
from archiver_assets.errors import HoldsUnreadable
from archiver_assets.store.keys import hold_key, holds_folder, parse_hold_key
from archiver_assets.store.manifest import FORMAT, encode
from archiver_assets.store.objects import ObjectStore, StoredObject, read_whole
from archiver_assets.untrusted_text import bounded

MAX_BYTES = 1 << 20
"""The size limit of a hold; a larger object is refused."""

MOST_HOLDS = 20_000
"""The maximum number of hold objects; all of them are kept in memory."""

Seen = dict[tuple[str, str, int], Hold]
"""Holds already read, by key, etag and size: a changed object has another etag."""


class HoldDocument(Hold):
    """A hold as stored. Unknown keys are refused: a misspelled key might have been meant to hold more rows."""

    format: Literal["archiver/1"] = FORMAT


def place_hold(store: ObjectStore, prefix: str, hold: Hold) -> str:
    """Store a hold and return its key. Raises ObjectExists if a hold with its id exists.

    The object is not locked: a lock would not keep the hold in force, since a delete marker still releases it, and would keep its personal
    data for years after the release.
    """
    key = hold_key(prefix, hold.id)
    store.create(key, _document(hold), locked=False)
    return key


def is_placed(store: ObjectStore, prefix: str, hold: Hold) -> bool:
    """Return whether the object with the hold's key is exactly this hold, as after a call of `place_hold` whose answer was lost.

    Raises ObjectMissing if there is no object.
    """
    return read_whole(store, hold_key(prefix, hold.id)) == _document(hold)


def _document(hold: Hold) -> bytes:
    return encode(HoldDocument(**dict(hold)))


def release_hold(store: ObjectStore, prefix: str, hold_id: str) -> None:
    """Remove a hold; with versioning, it can still be read afterwards. Raises ObjectMissing if no hold has the id."""
    key = hold_key(prefix, hold_id)
    store.head(key)
    store.remove(key)


def read_hold_objects(store: ObjectStore, prefix: str, seen: Seen) -> Iterator[Hold]:
    """Yield the holds below `{prefix}_holds/`. Only those not in `seen` are read.

    Raises HoldsUnreadable for anything else there, and the errors of the store.
    """
    listed = list(store.list(holds_folder(prefix), at_most=MOST_HOLDS + 1))
    if len(listed) > MOST_HOLDS:
        raise _unreadable(store, holds_folder(prefix), f"more than {MOST_HOLDS:,} objects")
    for found in listed:
        if found.key == holds_folder(prefix) and not found.bytes:
            continue  # an empty folder object, as consoles create
        identity = (found.key, found.etag, found.bytes)
        if identity not in seen:
            seen[identity] = _read(store, prefix, found)
        yield seen[identity]


def parse_json(text: str | bytes) -> object:
    """Return parsed JSON with numbers kept as text, since their exact digits may matter.

    Raises ValueError, also for a duplicate key, and RecursionError.
    """
    return json.loads(text, parse_int=str, parse_float=str, parse_constant=_refuse_constant, object_pairs_hook=_unique)


def why_invalid(error: ValidationError) -> str:
    """Return what is wrong with each field, on one line."""
    return "; ".join(f"{'.'.join(map(str, each['loc'])) or 'the whole'}: {each['msg']}" for each in error.errors(include_input=False))


def _read(store: ObjectStore, prefix: str, found: StoredObject) -> Hold:
    hold_id = parse_hold_key(prefix, found.key)
    if hold_id is None or found.bytes > MAX_BYTES:
        raise _unreadable(
            store, found.key, f"a key of another form, or {found.bytes} bytes, in place of an {{id}}.json of at most {MAX_BYTES}"
        )
    try:
        document = HoldDocument.model_validate(parse_json(read_whole(store, found.key)))
    except ValidationError as error:
        raise _unreadable(store, found.key, why_invalid(error)) from error
    except (ValueError, RecursionError) as error:
        raise _unreadable(store, found.key, f"no JSON: {error}") from error
    if document.id != hold_id:
        raise _unreadable(store, found.key, f"the id {document.id!r}, which is not that of its key")
    return document


def _unreadable(store: ObjectStore, key: str, found: str) -> HoldsUnreadable:
    message = f"expected a legal hold of the format {FORMAT} in {store.uri(key)}, found: {bounded(found)}"
    return HoldsUnreadable(message, hint="correct the object, or remove it if it is none; until then every row of every table is held")


def _refuse_constant(name: str) -> NoReturn:
    message = f"{name} is no JSON number"
    raise ValueError(message)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len({name for name, _ in pairs}) != len(pairs):
        message = "a key stands twice"
        raise ValueError(message)
    return dict(pairs)
